"""A network that learned a solid scene's one picture as a plane, and one that learned it with its
depth, before that scene (CNN-VS V.B.3, AEVS Fig. 8).

    python -m benchmarks learned-depth && make table

The camera takes one RGB-D picture at the goal, and that is all that is learned. A network that is
in --models is not learned again, a row that is in --out is not measured again: killed, it goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.rows import Row, fill
from benchmarks.common.runs import learned, measured
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation import sight
from deepservo.evaluation.starts import Starts
from deepservo.evaluation.trial import Trial
from deepservo.images.camera_file import CalibratedCamera
from deepservo.methods import build
from deepservo.models.scene_model import Model
from deepservo.scene import sampling, solid_kinds
from deepservo.scene.build import Setup, make_scene, solid_setup
from deepservo.training import learn as learning
from deepservo.training.plan import Training

DISTANCE = 0.6  # m, from the goal's camera to the plane that the solids stand on
# Deviation of the starts from the goal [m], as in the set `steps`. From farther off a camera sees
# little of the one picture.
AWAY = 0.1
KINDS = {"clutter": solid_kinds.clutter, "steps": solid_kinds.steps}
DRAWN = 4  # times as many starts are drawn: those in or behind something are left out


@dataclass(frozen=True)
class Options:
    """What is learned and measured."""

    kind: str = "clutter"
    """of solids: clutter or steps."""
    picture: str = "coffee"
    """on them and on the plane that they stand on, by name."""
    methods: tuple[str, ...] = ("cnn", "cnn+dvs")
    """that the networks steer."""
    n: int = 30
    """runs of each, from starts of the set steps, AWAY from the goal."""
    steps: int = 800
    """of each training."""
    max_steps: int = 150
    """pictures a run may take."""
    seed: int = 1
    """of the starts."""
    models: Path = Path("out/learned-depth")
    """folder that keeps what is learned."""
    out: Path = Path("results/learned-depth.json")
    """the results file."""


def main(options: Options) -> None:
    """Learn and measure what is not there yet."""
    fill(
        options.out,
        wanted(options),
        lambda settings: figures(settings, options),
        ("converged", "off_mm_median"),
    )


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row; deep: whether the network learned the depth too."""
    for method in options.methods:
        for deep in (False, True):
            yield {
                "method": method, "deep": deep, "kind": options.kind, "picture": options.picture,
                "away": AWAY, "n": options.n, "steps": options.steps,
                "max_steps": options.max_steps, "seed": options.seed,
            }  # fmt: skip


def world(settings: Row) -> Setup:
    """The solids before the camera."""
    scene = KINDS[settings["kind"]](scene_of(settings["picture"]), DISTANCE, settings["seed"])
    return Setup(scene, PAPER_CAMERA, DISTANCE, settings["kind"])


def model_of(settings: Row, options: Options) -> Model:
    """What one picture at the goal teaches, with its depth or as a plane at the median depth: the
    network in the folder, or one learned now.
    """
    name = f"{settings['kind']}-{'depth' if settings['deep'] else 'flat'}-{settings['steps']}"
    lens = CalibratedCamera(PAPER_CAMERA)

    def make(show: Any) -> Model:
        scene, T_goal = world(settings).scene, sampling.fronto_parallel(DISTANCE)
        picture, Z = scene.render(PAPER_CAMERA, T_goal)[0], scene.depth(PAPER_CAMERA, T_goal)[0]
        setup = solid_setup(picture, Z, lens, settings["kind"])
        if not settings["deep"]:
            plane = make_scene(picture, lens, name, view=True, distance=setup.distance)
            setup = Setup(plane, PAPER_CAMERA, setup.distance, settings["kind"])
        training = Training(steps=settings["steps"], resume=None)
        return learning.learn(setup, options.models / f"{name}.safetensors", training, show=show)

    return learned(options.models / f"{name}.safetensors", name, make)


def starts(settings: Row) -> Starts:
    """Starts that have room and see the goal; the goal's picture is taken before the solids."""
    setup, n = world(settings), settings["n"]
    generator = torch.Generator().manual_seed(settings["seed"])
    Ts_cam, Ts_goal = sampling.spread(DRAWN * n, generator, DISTANCE, AWAY)
    clear = sight.clear(setup, Ts_cam, Ts_goal)
    Ts_cam, Ts_goal = Ts_cam[clear][:n], Ts_goal[clear][:n]
    if len(Ts_cam) < n:
        raise RuntimeError(f"{len(Ts_cam)} of {DRAWN * n} starts have room; {n} are needed")
    goal = setup.scene.render(PAPER_CAMERA, Ts_goal[:1])
    return Starts(f"steps, {100 * AWAY:g} cm", Ts_cam, Ts_goal, goal, settings["seed"])


def figures(settings: Row, options: Options) -> Row:
    """The figures of a row; off: from the goal at the end, over all runs."""
    model = model_of(settings, options)
    controller = build(settings["method"], PAPER_CAMERA, model.distance, model)
    trial = Trial(
        settings["method"], world(settings), starts(settings), max_steps=settings["max_steps"]
    )
    row = measured(controller, trial)
    return {
        **row,
        "off_mm_median": float(np.median(row["runs"]["end_mm"])),
        "off_deg_median": float(np.median(row["runs"]["end_deg"])),
        "trained_s": model.training["seconds"],
    }
