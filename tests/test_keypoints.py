"""Keypoints: matches against OpenCV's own, and that faint pictures have enough of them."""

import cv2
import numpy as np
import pytest
import torch

from deepservo.features import keypoints
from deepservo.learn import PAPER_CAMERA
from deepservo.pictures import bundled
from deepservo.scene import PlanarScene, sampling


def views(picture: str, n: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The goal's picture, those from `lookat-rz` starts, and these."""
    scene = PlanarScene(bundled(picture), 0.8)
    Ts, T_goal = sampling.lookat_rz(n, torch.Generator().manual_seed(0))
    return scene.render(PAPER_CAMERA, T_goal[:1]), scene.render(PAPER_CAMERA, Ts), Ts


@pytest.mark.parametrize(("detector", "norm"), [("sift", cv2.NORM_L2), ("orb", cv2.NORM_HAMMING)])
def test_matches_are_mutual_nearest_neighbours(detector, norm):
    goal, images, _ = views("coffee", 2)
    a, b = keypoints.detect(goal[0, 0], detector)[1], keypoints.detect(images[0, 0], detector)[1]
    slow = {(m.queryIdx, m.trainIdx) for m in cv2.BFMatcher(norm, crossCheck=True).match(a, b)}
    assert len(slow) > 30 and set(zip(*(found.tolist() for found in keypoints.match(a, b)), strict=True)) == slow


def test_nothing_to_match():
    none = keypoints.detect(torch.full((64, 64), 0.5))
    assert len(none[0]) == 0 and len(keypoints.match(none[1][:0], none[1][:0])[0]) == 0
    assert keypoints.homography(np.zeros((3, 2)), np.zeros((3, 2))) is None


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_a_faint_picture_has_enough_keypoints(detector):
    goal, images, _ = views("moon", 6)
    found = keypoints.homographies(images, [keypoints.detect(goal[0, 0], detector)] * 6, detector)
    assert sum(f is not None for f in found) >= 5
    assert all(f is None or len(f.goal_px) == len(f.cam_px) >= keypoints.FEWEST for f in found)
