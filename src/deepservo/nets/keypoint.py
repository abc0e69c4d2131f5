"""Keypoints that a network finds (KeyPointNet, Tang et al. 2020).

It answers a score, a place and a descriptor for each cell.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.errors import InputError
from deepservo.nets.backbones import Residual
from deepservo.nets.pair import CELL, MAX_CHANNELS, cell_centres
from deepservo.nets.pose import conv
from deepservo.nets.resnet import Local

# Half cells that a point may be away from its cell's middle: over 1, so that neighbouring cells can
# find the same point between them.
POINT_REACH = 2.0
INITIAL_SHARPNESS = 20.0  # factor of the descriptors' similarities before training


@dataclass(frozen=True)
class Found:
    """A point for each of the n cells of each picture.

    scores: probability that another view finds the point again. px: places [px]. dense: features on
    a grid of every fourth pixel. made: takes features (..., c), interpolated on that grid, to
    descriptors (..., d).
    """

    scores: Float[Tensor, "b n"]
    px: Float[Tensor, "b n 2"]
    dense: Float[Tensor, "b c y x"]
    made: Callable[[Tensor], Tensor] = torch.Tensor.contiguous

    def halves(self) -> tuple["Found", "Found"]:
        """The points of the first half of the pictures, and of the second."""
        parts = zip(self.scores.chunk(2), self.px.chunk(2), self.dense.chunk(2), strict=True)
        first, second = (Found(*part, self.made) for part in parts)
        return first, second

    def describe(self, px: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n d"]:
        """Unit descriptors of these places [px]."""
        h, w = self.dense.shape[-2:]
        grid = (2 * px + 1) / (px.new_tensor([w, h]) * (CELL // 2)) - 1
        found = nn.functional.grid_sample(
            self.dense, grid[:, None].float(), padding_mode="border", align_corners=False
        )
        return nn.functional.normalize(self.made(found[:, :, 0].mT), dim=-1)


class KeypointNet(nn.Module):
    """(B, 1, h, w) pictures, h and w multiples of CELL -> a point for each cell.

    Grey levels are taken relative to their surroundings. width: channels of the first layer;
    numbers: of a descriptor.
    """

    def __init__(self, width: int = 16, numbers: int = 256) -> None:
        super().__init__()
        if not 1 <= width <= MAX_CHANNELS or not 1 <= numbers <= MAX_CHANNELS:
            raise InputError(
                f"a keypoint network of width {width}, {numbers} numbers a point; give 1 to "
                f"{MAX_CHANNELS} of each"
            )
        self.width, self.numbers = width, numbers
        fine, coarse = 2 * width, 6 * width
        self.seen = nn.Sequential(nn.InstanceNorm2d(1), Local(CELL))
        self.near = nn.Sequential(
            *conv(2, width, 5, 2),
            *conv(width, width),
            *conv(width, fine, 3, 2),
            Residual(fine, fine, 1, False),
        )
        self.far = nn.Sequential(
            *conv(fine, coarse, 3, 2), *(Residual(coarse, coarse, 1, False) for _ in range(3))
        )
        self.score = nn.Sequential(*conv(coarse, coarse), nn.Conv2d(coarse, 1, 1))
        self.place = nn.Sequential(*conv(coarse, coarse), nn.Conv2d(coarse, 2, 1))
        self.wide = nn.Sequential(
            *conv(coarse, coarse), nn.Upsample(scale_factor=2, mode="bilinear")
        )
        self.dense = nn.Sequential(*conv(coarse + fine, coarse + fine))
        # Applied to points alone: on the whole grid it would take most of the time.
        self.descriptor = nn.Linear(coarse + fine, numbers)
        self.sharpness = nn.Parameter(torch.tensor(math.log(INITIAL_SHARPNESS)))

    def config(self) -> dict[str, Any]:
        """The arguments that it was built from."""
        return {"width": self.width, "numbers": self.numbers}

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Found:
        """See the class."""
        near = self.near(self.seen(images).contiguous(memory_format=torch.channels_last))
        far = self.far(near)
        dense = self.dense(torch.cat([self.wide(far), near], 1)).float()
        offset = (POINT_REACH * CELL / 2) * self.place(far).float().tanh().flatten(2).mT
        centres = cell_centres(images.shape[-2], images.shape[-1]).to(offset)
        return Found(
            self.score(far).float().sigmoid().flatten(1), centres + offset, dense, self.descriptor
        )


class OutlierNet(nn.Module):
    """Logits (B, n) of matches (B, n, 5) being right.

    A match is its places in both pictures, in [-1, 1], and the descriptors' distance. Used in
    training only (Tang et al. 2020, section 3.3): descriptors learn to separate the matches that it
    separates.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, width), nn.Linear(width, 1)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(self, matches: Float[Tensor, "b n 5"]) -> Float[Tensor, "b n"]:
        """Every layer is normalised over the matches (context normalisation)."""
        x = self.first(matches)
        for block in self.blocks:
            y = block(x)
            x = x + ((y - y.mean(1, keepdim=True)) / (y.std(1, keepdim=True) + 1e-3)).relu()
        return self.last(x)[..., 0]
