"""How long a step of `auto` takes at 224 x 224, by the measurement that it steers by.

    python -m benchmarks steps && make table      # quiet machine

A coarse step searches for the goal and tries to register what it finds. A photometric step follows
the goal.
"""

from functools import partial
from pathlib import Path

import torch

from benchmarks.common.rows import write
from benchmarks.common.timing import latency, milliseconds
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.conditions import BLUR, PLAIN, Condition
from deepservo.evaluation.sets import SETS
from deepservo.features import keypoints
from deepservo.features.sift import sift_reference
from deepservo.geometry import se3
from deepservo.methods import build
from deepservo.scene import sampling

STARTS = 12
LEFT = ((0.05, "photometric, 5 % of the way left"), (0.001, "photometric, 0.1 % of the way left"))
MEASUREMENTS = ("nothing in common", "by SIFT:", "by the network:", "by SIFT at twice the size:")


def steps(
    scene: str, other: str, condition: Condition, name: str, which: int
) -> dict[str, list[float]]:
    """Times [ms] by kind of step, from starts of part `which` of the set `name`; the goal shows
    `scene`, the camera sees `other`.
    """
    found: dict[str, list[float]] = {}
    Ts_cam, Ts_goal = SETS[name][which].draw(
        STARTS, torch.Generator().manual_seed(0), 0.6, PAPER_CAMERA
    )
    servo = build("auto", PAPER_CAMERA)
    for i in (0, *range(STARTS)):  # the first steps wake caches up
        run = torch.tensor([i])
        found = found if i else {}
        goal = condition.goals(scene_of(scene), PAPER_CAMERA, Ts_goal[i : i + 1], 0, run)
        seen = condition.goals(scene_of(other), PAPER_CAMERA, Ts_cam[i : i + 1], 0, run)
        servo.set_goal(goal)
        for look in ("first look", "after that"):
            took = milliseconds(partial(servo.velocity, seen))
            if look == "first look" or not servo.is_refining(1)[0]:
                status = servo.words(1)[0]
                by = next(each for each in MEASUREMENTS if each in status).rstrip(":")
                found.setdefault(f"coarse, {by}, {look}", []).append(took)
        for part, what in LEFT if scene == other else ():
            left = Ts_goal[i] @ se3.exp(part * se3.log(se3.inverse(Ts_goal[i]) @ Ts_cam[i]))
            image = condition.goals(scene_of(other), PAPER_CAMERA, left[None], 0, run)
            for _ in range(3):  # the first ones acquire it
                servo.velocity(image)
            took = milliseconds(partial(servo.velocity, image))
            if servo.is_refining(1)[0]:
                found.setdefault(what, []).append(took)
    return found


def main(out: Path = Path("results/steps.json")) -> None:
    """Measure each kind of step."""
    times: dict[str, list[float]] = {}
    blurred = dict(BLUR)["defocus 4 px, both"]
    for scene in ("coffee", "page", "astronaut"):
        cases = [
            (scene, PLAIN, "lookat-rz", 0),
            (scene, blurred, "lookat-rz", 0),
            (scene, PLAIN, "hard-overlap", 1),
            ("brick", PLAIN, "lookat-rz", 0),
        ]
        for other, condition, name, which in cases:
            for what, took in steps(scene, other, condition, name, which).items():
                times.setdefault(what, []).extend(took)
    rows = [latency(what, took) for what, took in sorted(times.items()) if len(took) > 2]
    picture = scene_of("coffee").render(PAPER_CAMERA, sampling.fronto_parallel(0.6))[0, 0]
    levels = (255 * picture).round().byte().numpy()
    opencvs = partial(sift_reference, levels, **keypoints.SIFT)
    alone = [milliseconds(opencvs) for _ in range(2 * STARTS)]
    write(out, [*rows, latency("for scale: OpenCV's SIFT of one picture, alone", alone)])
