"""Depths and scale from the camera's own motion, and the goal's pose by them."""

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.features.structure import Structure, View, _Observations, projected, resection
from deepservo.geometry import se3

CAMERA = Camera(320, 240, 320.0, 320.0, 159.5, 119.5)
N, Z_MEAN = 150, 0.6


def motion(*twist: float) -> np.ndarray:
    return se3.exp(torch.tensor(twist, dtype=torch.float64)).numpy()


T_GOAL_START = motion(0.1, -0.05, -0.08, 0.1, 0.2, 0.5)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of a goal, in normalised coordinates, and their inverse depths [1/m]."""
    g = np.random.default_rng(seed)
    return g.uniform([-0.45, -0.33], [0.45, 0.33], (N, 2)), 1 / g.uniform(0.4, 0.8, N)


def view_from(T_start_cam: np.ndarray, noise_px: float = 0.0, seed: int = 0) -> View:
    """Every point as seen from there, those too that are out of the picture."""
    (goal, rho), g = scene(), np.random.default_rng(seed)
    seen = projected(T_GOAL_START @ T_start_cam, goal, rho)
    return View(T_start_cam, np.arange(N), goal, seen + g.normal(0, noise_px / 320, (N, 2)))


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """mm, and mrad."""
    T = torch.from_numpy(np.linalg.inv(a) @ b)[None]
    metres, radians = se3.distance(torch.eye(4, dtype=torch.float64)[None], T)
    return 1e3 * float(metres), 1e3 * float(radians)


def test_derivatives_by_finite_differences():
    _, rho = scene()
    seen = _Observations.of([view_from(np.eye(4)), view_from(motion(0.02, 0, 0.01, 0, 0.1, 0))])
    T = np.linalg.inv(T_GOAL_START) @ motion(0.01, 0.02, 0, 0.02, 0, 0.01)
    _, by_pose, by_rho = seen.residual(T, rho)
    h = 1e-6
    for k in range(6):
        step = np.zeros(6)
        step[k] = h
        ahead, behind = (seen.residual(T @ motion(*(s * step)), rho)[0] for s in (1, -1))
        np.testing.assert_allclose((ahead - behind) / (2 * h), by_pose[..., k], atol=1e-6)
    ahead, behind = (seen.residual(T, rho + s * h)[0] for s in (1, -1))
    np.testing.assert_allclose((ahead - behind) / (2 * h), by_rho, atol=1e-6)


@pytest.mark.parametrize("wrong", [0.5, 1.0, 2.0])
def test_the_scale_is_that_of_the_motion(wrong):
    """Whatever distance is assumed: after two moves aside the pose is metric."""
    structure, guess = Structure(N, 320.0, 1 / (wrong * Z_MEAN)), T_GOAL_START.copy()
    guess[:3, 3] *= wrong
    T = np.eye(4)
    for k in range(4):
        found = structure.see(view_from(T), [guess @ motion(0, 0, 0, 0.01, -0.01, 0.02)])
        if k == 0:
            assert abs(np.linalg.norm(found[:3, 3]) / np.linalg.norm(guess[:3, 3]) - 1) < 0.2
        if k == 3:
            mm, mrad = apart(found, T_GOAL_START @ T)
            assert mm < 1 and mrad < 1.5
        T = T @ motion(-0.02, 0.01, 0.01, 0, 0, 0)
    np.testing.assert_allclose(structure.rho, scene()[1], rtol=0.02)


def test_nothing_is_left_at_the_goal_however_wrong_the_motion_is():
    """The camera did half of what it says that it did: depths are wrong, the rest is not."""
    structure, T = Structure(N, 320.0, 1 / Z_MEAN), np.eye(4)
    for _ in range(4):
        said = View(motion(*(2 * se3.log(torch.from_numpy(T)).numpy())), *_rest(view_from(T)))
        structure.see(said, [T_GOAL_START @ T])
        T = T @ motion(-0.02, 0.01, 0.01, 0, 0, 0)
    goal, _ = scene()
    at_goal = View(motion(0.3, 0.1, 0.1, 0.2, 0.1, 0.5), np.arange(N), goal, goal)
    mm, mrad = apart(structure.see(at_goal, []), np.eye(4))
    assert mm < 1e-3 and mrad < 1e-3


def _rest(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return view.index, view.goal, view.seen


def test_a_turn_alone_tells_no_depth_and_moves_nothing():
    goal, rho = scene()
    turned = motion(0, 0, 0, 0.05, -0.1, 0.7)
    seen = projected(turned, goal, rho)
    structure = Structure(N, 320.0, 1 / Z_MEAN)
    found = structure.see(View(np.eye(4), np.arange(N), goal, seen), [turned])
    mm, mrad = apart(found, turned)
    assert mm < 0.1 and mrad < 0.1


def test_a_tenth_of_wrong_matches_changes_little():
    structure, T, g = Structure(N, 320.0, 1 / Z_MEAN), np.eye(4), np.random.default_rng(3)
    for k in range(5):
        view = view_from(T, noise_px=0.3, seed=k)
        view.seen[: N // 10] += g.uniform(-0.1, 0.1, (N // 10, 2))
        found = structure.see(view, [T_GOAL_START @ T])
        T, last = T @ motion(-0.02, 0.01, 0.01, 0, 0, 0), T
    mm, mrad = apart(found, T_GOAL_START @ last)
    assert mm < 3 and mrad < 4


def test_the_pose_of_known_depths_is_that_of_plain_least_squares():
    """Against SciPy, on noisy matches without outliers, weighted alike."""
    from scipy.optimize import least_squares

    goal, rho = scene()
    view = view_from(np.eye(4), noise_px=0.5)
    T = resection(view, rho, np.zeros(N), T_GOAL_START @ motion(*[0.01] * 6), 320.0)

    def residual(twist: np.ndarray) -> np.ndarray:
        r = 320 * (projected(T_GOAL_START @ motion(*twist), goal, rho) - view.seen)
        r2 = (r * r).sum(1) / 9
        return 3 * np.sqrt(r2 / (1 + r2))

    slow = T_GOAL_START @ motion(*least_squares(residual, np.zeros(6), xtol=1e-12).x)
    mm, mrad = apart(T, slow)
    assert mm < 1e-2 and mrad < 1e-2


def test_a_dense_map_is_the_points_depths_smoothly_between_them():
    """A slanted plane: the map is its inverse depth, and a missing half goes on smoothly."""
    structure = Structure(N, 320.0, 1 / Z_MEAN)
    goal, _ = scene()
    structure.goal, structure.deviation = goal, np.full(N, 0.01)
    structure.rho = 1.7 + 0.5 * goal[:, 0]
    found = structure.dense(CAMERA).numpy()
    x = (np.arange(320) - 159.5) / 320
    assert np.abs(found[40:200, 30:290] - (1.7 + 0.5 * x[30:290])).max() < 0.06
    structure.deviation[goal[:, 0] > 0] = np.inf
    half = structure.dense(CAMERA).numpy()
    assert half.min() > 1.4 and half.max() < 1.75
    assert np.abs(np.diff(half, axis=1)).max() < 0.02
