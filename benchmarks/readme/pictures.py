"""The README's table: learn each bundled picture, then servo to goals, clean and perturbed, by
every method.

    python -m benchmarks pictures && make table

A picture whose model is in --models is not learned again, a row that is in --out is not measured
again: killed, it goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.common.rows import Row, fill
from benchmarks.common.runs import measured
from benchmarks.measurements.models import Options as Training
from benchmarks.measurements.models import model_of
from deepservo import Model
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.starts import sampled
from deepservo.evaluation.trial import Trial
from deepservo.images.pictures import BUNDLED
from deepservo.methods import build
from deepservo.scene.build import Setup

LEARNED = ("cnn+dvs", "cnn")
DISTANCE = 0.6  # [m]
SETS = ("lookat-rz", "lookat-rz-perturbed")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    minutes: float = 4.5
    """of training a picture."""
    models: Path = Path("out/models")
    """folder that keeps the models."""
    n: int = 100
    """starts a row."""
    seed: int = 1
    """of the starts and of what perturbs the goals; 0 was looked at while the methods were made.
    Trainings have seed 0."""
    out: Path = Path("results/pictures.json")
    """the results file."""
    pictures: tuple[str, ...] = BUNDLED
    """bundled pictures to take."""
    methods: tuple[str, ...] = ("auto", "cnn+dvs", "cnn", "sift", "sift+dvs")
    """what to measure; a picture is learned where one of them needs that."""


@cache
def model_for(picture: str, options: Options) -> Model | None:
    """The model of a picture, where one of the methods needs it."""
    if not set(options.methods) & set(LEARNED):
        return None
    return model_of(picture, Training(minutes=options.minutes, models=options.models))


def training(method: str, model: Model | None) -> dict[str, Any]:
    """What a model says of its training, where the method uses it."""
    return model.training if model and method in LEARNED else {}


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row."""
    for picture in options.pictures:
        for name in SETS:
            for method in options.methods:
                steps = training(method, model_for(picture, options)).get("steps")
                yield {
                    "method": method, "set": name, "scene": picture, "n": options.n,
                    "seed": options.seed, "trained_steps": steps,
                }  # fmt: skip


def main(options: Options) -> None:
    """Measure what is not measured yet."""

    def measure(settings: Row) -> Row:
        method, name, picture = (settings[key] for key in ("method", "set", "scene"))
        model = model_for(picture, options)
        setup = model or Setup(scene_of(picture), PAPER_CAMERA, DISTANCE, picture)
        controller = build(method, PAPER_CAMERA, DISTANCE, model)
        starts = sampled(name, options.n, options.seed, setup)
        row = measured(controller, Trial(method, setup, starts))
        return {**row, "trained_s": training(method, model).get("seconds")}

    fill(options.out, wanted(options), measure, ("converged", "time_s"))
