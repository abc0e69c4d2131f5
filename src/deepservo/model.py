"""A learned scene: what a model file holds, and the controllers it makes."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from deepservo import checkpoint
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.nets.pose import PoseNet
from deepservo.scene import PlanarScene


@dataclass(frozen=True)
class Model:
    """A network, the scene and the camera it was trained for, and how.

    distance: the scene's unit of length, from the camera to the plane at the reference pose [m]. distortion: of the lens
    whose pictures were rectified before training (OpenCV's order); pictures given later are rectified alike.
    """

    method: str
    net: PoseNet
    scene: PlanarScene
    camera: Camera
    distance: float
    picture: str
    training: dict[str, Any]
    distortion: tuple[float, ...] = ()
    version: str = field(default="")

    def config(self) -> dict[str, Any]:
        """All but the tensors, as JSON has it."""
        return {
            "version": self.version,
            "method": self.method,
            "net": {"width": self.net.width},
            "camera": asdict(self.camera),
            "distortion": list(self.distortion),
            "scene": {"width": self.scene.width, "background": self.scene.background, "distance": self.distance},
            "picture": self.picture,
            "training": self.training,
        }

    def save(self, path: Path) -> None:
        """Write the model file, beside and renamed."""
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        checkpoint.save(path, {**tensors, "texture": self.scene.texture}, self.config())


def load_model(path: str | Path) -> Model:
    """The model in a file that `deepservo learn` wrote; InputError when it is not whole, not ours or of another version."""
    tensors, config = checkpoint.load(path)
    try:
        camera = Camera(**config["camera"])
        scene_config, width = config["scene"], int(config["net"]["width"])
        texture = tensors.pop("texture")
        scene = PlanarScene(texture, float(scene_config["width"]), float(scene_config["background"]))
        net = PoseNet(width)
        checkpoint.load_weights(net, {k.removeprefix("net."): v for k, v in tensors.items()}, path)
        return Model(
            config["method"], net.eval(), scene, camera, float(scene_config["distance"]), config["picture"], config["training"],
            tuple(config["distortion"]), config["version"],
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its description lacks or garbles {error}; train the model anew") from None


def texture_of(picture: torch.Tensor, longest: int = 2048) -> torch.Tensor:
    """The picture as a texture (1, H, W), reduced to `longest` pixels: finer detail than a camera can see only costs time."""
    scale = longest / max(picture.shape[1:])
    if scale >= 1:
        return picture
    size = (max(2, round(picture.shape[1] * scale)), max(2, round(picture.shape[2] * scale)))
    return torch.nn.functional.interpolate(picture[None], size, mode="area")[0]
