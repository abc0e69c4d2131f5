"""Detectors of keypoints with one interface.

They are SIFT, ORB, the network of `nets.keypoint`, and the user's own.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import InputError
from deepservo.features import keypoints
from deepservo.features.keypoints import Features
from deepservo.features.sift import OPENCV_SHIFT, sift_reference
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import CELL
from deepservo.nets.resnet import folded

MAX_POINTS = 500  # of a picture: those of the highest scores (Adrian 2022, section IV.B)


class Detector(Protocol):
    """A function that finds and describes keypoints of a picture."""

    def __call__(self, image: Float[Tensor, "h w"]) -> Features:
        """Keypoints (n, 2) [px] and descriptors (n, d), floats or bytes, of a picture in [0, 1]."""
        ...


def sift(image: Float[Tensor, "h w"]) -> Features:
    """The MAX_POINTS strongest keypoints of OpenCV's SIFT, in its order and where it puts them.

    What is measured of DFBVS is measured with these. Before solids whose depth is not known the
    order of its keypoints decides which of its first views are misunderstood.
    """
    contrast = keypoints.SIFT["contrast"]
    points, descriptions = keypoints.found_by(
        lambda levels: sift_reference(levels, MAX_POINTS, contrast), image
    )
    return points + OPENCV_SHIFT, descriptions


def orb(image: Float[Tensor, "h w"]) -> Features:
    """The MAX_POINTS strongest keypoints of ORB."""
    return keypoints.detect(image, "orb", nfeatures=MAX_POINTS)


class Learned:
    """The points of the highest scores of a KeypointNet, at most `max_points`."""

    def __init__(self, net: KeypointNet, max_points: int = MAX_POINTS) -> None:
        self.net, self.max_points = folded(net), max_points

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "h w"]) -> Features:
        """See `Detector`; a picture is padded to sides that are multiples of CELL."""
        h, w = image.shape
        padded = torch.nn.functional.pad(
            image[None, None], (0, -w % CELL, 0, -h % CELL), mode="replicate"
        )
        found = self.net(padded)
        inside = (found.px >= 0).all(-1) & (found.px[..., 0] <= w - 1) & (found.px[..., 1] <= h - 1)
        best = (
            torch.where(inside, found.scores, -1.0)[0]
            .topk(min(self.max_points, int(inside.sum())))
            .indices
        )
        px = found.px[:, best]
        return px[0].double().numpy(), found.describe(px)[0].numpy()


def external(
    find: Callable[[Float[Tensor, "1 1 h w"]], Mapping[str, Any]], max_points: int = MAX_POINTS
) -> Detector:
    """A detector from a function such as XFeat's, SuperPoint's and LightGlue's extractors.

    The function gets the picture as a tensor and answers a mapping with `keypoints` (n, 2) [px],
    `descriptors` (n, d), and perhaps `scores` or `keypoint_scores` (n,), each with or without a
    leading axis of length 1. The detector raises InputError for any other answer.
    """

    def found(image: Float[Tensor, "h w"]) -> Features:
        answer = find(image[None, None])
        try:
            px, descriptors = (_array(answer[name], 2) for name in ("keypoints", "descriptors"))
        except (KeyError, TypeError) as error:
            raise InputError(
                f"the detector's answer lacks {error}; it must be a mapping with keypoints and "
                "descriptors"
            ) from None
        if px.ndim != 2 or px.shape[1] != 2 or descriptors.ndim != 2 or len(px) != len(descriptors):
            raise InputError(
                f"the detector answered keypoints of shape {px.shape} and descriptors of shape "
                f"{descriptors.shape}; give (n, 2) and (n, d)"
            )
        scores = next(
            (_array(answer[name], 1) for name in ("scores", "keypoint_scores") if name in answer),
            None,
        )
        order = np.arange(len(px)) if scores is None else np.argsort(-scores, kind="stable")
        return px[order[:max_points]].astype(float), descriptors[order[:max_points]]

    return found


def _array(values: Any, axes: int) -> np.ndarray:
    array = values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
    return array[0] if array.ndim == axes + 1 and len(array) == 1 else array
