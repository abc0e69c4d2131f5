"""deepservo brings a camera home: from one picture of where it should be, it steers the robot that carries it."""

from pathlib import Path

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.loop import Simulator, Trajectory, World, servo
from deepservo.methods import METHODS, Controller, build
from deepservo.model import Model, load_model
from deepservo.scene import PlanarScene
from deepservo.version import __version__

__all__ = [
    "METHODS", "Camera", "Controller", "InputError", "Model", "PlanarScene", "Simulator", "Trajectory", "World", "__version__", "build",
    "load", "load_model", "servo",
]  # fmt: skip


def load(path: str | Path, method: str | None = None) -> Controller:
    """The controller of a model file: the learned method with the photometric finish, or another by name.

    Raises InputError when the file is not a whole model of ours.
    """
    model = load_model(path)
    return build(method or f"{model.method}+dvs", model.camera, model.distance, model)
