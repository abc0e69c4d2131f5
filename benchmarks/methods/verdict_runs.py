"""One run of a method, beside what its status said, for `python -m benchmarks verdict`."""

import math
import time
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.common.rows import Row
from benchmarks.methods.verdict_scenes import ChangingView
from benchmarks.methods.verdict_sets import kinds
from benchmarks.methods.verdict_worlds import Cell, Ready
from deepservo.bench.inputs import of_names, of_pictures
from deepservo.bench.runs import Bench
from deepservo.evaluation.metrics import Judged, judge
from deepservo.images.pictures import BUNDLED
from deepservo.loop import Ending, Trajectory, servo
from deepservo.methods.status import Phase, Status

SOON_S = 1.0  # seconds of pictures in which LOST has to be said
IN_VIEW = 0.5  # of the goal: where a run has as much of it in view, it should not be lost
FIGURES = ("seen_mm", "seen_deg", "most_mm", "most_deg", "said_mm", "said_deg")


def one_thread() -> None:
    """Of a process beside others: it has one core."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@cache
def bench_of(image: Path | None) -> Bench:
    """The flat scenes: the bundled pictures, or those of a folder."""
    return of_names(BUNDLED) if image is None else of_pictures(image)


def measured(cell: Cell, image: Path | None) -> Row:
    """The row of a cell, with each run's figures."""
    begin, bench = time.perf_counter(), bench_of(image)
    ready = kinds(tuple(bench.scenes))[cell.set].ready
    parts = [steered(each, cell.group) for each in ready(cell, bench)]
    runs = {name: [value for part in parts for value in part[name]] for name in parts[0]}
    return {"runs": runs, "seconds": round(time.perf_counter() - begin, 1)}


def steered(ready: Ready, group: str) -> dict[str, list[Any]]:
    """The figures of each run, by name.

    false, within: as in `Judged`; before a wrong scene every arrival is a false one. lost_at: the
    first picture in which the run was said to be lost, before the view changed; in_view: how much
    of the goal the camera saw there. changed_at: the first picture of the changed view; lost_s:
    seconds of pictures from there until the run was said to be lost. sentence: of the status that
    was wrong.
    """
    controller, statuses = ready.controller, list[list[Status]]()
    controller.set_goal(ready.goal, ready.depth)
    trajectory = servo(
        ready.world,
        controller,
        ready.goal,
        dt=ready.dt,
        progress=lambda step, active: statuses.append(controller.status),
    )
    said = by_run(trajectory, statuses)
    judged = judge(trajectory, ready.Ts_goal, controller.gain)
    changed_at = ready.world.changed_at if isinstance(ready.world, ChangingView) else {}
    columns = _of_judged(judged, group)
    columns["reason"] = [end.status.reason.value for end in trajectory.ends]
    columns["steps"] = trajectory.steps.tolist()
    columns["changed_at"] = [changed_at.get(run) for run in range(len(said))]
    columns["lost_at"], columns["lost_s"] = [], []
    for of_run, change in zip(said, columns["changed_at"], strict=True):
        lost = [k for k, status in enumerate(of_run) if status.phase is Phase.LOST]
        columns["lost_at"].append(next((k for k in lost if change is None or k < change), None))
        after = next((k for k in lost if change is not None and k >= change), None)
        columns["lost_s"].append(None if after is None else _short((after - change + 1) * ready.dt))
    columns["in_view"] = [
        None
        if k is None
        else _short(float(ready.sees(ready.Ts_goal[[run]], trajectory.Ts_world_cam[k, [run]])))
        for run, k in enumerate(columns["lost_at"])
    ]
    columns["sentence"] = [
        _wrong(of_run, end.arrived_at, {key: values[run] for key, values in columns.items()}, group)
        for run, (of_run, end) in enumerate(zip(said, trajectory.ends, strict=True))
    ]
    return columns


def by_run(trajectory: Trajectory, statuses: list[list[Status]]) -> list[list[Status]]:
    """What each run's status was after each of its pictures.

    statuses: after each step, of the runs that went on from there.
    """
    found = list[list[Status]]()
    steps = trajectory.steps.tolist()
    for run, end in enumerate(trajectory.ends):
        # Before it in the list are the runs that went on as well.
        among = [sum(each > k + 1 for each in steps[:run]) for k in range(steps[run] - 1)]
        found.append([*(statuses[k][i] for k, i in enumerate(among)), end.status])
    return found


def _of_judged(judged: Judged, group: str) -> dict[str, list[Any]]:
    false = judged.falsely_arrived
    if group == "wrong":
        false = judged.arrived | np.isfinite(judged.said_mm)
    figures = {name: [_short(x) for x in getattr(judged, name).tolist()] for name in FIGURES}
    return {
        "ending": judged.ending.tolist(),
        "converged": judged.converged.astype(int).tolist(),
        "false": false.astype(int).tolist(),
        "within": judged.within.astype(int).tolist(),
        **figures,
    }


def _wrong(said: list[Status], arrived_at: int | None, run: Row, group: str) -> str | None:
    """What the run's status said that it should not have; None where it was right.

    It is the last sentence of a run that was within the tolerance, or had to be lost, and did not
    say so.
    """
    if run["false"]:
        return said[-1 if arrived_at is None else arrived_at].sentence
    if group == "wrong":
        return None
    if run["lost_at"] is not None and (run["converged"] or run["in_view"] >= IN_VIEW):
        return said[run["lost_at"]].sentence
    missed = run["within"] and run["ending"] != Ending.ARRIVED.value
    seconds = math.inf if run["lost_s"] is None else run["lost_s"]
    if run["changed_at"] is not None:
        return said[-1].sentence if seconds > SOON_S else None
    return said[-1].sentence if missed else None


def _short(x: float) -> float | None:
    """Four significant digits; None where it is no number."""
    return None if math.isnan(x) else float(f"{x:.4g}")
