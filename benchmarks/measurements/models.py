"""Learn bundled pictures, for what is measured on them.

    python -m benchmarks models --method mlvs --pictures coffee moon

A model that is there is not learned again; a training that was killed goes on.
"""

from pathlib import Path

import tyro

from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import training_bar
from deepservo.images.camera_file import CalibratedCamera
from deepservo.images.pictures import BUNDLED
from deepservo.models.scene_model import Model, load_model
from deepservo.scene.build import Setup, make_scene
from deepservo.training.learn import Options, learn
from deepservo.training.plan import Training


def main(
    *,
    method: str = "cnn",
    pictures: tuple[str, ...] = BUNDLED,
    minutes: float | None = None,
    steps: int | None = None,
    distance: float = 0.6,
    models: Path = Path("out/models"),
) -> None:
    """Learn what is not learned yet.

    Args:
        method: what to train.
        pictures: names of scenes.
        minutes: of training a picture; as long as the recipe says when not given.
        steps: instead of minutes.
        distance: from the scene to where it is learned from [m].
        models: folder that keeps the models, of one distance.
    """
    for picture in pictures:
        model = learned(picture, method, models, minutes, steps, distance)
        training = model.training
        print(
            f"{picture}: {training['steps']} steps of {training['batch']}, "
            f"{training['seconds']:.0f} s, loss {training['loss'][-1][1]:.3f}",
            flush=True,
        )


def learned(
    picture: str,
    method: str,
    models: Path,
    minutes: float | None = None,
    steps: int | None = None,
    distance: float = 0.6,
) -> Model:
    """The model of a scene: the one in the folder, or one learned now (resumed where it was
    killed).
    """
    path = models / (
        f"{picture}.safetensors" if method == "cnn" else f"{picture}-{method}.safetensors"
    )
    if path.is_file():
        return load_model(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    camera = CalibratedCamera(PAPER_CAMERA)
    texture = scene_of(picture).texture
    with training_bar(f"learning {picture}") as show:
        scene = make_scene(texture, camera, picture)
        return learn(
            Setup(scene, PAPER_CAMERA, distance, picture),
            path,
            Training(minutes, steps, resume=None),
            options=Options(method),
            show=show,
        )


if __name__ == "__main__":
    tyro.cli(main)
