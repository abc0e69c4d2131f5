"""Planes, solids and scenes of known depth are told apart by their matches."""

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.features import two_views
from deepservo.features.structure import projected
from deepservo.features.two_views import Candidates
from deepservo.geometry import se3

CAMERA = Camera(320, 240, 320.0, 320.0, 159.5, 119.5)
N = 300
T_GOAL_CAM = se3.exp(torch.tensor([0.06, -0.04, -0.05, 0.05, 0.08, 0.4]).double()).numpy()


def matches(kind: str, noise_px: float = 0.2, wrong: float = 0.2) -> Candidates:
    """Matches of a plane that faces the goal, of a tilted one, or of a solid; some are wrong."""
    g = np.random.default_rng(0)
    px = g.uniform([5, 5], [314, 234], (N, 2))
    goal = two_views.normalised(px, CAMERA)
    rho = {
        "facing": np.full(N, 1 / 0.6),
        "tilted": 1.6 + 0.9 * goal[:, 0] - 0.5 * goal[:, 1],
        "solid": 1 / g.uniform(0.4, 0.8, N),
    }[kind]
    seen = projected(T_GOAL_CAM, goal, rho)
    cam_px = seen * 320 + [159.5, 119.5] + g.normal(0, noise_px, (N, 2))
    lost = g.random(N) < wrong
    cam_px[lost] = g.uniform([0, 0], [319, 239], (int(lost.sum()), 2))
    return Candidates.of(px, cam_px)


def way_off(T: np.ndarray) -> float:
    """Degrees between the translation's direction and the true one."""
    a, b = (each[:3, 3] / np.linalg.norm(each[:3, 3]) for each in (T, T_GOAL_CAM))
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


@pytest.mark.parametrize("noise", [0.1, 0.7])
@pytest.mark.parametrize("kind", ["facing", "tilted", "solid"])
def test_a_plane_and_a_solid_are_told_apart(kind, noise):
    found = two_views.plane_or_solid(matches(kind, noise), CAMERA)
    assert found is not None and (found.T_goal_cam is not None) == (kind == "solid")
    assert len(found.index) > 0.7 * N
    if kind == "solid":
        assert way_off(found.T_goal_cam) < 10
        angle = se3.distance(
            torch.from_numpy(found.T_goal_cam)[None], torch.from_numpy(T_GOAL_CAM)[None]
        )[1]
        assert float(angle.rad2deg()) < 2


def test_matches_at_random_are_no_solid():
    for seed in range(10):
        g = np.random.default_rng(seed)
        low, high = [0, 0], [319, 239]
        some = Candidates.of(g.uniform(low, high, (N, 2)), g.uniform(low, high, (N, 2)))
        assert two_views.plane_or_solid(some, CAMERA) is None


def test_the_pose_of_a_known_depth_leaves_out_wrong_matches_and_unknown_depths():
    Z = np.full((240, 320), 0.6)
    Z[:, :60] = np.nan
    some = matches("facing", noise_px=0.1, wrong=0.4)
    found = two_views.posed(some, CAMERA, Z)
    assert found is not None and found.goal_px[:, 0].min() > 59
    assert 0.4 * N < len(found.index) < 0.6 * N
    assert np.linalg.norm(found.T_goal_cam[:3, 3] - T_GOAL_CAM[:3, 3]) < 1e-3
    assert two_views.posed(some, CAMERA, np.full((240, 320), np.nan)) is None


def test_one_of_the_poses_of_a_tilted_plane_is_the_true_one():
    some = matches("tilted", noise_px=0.05, wrong=0.0)
    plane = two_views.homography(some)
    rays = np.column_stack([two_views.normalised(some.goal_px, CAMERA), np.ones(N)])
    depth = float(np.median(1 / (1.6 + 0.9 * rays[:, 0] - 0.5 * rays[:, 1])))
    poses = two_views.plane_poses(plane.H, CAMERA, rays, depth)
    assert 1 <= len(poses) <= 2
    assert min(np.linalg.norm(T[:3, 3] - T_GOAL_CAM[:3, 3]) for T in poses) < 2e-3


def test_a_pose_up_to_scale_gets_that_of_the_median_depth():
    some = matches("solid", noise_px=0.0, wrong=0.0)
    goal, seen = (two_views.normalised(px, CAMERA) for px in (some.goal_px, some.cam_px))
    unit = T_GOAL_CAM.copy()
    unit[:3, 3] /= np.linalg.norm(unit[:3, 3])
    rays = np.column_stack([goal, np.ones(N)])
    a = np.linalg.inv(T_GOAL_CAM)
    rho = np.array([  # by solving each match alone
        np.linalg.lstsq((ax := np.cross(a[:3, 3], s))[:, None], -np.cross(a[:3, :3] @ r, s),
                        rcond=None)[0][0] + 0 * ax[0]
        for r, s in zip(rays, np.column_stack([seen, np.ones(N)]), strict=True)
    ])  # fmt: skip
    T = two_views.scaled(unit, rays, seen, 1 / float(np.median(rho)))
    np.testing.assert_allclose(T[:3, 3], T_GOAL_CAM[:3, 3], rtol=1e-6)


def test_the_pose_of_a_homography_is_exact_before_a_facing_plane():
    depth, plane = 0.6, np.array([0.0, 0.0, 1.0])
    for twist in ([0.1, -0.2, 0.1, 0.2, -0.1, 2.5], [0.0] * 6, [0.0, 0.0, -0.1, 0.0, 0.3, -3.0]):
        T_goal_cam = se3.exp(torch.tensor(twist).double()).numpy()
        T = np.linalg.inv(T_goal_cam)
        H = CAMERA.K.numpy() @ (T[:3, :3] + np.outer(T[:3, 3], plane) / depth)
        H = -3 * H @ CAMERA.K_inv.numpy()
        found = two_views.pose_of_homography(H, CAMERA, depth)
        assert np.allclose(found, T_goal_cam, atol=1e-9)
