"""A network that matches cells of two pictures of a scene that it was not trained on.

It computes a descriptor for each cell of a grid over a picture. CNN-VS's scene-agnostic network
(section IV) answers the pose between two pictures. This one learns something local, as the one for
a single scene does (`nets.pose`): cells of two pictures that show the same place have similar
descriptors. The pose follows from the matched cells by geometry, which need not be learned.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.errors import InputError
from deepservo.nets.backbones import Residual
from deepservo.nets.pose import conv
from deepservo.nets.resnet import Local

CELL = 8  # pixels of a cell's side
MAX_CHANNELS = 1024  # channels, or numbers of a descriptor, that a model file may ask for
INITIAL_SHARPNESS = 10.0  # factor of the descriptors' similarities before training


class PairNet(nn.Module):
    """(B, 1, h, w) pictures -> (B, n, h / CELL, w / CELL), a unit descriptor of each cell.

    h and w are multiples of CELL. Light matters little: grey levels are taken relative to the
    picture's mean and to that of their surroundings. width: channels of the first layer; numbers:
    of a descriptor. size: side of the pictures that it is trained on [px].
    """

    size = 128

    def __init__(self, width: int = 24, numbers: int = 64) -> None:
        super().__init__()
        if not 1 <= width <= MAX_CHANNELS or not 1 <= numbers <= MAX_CHANNELS:
            raise InputError(
                f"a pair network of width {width}, {numbers} numbers a cell; give 1 to "
                f"{MAX_CHANNELS} of each"
            )
        self.width, self.numbers = width, numbers
        blocks = (
            Residual(c, c, 1, False)
            for c in (2 * width, 2 * width, 4 * width, 4 * width, 4 * width)
        )
        self.seen = nn.Sequential(nn.InstanceNorm2d(1), Local(self.size / 16))
        self.trunk = nn.Sequential(
            *conv(2, width, 5, 2), *conv(width, width), *conv(width, 2 * width, 3, 2), next(blocks),
            next(blocks), *conv(2 * width, 4 * width, 3, 2), *blocks,
            nn.Conv2d(4 * width, numbers, 1),
        )  # fmt: skip
        self.sharpness = nn.Parameter(torch.tensor(math.log(INITIAL_SHARPNESS)))
        self.nowhere = nn.Parameter(torch.tensor(0.0))  # logit of a cell that has no match

    def config(self) -> dict[str, Any]:
        """The arguments that it was built from."""
        return {"width": self.width, "numbers": self.numbers}

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b n y x"]:
        """See the class."""
        x = self.trunk(self.seen(images).contiguous(memory_format=torch.channels_last))
        return nn.functional.normalize(x.float(), dim=1)

    def similar(
        self, a: Float[Tensor, "*batch n p"], b: Float[Tensor, "*batch n q"]
    ) -> Float[Tensor, "*batch q p_plus_1"]:
        """Logits of which of the p cells of picture a shows the same as each cell of picture b.

        They are computed from the cells' descriptors. The last column: none does.
        """
        logits = b.mT @ a * self.sharpness.exp()
        return torch.cat([logits, self.nowhere.expand(*logits.shape[:-1], 1)], -1)


def cell_centres(height: int, width: int) -> Float[Tensor, "n 2"]:
    """The middles (u, v) [px] of the cells of a picture of this size [px], row by row."""
    y, x = (
        torch.arange(CELL / 2 - 0.5, side, CELL, dtype=torch.float64) for side in (height, width)
    )
    v, u = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([u.flatten(), v.flatten()], -1)
