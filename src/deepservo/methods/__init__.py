"""Every method by name: `METHODS[name](camera, depth=..., model=...)` builds its controller.

A new method is one file and one line here. Those that are trained take a `model` (a `models.scene_model.Model`); `pca`, which learns
as it is built, only needs its `scene`; `auto`, `cnn-pair` and `dfbvs` take the shipped network where the model has none for any scene.
`X+dvs` is X with the photometric finish, `X+edges` X with that of edges; the `dfbvs` ones take a depth for each pixel, (h, w), too.
`dct-20` is `dct` with k = 20, `mlvs-50` is `mlvs` with a bank of poses and its 50 nearest neighbours.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.features.detectors import Detector, Learned, sift
from deepservo.methods.aevs import AutoEncoderServo
from deepservo.methods.auto import AutoServo
from deepservo.methods.base import Controller
from deepservo.methods.cnn_pair import PairServo
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.dfbvs import FeatureServo
from deepservo.methods.direct import PhotometricServo, dct_servo, pca_servo
from deepservo.methods.handoff import Handoff, Still
from deepservo.methods.keypoint import HomographyServo, PointServo
from deepservo.methods.mlvs import MetricServo
from deepservo.methods.model_based import EdgeServo
from deepservo.methods.particle import ParticleServo
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.methods.true_pose import TruePose
from deepservo.models.any_scene_model import KEYPOINTS, shipped
from deepservo.nets import NETS
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import PairNet


def _trained(name: str, camera: Camera, model: Any) -> Any:
    """The model's network; InputError where there is none for this method and camera."""
    if getattr(model, "method", None) is None:
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


def _siamese(method: str, finish: bool = False) -> Callable[..., Controller]:
    def made(camera: Camera, depth: float = 0.6, model: Any = None) -> Controller:
        servo = SiameseServo(camera, _trained(method, camera, model), model.distance, pose=method == "siamese-SE3")
        return Handoff(servo, depth) if finish else servo

    return made


def _unseen(servo: type[PairServo], finish: bool) -> Callable[..., Controller]:
    def made(camera: Camera, depth: float = 0.6, model: Any = None) -> Controller:
        net = getattr(model, "net", None)
        coarse = servo(camera, net if isinstance(net, PairNet) else shipped(), depth)
        return Handoff(coarse, depth) if finish else coarse

    return made


def _features(detector: Detector | None, finish: bool) -> Callable[..., Controller]:
    def made(camera: Camera, depth: float | Float[np.ndarray, "h w"] = 0.6, model: Any = None) -> Controller:
        net = getattr(model, "net", None)
        servo = FeatureServo(camera, detector or Learned(net if isinstance(net, KeypointNet) else shipped(KEYPOINTS)), depth)
        return EdgeServo(servo, servo.Z) if finish else servo

    return made


def _pca(camera: Camera, depth: float = 0.6, model: Any = None, k: int = 32) -> Controller:
    if getattr(model, "scene", None) is None:
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
    "siamese-se3": _siamese("siamese-se3"),
    "siamese-SE3": _siamese("siamese-SE3"),
    "siamese-ibvs": _siamese("siamese-ibvs"),
    "cnn-pair": _unseen(PairServo, finish=False),
    "dfbvs": _features(None, finish=False),
    "dfbvs-sift": _features(sift, finish=False),
    "dfbvs+edges": _features(None, finish=True),
    "dfbvs-sift+edges": _features(sift, finish=True),
    "photometric": lambda camera, depth=0.6, model=None: Handoff(Still(camera), depth),
    "auto": _unseen(AutoServo, finish=True),
    "sift+dvs": lambda camera, depth=0.6, model=None: Handoff(HomographyServo(camera, depth), depth),
    "cnn-pair+dvs": _unseen(PairServo, finish=True),
    "cnn+dvs": lambda camera, depth=0.6, model=None: _cnn(camera, depth, model, finish=True),
    "aevs+dvs": lambda camera, depth=0.6, model=None: _aevs(camera, depth, model, finish=True),
    "mlvs+dvs": lambda camera, depth=0.6, model=None: Handoff(_mlvs(camera, depth, model), depth),
    "siamese-se3+dvs": _siamese("siamese-se3", finish=True),
    "siamese-SE3+dvs": _siamese("siamese-SE3", finish=True),
    "siamese-ibvs+dvs": _siamese("siamese-ibvs", finish=True),
}
WHOLE_PICTURE = frozenset({"dvs", "dct", "pca", "cnn", "aevs", "mlvs", "siamese-se3", "siamese-SE3", "siamese-ibvs"})
"""Those that torch alone computes, and so run wherever their scene and their network are."""
NUMBERED = ("dct", "pca", "mlvs")  # whose name may end in how many numbers they take of a picture, or neighbours of a bank


def build(name: str, camera: Camera, depth: float | Float[np.ndarray, "h w"] = 0.6, model: Any = None) -> Controller:
    """The controller of that name; InputError names the methods there are when there is none."""
    if not isinstance(camera, Camera):
        raise InputError(f"a method takes a Camera, such as read_camera(path).camera, not {type(camera).__name__}")
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
