"""How long a step of DFBVS takes for one camera, far from the goal and near it.

python -m benchmarks dfbvs_steps && make table      # quiet machine
"""

from functools import partial
from pathlib import Path

import torch
import tyro

from benchmarks.methods.steps import row, timed
from benchmarks.objects.objects import CAMERA, gantry, goal_pose, standing
from deepservo.evaluation import metrics
from deepservo.evaluation.objects import starts_about
from deepservo.geometry import se3
from deepservo.methods import build
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import render_target

STARTS = 4
LEFT = {"from the start": 1.0, "with 30 % of the way left": 0.3, "home": 0.0}


def main(
    *,
    methods: tuple[str, ...] = ("dfbvs", "dfbvs-sift", "dfbvs+edges", "dfbvs-sift+edges"),
    out: Path = Path("results/dfbvs-steps.json"),
) -> None:
    """Measure each kind of step.

    Args:
        methods: that servo to a rendered goal.
        out: the results file.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for k, part in enumerate(PARTS):
        T_object_goal = goal_pose(0)
        target = render_target(PARTS[part].mesh(), CAMERA, T_object_goal)
        T_world_goal = torch.from_numpy(standing(part) @ T_object_goal)[None]
        starts = starts_about(target, CAMERA, STARTS, k)
        world = gantry(part, "clutter", T_world_goal, 0)
        for method in methods:
            controller = build(method, CAMERA, target.depth)
            for start in (starts[0], *starts):  # the first run wakes caches up
                controller.set_goal(target.grey)
                for what, share in LEFT.items():
                    picture = world.pictures_at(
                        T_world_goal @ se3.exp(share * se3.log(start))[None]
                    )
                    for _ in range(2):  # the first look at a place matches anew, the second follows
                        took = timed(partial(controller.velocity, picture))
                    times.setdefault((method, what), []).append(took)
    each = 1 + STARTS
    rows = [
        row(f"`{method}`, {what}", [ms for i, ms in enumerate(took) if i % each])
        for (method, what), took in times.items()
    ]
    metrics.write_results(out, rows)
    for found in rows:
        print(found)


if __name__ == "__main__":
    tyro.cli(main)
