"""How many matches begin a scene's structure, where a law needs the depths of its points."""

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.features import two_views
from deepservo.features.goal_depth import GoalDepth
from deepservo.features.match_pose import SURE_MATCHES, MatchPose, PointPose
from deepservo.features.structure import projected
from deepservo.features.two_views import Candidates, Matched
from deepservo.geometry import se3

CAMERA, N, NUMBER = Camera(320, 240, 320.0, 320.0, 159.5, 119.5), 200, 0.6
PX = np.random.default_rng(0).uniform([5, 5], [314, 234], (N, 2))
GOAL = two_views.normalised(PX, CAMERA)
T_GOAL_START = se3.exp(torch.tensor([0.06, -0.04, -0.05, 0.05, 0.08, 0.4]).double()).numpy()
# A slanted plane, as far as NUMBER says in the picture's middle.
RHO = (1 + 0.6 * GOAL[:, 0] - 0.3 * GOAL[:, 1]) / NUMBER


def plane_pose(found: Matched) -> np.ndarray:
    return two_views.pose_of_matches(found, CAMERA, NUMBER)


def pose_of(kind: type[MatchPose], Z: np.ndarray | None = None) -> MatchPose:
    depth = GoalDepth.of(NUMBER if Z is None else Z, CAMERA)
    return kind(CAMERA, depth, 0, N, plane_pose)


def matches(n: int, T_goal_cam: np.ndarray, rho: np.ndarray) -> Candidates:
    """The first n points, exactly in their places."""
    cam_px = projected(T_goal_cam, GOAL, rho) * 320 + [159.5, 119.5]
    return Candidates(PX[:n], cam_px[:n], np.arange(n))


@pytest.mark.parametrize(("n", "begins"), [(SURE_MATCHES - 1, False), (SURE_MATCHES, True)])
def test_fifty_matches_begin_the_structure(n, begins):
    pose, rho = pose_of(PointPose), np.full(N, 1 / NUMBER)
    found = pose.explain(matches(n, T_GOAL_START, rho), 2.0, 8)
    assert found is not None and len(found.index) == n
    T, inverse = pose.pose(found)
    assert (pose.structure is not None) == begins
    assert np.linalg.norm((np.linalg.inv(T) @ T_GOAL_START)[:3, 3]) < 5e-3
    np.testing.assert_allclose(inverse, 1 / NUMBER, rtol=0.05)


def test_few_matches_agree_by_the_depths_that_more_have_told():
    """Before the slanted plane is known, few fit the pose; and they do not change what is known."""
    before, pose, T = pose_of(PointPose), pose_of(PointPose), np.eye(4)
    aside = se3.exp(torch.tensor([-0.02, 0.01, 0.01, 0.0, 0.0, 0.0]).double()).numpy()
    for _ in range(4):
        pose.move_to(T)
        found = pose.explain(matches(N, T_GOAL_START @ T, RHO), 2.0, 8)
        assert found is not None
        pose.pose(found)
        T = T @ aside
    assert pose.structure is not None
    known = pose.structure.rho.copy()
    few = matches(20, T_GOAL_START @ T, RHO)
    doubtful = before.explain(few, 2.0, 8)
    assert doubtful is None or len(doubtful.index) < 18
    found = pose.explain(few, 2.0, 8)
    assert found is not None and len(found.index) == 20
    _, inverse = pose.pose(found)
    np.testing.assert_allclose(inverse, RHO[:20], rtol=0.03)
    assert np.array_equal(pose.structure.rho, known)


def test_by_a_map_both_kinds_answer_the_same():
    x, y = (each.numpy() for each in CAMERA.xy(torch.float64))
    Z = NUMBER / (1 + 0.6 * x - 0.3 * y)
    some = matches(30, T_GOAL_START, 1 / two_views.depth_at(Z, PX))
    answers = []
    for kind in (MatchPose, PointPose):
        pose = pose_of(kind, Z)
        found = pose.explain(some, 2.0, 8)
        assert found is not None and pose.structure is None
        answers.append(pose.pose(found))
    (T, rho), (T_points, rho_points) = answers
    assert np.array_equal(T, T_points) and np.array_equal(rho, rho_points)
    assert np.linalg.norm((np.linalg.inv(T) @ T_GOAL_START)[:3, 3]) < 1e-6


@pytest.mark.parametrize(
    ("half_width", "noise", "metres", "turns"),
    [
        (15, 8, 0.0, True),  # the pose is of 39 cm, and a turn explains the matches as well
        (30, 3, 0.0, False),  # the pose is of 4 cm: the way is as good as any
        (30, 3, 0.4, False),  # the pose is of 40 cm, and no turn explains the matches
    ],
)
def test_of_inexact_matches_a_far_move_may_be_a_mere_turn(half_width, noise, metres, turns):
    """Matches of cells, in a strip of the picture, each several pixels off."""
    T = se3.exp(torch.tensor([metres, 0.0, 0.0, 0.1, -0.1, 0.8]).double()).numpy()
    found = matches(N, T, np.full(N, 1 / NUMBER)).pick(np.abs(PX[:, 0] - 160) < half_width)
    errors = np.random.default_rng(1).normal(0, noise, (len(found.index), 2))
    pose = pose_of(MatchPose)
    cells = Candidates(found.goal_px, found.cam_px + errors, found.index)
    T_found, _ = pose.pose(pose.explain(cells, 20.0, 8))
    assert (not T_found[:3, 3].any()) is turns
    turned = se3.so3_log(torch.from_numpy(T_found[:3, :3].T @ T[:3, :3])).norm()
    assert turned.rad2deg() < (1.5 if turns else 4)


def test_a_rotation_without_noise_is_found_exactly():
    R = se3.exp(torch.tensor([0.0, 0.0, 0.0, 0.2, -0.3, 0.9]).double()).numpy()
    seen = projected(R, GOAL, np.full(N, 1.0))
    assert np.allclose(two_views.rotation(GOAL, seen), R[:3, :3], atol=1e-9)
    seen[:20] += 0.3  # wrong matches
    assert np.allclose(two_views.rotation(GOAL, seen), R[:3, :3], atol=0.02)
