"""The row of figures that reports a set of runs."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.common import rows
from benchmarks.tables import measurements
from deepservo import METHODS
from deepservo.evaluation import metrics, results_file
from deepservo.evaluation.starts import sampled
from deepservo.evaluation.trial import Trial, measure
from deepservo.geometry import se3
from deepservo.loop import Ending
from deepservo.methods.status import Tolerance
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.build import Setup
from reference_runs import CAMERA, END, row, trajectory_to

KEYS = [
    "method", "set", "scene", "n", "converged", "converged_ci", "strict", "settled", "end_mm_mean",
    "end_mm_std", "end_mm_median", "end_mm_ci", "end_deg_mean", "end_deg_std", "end_deg_median",
    "end_mm_median_all", "ape_cm", "ape_deg", "ape_at", "length_ratio", "steps_median", "time_s",
    "ms_per_step_p50", "ms_per_step_p99", "steps_per_s", "peak_mb", "camera", "gain", "dt",
    "max_steps", "seed",
]  # fmt: skip
POSE_KEYS = KEYS[KEYS.index("converged") : KEYS.index("steps_median") + 1]


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
    """A run that settled is padded while slower ones go on. The padding must not change its
    figures.
    """
    T_goal = sampling.fronto_parallel(0.6)
    short = trajectory_to(T_goal, torch.zeros(1, 6, dtype=torch.float64), 40)
    Ts = short.Ts_world_cam.clone()
    Ts[1:-1, :, 1, 3] += 0.01  # a centimetre beside the reference everywhere
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
    assert row(unknown, T_goal)["converged"] is None, "a world without poses"


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


def test_arrivals_are_judged_by_the_tolerance_that_was_asked_for():
    """Runs that rest 5 mm off without a word are within 10 mm, and not within the usual 1 mm."""
    T_goal = sampling.fronto_parallel(0.6)
    usual = trajectory_to(T_goal, END)
    figures = row(usual, T_goal)
    assert figures["tolerance"] == pytest.approx([1, 0.1]) and figures["missed_arrivals"] == [0, 0]
    wide = row(replace(usual, tolerance=Tolerance(mm=10, deg=5)), T_goal)
    assert wide["tolerance"] == pytest.approx([10, 5]) and wide["missed_arrivals"] == [3, 3]
    first = [replace(end, ending=Ending.ARRIVED, arrived_at=0) for end in usual.ends]
    for mm, false in ((10, 3), (150, 0)):
        asked = replace(usual, ends=first, tolerance=Tolerance(mm=mm, deg=15))
        assert row(asked, T_goal)["false_arrivals"] == false, "30 cm and 30 deg off"


def test_the_peak_of_a_row_is_its_own():
    """It is not the peak of an earlier row."""
    results_file.reset_peak()
    before = results_file.peak_mb()
    held = np.ones(40_000_000)  # 305 MB
    assert before + 250 < results_file.peak_mb() < before + 400
    del held
    scene = PlanarScene(torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0)))
    setup = Setup(scene, CAMERA, 0.6, "noise")
    trial = Trial("pbvs", setup, sampled("lookat", 2, 0, setup), max_steps=3)
    _, figures = measure(METHODS["pbvs"](CAMERA), trial)
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("only Linux lets a process count its peak anew")
    assert figures["peak_mb"] < before + 100


def test_the_machine_is_named():
    named = results_file.machine()
    assert named["cores"] >= 1 and named["threads"] >= 1
    if "model name" in (
        cpuinfo.read_text() if (cpuinfo := Path("/proc/cpuinfo")).is_file() else ""
    ):
        assert f": {named['processor']}\n" in cpuinfo.read_text()
    assert named["processor"] and named["processor"] != "x86_64", (
        "a name of the model, not of the architecture"
    )


def test_benchmarks_pool_the_same_steps_and_ends():
    """Two rows pooled give the figures of one row of all their runs. A run that did not converge
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
    assert "| 22 |" in measurements.pictures([one])
    lost = {
        **row(trajectory_to(T_goal, END[2:]), T_goal),
        "runs": {k: v[2:] for k, v in one["runs"].items()},
    }
    assert rows.pooled([lost])["steps_median"] is None and "| - |" in measurements.pictures([lost])
