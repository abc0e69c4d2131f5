"""Keypoints of SIFT and ORB: detected, described, matched, and without outliers."""

from concurrent.futures import Future
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.features.neighbours import match, match_by_ratio
from deepservo.features.two_views import MAX_ERROR, MIN_INLIERS, Candidates, Explain, Matched
from deepservo.features.unseen_pixels import continued, has_unseen, reached

# Thresholds for faint pictures too: OpenCV's own (0.04; 20, and a border of 31 pixels) leave a few
# dozen keypoints on the moon, too few for a homography from half of the published starts.
SIFT = {"nfeatures": 1000, "contrastThreshold": 0.01}
ORB = {"nfeatures": 1000, "fastThreshold": 10, "edgeThreshold": 10}
FINE_COUNT = 2000  # keypoints at twice the size
UNSEEN_MARGIN = 4  # px: keypoints this near to an unseen pixel are left out

Features = tuple[np.ndarray, np.ndarray]
"""Keypoints (n, 2) [px] and their descriptors (n, d)."""


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
    # Of equally good ones OpenCV keeps more.
    points, descriptors = (each[:FINE_COUNT] for each in detect(doubled, nfeatures=FINE_COUNT))
    total = np.maximum(descriptors.sum(1, keepdims=True), 1e-9)
    return (points + 0.5) / 2 - 0.5, np.sqrt(descriptors / total)


def start_matches(
    images: Float[Tensor, "b 1 h w"],
    goals: list[Features],
    explain: list[Explain],
    detector: str = "sift",
) -> list[Future[Matched | None]]:
    """Matches of each goal with its picture, started on as many threads as torch uses.

    detector: `sift`, `orb`, or `fine`: `detect_fine` and `match_by_ratio`. The goals' features are
    from the same detector. explain: what decides for each picture which matches agree.
    """

    def of(image: Float[Tensor, "1 h w"], goal: Features, explained: Explain) -> Matched | None:
        points, descriptors = (
            detect_fine(image[0]) if detector == "fine" else detect(image[0], detector)
        )
        a, b = (match_by_ratio if detector == "fine" else match)(goal[1], descriptors)
        return explained(Candidates(goal[0][a], points[b], a), MAX_ERROR, MIN_INLIERS)

    pool = native.pool(torch.get_num_threads())
    jobs = zip(images, goals, explain, strict=True)
    return [pool.submit(of, *job) for job in jobs]
