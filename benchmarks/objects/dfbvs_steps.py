"""How long a step of DFBVS takes for one camera, far from the goal and near it.

python -m benchmarks dfbvs_steps && make table      # quiet machine
"""

from functools import partial
from pathlib import Path

from benchmarks.common.rows import write
from benchmarks.common.timing import latency, milliseconds
from benchmarks.objects.tabletop import CAMERA, gantry, goal_of
from deepservo.evaluation.objects import starts_about
from deepservo.geometry import se3
from deepservo.methods import build
from deepservo.worlds.objects import PARTS

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
        goal = goal_of(part)
        starts = starts_about(goal.target, CAMERA, STARTS, k)
        world = gantry(part, "clutter", goal.T_world_cam, 0)
        for method in methods:
            controller = build(method, CAMERA, goal.target.depth)
            for start in (starts[0], *starts):  # the first run fills caches
                controller.set_goal(goal.target.grey)
                for what, share in LEFT.items():
                    T = goal.T_world_cam @ se3.exp(share * se3.log(start))[None]
                    picture = world.pictures_at(T)
                    for _ in range(2):  # the first step at a place matches, the second tracks
                        took = milliseconds(partial(controller.velocity, picture))
                    times.setdefault((method, what), []).append(took)
    rows = [
        latency(f"`{method}`, {what}", [ms for i, ms in enumerate(took) if i % (1 + STARTS)])
        for (method, what), took in times.items()
    ]
    write(out, rows)
