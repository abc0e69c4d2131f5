"""Networks that learned a flat picture, before that picture and before objects that stand on it,
under wandering lamps (CNN-VS V.B.3, AEVS Fig. 8).

    python -m benchmarks relief && make table

The camera takes one picture at the goal. That picture, taken for a plane, is all that is learned. A
network that is in --models is not learned again, a row that is in --out is not measured again:
killed, it goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.common.rows import Row, fill
from benchmarks.common.runs import learned, measured
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.starts import Starts
from deepservo.evaluation.trial import Trial
from deepservo.images.camera_file import CalibratedCamera
from deepservo.methods import build, trained_as
from deepservo.models.scene_model import Model
from deepservo.scene import sampling
from deepservo.scene.build import Setup, make_scene
from deepservo.training import learn as learning
from deepservo.training.plan import Training
from deepservo.worlds.gantry import RATE, Gantry, Light, Standing, Workcell
from deepservo.worlds.objects import PARTS
from deepservo.worlds.views import AXES

# Training imports Triton. Its LLVM crashes when it is loaded after that of Mesa, with which MuJoCo
# draws where there is no GPU. So it is imported before anything is drawn.
import_module("torch._dynamo")
DISTANCE, PICTURE = 0.6, "coffee"  # [m]
# Deviation of the starts from the goal [m], as in the set `steps`. From farther off a camera sees
# little of the one picture.
AWAY = 0.1
LARGER = 2.0  # than the parts that are grasped
# x, y [m], turned about z [rad]
PLACES = {"bracket": (-0.12, -0.07, 0.3), "hub": (0.13, -0.07, 0.0), "clip": (0.02, 0.12, -0.4)}


@dataclass(frozen=True)
class Options:
    """What is learned and measured."""

    methods: tuple[str, ...] = ("cnn", "cnn+dvs", "auto", "sift")
    """by name."""
    n: int = 10
    """runs of each, from starts of the set steps, AWAY from the goal."""
    steps: int = 2400
    """of training."""
    seed: int = 1
    """of the starts, the camera's noise and the lamps' ways."""
    models: Path = Path("out/relief")
    """folder that keeps what is learned."""
    out: Path = Path("results/relief.json")
    """the results file."""


def things() -> list[Standing]:
    """The objects that stand on the textured plane."""
    found = []
    for name, (x, y, angle) in PLACES.items():
        mesh, (c, s) = PARTS[name].mesh(), (np.cos(angle), np.sin(angle))
        T = np.eye(4)
        T[:3, :3], T[:2, 3] = AXES @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), (x, y)
        found.append(Standing(name, replace(mesh, vertices=LARGER * mesh.vertices), T))
    return found


def heights() -> float:
    """How high the highest object stands, as a share of the camera's distance."""
    highest = max(float(PARTS[name].mesh().vertices[:, 2].max()) for name in PLACES)
    return LARGER * highest / DISTANCE


def gantry(relief: bool, Ts_world_cam: Float[Tensor, "n 4 4"], seed: int) -> Gantry:
    """Gantries over the textured plane, with or without the objects on it; the lamps wander."""
    cell = Workcell(Light(changing=True), parts=things() if relief else ())
    return Gantry(scene_of(PICTURE), PAPER_CAMERA, Ts_world_cam, cell, seed=seed)


def goal_picture(relief: bool) -> Float[Tensor, "1 1 h w"]:
    """What the camera sees at the goal."""
    T_goal = sampling.fronto_parallel(DISTANCE)
    return gantry(relief, T_goal, 0).pictures_at(T_goal)


def model_of(method: str, relief: bool, folder: Path, steps: int) -> Model:
    """The model that the goal's picture gives: the one in the folder, or one learned now."""
    name = "relief" if relief else "flat"
    path, camera = folder / f"{name}-{method}.safetensors", CalibratedCamera(PAPER_CAMERA)

    def make(show: Any) -> Model:
        (picture,) = goal_picture(relief)
        scene = make_scene(picture, camera, name, view=True, distance=DISTANCE)
        setup = Setup(scene, PAPER_CAMERA, DISTANCE, name)
        training = Training(steps=steps, resume=None)
        return learning.learn(setup, path, training, options=learning.Options(method), show=show)

    return learned(path, f"{name}, {method}", make)


def starts(n: int, seed: int) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"]]:
    """`T_world_cam` and `T_world_goal`."""
    return sampling.spread(n, torch.Generator().manual_seed(seed), DISTANCE, AWAY)


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row."""
    for method in options.methods:
        for relief in (False, True):
            yield {
                "method": method, "away": AWAY, "relief": heights() if relief else 0.0,
                "n": options.n, "steps": options.steps if trained_as(method) else 0,
                "seed": options.seed,
            }  # fmt: skip


def figures(settings: Row, models: Path) -> Row:
    """The figures of a row."""
    method, relief, seed = settings["method"], settings["relief"] > 0, settings["seed"]
    network = trained_as(method)
    model = model_of(network, relief, models, settings["steps"]) if network else None
    Ts_world_cam, Ts_world_goal = starts(settings["n"], seed)
    name = f"steps, {100 * AWAY:g} cm"
    where = Starts(name, Ts_world_cam, Ts_world_goal, goal_picture(relief), seed)
    setup = Setup(scene_of(PICTURE), PAPER_CAMERA, DISTANCE, PICTURE)
    trial = Trial(method, setup, where, gantry(relief, Ts_world_cam, seed), 1 / RATE)
    return measured(build(method, PAPER_CAMERA, DISTANCE, model), trial)


def main(options: Options) -> None:
    """Measure what is not measured yet."""
    fill(
        options.out,
        wanted(options),
        lambda settings: figures(settings, options.models),
        ("converged", "end_mm_median"),
    )
