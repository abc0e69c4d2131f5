"""SIFT (Lowe 2004): keypoints of a picture and their descriptions.

It is what a step of `auto` takes longest for, and so is in C, in a third of OpenCV's time. The
numbers are OpenCV's but for a quarter of a pixel, by which OpenCV puts keypoints too far to the
right and down.
"""

from ctypes import Structure, addressof, c_int32

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from deepservo import native

LAYERS, DESCRIBED = 3, 128  # of sift.c
OPENCV_SHIFT = 0.25  # px

Found = tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 128"]]


class Arguments(Structure):
    """What `sift_run` of sift.c reads and writes."""

    _fields_ = native.fields(
        "* picture", "i32 w h most", "f32 contrast", "* points descriptions count"
    )


def sift(picture: UInt8[np.ndarray, "h w"], most: int, contrast: float) -> Found:
    """At most so many keypoints [px], the strongest first, and their descriptions, float32.

    contrast: least share of the range of grey levels, as OpenCV's `contrastThreshold`.
    """
    lib = native.library()
    if lib is None:
        return sift_reference(picture, most, contrast)
    picture, (h, w) = np.ascontiguousarray(picture), picture.shape
    points, count = np.empty((most, 2), np.float32), c_int32()
    descriptions = np.empty((most, DESCRIBED), np.float32)
    arguments = Arguments(
        picture=picture.ctypes.data, w=w, h=h, most=most, contrast=255 * contrast / LAYERS,
        points=points.ctypes.data, descriptions=descriptions.ctypes.data, count=addressof(count),
    )  # fmt: skip
    native.run(lib.sift_run, arguments, 1)
    return points[: count.value].astype(float), descriptions[: count.value]


def sift_reference(picture: UInt8[np.ndarray, "h w"], most: int, contrast: float) -> Found:
    """`sift` by OpenCV."""
    finder = cv2.SIFT_create(most, contrastThreshold=contrast)  # type: ignore[attr-defined]
    found, descriptions = finder.detectAndCompute(picture, None)
    points = np.array([k.pt for k in found]).reshape(-1, 2) - OPENCV_SHIFT
    if descriptions is None:
        descriptions = np.zeros((0, DESCRIBED), np.float32)
    return points[:most], descriptions[:most]  # of equally strong ones OpenCV keeps more
