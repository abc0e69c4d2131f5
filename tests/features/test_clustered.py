"""The covariance of poses from matches and edges, against many draws of their errors."""

import numpy as np
import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.features import clustered
from deepservo.features.match_pose import Measured
from deepservo.features.structure import View, projected, resection
from deepservo.geometry import se3

NOISE_PX = 0.5


def measured(seed: int, twist: np.ndarray, n: int = 150, noise: float = NOISE_PX) -> Measured:
    """Matches of a relief, seen from exp(twist) with errors, and the pose that explains them."""
    rng, focal = np.random.default_rng(seed), PAPER_CAMERA.fx
    goal = np.random.default_rng(7).uniform(-0.35, 0.35, (n, 2))
    rho = 1 / np.random.default_rng(8).uniform(0.5, 0.7, n)
    T = se3.exp(torch.from_numpy(twist)).numpy()
    seen = projected(T, goal, rho) + rng.normal(0, noise / focal, (n, 2))
    view = View(np.eye(4), np.arange(n), goal, seen)
    return Measured(resection(view, rho, np.zeros(n), T, focal), rho, view)


def test_the_covariance_of_matches_is_that_of_their_errors():
    twist = np.array([0.02, -0.01, 0.03, 0.05, -0.04, 0.3])
    truth = se3.exp(torch.from_numpy(twist))
    every = [measured(seed, twist) for seed in range(200)]
    T = torch.from_numpy(np.stack([each.T_goal_cam for each in every]))
    errors = se3.log(truth @ se3.inverse(T)).numpy()
    told = np.mean([each.covariance(PAPER_CAMERA, 0.0) for each in every], 0)
    ratio = np.sqrt(np.diag(told) / (errors**2).mean(0))
    assert (ratio > 0.8).all() and (ratio < 1.5).all(), ratio
    # Along every direction, those too that are hard to tell apart.
    axes = np.linalg.eigh(told)[1]
    ratio = np.sqrt(np.diag(axes.T @ told @ axes) / ((errors @ axes) ** 2).mean(0))
    assert (ratio > 0.8).all() and (ratio < 1.5).all(), ratio


def test_errors_that_are_alike_over_a_neighbourhood_count():
    """As of light or a wrong lens: independent errors of the same size would average out."""
    rng, n = np.random.default_rng(0), 400
    px = rng.uniform(0, 224, (n, 2))
    cell = clustered.cells(px, 224, 224)
    J = np.concatenate([rng.normal(size=(n, 6))[:, :4], px / 224], 1)
    J[:, 0] = 1.0
    alone, alike = rng.normal(size=n), rng.normal(size=clustered.CELLS**2)[cell]
    C = [clustered.covariance(J, r, np.ones(n), cell)[0, 0] for r in (alone, alike)]
    assert C[1] > 2 * C[0]


def test_a_free_direction_and_few_cells_are_not_known():
    rng = np.random.default_rng(0)
    J, r, cell = rng.normal(size=(100, 6)), rng.normal(size=100), rng.integers(0, 144, 100)
    assert np.isfinite(clustered.covariance(J, r, np.ones(100), cell)).all()
    for nearly in (0.0, 1e-9, 1e-7):
        J[:, 3] = J[:, 2] + nearly * rng.normal(size=100)
        assert not np.isfinite(clustered.covariance(J, r, np.ones(100), cell)).any()
    assert not np.isfinite(clustered.covariance(J, r, np.ones(100), cell % 5)).any()


@pytest.mark.parametrize("noise", [0.0, NOISE_PX])
def test_a_pose_that_is_not_of_least_error_is_told_as_far_off_as_it_is(noise):
    found = measured(0, np.zeros(6), noise=noise)
    off = se3.exp(torch.tensor([5e-3, 0, 0, 0, 0, 0], dtype=torch.float64)).numpy()
    wrong = Measured(off @ found.T_goal_cam, found.rho, found.view)
    assert np.sqrt(wrong.covariance(PAPER_CAMERA, 0.0)[0, 0]) > 4e-3
