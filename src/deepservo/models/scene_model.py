"""A learned scene: what a model file holds."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.camera_file import CalibratedCamera
from deepservo.models import checkpoint, kept_depth
from deepservo.models.any_scene_model import NETWORKS, TRAINING_NUMBERS, UnseenModel, load_unseen
from deepservo.nets import NETS
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import PairNet
from deepservo.scene import PlanarScene
from deepservo.scene.build import Setup, solid_setup

TRAINED = tuple(NETS)
SOLID_FORMAT = 2  # of files that deepservo 0.1 cannot read


@dataclass(frozen=True)
class Unlearned(Setup):
    """A setup for which nothing was trained: enough for the methods that need no training there."""

    net: PairNet | KeypointNet | None = None
    """A network for any scene, in the place of the shipped one."""

    @staticmethod
    def of(setup: Setup, net: PairNet | KeypointNet | None = None) -> "Unlearned":
        """The setup, with the network."""
        return Unlearned(**{f.name: getattr(setup, f.name) for f in fields(Setup)}, net=net)


@dataclass(frozen=True, kw_only=True)
class Model(Setup):
    """A setup and the network that was trained for it, and how."""

    method: str
    net: Any
    """Of NETS[method]."""
    training: dict[str, Any]
    version: str = ""
    """Of deepservo, that trained it."""

    def config(self) -> dict[str, Any]:
        """All but the tensors, as JSON has it."""
        of_format = {} if self.depth is None else {"format": SOLID_FORMAT}
        return {
            **of_format,
            "version": self.version,
            "method": self.method,
            "net": self.net.config(),
            "camera": asdict(self.camera),
            "distortion": list(self.distortion),
            "scene": self._scene_config(),
            "picture": self.picture,
            "training": self.training,
        }

    def save(self, path: Path) -> None:
        """Write the model file, beside and renamed."""
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors["texture"] = self.scene.texture
        if self.depth is not None:
            tensors["depth"] = kept_depth.levels(self.depth)[0]
        checkpoint.save(path, tensors, self.config())

    def _scene_config(self) -> dict[str, Any]:
        """The scene without its tensors; a solid one is made anew of them and the camera."""
        if self.depth is not None:
            inverse_depth = kept_depth.levels(self.depth)[1]
            return {"distance": self.distance, "inverse_depth": list(inverse_depth)}
        return {
            "width": self.scene.width,
            "background": self.scene.background,
            "distance": self.distance,
            "texel_aspect": self.plane.texel_aspect,
            "centre": list(self.scene.centre),
        }


def as_kept(setup: Setup) -> Setup:
    """A setup with depth as a model file keeps it, to the last bits of float64."""
    assert setup.depth is not None
    level, (low, high) = kept_depth.levels(setup.depth)
    Z = kept_depth.metres(level, low, high)
    return solid_setup(setup.scene.texture, Z, setup.lens, setup.picture, setup.distance)


def read_model(path: str | Path) -> Model | UnseenModel:
    """The model in a file, of one scene or of any."""
    _, config = checkpoint.load(path)
    of_any_scene = config.get("method") in NETWORKS and "partial" not in config
    return load_unseen(path) if of_any_scene else load_model(path)


def load_model(path: str | Path) -> Model:
    """The model in a file that `deepservo learn` wrote.

    Raises InputError when the file is not whole, not a model of one scene, or of another version.
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
        texture = _texture(tensors.pop("texture"))
        model = _described(config, texture, tensors.pop("depth", None))
    except InputError as error:
        raise InputError(
            f"{path}: its description is wrong ({error}); train the model anew"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: its description lacks or garbles {error}; train the model anew"
        ) from None
    weights = {k.removeprefix("net."): v for k, v in tensors.items()}
    checkpoint.load_weights(model.net, weights, path)
    model.net.eval()
    return model


def _described(
    config: dict[str, Any], texture: Float[Tensor, "c h w"], depth: Tensor | None
) -> Model:
    """The model, its network without weights. Raises KeyError, TypeError, AttributeError,
    ValueError or OverflowError where the description is wrong, or InputError.
    """
    method, distance = config["method"], float(config["scene"]["distance"])
    if method not in TRAINED or not 0 < distance < math.inf:
        raise ValueError(f"method {method!r} at {distance} m")
    distortion = tuple(float(d) for d in config["distortion"])
    if not all(math.isfinite(d) for d in distortion):
        raise ValueError("the lens's distortion")
    lens = CalibratedCamera(Camera(**config["camera"]), distortion)
    name, parts = str(config["picture"]), config["scene"]
    if depth is None:
        scene = _plane(parts, texture)
        setup = Setup(scene, lens.camera, distance, name, distortion)
    else:
        setup = _solid(parts, texture, depth, lens, name)
    with torch.device("meta"):
        net = NETS[method](config["net"])
    if (len(texture) == 3) != getattr(net, "colour", False):
        raise ValueError(f"the learned picture, of {len(texture)} channels")
    return Model(
        **{f.name: getattr(setup, f.name) for f in fields(Setup)},
        method=method,
        net=net,
        training=_training(config["training"]),
        version=str(config["version"]),
    )


def _plane(config: dict[str, Any], texture: Float[Tensor, "c h w"]) -> PlanarScene:
    """The plane of a description."""
    background = float(config["background"])
    if not 0 <= background <= 1:
        raise ValueError(f"a background of {background}")
    # Models of before 0.1 had square texels about the origin, and say nothing of them.
    x, y = config.get("centre", (0.0, 0.0))
    return PlanarScene(
        texture,
        float(config["width"]),
        background,
        texel_aspect=float(config.get("texel_aspect", 1.0)),
        centre=(float(x), float(y)),
    )


def _solid(
    config: dict[str, Any],
    texture: Float[Tensor, "c h w"],
    depth: Tensor,
    lens: CalibratedCamera,
    name: str,
) -> Setup:
    """What the picture and the depth of a description show."""
    if depth.dtype != torch.int16 or depth.ndim != 2:
        raise ValueError(f"the learned depth, {tuple(depth.shape)} of {depth.dtype}")
    low, high = (float(value) for value in config["inverse_depth"])
    Z = kept_depth.metres(depth, low, high)
    return solid_setup(texture, Z, lens, name, float(config["distance"]))


def _training(config: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a training; KeyError, TypeError or ValueError where it is wrong."""
    training = {**config}
    training |= {k: training[k] + 0 for k in TRAINING_NUMBERS}
    training["loss"] = [(int(step), float(loss)) for step, loss in training["loss"]]
    if "rehearsed" in training:
        training["rehearsed"] = {k: training["rehearsed"][k] + 0 for k in ("power", "home", "runs")}
    return training


def _texture(texture: Tensor) -> Float[Tensor, "c h w"]:
    """The picture as it is; ValueError where it is none."""
    is_picture = texture.dtype == torch.float32 and texture.ndim == 3 and len(texture) in (1, 3)
    if not is_picture or not ((texture >= 0) & (texture <= 1)).all():
        raise ValueError(f"the learned picture, {tuple(texture.shape)} of {texture.dtype}")
    return texture
