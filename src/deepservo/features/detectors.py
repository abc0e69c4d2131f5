"""Detectors of keypoints behind one interface: SIFT, ORB, the network of `nets.keypoint`, and any
of the user's own.
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
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import CELL
from deepservo.nets.resnet import folded

MOST = 500  # the most confident points are kept (Adrian 2022, section IV.B)


class Detector(Protocol):
    """Finds places in a picture that are found again in others, and describes them."""

    def __call__(self, image: Float[Tensor, "h w"]) -> Features:
        """Points (n, 2) [px] and descriptors (n, d), float32 or bytes, of a grey picture in [0,
        1].
        """
        ...


def sift(image: Float[Tensor, "h w"]) -> Features:
    """The MOST strongest of SIFT's."""
    return keypoints.detect(image, "sift", nfeatures=MOST)


def orb(image: Float[Tensor, "h w"]) -> Features:
    """The MOST strongest of ORB's."""
    return keypoints.detect(image, "orb", nfeatures=MOST)


class Learned:
    """The `most` points that a KeypointNet is surest of."""

    def __init__(self, net: KeypointNet, most: int = MOST) -> None:
        self.net, self.most = folded(net), most

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "h w"]) -> Features:
        """See `Detector`; a picture whose sides are no multiples of CELL is continued a little."""
        h, w = image.shape
        padded = torch.nn.functional.pad(
            image[None, None], (0, -w % CELL, 0, -h % CELL), mode="replicate"
        )
        found = self.net(padded)
        inside = (found.px >= 0).all(-1) & (found.px[..., 0] <= w - 1) & (found.px[..., 1] <= h - 1)
        best = (
            torch.where(inside, found.scores, -1.0)[0]
            .topk(min(self.most, int(inside.sum())))
            .indices
        )
        px = found.px[:, best]
        return px[0].double().numpy(), found.describe(px)[0].numpy()


def external(
    find: Callable[[Float[Tensor, "1 1 h w"]], Mapping[str, Any]], most: int = MOST
) -> Detector:
    """A detector from a function that answers as XFeat's, SuperPoint's and LightGlue's extractors
    do.

    It gets the picture as a tensor and answers a mapping with `keypoints` (n, 2) [px] and
    `descriptors` (n, d), and perhaps scores (`scores` or `keypoint_scores`, n); a leading axis of
    length 1 is taken away. Raises InputError when called and the answer is another.
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
        return px[order[:most]].astype(float), descriptors[order[:most]]

    return found


def _array(values: Any, axes: int) -> np.ndarray:
    array = values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
    return array[0] if array.ndim == axes + 1 and len(array) == 1 else array
