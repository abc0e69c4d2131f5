"""The published regressors on a backbone, of CNN-VS and Siame-se(3).

CNN-VS answers a pose from one picture, Siame-se(3) six numbers from two.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.nets.backbones import backbone, normalised

Loss = Literal["four", "two", "fixed"]
GROUPS: Mapping[str, tuple[slice, ...]] = MappingProxyType(
    {
        "four": (slice(0, 2), slice(2, 3), slice(3, 5), slice(5, 6)),
        "two": (slice(0, 3), slice(3, 6)),
        "fixed": (),
    }
)
"""Which of the six numbers share a weight of the loss, by its name.

four: |v_xy|, |v_z|, |w_xy|, |w_z| (Siame-se(3) Eq. 6). two: translation, rotation (Eq. 5). fixed:
no weights are learned.
"""
WEIGHTS_LEARNING_RATE = 5.0  # of the loss's weights, over the network's (V-A: 5e-4 over 1e-4)
BETA = 0.01  # weight of the rotation in CNN-VS Eq. 7


class OnBackbone(nn.Module):
    """A network on a backbone, for grey or colour pictures (B, C, size, size) in [0, 1]."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.backbone = name, backbone(name)
        self.size = self.backbone.size

    def features(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b n"]:
        """The backbone's features S(I) of pictures I."""
        return self.backbone(normalised(images).contiguous(memory_format=torch.channels_last))

    def config(self) -> dict[str, Any]:
        """The arguments that it was built from."""
        return {"backbone": self.name}


class RegressionNet(OnBackbone):
    """CNN-VS: a picture -> (B, 6), t [the scene's distance] and theta u [rad] of `T_ref_cam`.

    A layer of six numbers takes the place of the backbone's classifying layer (II-C).
    """

    def __init__(self, backbone: str) -> None:
        super().__init__(backbone)
        self.pose = nn.Linear(self.backbone.out, 6)

    def forward(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b 6"]:
        """See the class."""
        return self.pose(self.features(images))


class SiameseNet(OnBackbone):
    """Siame-se(3): `f(S(I) - S(I*))`, the same S for both pictures -> (B, 6).

    `training.tasks.siamese` defines the six numbers (a velocity or a pose). bias: whether the first
    two layers of f have one, as published. Without, f(0) = 0: the velocity is zero where the two
    pictures are the same, whatever was learned. colour: whether it was trained on colour pictures.
    """

    def __init__(self, backbone: str, bias: bool = True, colour: bool = False) -> None:
        super().__init__(backbone)
        self.bias, self.colour = bias, colour
        self.head = nn.Sequential(
            nn.Linear(self.backbone.out, 1024, bias),
            nn.ReLU(),
            nn.Linear(1024, 256, bias),
            nn.ReLU(),
            nn.Linear(256, 6, bias=False),
        )

    def config(self) -> dict[str, Any]:
        """See OnBackbone."""
        return {**super().config(), "bias": self.bias, "colour": self.colour}

    def answer(
        self, s: Float[Tensor, "b n"], s_goal: Float[Tensor, "#b n"]
    ) -> Float[Tensor, "b 6"]:
        """The six numbers from the features of the current picture and of the goal's."""
        return self.head(s - s_goal)


class Balanced(nn.Module):
    """A SiameseNet in training, and the weights of its loss."""

    def __init__(self, net: SiameseNet, loss: Loss) -> None:
        super().__init__()
        self.net, self.groups = net, GROUPS[loss]
        if self.groups:
            # Adam's steps have the length of the learning rate whatever the gradient is: scaling a
            # parameter by WEIGHTS_LEARNING_RATE scales its learning rate.
            self.scaled = nn.Parameter(torch.zeros(len(self.groups)))

    @property
    def log_variances(self) -> Float[Tensor, " n"]:
        """log sigma^2 of each group; sigma is 1 at first."""
        return WEIGHTS_LEARNING_RATE * self.scaled

    def loss(self, error: Float[Tensor, "b 6"], distance: float) -> Tensor:
        """The loss of errors with learned weights, the batch's mean (Eq. 6).

        `sum |error_s|^2 / (2 sigma_s^2) + log prod sigma_s` over the groups s; CNN-VS's loss for
        `fixed`. distance: the scene's [m].
        """
        if not self.groups:
            return metres_and_degrees(error, distance)
        squared = torch.stack([error[:, group].square().sum(1).mean() for group in self.groups])
        return (squared / (2 * self.log_variances.exp()) + self.log_variances / 2).sum()


def metres_and_degrees(error: Float[Tensor, "b 6"], distance: float) -> Tensor:
    """`|t|^2 + beta |theta u|^2`, t [m], theta u [deg] (CNN-VS Eq. 7), the batch's mean.

    error: in units of the scene's distance and radians. distance: the scene's [m].
    """
    t, thetau = distance * error[:, :3], error[:, 3:].rad2deg()
    return (t.square().sum(1) + BETA * thetau.square().sum(1)).mean()
