"""The published rules of a run, at their edges, and the row that reports it."""

import json
import math
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import rows
import table
from deepservo import METHODS, control
from deepservo.camera import Camera
from deepservo.evaluation import metrics
from deepservo.evaluation.protocols import measure, sampled
from deepservo.geometry import se3
from deepservo.loop import Trajectory
from deepservo.scene import PlanarScene, sampling

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
KEYS = [
    "method", "set", "scene", "n", "converged", "converged_ci", "strict", "settled", "end_mm_mean",
    "end_mm_std", "end_mm_median", "end_mm_ci", "end_deg_mean", "end_deg_std", "end_deg_median",
    "end_mm_median_all", "ape_cm", "ape_deg", "ape_at", "length_ratio", "steps_median", "time_s",
    "ms_per_step_p50", "ms_per_step_p99", "steps_per_s", "peak_mb", "camera", "gain", "dt",
    "max_steps", "seed",
]  # fmt: skip
POSE_KEYS = KEYS[KEYS.index("converged") : KEYS.index("steps_median") + 1]


def converged(start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Of errors in [m] and [deg]."""
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
    """The angle is compared in degrees: one radian would be no success."""
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


def test_the_reference_goes_straight_home():
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


def trajectory_to(T_goal: torch.Tensor, end: torch.Tensor, steps: int = 40) -> Trajectory:
    """Straight reference runs from 30 cm and 30 deg off; then, in the last step, to `end` (twists
    from the goal).
    """
    B = len(end)
    start = T_goal @ se3.exp(
        torch.tensor([[0.3, 0, 0, 0, 0, math.radians(30)]], dtype=torch.float64)
    ).expand(B, 4, 4)
    Ts = metrics.reference(start, T_goal, steps)
    Ts[-1] = T_goal @ se3.exp(end)
    v = se3.log(se3.inverse(Ts[:-1]) @ Ts[1:])
    counts = torch.full((B,), steps)
    return Trajectory(
        Ts, v, torch.linspace(0.2, 0.01, steps)[:, None].expand(steps, B),
        torch.zeros(steps, B, dtype=torch.int8), counts, ["max_steps"] * B,
        torch.linspace(1, 2, steps), 1.0, steps,
    )  # fmt: skip


def row(trajectory: Trajectory, T_goal: torch.Tensor | None, gain: float = 0.1) -> dict:
    return metrics.row(
        trajectory, T_goal, CAMERA, method="m", set="s", scene="p", gain=gain, seed=3, seconds=2.0
    )


END = torch.tensor(
    [[0.0005, 0, 0, 0, 0, 0], [0, 0.002, 0, 0, 0, 0.001], [0, 0, 0.2, 0, 0, 0.5]],
    dtype=torch.float64,
)


def test_a_row_holds_every_key_and_right_figures():
    T_goal = sampling.fronto_parallel(0.6)
    figures = row(trajectory_to(T_goal, END), T_goal)
    assert set(KEYS) <= figures.keys()
    assert (
        figures["n"] == 3
        and figures["converged"] == pytest.approx(2 / 3)
        and figures["converged_ci"] == metrics.wilson(2, 3)
    )
    assert figures["strict"] == pytest.approx(1 / 3) and figures["settled"] == 0
    assert figures["end_mm_mean"] == pytest.approx(1.25, rel=1e-3) and figures[
        "end_mm_std"
    ] == pytest.approx(0.75, rel=1e-3)
    assert figures["end_mm_median"] == pytest.approx(1.25, rel=1e-3) and figures[
        "end_mm_median_all"
    ] == pytest.approx(2.0, rel=1e-3)
    assert figures["end_deg_mean"] == pytest.approx(math.degrees(0.0005), rel=1e-3)
    assert figures["steps_median"] == 22, "0.9^22 is the first power under a tenth"
    assert figures["steps_per_s"] == 60 and figures["time_s"] == 2.0 and figures["ape_at"] == "step"
    assert (
        figures["ms_per_step_p50"] == pytest.approx(1.5) and 1.9 < figures["ms_per_step_p99"] <= 2
    )
    assert (
        figures["max_steps"] == 40
        and figures["seed"] == 3
        and figures["dt"] == 1.0
        and figures["gain"] == 0.1
    )
    assert figures["camera"]["width"] == 64 and figures["peak_mb"] > 1
    json.dumps(figures)


def test_the_reference_itself_has_no_error_and_length_one():
    T_goal = sampling.fronto_parallel(0.6)
    start = sampling.lookat(5, torch.Generator().manual_seed(0))[0]
    Ts = metrics.reference(start, T_goal, 120)
    trajectory = replace(
        trajectory_to(T_goal, torch.zeros(5, 6, dtype=torch.float64), 120), Ts_world_cam=Ts
    )
    trajectory = replace(trajectory, v_cam=se3.log(se3.inverse(Ts[:-1]) @ Ts[1:]))
    figures = row(trajectory, T_goal)
    assert figures["converged"] == figures["strict"] == figures["settled"] == 1
    assert (
        figures["ape_cm"] < 1e-9
        and figures["ape_deg"] < 1e-5
        and figures["length_ratio"] == pytest.approx(1)
    )


@pytest.mark.parametrize("gain", [0.1, 0.5])
def test_the_distance_to_the_reference_does_not_depend_on_how_long_others_ran(gain):
    """A run that settled is padded while slower ones go on; the padding must not water its figures
    down.
    """
    T_goal = sampling.fronto_parallel(0.6)
    short = trajectory_to(T_goal, torch.zeros(1, 6, dtype=torch.float64), 40)
    Ts = short.Ts_world_cam.clone()
    Ts[1:-1, :, 1, 3] += 0.01  # a centimetre beside the reference all the way
    v, error, refining = (
        torch.zeros(60, 1, 6),
        torch.full((60, 1), torch.nan),
        torch.zeros(60, 1, dtype=torch.int8),
    )
    short = replace(short, Ts_world_cam=Ts)
    padded = replace(
        short, Ts_world_cam=torch.cat([Ts, Ts[-1:].expand(60, 1, 4, 4)]),
        v_cam=torch.cat([short.v_cam, v.double()]),
        image_error=torch.cat([short.image_error, error]),
        refining=torch.cat([short.refining, refining]), step_ms=torch.ones(100),
    )  # fmt: skip
    alone, beside = row(short, T_goal, gain), row(padded, T_goal, gain)
    assert alone["ape_cm"] == pytest.approx(39 / 41, rel=0.1)
    for key in (
        "ape_cm",
        "ape_deg",
        "length_ratio",
        "end_mm_mean",
        "steps_median",
        "converged",
        "settled",
    ):
        assert beside[key] == pytest.approx(alone[key], rel=1e-6), key


def test_without_a_goal_pose_the_pose_figures_are_none():
    T_goal = sampling.fronto_parallel(0.6)
    figures = row(trajectory_to(T_goal, END), None)
    assert set(KEYS) <= figures.keys() and all(figures[key] is None for key in POSE_KEYS)
    assert figures["image_error_median"] == pytest.approx(0.01) and figures["time_s"] == 2.0
    unknown = replace(
        trajectory_to(T_goal, END),
        Ts_world_cam=torch.full((41, 3, 4, 4), torch.nan, dtype=torch.float64),
    )
    assert row(unknown, T_goal)["converged"] is None, "a world that does not know its pose"


def test_when_nothing_converged_means_are_none_and_rates_are_zero():
    T_goal = sampling.fronto_parallel(0.6)
    figures = row(trajectory_to(T_goal, END[2:]), T_goal)
    assert (
        figures["converged"] == 0
        and figures["end_mm_mean"] is None
        and figures["end_mm_ci"] is None
        and figures["ape_cm"] is None
    )
    assert figures["end_mm_median_all"] == pytest.approx(200, rel=0.05)


def test_steps_to_converge_count_until_home_for_good():
    """A run that is home, strays and comes back was not home until then; what it does within the
    rule does not count.
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
        "strays; at once; late; never: all steps and one; always"
    )
    made = replace(
        trajectory_to(T_goal, torch.zeros(5, 6, dtype=torch.float64), 4), Ts_world_cam=Ts
    )
    assert row(made, T_goal)["steps_median"] == 1.5, "of those that converged"


def slow_beside_reference(path: list[np.ndarray], true: list[np.ndarray]) -> float:
    """Mean distance [m] of two polylines at 0, 1, .. 100 % of each one's length, by walking along
    them.
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
    """True-pose runs of another gain from `twist` off the goal; with `aside`, a detour of so many
    metres half way.
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
    """At gain 0.5 a run on the very way of the reference is decimetres ahead of it at each step,
    and not beside it.
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
    """Two centimetres aside are then no progress."""
    turning, T_goal = other_gain([0, 0, 0, 0, 0, 1.0], 0.5, aside=0.02)
    figures = row(turning, T_goal, 0.5)
    assert figures["ape_at"] == "path" and figures["converged"] == 1
    assert figures["ape_deg"] < 1e-3 and 0.1 < figures["ape_cm"] < 2, (
        "the same turning, at another pace"
    )
    assert figures["length_ratio"] is None, "there is no length to compare with"


def test_a_camera_that_starts_at_the_goal_has_finite_figures():
    still, T_goal = other_gain([0, 0, 0, 0, 0, 0], 0.5)
    figures = row(still, T_goal, 0.5)
    assert figures["ape_cm"] == figures["ape_deg"] == figures["steps_median"] == 0
    json.dumps(figures, allow_nan=False)


def test_the_peak_of_a_row_is_its_own():
    """Not the most that any row before it has held."""
    metrics.reset_peak()
    before = metrics.peak_mb()
    held = np.ones(40_000_000)  # 305 MB
    assert before + 250 < metrics.peak_mb() < before + 400
    del held
    scene = PlanarScene(torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0)))
    starts = sampled("lookat", 2, 0, scene, CAMERA, 0.6)
    _, figures = measure(METHODS["pbvs"](CAMERA), "pbvs", scene, "noise", starts, max_steps=3)
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("only Linux lets a process count its peak anew")
    assert figures["peak_mb"] < before + 100


def test_the_machine_is_named():
    named = metrics.machine()
    assert named["cores"] >= 1 and named["threads"] >= 1
    if "model name" in (
        cpuinfo.read_text() if (cpuinfo := Path("/proc/cpuinfo")).is_file() else ""
    ):
        assert f": {named['processor']}\n" in cpuinfo.read_text()
    assert named["processor"] and named["processor"] != "x86_64", (
        "a kind of processor is no processor"
    )


def test_benchmarks_pool_the_same_steps_and_ends():
    """Runs of two rows pooled say what one row of all of them would; a run that did not converge
    has no steps.
    """
    T_goal = sampling.fronto_parallel(0.6)
    trajectory = trajectory_to(T_goal, END)
    one = {**row(trajectory, T_goal), "runs": rows.per_run(metrics.judge(trajectory, T_goal, 0.1))}
    assert one["runs"]["home"] == [1, 1, 0] and one["runs"]["steps"] == [22, 22, None]
    json.dumps(one, allow_nan=False)
    total = rows.pooled([one, one])
    assert total["n"] == 6 and total["converged"] == one["converged"]
    for key in ("end_mm_median", "end_deg_median", "length_ratio", "steps_median"):
        assert total[key] == pytest.approx(one[key], rel=1e-3), key
    assert "| 22 |" in table.pictures([one])
    lost = {
        **row(trajectory_to(T_goal, END[2:]), T_goal),
        "runs": {k: v[2:] for k, v in one["runs"].items()},
    }
    assert rows.pooled([lost])["steps_median"] is None and "| - |" in table.pictures([lost])


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
