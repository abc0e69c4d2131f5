"""deepservo brings a camera home: from one picture of where it should be, it steers the robot that
carries it.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepservo import moved
from deepservo.errors import InputError
from deepservo.version import __version__

if TYPE_CHECKING:
    from deepservo.camera import Camera
    from deepservo.features.causes import Cause
    from deepservo.loop import End, Ending, Trajectory, World, servo
    from deepservo.methods import METHODS, Controller, SingleController, build
    from deepservo.methods.status import Phase, Reason, Status, Tolerance
    from deepservo.models.scene_model import Model, load_model
    from deepservo.scene import PlanarScene
    from deepservo.worlds.simulator import Simulator

__all__ = [
    "METHODS", "Camera", "Cause", "Controller", "End", "Ending", "InputError", "Model", "Phase",
    "PlanarScene", "Reason", "Simulator", "SingleController", "Status", "Tolerance", "Trajectory",
    "World", "__version__", "build", "load", "load_model", "servo",
]  # fmt: skip

moved.install()

# torch takes seconds to import, so each name is fetched when it is first asked for: `deepservo
# --help` answers at once.
_ROOMS = {
    "camera": ("Camera",),
    "features.causes": ("Cause",),
    "loop": ("End", "Ending", "Trajectory", "World", "servo"),
    "methods": ("METHODS", "Controller", "SingleController", "build"),
    "methods.status": ("Phase", "Reason", "Status", "Tolerance"),
    "models.scene_model": ("Model", "load_model"),
    "scene": ("PlanarScene",),
    "worlds.simulator": ("Simulator",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"deepservo.{room}"), name)
    raise AttributeError(f"module 'deepservo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load(
    path: str | Path, method: str | None = None, camera: "Camera | None" = None, depth: Any = None
) -> "Controller":
    """The controller of a model file, or of weights that ship by their name: "cnn-pair",
    "keypoints".

    The model of one scene holds its camera and distance; `method` is `auto`, which asks the learned
    one where its own ways fail, when not given. A network for any scene needs `camera`, and takes
    `depth` of the goal's scene, of whatever is known of it; `method` is `auto`, or `dfbvs+edges`
    with keypoints, when not given.

    Raises InputError when the file is not a whole model of deepservo's, or the camera is missing or
    not the model's.
    """
    from deepservo.methods import build
    from deepservo.models.any_scene_model import KEYPOINTS, UnseenModel, shipped_file
    from deepservo.models.scene_model import read_model

    model = read_model(shipped_file(path))
    if not isinstance(model, UnseenModel):
        if depth is not None or camera not in (None, model.camera):
            raise InputError(
                f"{path}: has its own camera and distance; leave them away, or learn the scene "
                "again with yours"
            )
        return build(method or f"{model.method}+auto", model.camera, model.distance, model)
    if camera is None:
        raise InputError(
            f"{path}: was learned for any camera; give yours, as in load({str(path)!r}, "
            "camera=camera)"
        )
    return build(
        method or ("dfbvs+edges" if model.method == KEYPOINTS else "auto"),
        camera,
        depth,
        model,
    )
