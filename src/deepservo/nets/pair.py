"""What two pictures of a scene that was never seen before have in common: a descriptor for each
cell of a grid over a picture.

CNN-VS's scene-agnostic network (section IV) answers the pose between two pictures outright. This
one is asked something local, as the one for a single scene is (`nets.pose`): cells of two pictures
that see the same place are to have like descriptors. The geometry that follows from cells that are
matched need not be learned.
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
WIDEST = 1024  # channels, or numbers of a descriptor, that a model file may ask for
SHARPNESS = 10.0  # of the similarities, before anything is learned


class PairNet(nn.Module):
    """(B, 1, h, w) pictures, h and w multiples of CELL -> (B, n, h / CELL, w / CELL): a unit vector
    for each cell.

    How brightly the picture, or a part of it, is lit matters little: a pixel counts by how far it
    is from the mean of all, and of those about it. width: channels of the first layer; numbers: of
    a descriptor. size: pixels of a side of the pictures that it learns from.
    """

    size = 128

    def __init__(self, width: int = 24, numbers: int = 64) -> None:
        super().__init__()
        if not 1 <= width <= WIDEST or not 1 <= numbers <= WIDEST:
            raise InputError(
                f"a pair network of width {width}, {numbers} numbers a cell; give 1 to {WIDEST} "
                "of each"
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
        self.sharpness, self.nowhere = (
            nn.Parameter(torch.tensor(math.log(SHARPNESS))),
            nn.Parameter(torch.tensor(0.0)),
        )

    def config(self) -> dict[str, Any]:
        """What it was built from."""
        return {"width": self.width, "numbers": self.numbers}

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b n y x"]:
        """See the class."""
        x = self.trunk(self.seen(images).contiguous(memory_format=torch.channels_last))
        return nn.functional.normalize(x.float(), dim=1)

    def similar(
        self, a: Float[Tensor, "*batch n p"], b: Float[Tensor, "*batch n q"]
    ) -> Float[Tensor, "*batch q p_plus_1"]:
        """Logits of which of the p cells of one picture shows what each of the q cells of the other
        shows; the last: none does.
        """
        logits = b.mT @ a * self.sharpness.exp()
        return torch.cat([logits, self.nowhere.expand(*logits.shape[:-1], 1)], -1)


def cell_centres(height: int, width: int) -> Float[Tensor, "n 2"]:
    """Pixels in the middle of the cells of a picture of so many pixels."""
    y, x = (
        torch.arange(CELL / 2 - 0.5, side, CELL, dtype=torch.float64) for side in (height, width)
    )
    v, u = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([u.flatten(), v.flatten()], -1)
