"""`deepservo learn`: train a network for one scene, or for any."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepservo.cli.options import (
    FirstPath,
    OptionalCount,
    OptionalNumber,
    OptionalPath,
    OptionalText,
)
from deepservo.errors import InputError, check_misplaced

if TYPE_CHECKING:
    from deepservo.images.camera_file import CalibratedCamera
    from deepservo.models.any_scene_model import UnseenModel
    from deepservo.models.scene_model import Model
    from deepservo.scene.build import Setup

DISTANCE = 0.6  # m, to the plane, where nobody says it


def _in_words(training: dict[str, Any]) -> str:
    """How long it took, and of an exam how many of its runs came home."""
    from deepservo.evaluation.metrics import wilson

    took = f"in {training['steps']} steps, {training['seconds']:.0f} s"
    if not (exams := training.get("exams")):
        return took
    home, runs = exams[-1][1], training["exam runs"]
    low, high = wilson(home, runs)
    interval = f"{100 * low:.0f} to {100 * high:.0f} %"
    return f"{took}; {home} of {runs} runs of its own came home ({interval})"


@dataclass(frozen=True, kw_only=True)
class Learn:
    """Learn a scene from one picture of it; or, with --method cnn-pair or keypoints, a network for
    any scene.
    """

    #: The picture on the plane or, with --view, the camera's own picture of the scene; a folder of
    #: them for the siamese methods. cnn-pair and keypoints take a folder, or make their pictures by
    #: code when none is given.
    image: FirstPath = None
    #: The model file to write, such as model.safetensors.
    out: Path
    #: Width of the picture on the plane [m]; 0.8 when not given.
    width: OptionalNumber = None
    #: The picture is the camera's own view of the scene, facing it at --distance.
    view: bool = False
    #: Distance from the camera to the plane at the reference pose [m]; 0.6 when not given.
    distance: OptionalNumber = None
    #: With --view: Z of each pixel of the picture, as a .npy file of metres or a 16-bit PNG of
    #: millimetres, 0 or NaN where unknown: the scene is what both show, and not a plane.
    depth: OptionalPath = None
    #: Camera file (OpenCV or ROS YAML); the published experiments' camera when not given.
    camera: OptionalPath = None
    #: What to train: cnn, aevs, mlvs, siamese-se3, siamese-SE3, siamese-ibvs; cnn-pair or keypoints
    #: for any scene.
    method: str = "cnn"
    #: cpu: minutes on two cores; paper: as published, for a GPU.
    preset: str = "cpu"
    #: Training time on this machine; of cnn the most that it takes. With neither this nor --steps,
    #: cnn: until the scene is learned; mlvs: 10; siamese-*: 20; aevs: 1000 steps.
    minutes: OptionalNumber = None
    #: Training steps, exactly.
    steps: OptionalCount = None
    #: First part of the network, for the siamese methods and the published cnn: compact, resnet18,
    #: efficientnet_b3 and so on.
    backbone: OptionalText = None
    #: ImageNet weights for the backbone, saved from torchvision.
    weights: OptionalPath = None
    #: A siamese method learns and sees colours, not grey levels.
    colour: bool = False
    #: How a siamese method weighs its errors: four (learned weights), two, or fixed; of the
    #: published aevs: frequency or pixel.
    loss: OptionalText = None
    #: Of the weights and the pictures.
    seed: int = 0
    #: Go on from the checkpoint of a training that was stopped.
    resume: bool = False

    def run(self) -> None:
        """Train, and write the model file."""
        from deepservo.cli.console import check_seed, console
        from deepservo.system import distributed
        from deepservo.training.learn_any_scene import KINDS

        check_seed(self.seed)
        model = self._any_scene() if self.method in KINDS else self._one_scene()
        if distributed.first():
            name = f" {self.image.name}" if self.image and self.method not in KINDS else ""
            console.print(f"{self.out}: learned{name} {_in_words(model.training)}")
        distributed.release()

    def _one_scene(self) -> "Model":
        """The model of the scene in the picture, and of those in a folder's other pictures."""
        from deepservo.camera import PAPER_CAMERA
        from deepservo.cli.console import console, training_bar
        from deepservo.images.camera_file import CalibratedCamera, read_camera
        from deepservo.images.pictures import files_in
        from deepservo.system import distributed
        from deepservo.training.learn import Options, learn
        from deepservo.training.plan import Training, halving

        if self.image is None:
            raise InputError(f"{self.method}: is trained for a scene; give a picture of it")
        lens = read_camera(self.camera) if self.camera else CalibratedCamera(PAPER_CAMERA)
        files = files_in(self.image) if self.image.is_dir() else [self.image]
        setup, *others = (self._setup(file, lens) for file in files)
        setup = replace(setup, picture=self.image.name)
        scenes = tuple(other.plane for other in others)
        options = Options(self.method, self.preset, self.backbone, self.weights, self.loss, scenes)
        training = Training(self.minutes, self.steps, self.seed, self.resume)
        distributed.share_threads()
        with (
            training_bar(f"learning {self.image.name}") as show,
            distributed.on_device() if self.preset == "paper" else nullcontext(),
        ):

            def attempt(training: Training) -> "Model":
                return learn(setup, self.out, training, options=options, show=show)

            return halving(attempt, self.out, training, console.print)

    def _setup(self, file: Path, lens: "CalibratedCamera") -> "Setup":
        """The scene of a picture before the camera; InputError where options do not go together."""
        from deepservo.images.depth import as_depth
        from deepservo.scene.build import read_setup, read_solid_setup

        if self.depth is None:
            distance = DISTANCE if self.distance is None else self.distance
            return read_setup(
                file,
                lens,
                width=self.width,
                view=self.view,
                distance=distance,
                colour=self.colour,
            )
        if not self.view:
            raise InputError(
                f"{self.depth}: is the depth of what the camera sees in its own picture; add "
                "--view, or leave --depth away"
            )
        check_misplaced(
            f"{self.depth}: tells the distance and the width",
            {"--distance": self.distance, "--width": self.width},
        )
        if self.image is not None and self.image.is_dir():
            raise InputError(f"{self.depth}: is the depth of one picture; give that, not a folder")
        _, maps = as_depth(self.depth, lens.camera)
        assert maps is not None
        return read_solid_setup(file, maps[0], lens, str(self.depth), self.colour)

    def _any_scene(self) -> "UnseenModel":
        """The network for scenes that it has not seen."""
        from deepservo.cli.console import training_bar
        from deepservo.system import distributed
        from deepservo.training.learn_any_scene import learn_unseen
        from deepservo.training.plan import Training

        given = ("width", "view", "depth", "camera", "backbone", "weights", "loss", "colour")
        check_misplaced(
            f"{self.method}: learns for any scene and any camera",
            {f"--{name}": getattr(self, name) for name in given},
        )
        if self.image is not None and not self.image.is_dir():
            raise InputError(
                f"{self.image}: is no folder; {self.method} learns from pictures made by code, or "
                "from a folder of many"
            )
        distributed.share_threads()
        with training_bar("learning what pictures have in common") as show:
            training = Training(self.minutes, self.steps, self.seed, self.resume)
            return learn_unseen(self.method, self.out, training, folder=self.image, show=show)
