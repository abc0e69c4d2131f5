"""Keypoints of SIFT and ORB: detected, described, matched, and without outliers."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from deepservo import native
from deepservo.features.neighbours import match, match_by_ratio
from deepservo.features.sift import sift
from deepservo.features.two_views import MAX_ERROR, MIN_INLIERS, Candidates, Explain, Matched
from deepservo.features.unseen_pixels import continued, has_unseen, reached

# Thresholds for faint pictures too: OpenCV's own (0.04; 20, and a border of 31 pixels) leave a few
# dozen keypoints on the moon, too few for a homography from half of the published starts.
SIFT = {"most": 1000, "contrast": 0.01}
ORB = {"nfeatures": 1000, "fastThreshold": 10, "edgeThreshold": 10}
FINE_COUNT = 2000  # keypoints at twice the size
UNSEEN_MARGIN = 4  # px: keypoints this near to an unseen pixel are left out

Features = tuple[np.ndarray, np.ndarray]
"""Keypoints (n, 2) [px] and their descriptors (n, d)."""


def detect(image: Float[Tensor, "h w"], detector: str = "sift", **options: Any) -> Features:
    """`sift` or `orb` keypoints of a grey picture in [0, 1], none near unseen pixels (NaN).

    options: in the place of those of SIFT and ORB above.
    """
    if detector == "sift":
        return found_by(partial(sift, **SIFT | options), image)
    return found_by(partial(_orb, **ORB | options), image)


def found_by(
    finder: Callable[[UInt8[np.ndarray, "h w"]], Features], image: Float[Tensor, "h w"]
) -> Features:
    """Keypoints of a grey picture in [0, 1] by what finds them in bytes, none near unseen ones."""
    seen = None
    if has_unseen(image[None, None]):
        seen = (~reached(image[None, None], UNSEEN_MARGIN)[0]).numpy()
        image = continued(image[None, None])[0, 0]
    levels = (image.clamp(0, 1) * 255).round().byte().numpy()
    points, descriptors = finder(levels)
    if seen is None:
        return points, descriptors
    column, row = points.round().astype(int).T
    return points[seen[row, column]], descriptors[seen[row, column]]


def _orb(levels: UInt8[np.ndarray, "h w"], **options: Any) -> Features:
    found, descriptors = cv2.ORB_create(**options).detectAndCompute(  # type: ignore[attr-defined]
        levels, None
    )
    points = np.array([k.pt for k in found]).reshape(-1, 2)
    return points, np.zeros((0, 32), np.uint8) if descriptors is None else descriptors


def detect_fine(image: Float[Tensor, "h w"]) -> Features:
    """SIFT keypoints of a grey picture in [0, 1] at twice its size.

    There are more small ones than at its own size. The descriptors are square roots, whose
    Euclidean distance is Hellinger's of the originals (RootSIFT, Arandjelovic 2012).
    """
    h, w = image.shape
    doubled = torch.nn.functional.interpolate(
        image[None, None], (2 * h, 2 * w), mode="bicubic", align_corners=False
    )[0, 0]
    points, descriptors = detect(doubled, most=FINE_COUNT)
    total = np.maximum(descriptors.sum(1, keepdims=True), 1e-9)
    return (points + 0.5) / 2 - 0.5, np.sqrt(descriptors / total)


def start_matches(
    images: Float[Tensor, "b 1 h w"],
    goals: list[Features],
    explain: list[Explain],
    detector: str = "sift",
) -> list[Future[Matched | None]]:
    """Matches of each goal with its picture, started on as many threads as torch uses.

    detector: `sift` or `orb`, of the goals' features too. explain: what decides for each picture
    which matches agree.
    """

    def of(image: Float[Tensor, "1 h w"], goal: Features, explained: Explain) -> Matched | None:
        points, descriptors = detect(image[0], detector)
        a, b = match(goal[1], descriptors)
        return explained(Candidates(goal[0][a], points[b], a), MAX_ERROR, MIN_INLIERS)

    pool = native.pool(torch.get_num_threads())
    jobs = zip(images, goals, explain, strict=True)
    return [pool.submit(of, *job) for job in jobs]


def fine_candidates(goal: Features, image: Float[Tensor, "1 h w"]) -> Candidates:
    """A goal's points by `detect_fine` that match points of a picture by their ratio."""
    points, descriptors = detect_fine(image[0])
    a, b = match_by_ratio(goal[1], descriptors)
    return Candidates(goal[0][a], points[b], a)
