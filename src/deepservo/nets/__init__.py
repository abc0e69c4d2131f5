"""Networks: definitions only. Building one touches no disk and no network."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from torch import nn

from deepservo.nets.metric import MetricNet
from deepservo.nets.pose import PoseNet
from deepservo.nets.resnet import Encoder, Shape
from deepservo.nets.siamese import RegressionNet, SiameseNet


class Described(Protocol):
    """A network that answers its configuration in types of JSON, as model files store it."""

    def config(self) -> dict[str, Any]:
        """The arguments from which NETS builds it again."""
        ...


def _cnn(config: Mapping[str, Any]) -> nn.Module:
    return RegressionNet(**config) if "backbone" in config else PoseNet(**config)


def _siamese(config: Mapping[str, Any]) -> nn.Module:
    return SiameseNet(**config)


def _mlvs(config: Mapping[str, Any]) -> nn.Module:
    return MetricNet(Shape(**config["shape"]), config["activation"])


NETS: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = MappingProxyType(
    {
        "cnn": _cnn,
        "aevs": lambda config: Encoder(Shape(**config)),
        "mlvs": _mlvs,
        "siamese-se3": _siamese,
        "siamese-SE3": _siamese,
        "siamese-ibvs": _siamese,
    }
)
"""Builds the network of a method's model file from its `config()`, by the method's name."""
