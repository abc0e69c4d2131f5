"""Every method by name: `build("sift+dvs", camera, depth)` makes its controller.

A name is `coarse[-k][+refinement]`. coarse: a method of METHODS. k: a number, for those that have
one (`dct-20`: coefficients, `mlvs-50`: neighbours). refinement: one of REFINEMENTS, which takes
over near the goal: `dvs` refines on grey levels, `edges` on the edges of a goal with depth, and
`auto` as `dvs` does, with its own ways to the goal beside the coarse one.

A new method is one file and one line here, or is outside of this package: an entry point of the
group `deepservo.methods`, or `mine.py:Mine` where `servo` and `bench` take a name. It is called
with the camera, and with those of `depth`, `model`, `k` and `refined` that are among its
parameters.
"""

import functools
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.features.detectors import Detector, Learned, sift
from deepservo.features.drawn import Shape
from deepservo.features.goal_depth import GoalDepth
from deepservo.images.depth import Depth
from deepservo.methods.aevs import AutoEncoderServo
from deepservo.methods.auto import AutoServo, reduced
from deepservo.methods.base import Controller, SingleController
from deepservo.methods.cnn_pair import PairServo
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.coarse_to_fine import CoarseToFine, ZeroVelocity
from deepservo.methods.dfbvs import KeypointServo
from deepservo.methods.direct import PhotometricServo, dct_servo, pca_servo
from deepservo.methods.keypoint import HomographyServo, PointServo
from deepservo.methods.mlvs import MetricServo, Neighbours
from deepservo.methods.model_based import EdgeServo
from deepservo.methods.particle import ParticleServo
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.methods.true_pose import TruePose
from deepservo.methods.witnesses import Witnesses
from deepservo.models.any_scene_model import KEYPOINTS, shipped
from deepservo.nets import NETS
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import PairNet

__all__ = [
    "METHODS", "REFINED", "REFINEMENTS", "WHOLE_PICTURE", "Controller", "Name", "SingleController",
    "build", "check_method", "discover", "names", "parsed", "plug_in", "trained_as",
]  # fmt: skip


@dataclass(frozen=True)
class Name:
    """The parts of a method's name `coarse[-k][+refinement]`."""

    coarse: str
    k: int | None = None
    refinement: str | None = None


def _trained(name: str, camera: Camera, model: Any) -> Any:
    """The model's network; InputError where there is none for this method and camera."""
    if getattr(model, "method", None) is None:
        raise InputError(
            f"{name}: this method is trained for a scene; make a model with deepservo learn "
            f"--method {name}, and load it"
        )
    if model.method != name:
        raise InputError(
            f"{name}: the model was trained for another method; make one with deepservo learn "
            f"--method {name}"
        )
    if camera != model.camera:
        raise InputError(
            f"{name}: the model was trained for {model.camera}, not for {camera}; learn the scene "
            "again with this camera"
        )
    return model.net


def _cnn(camera: Camera, model: Any = None, refined: bool = False) -> Controller:
    return PoseServo(
        camera, _trained("cnn", camera, model), model.distance, model.scene if refined else None
    )


def _aevs(
    camera: Camera, depth: Depth = None, model: Any = None, refined: bool = False
) -> Controller:
    return AutoEncoderServo(
        camera,
        _trained("aevs", camera, model),
        model.distance,
        model.scene,
        depth,
        recognise=refined,
    )


def _mlvs(camera: Camera, model: Any = None, k: int | None = None) -> Controller:
    return MetricServo(
        camera,
        _trained("mlvs", camera, model),
        model.distance,
        model.scene,
        neighbours=None if k is None else Neighbours(k),
    )


def _siamese(method: str) -> Callable[..., Controller]:
    def made(camera: Camera, model: Any = None) -> Controller:
        return SiameseServo(
            camera, _trained(method, camera, model), model.distance, pose=method == "siamese-SE3"
        )

    return made


def _pairs(servo: type[PairServo]) -> Callable[..., Controller]:
    def made(camera: Camera, depth: Depth = None, model: Any = None) -> Controller:
        net = getattr(model, "net", None)
        return servo(camera, net if isinstance(net, PairNet) else shipped(), depth)

    return made


def _auto(camera: Camera, depth: Depth = None, model: Any = None) -> Controller:
    if getattr(model, "method", None) in NETS:
        return build(f"{model.method}+auto", camera, depth, model)
    return _with_auto(GoalDepth.of(depth, camera), model=model)


def _with_auto(depth: GoalDepth, *others: Controller, model: Any = None) -> Controller:
    """The way is found in reduced pictures, whatever the camera's size, or by the others."""
    small = reduced(depth.camera)
    matches = _pairs(AutoServo)(small, depth.seen_by(small), model)
    return CoarseToFine(Witnesses(depth.camera, depth, (matches, *others)))


def _features(detector: Detector | None) -> Callable[..., Controller]:
    def made(camera: Camera, depth: Depth = None, model: Any = None) -> Controller:
        net = getattr(model, "net", None)
        return KeypointServo(
            camera,
            detector or Learned(net if isinstance(net, KeypointNet) else shipped(KEYPOINTS)),
            depth,
        )

    return made


def _pca(camera: Camera, depth: Depth = None, model: Any = None, k: int = 32) -> Controller:
    if getattr(model, "scene", None) is None:
        raise InputError("pca: its basis is learned from pictures of the scene; give a model of it")
    return pca_servo(camera, model.scene, depth, k)


class _Methods(dict[str, Callable[..., Controller]]):
    """Composed and numbered names are found too, such as METHODS["sift+dvs"].

    Raises InputError, with the nearest names, where there is no such method.
    """

    def __missing__(self, name: str) -> Callable[..., Controller]:
        check_method(name)
        return functools.partial(build, name)


METHODS = _Methods(
    {
        "dvs": PhotometricServo,
        "dct": dct_servo,
        "pca": _pca,
        "orb": PointServo,
        "sift": HomographyServo,
        "particle": ParticleServo,
        "pbvs": TruePose,
        "cnn": _cnn,
        "aevs": _aevs,
        "mlvs": _mlvs,
        "siamese-se3": _siamese("siamese-se3"),
        "siamese-SE3": _siamese("siamese-SE3"),
        "siamese-ibvs": _siamese("siamese-ibvs"),
        "cnn-pair": _pairs(PairServo),
        "dfbvs": _features(None),
        "dfbvs-sift": _features(sift),
        "photometric": lambda camera, depth=None: CoarseToFine(ZeroVelocity(camera), depth),
        "auto": _auto,
    }
)
REFINEMENTS: dict[str, Callable[..., Controller]] = {
    "dvs": lambda coarse, depth, shape: CoarseToFine(coarse, depth),
    "edges": lambda coarse, depth, shape: EdgeServo(coarse, depth, shape=shape),
    "auto": lambda coarse, depth, shape: _with_auto(
        coarse.goal_depth if depth is None else GoalDepth.of(depth, coarse.camera), coarse
    ),
}
REFINED = {
    "auto": "refines on grey levels already",
    "photometric": "is a refinement itself",
    "pbvs": "has the true pose",
}
"""Coarse methods that take no refinement, and why."""
WHOLE_PICTURE = frozenset(
    {"dvs", "dct", "pca", "cnn", "aevs", "mlvs", "siamese-se3", "siamese-SE3", "siamese-ibvs"}
)
"""Methods that torch alone computes, and that so run on the device of their scene and network."""
_NAME = re.compile(r"(?P<coarse>.+?)(?:-(?P<k>\d+))?(?:\+(?P<refinement>\w+))?(?:-(?P<last>\d+))?")


def parsed(name: str) -> Name:
    """The parts of a name, whether or not there is such a method."""
    found = _NAME.fullmatch(name)
    if name in METHODS or found is None:
        return Name(name)
    k = found["k"] or found["last"]
    return Name(found["coarse"], None if k is None else int(k), found["refinement"])


def build(
    name: str,
    camera: Camera,
    depth: Depth = None,
    model: Any = None,
    shape: Shape | None = None,
) -> Controller:
    """The controller of that name.

    depth: of the goal's scene, of whatever is known of it. model: a `models.scene_model.Model` for
    the methods that are trained; for `pca` anything with a `scene`.

    Raises InputError, with the nearest names, where there is no method of that name, and where the
    model or the camera does not fit it.
    """
    if not isinstance(camera, Camera):
        raise InputError(
            "a method takes a Camera, such as read_camera(path).camera, not "
            f"{type(camera).__name__}"
        )
    parts = check_method(name)
    offered = {"model": model, "refined": parts.refinement is not None}
    if depth is not None:
        offered["depth"] = depth
    if parts.k is not None:
        offered["k"] = parts.k
    make = METHODS[parts.coarse]
    taken = inspect.signature(make).parameters
    coarse = make(camera, **{option: value for option, value in offered.items() if option in taken})
    return (
        coarse if parts.refinement is None else REFINEMENTS[parts.refinement](coarse, depth, shape)
    )


def check_method(name: str) -> Name:
    """The parts of a method's name; entry points are loaded where it is none of METHODS.

    Raises InputError, with the nearest names, where there is no such method.
    """
    parts = parsed(name)
    if parts.coarse not in METHODS:
        discover()
        parts = parsed(name)
    if parts.coarse not in METHODS or parts.refinement not in (None, *REFINEMENTS):
        raise unknown("method", name, METHODS, names())
    if parts.k is not None and "k" not in inspect.signature(METHODS[parts.coarse]).parameters:
        raise InputError(
            f"{name}: {parts.coarse} takes no number; only {', '.join(_numbered())} do"
        )
    if parts.refinement and parts.coarse in REFINED:
        raise InputError(
            f"{name}: {parts.coarse} {REFINED[parts.coarse]}; leave +{parts.refinement} away"
        )
    return parts


def names() -> Iterator[str]:
    """The names of all methods, each alone and with each refinement that it takes."""
    for coarse in METHODS:
        yield coarse
        yield from (f"{coarse}+{refinement}" for refinement in REFINEMENTS if coarse not in REFINED)


def _numbered() -> list[str]:
    return [name for name, make in METHODS.items() if "k" in inspect.signature(make).parameters]


def trained_as(name: str) -> str | None:
    """The method that a model must be trained for to be used by this one, or None.

    For `mlvs+dvs` and `mlvs-50` it is `mlvs`.
    """
    coarse = parsed(name).coarse
    return coarse if coarse in NETS else None


def plug_in(name: str) -> str:
    """Add a method of `mine.py:Mine` to METHODS, and return its name, `Mine`.

    It is `Mine+dvs` for `mine.py:Mine+dvs`. Any other name is returned unchanged. Runs the file.
    Raises InputError where there is no such file, where it fails, where it has no such class or
    function, or where `Mine` is a method's name already.
    """
    found = re.fullmatch(r"(?P<file>.+\.py):(?P<thing>\w+)(?P<more>.*)", name)
    if found is None:
        return name
    path, thing = Path(found["file"]), found["thing"]
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; give a Python file and the class in it, as mine.py:Mine"
        )
    if thing in METHODS and getattr(METHODS[thing], "__module__", "") != f"deepservo_{path.stem}":
        raise InputError(f"{name}: there is a method {thing} already; give the class another name")
    spec = importlib.util.spec_from_file_location(f"deepservo_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(
            f"{path}: does not run ({type(error).__name__}: {error}); python {path} shows where"
        ) from error
    if not callable(getattr(module, thing, None)):
        raise InputError(
            f"{path}: has no class or function {thing}; give one that makes a Controller from a "
            "Camera"
        )
    METHODS[thing] = getattr(module, thing)
    return thing + found["more"]


def discover() -> None:
    """Add the methods of other installed packages; a name that is there already stays."""
    for entry in entry_points(group="deepservo.methods"):
        if entry.name not in METHODS:
            METHODS[entry.name] = entry.load()
