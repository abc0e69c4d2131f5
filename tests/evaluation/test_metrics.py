"""The published rules of a run at their limits, and the comparison with the reference
trajectory.
"""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from deepservo import control
from deepservo.evaluation import metrics
from deepservo.geometry import se3
from deepservo.loop import Trajectory
from deepservo.scene import sampling
from reference_runs import row, trajectory_to


def converged(start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Of errors in m and deg."""
    pair = [
        (torch.tensor([m]).double(), torch.deg2rad(torch.tensor([deg]).double()))
        for m, deg in (start, end)
    ]
    return bool(metrics.converged(*pair))


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ((0.0499, 3.99), True),  # both just under a tenth
        ((0.0501, 3.99), False),
        ((0.0499, 4.01), False),
        ((0.009, 0.9), True),
        ((0.0, 0.0), True),
        ((0.4, 0.0), False),  # one alone is not enough
        ((0.0, 30.0), False),
    ],
)
def test_converged_under_a_tenth_of_the_start(end, expected):
    assert converged((0.5, 40.0), end) is expected


@pytest.mark.parametrize(
    ("end", "expected"), [((0.0099, 0.99), True), ((0.0101, 0.99), False), ((0.0099, 1.01), False)]
)
def test_converged_under_a_centimetre_and_a_degree_from_a_near_start(end, expected):
    """The angle is compared in degrees: one radian would not converge."""
    assert converged((0.02, 2.0), end) is expected


def test_wilson_against_known_values():
    assert metrics.wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert metrics.wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert metrics.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert metrics.wilson(81, 263) == pytest.approx(
        (0.2553, 0.3662), abs=1e-4
    )  # Newcombe 1998, table I
    assert metrics.wilson(0, 0) == (0.0, 1.0)


def test_bootstrap_holds_the_mean_and_follows_the_seed():
    values = np.random.default_rng(1).normal(3.0, 1.0, 400)
    low, high = metrics.bootstrap_mean(values)
    assert low < values.mean() < high and 0.15 < high - low < 0.25  # 3.92 / sqrt(400)
    assert (
        metrics.bootstrap_mean(values) == (low, high) and metrics.bootstrap_mean(values[:0]) is None
    )


def test_the_reference_goes_straight_to_the_goal():
    T_start, T_goal = sampling.screw(20, torch.Generator().manual_seed(0))
    Ts = metrics.reference(T_start, T_goal, 150)
    assert Ts.shape == (151, 20, 4, 4) and torch.equal(Ts[0], T_start)
    metres, radians = metrics.errors(Ts, T_goal)
    assert metres[-1].max() < 1e-6 and radians[-1].max() < 1e-6
    assert (radians[1:] <= 0.9001 * radians[:-1] + 1e-12).all(), "a tenth of the angle each second"
    assert (metrics.path_length(Ts) - metres[0]).abs().max() < 1e-6, "a screw's straight line"


def test_path_length_adds_the_steps():
    Ts = torch.eye(4, dtype=torch.float64).repeat(4, 2, 1, 1)
    Ts[:, 0, :3, 3] = torch.tensor(
        [[0.0, 0, 0], [3, 4, 0], [3, 4, 1], [3, 4, 1]], dtype=torch.float64
    )
    assert metrics.path_length(Ts).tolist() == [6.0, 0.0]


def test_steps_to_converge_count_until_the_run_stays_converged():
    """A run that converges, strays and returns counts until it returned. Motion within the limits
    does not count.
    """
    T_goal = sampling.fronto_parallel(0.6)
    mm = torch.tensor(
        [
            [300, 300, 300, 300, 5],
            [200, 20, 200, 20, 5],
            [9, 20, 20, 20, 4],
            [40, 20, 20, 20, 5],
            [9, 25, 20, 40, 4],
        ]
    )
    along = torch.tensor(
        [0.001, 0, 0, 0, 0, 0.003], dtype=torch.float64
    )  # metres and radians of one of these
    Ts = T_goal @ se3.exp(mm[..., None] * along)
    assert metrics.steps_to_converge(Ts, T_goal).tolist() == [4, 1, 2, 5, 0], (
        "strays; at once; late; never (all steps and one); at the start"
    )
    made = replace(
        trajectory_to(T_goal, torch.zeros(5, 6, dtype=torch.float64), 4), Ts_world_cam=Ts
    )
    assert row(made, T_goal)["steps_median"] == 1.5, "of those that converged"


def slow_beside_reference(path: list[np.ndarray], true: list[np.ndarray]) -> float:
    """Mean distance [m] of two polylines at 0, 1, .. 100 % of each one's length, found by walking
    along them.
    """

    def walk(points: list[np.ndarray], share: float) -> np.ndarray:
        left = share * sum(float(np.linalg.norm(b - a)) for a, b in pairwise(points))
        for a, b in pairwise(points):
            side = float(np.linalg.norm(b - a))
            if side > 0 and left <= side:
                return a + left / side * (b - a)
            left -= side
        return points[-1]

    return float(
        np.mean([np.linalg.norm(walk(path, k / 100) - walk(true, k / 100)) for k in range(101)])
    )


def other_gain(
    twist: list[float], gain: float, aside: float = 0.0, steps: int = 60
) -> tuple[Trajectory, torch.Tensor]:
    """True-pose runs of another gain from `twist` off the goal; `aside` is a detour half
    way [m].
    """
    T_goal = sampling.fronto_parallel(0.6)
    Ts = [T_goal @ se3.exp(torch.tensor([twist], dtype=torch.float64))]
    for _ in range(steps):
        v = control.pbvs(se3.inverse(T_goal) @ Ts[-1], gain)
        Ts.append(Ts[-1] @ se3.exp(v))
    poses = torch.stack(Ts)
    poses[1:4, :, 1, 3] += aside
    v = se3.log(se3.inverse(poses[:-1]) @ poses[1:])
    return replace(
        trajectory_to(T_goal, torch.zeros(1, 6, dtype=torch.float64), steps),
        Ts_world_cam=poses,
        v_cam=v,
    ), T_goal


def test_another_gain_is_compared_at_equal_share_of_the_path():
    """At gain 0.5 a run on the path of the reference is decimetres ahead of it at each step, and
    not beside the path.
    """
    straight, T_goal = other_gain([0.5, 0, -0.1, 0, 0, 0.1], 0.5)
    at_step, at_path = row(straight, T_goal, 0.1), row(straight, T_goal, 0.5)
    assert (at_step["ape_at"], at_path["ape_at"]) == ("step", "path")
    assert at_step["ape_cm"] > 5
    assert at_path["ape_cm"] < 0.5 and at_path["ape_deg"] < 1
    assert at_path["length_ratio"] == pytest.approx(1, abs=0.01)


def test_the_share_of_the_path_is_that_of_a_walk_along_it():
    beside, T_goal = other_gain([0.5, 0.1, -0.1, 0, 0, 0], 0.5, aside=0.05)
    figures = row(beside, T_goal, 0.5)
    true = metrics.reference(beside.Ts_world_cam[0], T_goal, 300)
    slow = slow_beside_reference(
        *(list(Ts[:, 0, :3, 3].numpy()) for Ts in (beside.Ts_world_cam, true))
    )
    assert figures["converged"] == 1 and slow > 0.005
    assert figures["ape_cm"] == pytest.approx(100 * slow, rel=1e-6)


def test_a_reference_that_only_turns_is_compared_at_equal_share_of_the_turning():
    """Two centimetres aside are no progress along it."""
    turning, T_goal = other_gain([0, 0, 0, 0, 0, 1.0], 0.5, aside=0.02)
    figures = row(turning, T_goal, 0.5)
    assert figures["ape_at"] == "path" and figures["converged"] == 1
    assert figures["ape_deg"] < 1e-3 and 0.1 < figures["ape_cm"] < 2, (
        "the same rotation at another speed"
    )
    assert figures["length_ratio"] is None, "there is no length to compare with"


def test_a_camera_that_starts_at_the_goal_has_finite_figures():
    still, T_goal = other_gain([0, 0, 0, 0, 0, 0], 0.5)
    figures = row(still, T_goal, 0.5)
    assert figures["ape_cm"] == figures["ape_deg"] == figures["steps_median"] == 0
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.8, 3.1])
def test_the_reference_is_its_slow_twin_step_by_step(angle, generator):
    axis = torch.nn.functional.normalize(
        torch.randn(5, 3, generator=generator, dtype=torch.float64), dim=1
    )
    T_goal = sampling.gaussian_goals(5, generator)
    T = T_goal @ se3.transform(
        se3.so3_exp(angle * axis), torch.randn(5, 3, generator=generator, dtype=torch.float64)
    )
    fast = metrics.reference(T, T_goal, 60)
    for k in range(61):
        assert (fast[k] - T).abs().max() < 1e-11, k
        T = T @ se3.exp(control.pbvs(se3.inverse(T_goal) @ T, metrics.REFERENCE_GAIN))
