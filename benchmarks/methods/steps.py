"""How long a step of `auto` takes at 224 x 224, by what it steers by.

    python -m benchmarks steps && make table      # quiet machine

A coarse step looks for the goal and tries to register what it finds; a photometric one follows.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro

from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation import metrics
from deepservo.evaluation.conditions import BLUR, PLAIN, Condition
from deepservo.evaluation.sets import SETS
from deepservo.features import keypoints
from deepservo.geometry import se3
from deepservo.methods import build
from deepservo.scene import sampling

STARTS = 12
NEAR = ((0.05, "photometric, 5 % of the way left"), (0.001, "photometric, 0.1 % of the way left"))
WAYS = ("nothing in common", "by SIFT:", "by the network:", "by SIFT at twice the size:")


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)


def row(what: str, took: list[float]) -> dict[str, Any]:
    """Of the results file."""
    return {
        "what": what,
        "n": len(took),
        "ms_median": statistics.median(took),
        "ms_p90": statistics.quantiles(took, n=10)[-1],
    }


def steps(
    scene: str, other: str, condition: Condition, name: str, which: int
) -> dict[str, list[float]]:
    """Times by what was chosen, from starts of a part of a set; `other` is what the camera sees,
    where it is not the goal's scene.
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
            took = timed(partial(servo.velocity, seen))
            if look == "first look" or not servo.is_refining(1)[0]:
                way = next(way for way in WAYS if way in servo.status(1)[0])
                found.setdefault(f"coarse, {way.rstrip(':')}, {look}", []).append(took)
        for part, what in NEAR if scene == other else ():
            left = Ts_goal[i] @ se3.exp(part * se3.log(se3.inverse(Ts_goal[i]) @ Ts_cam[i]))
            image = condition.goals(scene_of(other), PAPER_CAMERA, left[None], 0, run)
            for _ in range(3):  # the first ones acquire it
                servo.velocity(image)
            took = timed(partial(servo.velocity, image))
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
    rows = [row(what, took) for what, took in sorted(times.items()) if len(took) > 2]
    picture = scene_of("coffee").render(PAPER_CAMERA, sampling.fronto_parallel(0.6))[0, 0]
    alone = [timed(lambda: keypoints.detect(picture)) for _ in range(2 * STARTS)]
    rows.append(row("for scale: OpenCV's SIFT of one picture, alone", alone))
    metrics.write_results(out, rows)
    for each in rows:
        print(each)


if __name__ == "__main__":
    tyro.cli(main)
