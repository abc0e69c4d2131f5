"""Keypoints and their matches: enough in faint pictures and in small overlaps."""

import numpy as np
import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.sets import SETS
from deepservo.features import keypoints
from deepservo.features.two_views import (
    MIN_INLIERS,
    Candidates,
    Matched,
    homography,
    pose_of_matches,
)
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.methods.keypoint import HomographyServo
from deepservo.scene import PlanarScene, sampling


def views(picture: str, n: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The goal's picture, the poses of `lookat-rz` starts, and their pictures."""
    scene = PlanarScene(bundled(picture), 0.8)
    Ts, T_goal = sampling.lookat_rz(n, torch.Generator().manual_seed(0))
    return scene.render(PAPER_CAMERA, T_goal[:1]), scene.render(PAPER_CAMERA, Ts), Ts


def planes(
    images: torch.Tensor, goal: keypoints.Features, detector: str = "sift"
) -> list[Matched | None]:
    """The matches of one goal with each picture that a homography explains."""
    n = len(images)
    jobs = keypoints.start_matches(images, [goal] * n, [homography] * n, detector)
    return [job.result() for job in jobs]


def test_nothing_to_match():
    none = keypoints.detect(torch.full((64, 64), 0.5))
    assert len(none[0]) == 0 and none[1].shape == (0, 128)
    assert homography(Candidates.of(np.zeros((3, 2)), np.zeros((3, 2)))) is None


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_a_faint_picture_has_enough_keypoints(detector):
    goal, images, _ = views("moon", 6)
    found = planes(images, keypoints.detect(goal[0, 0], detector), detector)
    assert sum(f is not None for f in found) >= 5
    assert all(f is None or len(f.goal_px) == len(f.cam_px) >= MIN_INLIERS for f in found)


def test_fine_keypoints_lie_in_the_picture_and_have_square_roots_of_shares():
    goal, _, _ = views("coffee", 1)
    p, a = keypoints.detect_fine(goal[0, 0])
    assert len(p) > 300 and np.allclose((a**2).sum(1), 1, atol=1e-5)
    assert p.min() >= 0 and p.max() < 224, "pixels of the picture, not of the enlarged one"


def test_matches_tell_a_right_pose_from_a_wrong_one():
    goal, images, Ts = views("coffee", 3)
    images[2] = 0.5
    servo = HomographyServo(PAPER_CAMERA)
    servo.set_goal(goal)
    assert servo.pose_consistency(
        torch.eye(4, dtype=torch.float64)[None], torch.tensor([0])
    ).tolist() == [0], "no picture was seen yet"
    servo.velocity(images)
    right, runs = se3.inverse(sampling.fronto_parallel(0.6)) @ Ts[:3], torch.arange(3)
    wrong = right @ se3.exp(torch.tensor([0.03, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert servo.pose_consistency(right, runs).tolist() == [1, 1, 0] and servo.pose_consistency(
        wrong, runs
    ).tolist() == [-1, -1, 0]


def test_small_overlaps_are_matched_at_twice_the_size():
    """Views that share a tenth of the goal: SIFT at the picture's own size fails for most
    of them.
    """
    scene = PlanarScene(bundled("coffee"), 0.8)
    (part,) = (part for part in SETS["hard-overlap"] if part.label.startswith("5"))
    Ts, T_goal = part.draw(8, torch.Generator().manual_seed(0), 0.6, PAPER_CAMERA)
    goal, images = scene.render(PAPER_CAMERA, T_goal[:1])[0, 0], scene.render(PAPER_CAMERA, Ts)
    right, fine = {}, keypoints.detect_fine(goal)
    for detector, found in (
        ("sift", planes(images, keypoints.detect(goal))),
        ("fine", [homography(keypoints.fine_candidates(fine, each)) for each in images]),
    ):
        poses = [
            None if each is None else torch.from_numpy(pose_of_matches(each, PAPER_CAMERA, 0.6))
            for each in found
        ]
        there = se3.inverse(T_goal[:1]) @ Ts
        right[detector] = sum(
            T is not None and float(se3.distance(T, there[i])[0]) < 0.1 for i, T in enumerate(poses)
        )
    assert right["sift"] + 2 <= right["fine"], right
