"""Every method by name: `METHODS[name](camera, depth=..., model=...)` builds its controller.

A new method is one file and one line here. Those that are trained take a `model` (a `deepservo.model.Model`); `pca`, which learns
as it is built, only needs its `scene`. `X+dvs` is X with the photometric finish. `dct-20` is `dct` with k = 20, `mlvs-50` is `mlvs` with
a bank of poses and its 50 nearest neighbours.
"""

import re
from collections.abc import Callable
from typing import Any

from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.methods.aevs import AutoEncoderServo
from deepservo.methods.base import Controller
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.direct import PhotometricServo, dct_servo, pca_servo
from deepservo.methods.handoff import Handoff, Still
from deepservo.methods.keypoint import HomographyServo, PointServo
from deepservo.methods.mlvs import MetricServo
from deepservo.methods.particle import ParticleServo
from deepservo.methods.true_pose import TruePose
from deepservo.nets import NETS


def _trained(name: str, camera: Camera, model: Any) -> Any:
    """The model's network; InputError where there is none for this method and camera."""
    if getattr(model, "net", None) is None:
        raise InputError(f"{name}: this method is trained for a scene; make a model with deepservo learn --method {name}, and load it")
    if model.method != name:
        raise InputError(f"{name}: the model was trained for another method; make one with deepservo learn --method {name}")
    if camera != model.camera:
        raise InputError(f"{name}: the model was trained for {model.camera}, not for {camera}; learn the scene again with this camera")
    return model.net


def _aevs(camera: Camera, depth: float = 0.6, model: Any = None, finish: bool = False) -> Controller:
    servo = AutoEncoderServo(camera, _trained("aevs", camera, model), model.distance, model.scene, depth, recognise=finish)
    return Handoff(servo, depth) if finish else servo


def _mlvs(camera: Camera, depth: float = 0.6, model: Any = None, k: int | None = None) -> Controller:
    return MetricServo(camera, _trained("mlvs", camera, model), model.distance, model.scene, neighbours=k)


def _cnn(camera: Camera, depth: float = 0.6, model: Any = None, finish: bool = False) -> Controller:
    _trained("cnn", camera, model)
    if not finish:
        return PoseServo(camera, model.net, model.distance)
    return Handoff(PoseServo(camera, model.net, model.distance, model.scene), depth)


def _pca(camera: Camera, depth: float = 0.6, model: Any = None, k: int = 32) -> Controller:
    if model is None:
        raise InputError("pca: its basis is learned from pictures of the scene; give a model of it")
    return pca_servo(camera, model.scene, depth, k)


METHODS: dict[str, Callable[..., Controller]] = {
    "dvs": lambda camera, depth=0.6, model=None, **options: PhotometricServo(camera, depth, **options),
    "dct": lambda camera, depth=0.6, model=None, k=32: dct_servo(camera, depth, k),
    "pca": _pca,
    "orb": lambda camera, depth=0.6, model=None: PointServo(camera, depth),
    "sift": lambda camera, depth=0.6, model=None: HomographyServo(camera, depth),
    "particle": lambda camera, depth=0.6, model=None: ParticleServo(camera, depth),
    "pbvs": lambda camera, depth=0.6, model=None: TruePose(camera),
    "cnn": lambda camera, depth=0.6, model=None: _cnn(camera, depth, model),
    "aevs": _aevs,
    "mlvs": _mlvs,
    "photometric": lambda camera, depth=0.6, model=None: Handoff(Still(camera), depth),
    "sift+dvs": lambda camera, depth=0.6, model=None: Handoff(HomographyServo(camera, depth), depth),
    "cnn+dvs": lambda camera, depth=0.6, model=None: _cnn(camera, depth, model, finish=True),
    "aevs+dvs": lambda camera, depth=0.6, model=None: _aevs(camera, depth, model, finish=True),
    "mlvs+dvs": lambda camera, depth=0.6, model=None: Handoff(_mlvs(camera, depth, model), depth),
}
NUMBERED = ("dct", "pca", "mlvs")  # whose name may end in how many numbers they take of a picture, or neighbours of a bank


def build(name: str, camera: Camera, depth: float = 0.6, model: Any = None) -> Controller:
    """The controller of that name; InputError names the methods there are when there is none."""
    found = re.fullmatch(rf"({'|'.join(NUMBERED)})-(\d+)", name)
    if found:
        return METHODS[found[1]](camera, depth=depth, model=model, k=int(found[2]))
    check_method(name)
    return METHODS[name](camera, depth=depth, model=model)


def trained_as(name: str) -> str | None:
    """What a model must be trained as to serve this method: `mlvs` for `mlvs+dvs` and `mlvs-50`; None where it needs no training."""
    base = re.sub(r"(\+dvs|-\d+)$", "", name)
    return base if base in NETS else None


def check_method(name: str) -> None:
    """InputError, with the nearest names, where there is no method of that name."""
    if name not in METHODS and not re.fullmatch(rf"({'|'.join(NUMBERED)})-\d+", name):
        raise unknown("method", name, METHODS)
