"""DFBVS's grasps: servo from 1 to 6 cm off, then take the part blind; plain table and clutter
(Adrian 2022, Fig. 8).

    python -m benchmarks grasps && make table

A row that is in --out is not measured again: killed, it goes on.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.common.rows import Row, fill
from benchmarks.objects.tabletop import CAMERA, TABLES, gantry, goal_of, servo_to
from deepservo.evaluation.objects import in_view, reprojection
from deepservo.geometry import se3
from deepservo.methods import build
from deepservo.worlds.grasp import grasp, grasp_pose, taken
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import Target

# Of each part: its starts are turned by at most so much about x, y, z [deg].
TURNS = ((8, 6, 3), (6, 6, 4), (8, 10, 8))
TRIES = 100  # starts drawn for one that sees most of the part


@dataclass(frozen=True)
class Options:
    """What is measured."""

    methods: tuple[str, ...] = ("dfbvs+edges",)
    """that servo to a rendered goal."""
    batches: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """how far off the runs start [cm]."""
    tables: tuple[str, ...] = tuple(TABLES)
    """plain, clutter."""
    n: int = 8
    """runs of each part."""
    max_steps: int = 150
    """pictures a run may take."""
    seed: int = 1
    """of the starts and of the camera's noise."""
    out: Path = Path("results/grasps.json")
    """the results file."""


def starts(target: Target, settings: Row) -> Float[Tensor, "n 4 4"]:
    """`T_goal_cam` (n, 4, 4): cm away in any direction, turned a little, most of the part in
    view.
    """
    k, cm, n = list(PARTS).index(settings["part"]), settings["cm"], settings["n"]
    g = torch.Generator().manual_seed(100 * settings["seed"] + 10 * cm + k)
    way = torch.randn(TRIES * n, 3, generator=g, dtype=torch.float64)
    angles = 2 * torch.rand(TRIES * n, 3, generator=g, dtype=torch.float64) - 1
    rotations = se3.so3_exp(angles * torch.tensor(TURNS[k]) * math.pi / 180)
    t = 0.01 * cm * way / way.norm(dim=1, keepdim=True)
    return in_view(target, CAMERA, se3.transform(rotations, t), n)


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row."""
    for method in options.methods:
        for cm in options.batches:
            for table in options.tables:
                for part in PARTS:
                    yield {
                        "method": method, "table": table, "part": part, "cm": cm, "n": options.n,
                        "seed": options.seed,
                    }  # fmt: skip


def measured(settings: Row, max_steps: int) -> Row:
    """Whether each run took the part; how far it was lifted [m], and how far off the camera was
    when it reached for it.
    """
    begin, part = time.perf_counter(), settings["part"]
    goal = goal_of(part)
    Ts = goal.T_world_cam @ starts(goal.target, settings)
    world = gantry(part, settings["table"], Ts, settings["seed"])
    runs = list(world.runs)  # the loop drops those that have stopped
    controller = build(settings["method"], CAMERA, goal.target.depth)
    title = f"{part}, {settings['cm']} cm"
    trajectory = servo_to(goal.target, world, controller, max_steps, title)
    world.runs = runs
    ends = se3.inverse(goal.T_world_cam) @ trajectory.Ts_world_cam[-1]
    T_cam_grasp = np.linalg.inv(goal.T_object_cam) @ grasp_pose(world, PARTS[part])
    lifted = [grasp(world, i, part, T_cam_grasp) for i in range(len(runs))]
    return {
        "taken": [int(taken(metres)) for metres in lifted],
        "lifted_m": [round(metres, 4) for metres in lifted],
        "end_px": [round(reprojection(goal.target, CAMERA, T), 3) for T in ends],
        "end_mm": (1e3 * ends[:, :3, 3].norm(dim=1)).tolist(),
        "steps": trajectory.steps.tolist(),
        "seconds": [time.perf_counter() - begin],
    }


def main(options: Options) -> None:
    """Measure what is not measured yet."""
    fill(
        options.out,
        wanted(options),
        lambda settings: measured(settings, options.max_steps),
        ("taken",),
    )
