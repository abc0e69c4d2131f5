"""Keypoints: detect, describe, match, reject outliers. The rival that needs no training."""

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

FEWEST = 8  # inliers under which a homography is not believed
# What is found on faint pictures too: OpenCV's own thresholds (0.04; 20, and a border of 31 pixels)
# leave a few dozen keypoints on the moon, too few for a homography from half of the published
# starts.
SIFT = {"nfeatures": 1000, "contrastThreshold": 0.01}
CLOSE = 4  # pixels: a keypoint as near as this to an unseen pixel is none of the scene's
FINE = 2000  # keypoints at twice the size
SURE = 0.85  # of the distance to the next nearest descriptor
ORB = {"nfeatures": 1000, "fastThreshold": 10, "edgeThreshold": 10}


Features = tuple[np.ndarray, np.ndarray]
"""Keypoints (n, 2) [px] and their descriptors (n, d)."""


@dataclass(frozen=True)
class Matched:
    """A homography from goal to current pixels, and the matches that agree with it, (n, 2) [px]
    each.
    """

    H: np.ndarray
    goal_px: np.ndarray
    cam_px: np.ndarray


def detect(image: Float[Tensor, "h w"], detector: str = "sift", **options: Any) -> Features:
    """`sift` or `orb` keypoints of a grey image in [0, 1]; `options` are OpenCV's, where they are
    to differ from SIFT and ORB above.

    None where the picture shows nothing (NaN).
    """
    if detector == "sift":
        finder = cv2.SIFT_create(**SIFT | options)  # type: ignore[attr-defined]
    else:
        finder = cv2.ORB_create(**ORB | options)  # type: ignore[attr-defined]
    seen = None
    if has_unseen(image[None, None]):
        seen = (~reached(image[None, None], CLOSE)[0]).byte().numpy()
        image = continued(image[None, None])[0, 0]
    keypoints, descriptors = finder.detectAndCompute(
        (image.clamp(0, 1) * 255).round().byte().numpy(), seen
    )
    if descriptors is None or not len(keypoints):
        return np.zeros((0, 2)), np.zeros((0, 1), np.float32)
    return np.array([k.pt for k in keypoints]), descriptors


def detect_fine(image: Float[Tensor, "h w"]) -> Features:
    """SIFT keypoints of a grey image in [0, 1] at twice its size, where there are many of what is a
    few pixels wide.

    Their descriptors are compared by Hellinger's distance (RootSIFT, Arandjelovic 2012): as
    vectors, after a root.
    """
    h, w = image.shape
    doubled = torch.nn.functional.interpolate(
        image[None, None], (2 * h, 2 * w), mode="bicubic", align_corners=False
    )[0, 0]
    points, descriptors = detect(doubled, nfeatures=FINE)
    total = np.maximum(descriptors.sum(1, keepdims=True), 1e-9)
    return (points + 0.5) / 2 - 0.5, np.sqrt(descriptors / total)


def match_surely(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of `match`, those that are nearer than SURE of the next nearest: where little is shared, the
    others would drown them.
    """
    if len(a) < 2 or len(b) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    first, second = torch.from_numpy(a), torch.from_numpy(b)
    apart = (
        second.square().sum(1)[:, None] + first.square().sum(1) - 2 * (second @ first.mT)
    )  # of each of b, to all of a
    near, there = apart.min(1)
    back = apart.argmin(0)
    next_near = apart.scatter_(1, there[:, None], torch.inf).amin(1)
    sure = (
        ((back[there] == torch.arange(len(b))) & (near < SURE**2 * next_near)).nonzero().flatten()
    )
    return there[sure].numpy(), sure.numpy()


def match(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of mutual nearest neighbours between two sets of descriptors: bytes are compared bit
    by bit.
    """
    if len(a) == 0 or len(b) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    first, second = _vectors(a), _vectors(b)
    apart = first.square().sum(1)[:, None] + second.square().sum(1) - 2 * (first @ second.mT)
    there, back = apart.argmin(1), apart.argmin(0)
    mutual = (back[there] == torch.arange(len(a))).nonzero().flatten()
    return mutual.numpy(), there[mutual].numpy()


def _vectors(descriptors: np.ndarray) -> Float[Tensor, "n d"]:
    """Descriptors whose squared distance is SIFT's, or the number of bits in which ORB's bytes
    differ.

    Either way all numbers are whole, and float32 holds their sums exactly.
    """
    return torch.from_numpy(
        np.unpackbits(descriptors, axis=1) if descriptors.dtype == np.uint8 else descriptors
    ).float()


def homography(
    goal_px: np.ndarray, cam_px: np.ndarray, within: float = 1.5, fewest: int = FEWEST
) -> Matched | None:
    """Homography from goal to current pixels by MAGSAC, and its inliers (to `within` pixels); None
    with less than `fewest` of them.
    """
    if len(goal_px) < fewest:
        return None
    cv2.setRNGSeed(0)  # the same pictures give the same answer
    H, inliers = cv2.findHomography(
        goal_px, cam_px, cv2.USAC_MAGSAC, within, maxIters=2000, confidence=0.9999
    )
    if H is None or int(inliers.sum()) < fewest:
        return None
    agree = inliers[:, 0] > 0
    return Matched(H, goal_px[agree], cam_px[agree])


def homographies(
    images: Float[Tensor, "b 1 h w"], goals: list[Features], detector: str = "sift"
) -> list[Matched | None]:
    """`homography` from each goal to its image, on as many threads as torch uses; `fine`: by
    `detect_fine` and `match_surely`.
    """
    return [each.result() for each in begun(images, goals, detector)]


def begun(
    images: Float[Tensor, "b 1 h w"], goals: list[Features], detector: str = "sift"
) -> list[Future[Matched | None]]:
    """The same, while the caller goes on."""

    def of(image: Float[Tensor, "1 h w"], goal: Features) -> Matched | None:
        points, descriptors = (
            detect_fine(image[0]) if detector == "fine" else detect(image[0], detector)
        )
        a, b = (match_surely if detector == "fine" else match)(goal[1], descriptors)
        return homography(goal[0][a], points[b])

    pool = native.pool(torch.get_num_threads())
    return [pool.submit(of, image, goal) for image, goal in zip(images, goals, strict=True)]


def pose_of_homography(
    H: Float[Tensor, "*batch 3 3"], camera: Camera, plane: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch 4 4"]:
    """`T_goal_cam` from a homography of pixels (goal to current) and the goal's plane [n, d] in the
    goal's frame.

    `K^-1 H K = s (R + t n^T / d)`: applied to two directions in the plane it is `s R`, which fixes
    s and R (by SVD), then t.
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
    """`T_goal_cam` that explains matches on a plane which faces the goal at `depth` [m].

    A homography has two more numbers than a pose, and what they take up of the matches' errors, the
    pose that is read from it lacks.
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
