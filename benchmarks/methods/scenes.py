"""Siame-se(3) Fig. 3: one network of many scenes, in grey and in colour, measured on some of the
scenes that it learned.

    python -m benchmarks scenes --folder PICTURES && make table

Killed, it goes on: what is learned or measured is not done again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.common.rows import Row, fill
from benchmarks.common.runs import learned, measured_job
from deepservo.bench.runs import Bench, Job
from deepservo.camera import PAPER_CAMERA
from deepservo.images import pictures
from deepservo.images.camera_file import CalibratedCamera
from deepservo.methods import build
from deepservo.models.scene_model import Model
from deepservo.scene import PlanarScene
from deepservo.scene.build import Setup, make_scene
from deepservo.training import learn as learning
from deepservo.training.plan import Training

METHOD, SET, DISTANCE = "siamese-se3", "gaussian", 0.6  # [m]


@dataclass(frozen=True)
class Options:
    """What is learned and measured."""

    folder: Path
    """pictures, of which the first are learned."""
    numbers: tuple[int, ...] = (1, 10, 50, 100)
    """of scenes in a network."""
    colours: tuple[bool, ...] = (False, True)
    """whether pictures are in colour."""
    steps: int = 8000
    """of each training."""
    preset: str = "cpu"
    """of its recipe."""
    measured: int = 10
    """on how many of its scenes a network is measured, from the first to the last evenly."""
    n: int = 20
    """starts in each scene."""
    seed: int = 0
    """of the training and the starts."""
    models: Path = Path("out/scenes")
    """folder that keeps the networks."""
    out: Path = Path("results/scenes.json")
    """the results file."""


@lru_cache(1)
def scenes_of(folder: Path, number: int, colour: bool) -> dict[str, PlanarScene]:
    """The first pictures of a folder, each on the plane, by file name."""
    camera = CalibratedCamera(PAPER_CAMERA)
    return {
        file.name: make_scene(pictures.read_picture(file, colour), camera, str(file))
        for file in pictures.files_in(folder)[:number]
    }


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row."""
    for number in options.numbers:
        for colour in options.colours:
            files = pictures.files_in(options.folder)[:number]
            for file in files[:: -(-len(files) // options.measured)]:
                yield {
                    "scene": file.name, "scenes": number, "colour": colour,
                    "preset": options.preset, "steps_trained": options.steps, "n": options.n,
                    "seed": options.seed,
                }  # fmt: skip


def model_of(number: int, colour: bool, options: Options) -> Model:
    """The network of so many scenes: the one in the folder, or one learned now (resumed where it
    was killed).
    """
    preset, steps = options.preset, options.steps
    path = options.models / f"{preset}-{number}{'-colour' * colour}-{steps}.safetensors"

    def make(show: Any) -> Model:
        (name, first), *others = scenes_of(options.folder, number, colour).items()
        training = Training(steps=steps, seed=options.seed, resume=None)
        more = learning.Options(METHOD, preset, others=tuple(scene for _, scene in others))
        setup = Setup(first, PAPER_CAMERA, DISTANCE, name)
        return learning.learn(setup, path, training, options=more, show=show)

    return learned(path, f"{number} scenes{' in colour' * colour}", make)


def main(options: Options) -> None:
    """Learn and measure."""

    def measure(settings: Row) -> Row:
        number, colour, name = (settings[key] for key in ("scenes", "colour", "scene"))
        model = model_of(number, colour, options)
        scenes = scenes_of(options.folder, number, colour)
        bench = Bench(PAPER_CAMERA, DISTANCE, scenes, {}, options.seed)
        controller = build(METHOD, PAPER_CAMERA, DISTANCE, model)
        job = Job(METHOD, SET, "", name, options.n)
        row = measured_job(job, bench, controller, f"{number} scenes, {name}")
        trained = model.training
        return {**row, "trained_s": trained["seconds"], "loss": trained["loss"][-1][1]}

    fill(options.out, wanted(options), measure, ("converged",))
