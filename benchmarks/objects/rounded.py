"""Rounded objects made by code, under wandering lamps: two rendered goals and three starts each.

    python -m benchmarks rounded && make table

A row that is in --out is not measured again: killed, it goes on.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.common.rows import Row, fill
from benchmarks.objects.objects import SETTLED_PX
from benchmarks.objects.tabletop import CAMERA, GOALS, goal_pose
from deepservo.cli.console import servo_bar
from deepservo.evaluation.objects import OnTable, reprojection, tabletop
from deepservo.evaluation.trial import measure
from deepservo.geometry import se3
from deepservo.images import pictures
from deepservo.methods import build
from deepservo.scene.build import Setup
from deepservo.worlds.gantry import Standing
from deepservo.worlds.rounded import ROUNDED, rounded_mesh
from deepservo.worlds.target import render_target
from deepservo.worlds.views import AXES

TABLES = {"plain": "", "clutter": "coffee"}
FIGURES = ("avg2_px", "end_mm", "end_deg", "length", "steps")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    methods: tuple[str, ...] = ("dfbvs", "dfbvs+edges", "dfbvs-sift+edges")
    """that servo to a rendered goal."""
    objects: tuple[str, ...] = tuple(ROUNDED)
    """by name."""
    tables: tuple[str, ...] = ("plain",)
    """plain, clutter."""
    starts: int = 3
    """of each goal."""
    max_steps: int = 150
    """pictures a run may take."""
    seed: int = 1
    """of the starts, of the lamps and of the camera's noise."""
    out: Path = Path("results/objects-rounded.json")
    """the results file."""


def main(options: Options) -> None:
    """Measure what is not measured yet."""
    fill(
        options.out,
        wanted(options),
        lambda settings: measured(settings, options),
        ("home", "avg2_px", "end_mm", "end_deg", "length", "steps"),
    )


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row; mesh: whether the method knows it beside the goal's depth."""
    for method in options.methods:
        for mesh in (False, True) if method.endswith("+edges") else (False,):
            for table in options.tables:
                for name in options.objects:
                    yield {
                        "method": method, "mesh": mesh, "table": table, "object": name,
                        "world": "gantry-lights", "n": len(GOALS["tilted"]) * options.starts,
                        "seed": options.seed,
                    }  # fmt: skip


def measured(settings: Row, options: Options) -> Row:
    """All goals and starts of an object; means over the runs that are home."""
    begin = time.perf_counter()
    goals = [runs_to(k, settings, options) for k in range(len(GOALS["tilted"]))]
    runs = {name: [value for goal in goals for value in goal[name]] for name in FIGURES}
    home = np.array(runs["avg2_px"]) < SETTLED_PX
    mean = {
        name: float(np.mean(np.array(values)[home])) if home.any() else None
        for name, values in runs.items()
    }
    return {
        **mean,
        "home": float(home.mean()),
        "seconds": time.perf_counter() - begin,
        "runs": runs,
    }


def runs_to(k: int, settings: Row, options: Options) -> dict[str, list[float]]:
    """The figures of each run to goal k; `length` is that of its path over the straight one."""
    name, method = settings["object"], settings["method"]
    table = before(name, k, settings["table"])
    shape = table.shape if settings["mesh"] else None
    seed_of_goal = 1000 * options.seed + 10 * list(ROUNDED).index(name) + k
    trial = table.trial(method, options.starts, seed_of_goal, settings["world"])
    controller = build(method, CAMERA, table.target.depth, shape=shape)
    with servo_bar(f"{name}, goal {k}", options.max_steps) as show:
        trajectory, _ = measure(controller, replace(trial, max_steps=options.max_steps), show)
    T_goal_cam = se3.inverse(table.T_world_goal) @ trajectory.Ts_world_cam[-1]
    steps = trajectory.Ts_world_cam[:, :, :3, 3].diff(dim=0).norm(dim=2).sum(0)
    straight = (trajectory.Ts_world_cam[0] - table.T_world_goal)[:, :3, 3].norm(dim=1)
    return {
        "avg2_px": [reprojection(table.target, CAMERA, T) for T in T_goal_cam],
        "end_mm": (1e3 * T_goal_cam[:, :3, 3].norm(dim=1)).tolist(),
        "end_deg": se3.so3_log(T_goal_cam[:, :3, :3]).norm(dim=1).rad2deg().tolist(),
        "length": (steps / straight).tolist(),
        "steps": trajectory.steps.tolist(),
    }


def before(name: str, k: int, table: str) -> OnTable:
    """Goal k before an object, which stands in the middle of a table."""
    mesh, T_object_goal = rounded_mesh(name), goal_pose(k)
    T_world_object = np.eye(4)
    T_world_object[:3, :3] = AXES
    target = render_target(mesh, CAMERA, T_object_goal)
    picture = pictures.bundled(TABLES[table]) if TABLES[table] else None
    distance = float(np.median(target.depth[target.mask]))
    return OnTable(
        Setup(tabletop(picture), CAMERA, distance, name),
        target,
        Standing("object", mesh, T_world_object),
        torch.from_numpy(T_world_object @ T_object_goal)[None],
    )
