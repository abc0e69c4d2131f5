"""What a benchmark is run on: scenes by name, pictures from files, or models' scenes."""

from collections.abc import Sequence
from pathlib import Path

from deepservo.bench.runs import Bench, on_this_machine
from deepservo.bench.scenes import WIDTH, scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.errors import InputError
from deepservo.evaluation.poses import read_poses
from deepservo.images import pictures
from deepservo.methods import trained_as
from deepservo.models.any_scene_model import UnseenModel
from deepservo.models.scene_model import Model, read_model
from deepservo.scene import PlanarScene
from deepservo.scene.build import check_scene, texture_of

DISTANCE = 0.6  # m, of the reference pose


def read_models(files: Sequence[str]) -> tuple[list[Model], UnseenModel | None]:
    """The models of scenes, and the one for any scene; InputError where there are two of those."""
    loaded = [read_model(file) for file in files]
    of_any_scene = [model for model in loaded if isinstance(model, UnseenModel)]
    if len(of_any_scene) > 1:
        raise InputError("--models: two were trained for any scene; run them one by one")
    of_scenes = [model for model in loaded if isinstance(model, Model)]
    return of_scenes, of_any_scene[0] if of_any_scene else None


def of_models(models: Sequence[Model], methods: Sequence[str]) -> Bench:
    """The scenes that models learned, before the camera they learned them for.

    Raises InputError where a method was not trained for any of them, or where they do not share one
    camera and distance.
    """
    learned = {(model.picture, model.method): model for model in models}
    for name in methods:
        trained = trained_as(name)
        if trained and not any(trained == method for _, method in learned):
            raise InputError(
                f"{name}: none of --models was made with deepservo learn --method {trained}; give "
                "one"
            )
    first = models[0]
    for model in learned.values():
        if (model.camera, model.distance) != (first.camera, first.distance):
            raise InputError(
                f"--models: {model.picture} was learned for another camera or distance than "
                f"{first.picture}; run them one by one"
            )
    scenes = {name: model.scene for (name, _), model in learned.items()}
    return Bench(first.camera, first.distance, scenes, learned, **on_this_machine())


def of_pictures(image: Path) -> Bench:
    """The picture of a file, or all those of a folder, each with starts of its own.

    Raises InputError for a file that is no picture, or too narrow a one.
    """
    scenes = {}
    for file in pictures.files_in(image) if image.is_dir() else [image]:
        scenes[file.name] = PlanarScene(texture_of(pictures.read_picture(file)), WIDTH)
        check_scene(scenes[file.name], PAPER_CAMERA, DISTANCE, str(file))
    return Bench(PAPER_CAMERA, DISTANCE, scenes, {}, own_starts=image.is_dir(), **on_this_machine())


def of_names(names: Sequence[str]) -> Bench:
    """Scenes by name; InputError where there is none of that name."""
    scenes = {name: scene_of(name) for name in names}
    return Bench(PAPER_CAMERA, DISTANCE, scenes, {}, **on_this_machine())


def with_poses(bench: Bench, file: Path) -> Bench:
    """The same, with the user's own set of starts and goals from an .npz file; InputError where the
    file holds no goals.
    """
    Ts_cam, Ts_goal = read_poses(file, bench.distance)
    if Ts_goal is None:
        raise InputError(f"{file}: holds no T_world_goal; add it, (N, 4, 4) or one for all")
    return bench.with_poses(Ts_cam, Ts_goal)
