"""The image itself as a feature: luminance, its gradient, its interaction matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.geometry import interaction

# ViSP's derivative: seven taps, no smoothing beside its own.
DERIVATIVE = torch.tensor([-112.0, -913.0, -2047.0, 0.0, 2047.0, 913.0, 112.0]) / 8418.0


def gradient(images: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Derivatives along x and y per pixel; wrong within 3 pixels of the border, where the edge is repeated."""
    taps = DERIVATIVE.to(images.device)
    gx = torch.nn.functional.conv2d(torch.nn.functional.pad(images, (3, 3, 0, 0), mode="replicate"), taps[None, None, None, :])
    gy = torch.nn.functional.conv2d(torch.nn.functional.pad(images, (0, 0, 3, 3), mode="replicate"), taps[None, None, :, None])
    return gx[:, 0], gy[:, 0]


class Luminance:
    """s = the grey levels inside a border, L = their interaction matrix (Collewet & Marchand 2011)."""

    def __init__(self, camera: Camera, border: int = 10) -> None:
        self.camera, self.border = camera, border
        x, y = camera.xy()
        self.x, self.y = self._inside(x), self._inside(y)

    def _inside(self, maps: Tensor) -> Tensor:
        b = self.border
        return maps[..., b : maps.shape[-2] - b, b : maps.shape[-1] - b]

    def s(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """The features alone."""
        return self._inside(images[:, 0]).flatten(1)

    def L(self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]) -> Float[Tensor, "b k 6"]:
        """Their interaction matrix, for the depth [m] of each pixel (a map, or (1, 1, 1) for one depth)."""
        gx, gy = gradient(images)
        inside = depth if depth.shape[-1] == 1 else self._inside(depth)
        L = interaction.luminance(
            self._inside(gx) * self.camera.fx, self._inside(gy) * self.camera.fy, self.x, self.y, inside.to(images.dtype)
        )
        return L.flatten(1, 2)
