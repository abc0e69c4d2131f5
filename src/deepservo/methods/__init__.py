"""Every method by name: `METHODS[name](camera, depth=..., model=...)` builds its controller.

A new method is one file and one line here. Those that are trained take a `model` (a `deepservo.model.Model`);
`X+dvs` is X with the photometric finish.
"""

from collections.abc import Callable
from typing import Any

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.methods.base import Controller
from deepservo.methods.classical import KeypointServo, PhotometricServo, TruePose
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.handoff import Handoff, Still


def _cnn(camera: Camera, depth: float = 0.6, model: Any = None, finish: bool = False) -> Controller:
    if model is None:
        raise InputError("cnn: this method is trained for a scene; make a model with deepservo learn, and load it")
    if camera != model.camera:
        raise InputError(f"cnn: the model was trained for {model.camera}, not for {camera}; learn the scene again with this camera")
    if not finish:
        return PoseServo(camera, model.net, model.distance)
    return Handoff(PoseServo(camera, model.net, model.distance, model.scene), depth)


METHODS: dict[str, Callable[..., Controller]] = {
    "dvs": lambda camera, depth=0.6, model=None, **options: PhotometricServo(camera, depth, **options),
    "sift": lambda camera, depth=0.6, model=None: KeypointServo(camera, depth),
    "pbvs": lambda camera, depth=0.6, model=None: TruePose(camera),
    "cnn": _cnn,
    "photometric": lambda camera, depth=0.6, model=None: Handoff(Still(camera), depth),
    "sift+dvs": lambda camera, depth=0.6, model=None: Handoff(KeypointServo(camera, depth), depth),
    "cnn+dvs": lambda camera, depth=0.6, model=None: _cnn(camera, depth, model, finish=True),
}


def build(name: str, camera: Camera, depth: float = 0.6, model: Any = None) -> Controller:
    """The controller of that name; InputError names the methods there are when there is none."""
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name](camera, depth=depth, model=model)
