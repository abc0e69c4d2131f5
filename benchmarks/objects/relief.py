"""Networks taught a flat picture, before a poster and before things that stand on it, under
wandering lamps (CNN-VS V.B.3, AEVS Fig. 8).

    python -m benchmarks relief && make table

The camera takes one picture from where it shall be; that picture, taken for a plane, is all that is
learned. A network that is in --models is not learned again, a row that is in --out is not measured
again: killed, it goes on.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from benchmarks.common.rows import ResultsFile, per_run
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import servo_bar, training_bar
from deepservo.evaluation.metrics import judge
from deepservo.evaluation.starts import Starts
from deepservo.evaluation.trial import Trial, measure
from deepservo.images.camera_file import CalibratedCamera
from deepservo.methods import build, trained_as
from deepservo.models.scene_model import Model, load_model
from deepservo.scene import sampling
from deepservo.scene.build import Setup, make_scene
from deepservo.training.learn import Options, learn
from deepservo.training.plan import Training
from deepservo.worlds.gantry import RATE, Gantry, Light, Standing, Workcell
from deepservo.worlds.objects import PARTS
from deepservo.worlds.views import AXES

DISTANCE, PICTURE = 0.6, "coffee"
# deviation of the starts from the goal [m], as in the set `steps`: farther off a camera sees little
# of the one picture
AWAY = 0.1
LARGER = 2.0  # than the parts that are grasped
PLACES = {
    "bracket": (-0.12, -0.07, 0.3),
    "hub": (0.13, -0.07, 0.0),
    "clip": (0.02, 0.12, -0.4),
}  # x, y [m], turned about z [rad]


def things() -> list[Standing]:
    """What stands on the poster."""
    found = []
    for name, (x, y, angle) in PLACES.items():
        mesh, (c, s) = PARTS[name].mesh(), (np.cos(angle), np.sin(angle))
        T = np.eye(4)
        T[:3, :3], T[:2, 3] = AXES @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), (x, y)
        found.append(Standing(name, replace(mesh, vertices=LARGER * mesh.vertices), T))
    return found


def heights() -> float:
    """How high the highest thing stands, as a share of the camera's distance."""
    return (
        max(LARGER * float(PARTS[name].mesh().vertices[:, 2].max()) for name in PLACES) / DISTANCE
    )


def gantry(relief: bool, Ts_world_cam: Float[Tensor, "n 4 4"], seed: int) -> Gantry:
    """Gantries over the poster, or over it and what stands on it; the lamps wander."""
    return Gantry(
        scene_of(PICTURE),
        PAPER_CAMERA,
        Ts_world_cam,
        Workcell(Light(changing=True), parts=things() if relief else ()),
        seed=seed,
    )


def goal_picture(relief: bool) -> Float[Tensor, "1 1 h w"]:
    """What the camera sees from where it shall be."""
    T_goal = sampling.fronto_parallel(DISTANCE)
    return gantry(relief, T_goal, 0).pictures_at(T_goal)


def learned(method: str, relief: bool, folder: Path, steps: int) -> Model:
    """The model that the goal's picture gives: the one in the folder, or one learned now."""
    name = "relief" if relief else "flat"
    path = folder / f"{name}-{method}.safetensors"
    if path.is_file():
        return load_model(path)
    folder.mkdir(parents=True, exist_ok=True)
    camera, (picture,) = CalibratedCamera(PAPER_CAMERA), goal_picture(relief)
    scene = make_scene(picture, camera, name, view=True, distance=DISTANCE)
    with training_bar(f"learning {name}, {method}") as show:
        return learn(
            Setup(scene, PAPER_CAMERA, DISTANCE, name),
            path,
            Training(steps=steps, resume=None),
            options=Options(method),
            show=show,
        )


def main(
    *,
    methods: tuple[str, ...] = ("cnn", "cnn+dvs", "auto", "sift"),
    n: int = 10,
    steps: int = 2400,
    seed: int = 1,
    models: Path = Path("out/relief"),
    out: Path = Path("results/relief.json"),
) -> None:
    """Measure what is not measured yet.

    Args:
        methods: by name.
        n: runs of each, from starts of the set steps, AWAY from home.
        steps: of training.
        seed: of the starts, the camera's noise and the lamps' ways.
        models: folder that keeps what is learned.
        out: the results file.
    """
    results = ResultsFile(out)
    for method in methods:
        for relief in (False, True):
            settings = {
                "method": method,
                "away": AWAY,
                "relief": heights() if relief else 0.0,
                "n": n,
                "steps": steps if trained_as(method) else 0,
                "seed": seed,
            }
            if not results.has(settings):
                taught = trained_as(method)
                row = measured(
                    method,
                    relief,
                    n,
                    seed,
                    learned(taught, relief, models, steps) if taught else None,
                )
                results.add(row, settings)
                print(
                    method,
                    "relief" if relief else "flat",
                    row["converged"],
                    row["end_mm_median"],
                    flush=True,
                )


def starts(n: int, seed: int) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"]]:
    """`T_world_cam` and `T_world_goal`."""
    return sampling.spread(n, torch.Generator().manual_seed(seed), DISTANCE, AWAY)


def measured(
    method: str, relief: bool, n: int, seed: int, model: Model | None
) -> dict[str, object]:
    """A row, with what pooling needs of each run."""
    Ts_world_cam, Ts_world_goal = starts(n, seed)
    where = Starts(
        f"steps, {100 * AWAY:g} cm", Ts_world_cam, Ts_world_goal, goal_picture(relief), seed
    )
    controller, world = (
        build(method, PAPER_CAMERA, DISTANCE, model),
        gantry(relief, where.Ts_world_cam, seed),
    )
    with servo_bar(f"{method}, {'relief' if relief else 'flat'}", controller.max_steps) as show:
        setup = Setup(scene_of(PICTURE), PAPER_CAMERA, DISTANCE, PICTURE)
        trial = Trial(method, setup, where, world, 1 / RATE)
        trajectory, row = measure(controller, trial, show)
    return {**row, "runs": per_run(judge(trajectory, where.Ts_world_goal, row["gain"]))}


if __name__ == "__main__":
    tyro.cli(main)
