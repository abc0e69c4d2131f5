"""Our SIFT beside OpenCV's."""

import numpy as np
import pytest
import torch

from deepservo import native
from deepservo.features.sift import sift, sift_reference
from deepservo.images.pictures import bundled

needs_c = pytest.mark.skipif(native.library() is None, reason="without C it is OpenCV's")


def levels(name: str, size: tuple[int, int]) -> np.ndarray:
    picture = torch.nn.functional.interpolate(bundled(name)[None], size, mode="area")[0, 0]
    return (255 * picture).round().byte().numpy()


@needs_c
@pytest.mark.parametrize("contrast", [0.01, 0.04])
@pytest.mark.parametrize(
    ("name", "size"),
    [("coffee", (224, 224)), ("page", (120, 161)), ("moon", (240, 320)), ("chelsea", (61, 40))],
)
def test_keypoints_and_descriptions_are_opencvs(name, size, contrast):
    picture, most = levels(name, size), 5000
    points, descriptions = sift(picture, most, contrast)
    theirs, described = sift_reference(picture, most, contrast)
    assert len(points) > 5 and abs(len(points) - len(theirs)) <= 0.02 * len(theirs)
    apart = np.linalg.norm(points[:, None] - theirs, axis=2)
    differ = np.linalg.norm(descriptions[:, None] - described, axis=2)
    # A point may have several directions, each with a description of its own. Lengths are 512.
    same = (apart < 0.02) & (differ < 5)
    assert same.any(1).mean() > 0.97 and same.any(0).mean() > 0.97
    assert np.median(apart[same]) < 1e-3 and np.median(differ[same]) < 2


@needs_c
def test_the_strongest_are_kept_and_each_time_the_same():
    picture = levels("astronaut", (224, 224))
    many, described = sift(picture, 1000, 0.01)
    few, of_few = sift(picture, 50, 0.01)
    assert len(few) == 50 and (few == many[:50]).all() and (of_few == described[:50]).all()
    theirs, _ = sift_reference(picture, 50, 0.01)
    near = np.linalg.norm(few[:, None] - theirs, axis=2).min(1) < 0.02
    assert near.mean() > 0.9


@needs_c
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 300), (16, 16), (900, 30)])
def test_small_narrow_and_blank_pictures(size):
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    points, descriptions = sift(noise, 100, 0.01)
    assert len(points) == len(descriptions) and np.isfinite(descriptions).all()
    assert ((points > -1) & (points < size[::-1])).all()
    assert len(sift(np.full(size, 128, np.uint8), 100, 0.01)[0]) == 0
    if min(size) > 2:
        assert len(sift_reference(np.full(size, 7, np.uint8), 100, 0.01)[0]) == 0
