"""deepservo brings a camera home: from one picture of where it should be, it steers the robot that carries it."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepservo.errors import InputError
from deepservo.version import __version__

if TYPE_CHECKING:
    from deepservo.camera import Camera
    from deepservo.loop import Simulator, Trajectory, World, servo
    from deepservo.methods import METHODS, Controller, build
    from deepservo.model import Model, load_model
    from deepservo.scene import PlanarScene

__all__ = [
    "METHODS", "Camera", "Controller", "InputError", "Model", "PlanarScene", "Simulator", "Trajectory", "World", "__version__", "build",
    "load", "load_model", "servo",
]  # fmt: skip

# torch takes seconds to import, so each name is fetched when it is first asked for: `deepservo --help` answers at once.
_ROOMS = {
    "camera": ("Camera",),
    "loop": ("Simulator", "Trajectory", "World", "servo"),
    "methods": ("METHODS", "Controller", "build"),
    "model": ("Model", "load_model"),
    "scene": ("PlanarScene",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"deepservo.{room}"), name)
    raise AttributeError(f"module 'deepservo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load(path: str | Path, method: str | None = None) -> "Controller":
    """The controller of a model file: the learned method with the photometric finish, or another by name.

    Raises InputError when the file is not a whole model of ours.
    """
    from deepservo.methods import build
    from deepservo.model import load_model

    model = load_model(path)
    return build(method or f"{model.method}+dvs", model.camera, model.distance, model)
