"""Networks for any scene: a model file of theirs, and those that ship."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from deepservo.errors import InputError
from deepservo.models import checkpoint
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import PairNet
from deepservo.version import __version__

SHIPPED = Path(__file__).parent / "shipped"
PAIR, KEYPOINTS = "cnn-pair", "keypoints"
TRAINING_NUMBERS = ("parameters", "steps", "batch", "seconds", "threads", "seed")
"""Numbers that every model file records of its training."""
NETWORKS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {PAIR: PairNet, KEYPOINTS: KeypointNet}
)
"""The network in a model file, from its `config()`, by the method that it serves."""


@dataclass(frozen=True)
class UnseenModel:
    """A network, what it was trained as, and how. It knows no scene and no camera."""

    net: Any
    training: dict[str, Any]
    method: str
    version: str = __version__

    def save(self, path: Path) -> None:
        """Write the model file, beside and renamed, in half precision."""
        tensors = {
            f"net.{k}": v.half() if v.is_floating_point() else v
            for k, v in self.net.state_dict().items()
        }
        config = {
            "version": self.version,
            "method": self.method,
            "net": self.net.config(),
            "training": self.training,
        }
        checkpoint.save(path, tensors, config)


def load_unseen(path: str | Path) -> UnseenModel:
    """The model in a file that `deepservo learn --method` wrote with one of NETWORKS; InputError
    when it is not whole or not such a one.
    """
    tensors, config = checkpoint.load(path)
    if "partial" in config:
        raise InputError(
            f"{path}: is the checkpoint of a training that has not ended; end it with deepservo "
            "learn --resume"
        )
    method = str(config.get("method"))
    if method not in NETWORKS:
        raise InputError(
            f"{path}: was learned for one scene; for any scene give what deepservo learn --method "
            f"{PAIR} wrote"
        )
    try:
        training = {**config["training"]}
        training |= {k: training[k] + 0 for k in TRAINING_NUMBERS}
        training["loss"] = [(int(step), float(loss)) for step, loss in training["loss"]]
        with torch.device("meta"):
            net = NETWORKS[method](**config["net"])
        version = str(config["version"])
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, InputError) as error:
        raise InputError(
            f"{path}: its description lacks or garbles {error}; train the model anew"
        ) from None
    weights = {
        k.removeprefix("net."): v.float() if v.dtype == torch.half else v
        for k, v in tensors.items()
    }
    checkpoint.load_weights(net, weights, path)
    return UnseenModel(net.eval(), training, method, version)


def shipped_file(path: str | Path) -> Path:
    """The file that ships under that name, where there is one; else the path itself."""
    ships = SHIPPED / f"{path}.safetensors"
    return ships if str(path) in NETWORKS and ships.is_file() else Path(path)


@functools.cache
def shipped(method: str = PAIR) -> Any:
    """The network that comes with deepservo, trained on pictures made by code."""
    return load_unseen(SHIPPED / f"{method}.safetensors").net
