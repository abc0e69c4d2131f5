"""`deepservo demo`: learn a scene from one picture, and servo to it."""

from dataclasses import dataclass
from pathlib import Path

from deepservo.cli.options import OptionalNumber, OptionalPath


@dataclass(frozen=True)
class Demo:
    """Learn a scene from one picture, and bring simulated cameras home to it."""

    #: Folder for model.safetensors, results.json and report.html.
    out: Path = Path("demo")
    #: A picture of your own instead of the bundled one.
    image: OptionalPath = None
    #: The most minutes that the training takes; until the scene is learned when not given.
    minutes: OptionalNumber = None
    #: How many simulated cameras.
    starts: int = 100
    #: Of the training and of the starts.
    seed: int = 0

    def run(self) -> None:
        """Train, servo, and show both on one page."""
        from deepservo.camera import PAPER_CAMERA
        from deepservo.cli.console import check_seed, training_bar
        from deepservo.cli.servo import OUTPUTS, carry_out
        from deepservo.evaluation.starts import sampled
        from deepservo.evaluation.trial import Trial
        from deepservo.images import pictures
        from deepservo.images.camera_file import CalibratedCamera
        from deepservo.methods import build
        from deepservo.scene.build import Setup, make_scene
        from deepservo.system.files import check_folder
        from deepservo.training.learn import learn
        from deepservo.training.plan import Training

        check_folder(self.out, OUTPUTS)
        check_seed(self.seed)
        name = self.image.stem if self.image else "coffee"
        picture = pictures.read_picture(self.image) if self.image else pictures.bundled(name)
        scene = make_scene(picture, CalibratedCamera(PAPER_CAMERA), name)
        setup = Setup(scene, PAPER_CAMERA, 0.6, name)
        starts = sampled("lookat-rz", self.starts, self.seed, setup)
        training = Training(self.minutes, seed=self.seed, resume=None)
        with training_bar(f"learning {name}") as show:
            model = learn(setup, self.out / "model.safetensors", training, show=show)
        method = f"{model.method}+auto"
        controller = build(method, model.camera, model.distance, model)
        carry_out(controller, Trial(method, setup, starts), self.out, model.training)
