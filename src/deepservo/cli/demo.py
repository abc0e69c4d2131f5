"""What `deepservo demo` does."""

from pathlib import Path

from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import check_seed, training_bar
from deepservo.cli.servo import OURS, servo_scene
from deepservo.evaluation.protocols import sampled
from deepservo.images import pictures
from deepservo.images.camera_file import CalibratedCamera
from deepservo.scene.build import make_scene
from deepservo.system.files import check_folder
from deepservo.training.learn import learn


def run_demo(out: Path, image: Path | None, minutes: float, starts: int, seed: int) -> None:
    """Learn a scene from one picture, bring cameras home to it, and show it all."""
    check_folder(out, OURS)
    check_seed(seed)
    camera = CalibratedCamera(PAPER_CAMERA)
    name = image.stem if image else "coffee"
    picture = pictures.read_picture(image) if image else pictures.bundled(name)
    scene = make_scene(picture, camera, name)
    run = sampled("lookat-rz", starts, seed, scene, camera.camera, distance=0.6)
    path = out / "model.safetensors"
    with training_bar(f"learning {name}") as show:
        model = learn(
            picture,
            scene,
            camera,
            path,
            name=name,
            minutes=minutes,
            seed=seed,
            resume=None,
            show=show,
        )
    servo_scene(model, "cnn+dvs", scene, name, run, out)
