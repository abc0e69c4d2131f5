"""What `deepservo learn` does."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import check_seed, console, training_bar
from deepservo.errors import InputError, check_misplaced
from deepservo.images import pictures
from deepservo.images.camera_file import CalibratedCamera, read_camera
from deepservo.models.scene_model import Model
from deepservo.scene.build import make_scene
from deepservo.system import distributed
from deepservo.training.learn import Options, learn
from deepservo.training.learn_any_scene import KINDS, learn_unseen
from deepservo.training.plan import Training, halving


def run_learn(
    image: Path | None,
    out: Path,
    width: float | None,
    view: bool,
    distance: float,
    camera_file: Path | None,
    method: str,
    preset: str,
    minutes: float | None,
    steps: int | None,
    backbone: str | None,
    weights: Path | None,
    colour: bool,
    loss: str | None,
    seed: int,
    resume: bool,
) -> None:
    """Learn a scene from a picture file, or several from those of a folder."""
    check_seed(seed)
    if method in KINDS:
        given = {
            "--width": width,
            "--view": view,
            "--camera": camera_file,
            "--backbone": backbone,
            "--weights": weights,
            "--loss": loss,
            "--colour": colour,
        }
        _learn_unseen(method, image, out, minutes, steps, seed, resume, given)
        return
    if image is None:
        raise InputError(f"{method}: is trained for a scene; give a picture of it")
    files = pictures.files_in(image) if image.is_dir() else [image]
    found = [pictures.read_picture(file, colour) for file in files]
    camera = read_camera(camera_file) if camera_file else CalibratedCamera(PAPER_CAMERA)
    scenes = [
        make_scene(picture, camera, str(file), width, view, distance)
        for file, picture in zip(files, found, strict=True)
    ]
    options = Options(backbone, weights, loss, tuple(scenes[1:]))
    distributed.share_threads()
    with (
        training_bar(f"learning {image.name}") as show,
        distributed.on_device() if preset == "paper" else nullcontext(),
    ):

        def attempt(training: Training) -> Model:
            return learn(
                found[0], scenes[0], camera, out, name=image.name, distance=distance, method=method,
                preset=preset, minutes=minutes, steps=steps, seed=seed,
                options=replace(options, halved=training.halved), resume=training.resume,
                show=show,
            )  # fmt: skip

        model = halving(attempt, out, Training(resume=resume), console.print)
    if distributed.first():
        console.print(
            f"{out}: learned {image.name} in {model.training['steps']} steps, "
            f"{model.training['seconds']:.0f} s"
        )
    distributed.release()


def _learn_unseen(
    method: str,
    folder: Path | None,
    out: Path,
    minutes: float | None,
    steps: int | None,
    seed: int,
    resume: bool,
    given: Mapping[str, object],
) -> None:
    check_misplaced(f"{method}: learns for any scene and any camera", given)
    if folder is not None and not folder.is_dir():
        raise InputError(
            f"{folder}: is no folder; {method} learns from pictures made by code, or from a "
            "folder of many"
        )
    distributed.share_threads()
    with training_bar("learning what pictures have in common") as show:
        training = Training(minutes, steps, seed, resume)
        model = learn_unseen(method, out, training, folder=folder, show=show)
    if distributed.first():
        console.print(
            f"{out}: learned in {model.training['steps']} steps, {model.training['seconds']:.0f} s"
        )
    distributed.release()
