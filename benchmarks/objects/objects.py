"""DFBVS's Table I on the gantry: parts, two rendered goals each, three starts each, on a plain
table and in clutter.

    python -m benchmarks objects && make table
    python -m benchmarks objects --names keypoints --goals above \\
        --out results/objects-above.json && make table

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
from deepservo.camera import Camera
from deepservo.cli.console import servo_bar
from deepservo.evaluation.objects import reprojection, starts_about, tabletop
from deepservo.features import detectors
from deepservo.features.detectors import Detector
from deepservo.geometry import se3
from deepservo.images import pictures
from deepservo.loop import Trajectory, servo
from deepservo.methods import Controller
from deepservo.methods.dfbvs import FeatureServo
from deepservo.methods.model_based import EdgeServo
from deepservo.models.any_scene_model import KEYPOINTS, load_unseen, shipped
from deepservo.scene.sampling import look_at
from deepservo.worlds.gantry import RATE, Gantry, Light, Standing, Workcell
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import Target, render_target
from deepservo.worlds.views import AXES

CAMERA = Camera(320, 240, 520.0, 520.0, 160.0, 120.0)
GOALS = {
    "tilted": ((20.0, 15.0), (28.0, -140.0)),
    "above": ((0.0, 15.0), (0.0, -140.0)),
}  # tilt, and from which side one looks [deg]
FROM = 0.27  # of a goal's camera from the part [m]
TABLE = {"plain": "", "clutter": "coffee"}
SETTLED_PX = 2.0  # mean error under which a run has come home (Adrian 2022, section V)


def goal_pose(k: int, goals: str = "tilted") -> np.ndarray:
    """`T_object_cam` of goal k, in the part's frame."""
    tilt, side = (math.radians(a) for a in GOALS[goals][k])
    aim = np.array([0.0, 0.0, 0.015])
    position = aim + FROM * np.array(
        [math.sin(tilt) * math.cos(side), math.sin(tilt) * math.sin(side), math.cos(tilt)]
    )
    # `look_at` has our world's axes, z into the table: half a turn about x takes a part's there.
    T = look_at(
        torch.from_numpy(AXES @ position)[None],
        torch.from_numpy(AXES @ aim)[None],
        torch.tensor([0.2 + side], dtype=torch.float64),
    )
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = AXES @ T[0, :3, :3].numpy(), AXES @ T[0, :3, 3].numpy()
    return found


def standing(part: str) -> np.ndarray:
    """Where a part stands: `T_world_object`, turned a little."""
    k = list(PARTS).index(part)
    c, s = math.cos(0.3 + k), math.sin(0.3 + k)
    T = np.eye(4)
    T[:3, :3] = AXES @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    T[:2, 3] = 0.03 * k - 0.03, 0.02 * k
    return T


def gantry(
    part: str, where: str, Ts_world_cam: Float[Tensor, "n 4 4"], seed: int, lights: bool = False
) -> Gantry:
    """A gantry over that table, the part on it, its cameras there; `lights`: its lamps wander."""
    picture = pictures.bundled(TABLE[where]) if TABLE[where] else None
    part_there = Standing(part, PARTS[part], standing(part))
    return Gantry(
        tabletop(picture),
        CAMERA,
        Ts_world_cam,
        Workcell(Light(changing=lights), parts=[part_there]),
        seed=seed,
    )


def brought(
    world: Gantry, controller: Controller, target: Target, max_steps: int, title: str
) -> Trajectory:
    """The cameras servoed to the target."""
    controller.scale_gain(1 / RATE)
    controller.set_goal(target.grey)
    with servo_bar(title, max_steps) as show:
        return servo(world, controller, target.grey, max_steps, dt=1 / RATE, progress=show)


def main(
    *,
    names: tuple[str, ...] = ("keypoints", "sift", "orb"),
    variants: tuple[str, ...] = ("whole", "edges"),
    tables: tuple[str, ...] = tuple(TABLE),
    starts: int = 3,
    max_steps: int = 150,
    seed: int = 1,
    lights: bool = False,
    goals: str = "tilted",
    model: Path | None = None,
    out: Path = Path("results/objects.json"),
) -> None:
    """Measure what is not measured yet.

    Args:
        names: detectors of keypoints: keypoints (the learned one), sift, orb.
        variants: whole, or without tracking or outlier rejection: untracked, unrobust; or with the
        edges' finish: edges.
        tables: plain, clutter.
        starts: of each goal.
        max_steps: pictures a run may take.
        seed: of the starts and of the camera's noise.
        lights: whether the lamps wander.
        goals: tilted, or seen from straight above.
        model: a network of `deepservo learn --method keypoints`; the shipped one when not given.
        out: the results file.
    """
    learned = detectors.Learned(load_unseen(model).net if model else shipped(KEYPOINTS))
    results, finders = (
        ResultsFile(out),
        {"keypoints": learned, "sift": detectors.sift, "orb": detectors.orb},
    )
    for name in names:
        for variant in variants:
            for where in tables:
                for part in PARTS:
                    settings = {
                        "method": "dfbvs", "detector": name, "variant": variant, "table": where,
                        "part": part, "n": len(GOALS[goals]) * starts, "seed": seed,
                        "lights": lights, **({} if goals == "tilted" else {"goals": goals}),
                    }  # fmt: skip
                    if not results.has(settings):
                        row = measured(
                            finders[name],
                            variant,
                            where,
                            part,
                            starts,
                            max_steps,
                            seed,
                            lights,
                            goals,
                        )
                        results.add(row, settings)
                        print(
                            name,
                            variant,
                            where,
                            part,
                            {
                                k: row[k]
                                for k in ("home", "avg1_px", "avg2_px", "end_mm", "end_deg")
                            },
                            flush=True,
                        )


def measured(
    finder: Detector,
    variant: str,
    where: str,
    part: str,
    starts: int,
    max_steps: int,
    seed: int,
    lights: bool,
    goals: str,
) -> dict[str, object]:
    """All goals and starts of a part."""
    k, mesh, begin = list(PARTS).index(part), PARTS[part].mesh(), time.perf_counter()
    found: dict[str, list[float | None]] = {
        name: []
        for name in ("start_mm", "start_deg", "avg1_px", "avg2_px", "end_mm", "end_deg", "steps")
    }
    for goal in range(len(GOALS[goals])):
        T_object_goal = goal_pose(goal, goals)
        target = render_target(mesh, CAMERA, T_object_goal)
        T_world_goal = torch.from_numpy(standing(part) @ T_object_goal)[None]
        T_goal_start = starts_about(target, CAMERA, starts, 1000 * seed + 10 * k + goal)
        features = FeatureServo(
            CAMERA, finder, target.depth, robust=variant != "unrobust", track=variant != "untracked"
        )
        controller = EdgeServo(features, target.depth) if variant == "edges" else features
        world = gantry(part, where, T_world_goal @ T_goal_start, seed, lights)
        trajectory = brought(world, controller, target, max_steps, f"{part}, goal {goal}")
        Ts = se3.inverse(T_world_goal) @ trajectory.Ts_world_cam[-1]
        for which, T in (("start", T_goal_start), ("end", Ts)):
            found[f"{which}_mm"] += (1e3 * T[:, :3, 3].norm(dim=1)).tolist()
            found[f"{which}_deg"] += se3.so3_log(T[:, :3, :3]).norm(dim=1).rad2deg().tolist()
        found["avg2_px"] += [reprojection(target, CAMERA, T) for T in Ts]
        if variant == "edges":  # its last matches are older than its last picture
            features.set_goal(target.grey)
            ends = world.pictures_at(trajectory.Ts_world_cam[-1])
            for _ in range(2):  # matched, then tracked
                features.velocity(ends)
            found["avg1_px"] += [
                e if math.isfinite(e) else None for e in features.state["error_px"].tolist()
            ]
        else:
            found["avg1_px"] += [error(reason) for reason in trajectory.reason]
        found["steps"] += trajectory.steps.tolist()
    known = {
        name: [value for value in values if value is not None] for name, values in found.items()
    }
    mean = {name: float(np.mean(values)) if values else None for name, values in known.items()}
    return {
        **mean,
        "home": float(np.mean(np.array(known["avg2_px"]) < SETTLED_PX)),
        "seconds": time.perf_counter() - begin,
        "runs": found,
    }


def error(reason: str) -> float | None:
    """AVG1: the mean error of the matches at the end, as the controller says; None where it had
    none.
    """
    words = reason.split(" px off", maxsplit=1)[0].split(", ")
    return float(words[-1]) if " px off" in reason else None


if __name__ == "__main__":
    tyro.cli(main)
