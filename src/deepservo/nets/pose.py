"""A small network that answers the camera's pose in one scene: CNN-VS's idea, sized for two cores.

It does not regress six numbers. For each cell of an 8 x 8 grid over the picture it answers which
point of the scene's plane the cell shows, and the error to expect; `geometry.pnp` then finds the
pose that explains the 64 points. A cell's answer is local and shift-equivariant, so the network
learns from 64 answers a picture instead of one, and a cover changes the answers of its own cells
only.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.camera import Camera
from deepservo.errors import InputError

GRID = 8  # cells of a side
MAX_CHANNELS = 4096  # channels that a model file may ask for


def conv(
    c_in: int, c_out: int, kernel: int = 3, stride: int = 1, relu: bool = True
) -> list[nn.Module]:
    """The layers of a convolution that keeps the size (over the stride), batch norm, and a ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(c_out),
    ]
    return [*layers, nn.ReLU(inplace=True)] if relu else layers


class PoseNet(nn.Module):
    """(B, 1, 64, 64) pictures of any brightness -> (B, 3, 8, 8), points of the plane.

    Of each cell's centre these are the point (X, Y) of the plane and the log of its error. Points
    are in units of the scene's `distance`. width: channels of the trunk.
    """

    size = 64

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        if not 2 <= width <= MAX_CHANNELS:
            raise InputError(f"a pose network of width {width}; give 2 to {MAX_CHANNELS} channels")
        self.width, half = width, width // 2
        self.stem = nn.Sequential(
            *conv(2, 24, 5, 2),
            *conv(24, half, 3, 2),
            *conv(half, half),
            *conv(half, width, 3, 2, relu=False),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), *conv(width, width), *conv(width, width, relu=False))
            for _ in range(2)
        )
        # Features of the whole picture, added to those of each cell.
        self.whole = nn.Linear(4 * width, width)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(inplace=True), nn.Conv2d(width, 3, 1)
        )

    def config(self) -> dict[str, Any]:
        """The arguments that it was built from."""
        return {"width": self.width}

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 3 g g"]:
        """See the class."""
        x = self.stem(normalise(images))
        x = x + self.blocks[0](x)
        pooled = nn.functional.adaptive_avg_pool2d(x.relu(), 2).flatten(1)
        x = x + self.whole(pooled)[:, :, None, None]
        return self.head(x + self.blocks[1](x))


def normalise(images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 h w"]:
    """The picture normalised by mean and deviation, and by median and robust deviation.

    The latter is clipped to +-4. The first suits views half of which is background, the second
    faint pictures with a black patch, which would reduce the contrast of the rest further. A flat
    picture becomes zero.
    """
    deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True, correction=0)
    centred = images - images.flatten(1).median(1).values[:, None, None, None]
    mad = 1.4826 * centred.abs().flatten(1).median(1).values[:, None, None, None]
    robust = centred / (torch.maximum(mad, deviation / 4) + 1e-3)
    return torch.cat([(images - mean) / (deviation + 1e-3), robust.clamp(-4, 4)], 1)


def cell_rays(camera: Camera) -> Float[Tensor, "n 3"]:
    """Rays (z = 1) in the camera frame through the centres of the network's cells, row by row."""
    x, y = camera.resize(GRID, GRID).xy(torch.float64)
    return torch.stack([x.flatten(), y.flatten(), torch.ones(GRID * GRID, dtype=torch.float64)], -1)


def shrink(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c s s"]:
    """The pictures resized to a network's input, antialiased."""
    return torch.nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
