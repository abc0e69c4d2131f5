"""Keypoints of SIFT and ORB: detected, described, matched, and without outliers."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.camera import Camera
from deepservo.features.unseen_pixels import continued, has_unseen, reached
from deepservo.geometry import pnp, se3

MIN_INLIERS = 8  # matches that must agree with a homography
# Thresholds for faint pictures too: OpenCV's own (0.04; 20, and a border of 31 pixels) leave a few
# dozen keypoints on the moon, too few for a homography from half of the published starts.
SIFT = {"nfeatures": 1000, "contrastThreshold": 0.01}
ORB = {"nfeatures": 1000, "fastThreshold": 10, "edgeThreshold": 10}
FINE_COUNT = 2000  # keypoints at twice the size
UNSEEN_MARGIN = 4  # px: keypoints this near to an unseen pixel are left out
MAX_DISTANCE_RATIO = 0.85  # of the nearest descriptor's distance to the next nearest's (Lowe 2004)

Features = tuple[np.ndarray, np.ndarray]
"""Keypoints (n, 2) [px] and their descriptors (n, d)."""


@dataclass(frozen=True)
class Matched:
    """A homography from goal to current pixels, and the n matches that agree with it [px]."""

    H: Float[np.ndarray, "3 3"]
    goal_px: Float[np.ndarray, "n 2"]
    cam_px: Float[np.ndarray, "n 2"]


def detect(image: Float[Tensor, "h w"], detector: str = "sift", **options: Any) -> Features:
    """`sift` or `orb` keypoints of a grey picture in [0, 1], none near unseen pixels (NaN).

    options: OpenCV's, in the place of those of SIFT and ORB above.
    """
    if detector == "sift":
        finder = cv2.SIFT_create(**SIFT | options)  # type: ignore[attr-defined]
    else:
        finder = cv2.ORB_create(**ORB | options)  # type: ignore[attr-defined]
    seen = None
    if has_unseen(image[None, None]):
        seen = (~reached(image[None, None], UNSEEN_MARGIN)[0]).byte().numpy()
        image = continued(image[None, None])[0, 0]
    keypoints, descriptors = finder.detectAndCompute(
        (image.clamp(0, 1) * 255).round().byte().numpy(), seen
    )
    if descriptors is None or not len(keypoints):
        return np.zeros((0, 2)), np.zeros((0, 1), np.float32)
    return np.array([k.pt for k in keypoints]), descriptors


def detect_fine(image: Float[Tensor, "h w"]) -> Features:
    """SIFT keypoints of a grey picture in [0, 1] at twice its size.

    There are more small ones than at its own size. The descriptors are square roots, whose
    Euclidean distance is Hellinger's of the originals (RootSIFT, Arandjelovic 2012).
    """
    h, w = image.shape
    doubled = torch.nn.functional.interpolate(
        image[None, None], (2 * h, 2 * w), mode="bicubic", align_corners=False
    )[0, 0]
    points, descriptors = detect(doubled, nfeatures=FINE_COUNT)
    total = np.maximum(descriptors.sum(1, keepdims=True), 1e-9)
    return (points + 0.5) / 2 - 0.5, np.sqrt(descriptors / total)


def match_by_ratio(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`match`, without matches whose distance is over MAX_DISTANCE_RATIO of the next nearest.

    Where two pictures share little, most of the other matches are wrong.
    """
    if len(a) < 2 or len(b) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    first, second = torch.from_numpy(a), torch.from_numpy(b)
    # Squared distances of each of b to all of a.
    apart = second.square().sum(1)[:, None] + first.square().sum(1) - 2 * (second @ first.mT)
    near, nearest = apart.min(1)
    back = apart.argmin(0)
    next_near = apart.scatter_(1, nearest[:, None], torch.inf).amin(1)
    mutual = back[nearest] == torch.arange(len(b))
    index = (mutual & (near < MAX_DISTANCE_RATIO**2 * next_near)).nonzero().flatten()
    return nearest[index].numpy(), index.numpy()


def match(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the mutual nearest neighbours of two sets of descriptors.

    Distances are Euclidean, or Hamming's between descriptors of bytes.
    """
    if len(a) == 0 or len(b) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    first, second = _vectors(a), _vectors(b)
    apart = first.square().sum(1)[:, None] + second.square().sum(1) - 2 * (first @ second.mT)
    nearest, back = apart.argmin(1), apart.argmin(0)
    mutual = (back[nearest] == torch.arange(len(a))).nonzero().flatten()
    return mutual.numpy(), nearest[mutual].numpy()


def _vectors(descriptors: np.ndarray) -> Float[Tensor, "n d"]:
    """Descriptors as vectors; of bytes their bits, whose squared distance is Hamming's distance.

    All numbers of SIFT and ORB are whole, so that float32 holds their sums exactly.
    """
    return torch.from_numpy(
        np.unpackbits(descriptors, axis=1) if descriptors.dtype == np.uint8 else descriptors
    ).float()


def homography(
    goal_px: Float[np.ndarray, "n 2"],
    cam_px: Float[np.ndarray, "n 2"],
    max_error: float = 1.5,
    min_inliers: int = MIN_INLIERS,
) -> Matched | None:
    """The homography from goal to current pixels by MAGSAC, and its inliers, to `max_error` [px].

    None where there are fewer than `min_inliers`.
    """
    if len(goal_px) < min_inliers:
        return None
    cv2.setRNGSeed(0)  # the same pictures give the same homography
    H, inliers = cv2.findHomography(
        goal_px, cam_px, cv2.USAC_MAGSAC, max_error, maxIters=2000, confidence=0.9999
    )
    if H is None or int(inliers.sum()) < min_inliers:
        return None
    agree = inliers[:, 0] > 0
    return Matched(H, goal_px[agree], cam_px[agree])


def homographies(
    images: Float[Tensor, "b 1 h w"], goals: list[Features], detector: str = "sift"
) -> list[Matched | None]:
    """`homography` from each goal to its picture, on as many threads as torch uses.

    detector: `sift`, `orb`, or `fine`: `detect_fine` and `match_by_ratio`. The goals' features are
    from the same detector.
    """
    return [each.result() for each in start_homographies(images, goals, detector)]


def start_homographies(
    images: Float[Tensor, "b 1 h w"], goals: list[Features], detector: str = "sift"
) -> list[Future[Matched | None]]:
    """`homographies`, started in the background."""

    def of(image: Float[Tensor, "1 h w"], goal: Features) -> Matched | None:
        points, descriptors = (
            detect_fine(image[0]) if detector == "fine" else detect(image[0], detector)
        )
        a, b = (match_by_ratio if detector == "fine" else match)(goal[1], descriptors)
        return homography(goal[0][a], points[b])

    pool = native.pool(torch.get_num_threads())
    return [pool.submit(of, image, goal) for image, goal in zip(images, goals, strict=True)]


def pose_of_homography(
    H: Float[Tensor, "*batch 3 3"], camera: Camera, plane: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch 4 4"]:
    """`T_goal_cam` from a homography of goal to current pixels and the goal's plane.

    plane: [n, d] in the goal's frame, `n . p = d` [m]. `K^-1 H K = s (R + t n^T / d)`: applied to
    two directions in the plane it is `s R`, which fixes s and R (by SVD), then t.
    """
    G = camera.K_inv @ H.double() @ camera.K
    G = G * torch.sign(torch.linalg.det(G))[..., None, None]
    n, d = plane[..., :3].double(), plane[..., 3].double()
    helper = torch.zeros_like(n)
    helper[..., 0] = 1
    a = torch.nn.functional.normalize(helper - (helper * n).sum(-1, keepdim=True) * n, dim=-1)
    b = torch.linalg.cross(n, a)
    ga, gb = (G @ a[..., None])[..., 0], (G @ b[..., None])[..., 0]
    scale = (torch.linalg.cross(ga, gb).norm(dim=-1)).sqrt()[..., None]
    ga, gb = ga / scale, gb / scale
    U, _, Vh = torch.linalg.svd(
        torch.stack([ga, gb, torch.linalg.cross(ga, gb)], -1) @ torch.stack([a, b, n], -1).mT
    )
    R = U @ Vh
    t = ((G @ n[..., None])[..., 0] / scale - (R @ n[..., None])[..., 0]) * d[..., None]
    return se3.inverse(se3.transform(R, t))


def pose_of_matches(found: Matched, camera: Camera, depth: float) -> Float[Tensor, "4 4"]:
    """`T_goal_cam` of matches on a plane that faces the goal at `depth` [m].

    It has the least sum of their distances. It is more exact than the pose of the matches'
    homography, two of whose eight numbers fit the matches' errors alone.
    """
    rays, points = (
        torch.from_numpy(np.column_stack([px, np.ones(len(px))])) @ camera.K_inv.mT
        for px in (found.cam_px, found.goal_px)
    )
    T_plane_cam, _ = pnp.pose_from_plane_points(
        rays, depth * points[None, :, :2], torch.ones(1, len(points), dtype=torch.float64)
    )
    T_plane_cam[0, 2, 3] += depth
    return T_plane_cam[0]
