"""Learn a scene from one picture: from the picture at the door to a finished model file."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import checkpoint
from deepservo.camera import Camera
from deepservo.camera_file import CalibratedCamera
from deepservo.data import PoseTask
from deepservo.errors import InputError
from deepservo.model import Model, load_model, texture_of
from deepservo.nets.pose import PoseNet
from deepservo.scene import PlanarScene
from deepservo.train import Progress, peek, steps_in, train
from deepservo.version import __version__

# 234 x 234, fx = fy = 300, centre (124, 114), its border of 5 pixels cropped: the published experiments' camera.
PAPER_CAMERA = Camera(224, 224, 300.0, 300.0, 119.0, 109.0)
TRAINED = ("cnn",)


def make_scene(
    picture: Float[Tensor, "1 h w"], camera: CalibratedCamera, what: str, width: float | None = None, view: bool = False, distance: float = 0.6
) -> PlanarScene:
    """The picture on the plane: `width` metres wide (0.8 when not given), or, with `view`, as the camera sees it at `distance`.

    Raises InputError when the scene is smaller than the camera's view of it, or the picture does not fit the camera.
    """
    if not 0 < distance < float("inf"):
        raise InputError(f"the distance must be a positive number of metres, not {distance}")
    if view and width is not None:
        raise InputError("--width and --view exclude each other: a view's width follows from the camera and the distance")
    pinhole = camera.camera
    if view:
        picture = camera.rectify(picture, what)
        return PlanarScene(texture_of(picture), distance * pinhole.width / pinhole.fx)
    scene = PlanarScene(texture_of(picture), 0.8 if width is None else width)
    seen = (distance * pinhole.width / pinhole.fx, distance * pinhole.height / pinhole.fy)
    if scene.width < 0.5 * seen[0] or scene.height < 0.5 * seen[1]:
        raise InputError(
            f"{what}: {scene.width:.3g} x {scene.height:.3g} m is too small a scene for a camera that sees {seen[0]:.3g} x {seen[1]:.3g} m "
            f"at {distance:g} m; give a larger --width, or come closer with --distance"
        )
    return scene


def learn(
    picture: Float[Tensor, "1 h w"],
    scene: PlanarScene,
    camera: CalibratedCamera,
    out: Path,
    *,
    name: str,
    distance: float = 0.6,
    method: str = "cnn",
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    show: Callable[[Progress], None] = lambda progress: None,
) -> Model:
    """Train `method` on the scene and write the model to `out`; a checkpoint stands beside it until then.

    `steps` is exact. `minutes` becomes steps once, by timing; they are recorded, and the same call again, or `resume`, uses
    the recorded number. Raises InputError for impossible options or a checkpoint made with other settings.
    """
    if method not in TRAINED:
        raise InputError(f"there is no method {method!r} to learn; choose one of {', '.join(TRAINED)}")
    if (minutes is None) == (steps is None):
        raise InputError("give either --minutes or --steps, not both")
    if not (minutes or steps or 0) > 0:
        raise InputError("training takes a positive number of minutes or steps")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the model a file name, such as {out / 'model.safetensors'}")
    partial = out.with_name(out.name + ".partial")
    if resume and not partial.is_file():
        raise InputError(f"{partial}: there is nothing to resume; start without --resume")
    torch.manual_seed(seed)
    net = PoseNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = PoseTask(scene, camera.camera, distance)
    config = {
        "method": method, "picture": hashlib.sha256(picture.numpy().tobytes()).hexdigest(), "camera": asdict(camera.camera), "distortion": list(camera.distortion),
        "width": scene.width, "distance": distance, "seed": seed, "batch": task.batch, "minutes": minutes, "net": {"width": net.width},
        "steps asked": steps,
    }  # fmt: skip
    steps = steps or _recorded_steps(out, partial, config, resume) or steps_in(minutes or 0, net, task, seed)
    progress = train(net, task, steps, seed, partial, config, resume, show)
    training: dict[str, Any] = {
        "method": method, "steps": steps, "seconds": round(progress.seconds, 1), "minutes": minutes, "batch": task.batch, "seed": seed,
        "parameters": sum(p.numel() for p in net.parameters()), "loss": progress.loss, "picture": name, "threads": torch.get_num_threads(),
        "settings": config,
    }  # fmt: skip
    model = Model(method, net, scene, camera.camera, distance, name, training, camera.distortion, __version__)
    model.save(out)
    partial.unlink(missing_ok=True)
    return model


def _recorded_steps(out: Path, partial: Path, config: dict[str, Any], resume: bool) -> int | None:
    """The number of steps that an earlier call with these settings turned its minutes into, if there was one."""
    if resume:
        return int(peek(partial)["steps"])
    try:
        training = load_model(out).training if out.is_file() else {}
    except InputError:
        training = {}  # what stands there is not a model of ours, and is about to be replaced
    return int(training["steps"]) if training.get("settings") == config else None
