"""DFBVS's grasps: servo from 1 to 6 cm off, then take the part blind; plain table and clutter
(Adrian 2022, Fig. 8).

    python -m benchmarks grasps && make table

A row that is in --out is not measured again: killed, it goes on.
"""

import math
import time
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from benchmarks.common.rows import ResultsFile
from benchmarks.objects.objects import CAMERA, TABLE, brought, gantry, goal_pose, standing
from deepservo.evaluation.objects import in_view, reprojection
from deepservo.geometry import se3
from deepservo.methods import build
from deepservo.worlds.grasp import grasp, grasp_pose, taken
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import Target, render_target

TURNS = (
    (8, 6, 3),
    (6, 6, 4),
    (8, 10, 8),
)  # of each part: its starts are turned by at most so much about x, y, z [deg]
TRIES = 100


def starts(
    target: Target, cm: int, turn: tuple[int, ...], n: int, seed: int
) -> Float[Tensor, "n 4 4"]:
    """`T_goal_cam` (n, 4, 4): cm away in any direction, turned a little, most of the part in
    view.
    """
    g = torch.Generator().manual_seed(seed)
    way = torch.randn(TRIES * n, 3, generator=g, dtype=torch.float64)
    angles = (
        (2 * torch.rand(TRIES * n, 3, generator=g, dtype=torch.float64) - 1)
        * torch.tensor(turn)
        * math.pi
        / 180
    )
    return in_view(
        target,
        CAMERA,
        se3.transform(se3.so3_exp(angles), 0.01 * cm * way / way.norm(dim=1, keepdim=True)),
        n,
    )


def main(
    *,
    methods: tuple[str, ...] = ("dfbvs+edges",),
    batches: tuple[int, ...] = (1, 2, 3, 4, 5, 6),
    tables: tuple[str, ...] = tuple(TABLE),
    n: int = 8,
    max_steps: int = 150,
    seed: int = 1,
    out: Path = Path("results/grasps.json"),
) -> None:
    """Measure what is not measured yet.

    Args:
        methods: that servo to a rendered goal.
        batches: how far off the runs start [cm].
        tables: plain, clutter.
        n: runs of each part.
        max_steps: pictures a run may take.
        seed: of the starts and of the camera's noise.
        out: the results file.
    """
    results = ResultsFile(out)
    for method in methods:
        for cm in batches:
            for where in tables:
                for part in PARTS:
                    settings = {
                        "method": method,
                        "table": where,
                        "part": part,
                        "cm": cm,
                        "n": n,
                        "seed": seed,
                    }
                    if not results.has(settings):
                        row = measured(method, where, part, cm, n, max_steps, seed)
                        results.add(row, settings)
                        print(
                            method,
                            where,
                            part,
                            f"{cm} cm: {sum(row['taken'])} of {n} taken",
                            flush=True,
                        )


def measured(
    method: str, where: str, part: str, cm: int, n: int, max_steps: int, seed: int
) -> dict[str, list[float]]:
    """Whether each run took the part; how far it was lifted [m], and how far off the camera was
    when it reached for it.
    """
    k, begin = list(PARTS).index(part), time.perf_counter()
    T_object_goal = goal_pose(0)
    target = render_target(PARTS[part].mesh(), CAMERA, T_object_goal)
    T_world_goal = torch.from_numpy(standing(part) @ T_object_goal)[None]
    Ts = starts(target, cm, TURNS[k], n, 100 * seed + 10 * cm + k)
    world = gantry(part, where, T_world_goal @ Ts, seed)
    runs = list(world.runs)  # the loop drops those that have come home
    trajectory = brought(
        world, build(method, CAMERA, target.depth), target, max_steps, f"{part}, {cm} cm"
    )
    world.runs = runs
    ends = se3.inverse(T_world_goal) @ trajectory.Ts_world_cam[-1]
    T_cam_grasp = np.linalg.inv(T_object_goal) @ grasp_pose(world, PARTS[part])
    lifted = [grasp(world, i, part, T_cam_grasp) for i in range(len(runs))]
    return {
        "taken": [int(taken(metres)) for metres in lifted],
        "lifted_m": [round(metres, 4) for metres in lifted],
        "end_px": [round(reprojection(target, CAMERA, T), 3) for T in ends],
        "end_mm": (1e3 * ends[:, :3, 3].norm(dim=1)).tolist(), "steps": trajectory.steps.tolist(),
        "seconds": [time.perf_counter() - begin],
    }  # fmt: skip


if __name__ == "__main__":
    tyro.cli(main)
