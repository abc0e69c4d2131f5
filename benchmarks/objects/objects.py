"""DFBVS's Table I on the gantry: parts, two rendered goals each, three starts each, on a plain
table and in clutter.

    python -m benchmarks objects && make table
    python -m benchmarks objects --names keypoints --goals above \\
        --out results/objects-above.json && make table

A row that is in --out is not measured again: killed, it goes on.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from benchmarks.common.rows import Row, fill
from benchmarks.objects.tabletop import (
    CAMERA,
    GOALS,
    TABLES,
    finders,
    gantry,
    goal_of,
    servo_to,
)
from deepservo.evaluation.objects import reprojection, starts_about
from deepservo.features.detectors import Detector
from deepservo.geometry import se3
from deepservo.methods.dfbvs import KeypointServo
from deepservo.methods.model_based import EdgeServo
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import Target

SETTLED_PX = 2.0  # mean error under which a run has converged (Adrian 2022, section V)
FIGURES = ("start_mm", "start_deg", "avg1_px", "avg2_px", "end_mm", "end_deg", "steps")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    names: tuple[str, ...] = ("keypoints", "sift", "orb")
    """detectors of keypoints: keypoints (the learned one), sift, orb."""
    variants: tuple[str, ...] = ("whole", "edges")
    """whole, or without tracking or outlier rejection: untracked, unrobust; or with the edges'
    refinement: edges."""
    tables: tuple[str, ...] = tuple(TABLES)
    """plain, clutter."""
    starts: int = 3
    """of each goal."""
    max_steps: int = 150
    """pictures a run may take."""
    seed: int = 1
    """of the starts and of the camera's noise."""
    lights: bool = False
    """whether the lamps wander."""
    goals: str = "tilted"
    """tilted, or seen from straight above."""
    model: Path | None = None
    """a network of `deepservo learn --method keypoints`; the shipped one when not given."""
    out: Path = Path("results/objects.json")
    """the results file."""


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row."""
    goals = {} if options.goals == "tilted" else {"goals": options.goals}
    for name in options.names:
        for variant in options.variants:
            for table in options.tables:
                for part in PARTS:
                    yield {
                        "method": "dfbvs", "detector": name, "variant": variant, "table": table,
                        "part": part, "n": len(GOALS[options.goals]) * options.starts,
                        "seed": options.seed, "lights": options.lights, **goals,
                    }  # fmt: skip


def main(options: Options) -> None:
    """Measure what is not measured yet."""
    found = finders(options.model)
    fill(
        options.out,
        wanted(options),
        lambda settings: measured(found[settings["detector"]], settings, options),
        ("home", "avg1_px", "avg2_px", "end_mm", "end_deg"),
    )


def measured(finder: Detector, settings: Row, options: Options) -> Row:
    """All goals and starts of a part."""
    begin = time.perf_counter()
    goals = [runs_to(k, finder, settings, options) for k in range(len(GOALS[options.goals]))]
    runs = {name: [value for goal in goals for value in goal[name]] for name in FIGURES}
    finite = {name: [x for x in values if x is not None] for name, values in runs.items()}
    mean = {name: float(np.mean(values)) if values else None for name, values in finite.items()}
    return {
        **mean,
        "home": float(np.mean(np.array(runs["avg2_px"]) < SETTLED_PX)),
        "seconds": time.perf_counter() - begin,
        "runs": runs,
    }


def runs_to(
    k: int, finder: Detector, settings: Row, options: Options
) -> dict[str, list[float | None]]:
    """The figures of each run to goal k."""
    part, variant = settings["part"], settings["variant"]
    goal, seed = goal_of(part, k, options.goals), options.seed
    target = goal.target
    seed_of_goal = 1000 * seed + 10 * list(PARTS).index(part) + k
    T_goal_start = starts_about(target, CAMERA, options.starts, seed_of_goal)
    features = KeypointServo(
        CAMERA, finder, target.depth, robust=variant != "unrobust", track=variant != "untracked"
    )
    controller = EdgeServo(features, target.depth) if variant == "edges" else features
    Ts = goal.T_world_cam @ T_goal_start
    world = gantry(part, settings["table"], Ts, seed, options.lights)
    trajectory = servo_to(target, world, controller, options.max_steps, f"{part}, goal {k}")
    T_goal_end = se3.inverse(goal.T_world_cam) @ trajectory.Ts_world_cam[-1]
    found: dict[str, list[float | None]] = {}
    for which, T in (("start", T_goal_start), ("end", T_goal_end)):
        found[f"{which}_mm"] = (1e3 * T[:, :3, 3].norm(dim=1)).tolist()
        found[f"{which}_deg"] = se3.so3_log(T[:, :3, :3]).norm(dim=1).rad2deg().tolist()
    if variant == "edges":  # its last matches are older than its last picture
        found["avg1_px"] = matched(features, target, world.pictures_at(trajectory.Ts_world_cam[-1]))
    else:
        found["avg1_px"] = [error(reason) for reason in trajectory.reason]
    found["avg2_px"] = [reprojection(target, CAMERA, T) for T in T_goal_end]
    return {**found, "steps": trajectory.steps.tolist()}


def matched(
    features: KeypointServo, target: Target, images: Float[Tensor, "n 1 h w"]
) -> list[float | None]:
    """AVG1: the mean error of matches made anew in these pictures [px]; None without matches."""
    features.set_goal(target.grey)
    for _ in range(2):  # matched, then tracked
        features.velocity(images)
    return [e if math.isfinite(e) else None for e in features.state["error_px"].tolist()]


def error(reason: str) -> float | None:
    """AVG1: the mean error of the matches at the end [px], from why a run stopped; None without
    matches.
    """
    words = reason.split(" px off", maxsplit=1)[0].split(", ")
    return float(words[-1]) if " px off" in reason else None
