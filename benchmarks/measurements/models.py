"""Learn bundled pictures, for what is measured on them.

    python -m benchmarks models --method mlvs --pictures coffee moon

A model that is there is not learned again; a training that was killed goes on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.runs import learned
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.images.camera_file import CalibratedCamera
from deepservo.images.pictures import BUNDLED
from deepservo.models.scene_model import Model
from deepservo.scene.build import Setup, make_scene
from deepservo.training import learn as learning
from deepservo.training.plan import Training


@dataclass(frozen=True)
class Options:
    """What is learned, and for how long."""

    method: str = "cnn"
    """what to train."""
    pictures: tuple[str, ...] = BUNDLED
    """names of scenes."""
    minutes: float | None = None
    """of training a picture; as long as the recipe says when not given."""
    steps: int | None = None
    """instead of minutes."""
    distance: float = 0.6
    """from the scene to where it is learned from [m]."""
    models: Path = Path("out/models")
    """folder that keeps the models, of one distance."""


def main(options: Options) -> None:
    """Learn what is not learned yet."""
    for picture in options.pictures:
        training = model_of(picture, options).training
        print(
            f"{picture}: {training['steps']} steps of {training['batch']}, "
            f"{training['seconds']:.0f} s, loss {training['loss'][-1][1]:.3f}",
            flush=True,
        )


def model_of(picture: str, options: Options) -> Model:
    """The model of a scene: the one in the folder, or one learned now (resumed where it was
    killed).
    """
    method, distance = options.method, options.distance
    path = options.models / f"{picture}{'' if method == 'cnn' else f'-{method}'}.safetensors"

    def make(show: Any) -> Model:
        scene = make_scene(scene_of(picture).texture, CalibratedCamera(PAPER_CAMERA), picture)
        training = Training(options.minutes, options.steps, resume=None)
        setup = Setup(scene, PAPER_CAMERA, distance, picture)
        return learning.learn(setup, path, training, options=learning.Options(method), show=show)

    return learned(path, picture, make)
