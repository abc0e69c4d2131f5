"""A learned scene: what a model file holds, and the controllers it makes."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.models import checkpoint
from deepservo.models.any_scene_model import NETWORKS, TOLD, UnseenModel, load_unseen
from deepservo.nets import NETS
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import PairNet
from deepservo.scene import PlanarScene

TRAINED = tuple(NETS)


@dataclass(frozen=True)
class Model:
    """A network, the scene and the camera it was trained for, and how.

    distance: the scene's unit of length, from the camera to the plane at the reference pose [m].
    distortion: of the lens whose pictures were rectified before training (OpenCV's order); pictures
    given later are rectified alike.
    """

    method: str
    net: Any
    """Of NETS[method]."""
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
            "net": self.net.config(),
            "camera": asdict(self.camera),
            "distortion": list(self.distortion),
            "scene": {
                "width": self.scene.width,
                "background": self.scene.background,
                "distance": self.distance,
                "texel_aspect": self.scene.texel_aspect,
                "centre": list(self.scene.centre),
            },
            "picture": self.picture,
            "training": self.training,
        }

    def save(self, path: Path) -> None:
        """Write the model file, beside and renamed."""
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        checkpoint.save(path, {**tensors, "texture": self.scene.texture}, self.config())


@dataclass(frozen=True)
class Unlearned:
    """A scene that nothing was trained for, and a camera: enough for the methods that need no
    training there.
    """

    scene: PlanarScene
    camera: Camera
    distance: float
    picture: str
    distortion: tuple[float, ...] = ()
    net: PairNet | KeypointNet | None = None
    """In the place of the one that ships."""


def read_model(path: str | Path) -> Model | UnseenModel:
    """The model in a file, whichever kind it is of."""
    _, config = checkpoint.load(path)
    return (
        load_unseen(path)
        if config.get("method") in NETWORKS and "partial" not in config
        else load_model(path)
    )


def load_model(path: str | Path) -> Model:
    """The model in a file that `deepservo learn` wrote; InputError when it is not whole, not ours
    or of another version.
    """
    tensors, config = checkpoint.load(path)
    if config.get("method") in NETWORKS:
        raise InputError(
            f"{path}: was trained for no scene in particular; give a model that deepservo learn "
            "made of a picture"
        )
    if "partial" in config:
        raise InputError(
            f"{path}: is the checkpoint of a training that has not ended; end it with deepservo "
            "learn --resume"
        )
    try:
        camera = Camera(**config["camera"])
        scene_config, distance = config["scene"], float(config["scene"]["distance"])
        if config["method"] not in TRAINED or not 0 < distance < math.inf:
            raise ValueError(f"method {config['method']!r} at {distance} m")
        distortion = tuple(float(d) for d in config["distortion"])
        if not all(math.isfinite(d) for d in distortion):
            raise ValueError("the lens's distortion")
        background = float(scene_config["background"])
        if not 0 <= background <= 1:
            raise ValueError(f"a background of {background}")
        training = {**config["training"]}
        training |= {k: training[k] + 0 for k in TOLD}
        training["loss"] = [(int(step), float(loss)) for step, loss in training["loss"]]
        if "rehearsed" in training:
            training["rehearsed"] = {
                k: training["rehearsed"][k] + 0 for k in ("power", "home", "runs")
            }
        # Models of before had square texels about the origin, and say nothing of them.
        x, y = scene_config.get("centre", (0.0, 0.0))
        scene = PlanarScene(
            _texture(tensors.pop("texture")),
            float(scene_config["width"]),
            background,
            texel_aspect=float(scene_config.get("texel_aspect", 1.0)),
            centre=(float(x), float(y)),
        )
        with torch.device("meta"):
            net = NETS[config["method"]](config["net"])
        if (len(scene.texture) == 3) != getattr(net, "colour", False):
            raise ValueError(f"the learned picture, of {len(scene.texture)} channels")
        weights = {k.removeprefix("net."): v for k, v in tensors.items()}
        picture, version = str(config["picture"]), str(config["version"])
    except InputError as error:
        raise InputError(
            f"{path}: its description is wrong ({error}); train the model anew"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: its description lacks or garbles {error}; train the model anew"
        ) from None
    checkpoint.load_weights(net, weights, path)
    return Model(
        config["method"],
        net.eval(),
        scene,
        camera,
        distance,
        picture,
        training,
        distortion,
        version,
    )


def _texture(texture: torch.Tensor) -> torch.Tensor:
    if (
        texture.dtype != torch.float32
        or texture.ndim != 3
        or len(texture) not in (1, 3)
        or not ((texture >= 0) & (texture <= 1)).all()
    ):
        raise ValueError(f"the learned picture, {tuple(texture.shape)} of {texture.dtype}")
    return texture
