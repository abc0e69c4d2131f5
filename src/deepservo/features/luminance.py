"""The image itself as a feature: luminance, its gradient, its interaction matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.geometry import interaction

UPPER = torch.triu_indices(6, 6)
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

    def gradient(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 k"]:
        """Their derivatives along x and y, per normalised unit."""
        gx, gy = gradient(images)
        return torch.stack([self._inside(gx).flatten(1) * self.camera.fx, self._inside(gy).flatten(1) * self.camera.fy], 1)


class NormalEquations:
    """`H = L^T L` and `g = L^T e` of the luminance, without L: twenty times less memory to pass through.

    A row of L is `gx a + gy b`, where a and b (k, 6) depend on the pixel and its depth alone. So H is a product of the maps
    gx^2, gx gy, gy^2 with fixed matrices, and g of e gx and e gy. The mean of two L at the same depth has the mean gradient.
    """

    def __init__(self, features: Luminance, depth: Float[Tensor, "#1 #h #w"]) -> None:
        one, zero = torch.ones_like(features.x), torch.zeros_like(features.x)
        inside = depth if depth.shape[-1] == 1 else features._inside(depth)
        a, b = (interaction.luminance(gx, gy, features.x, features.y, inside[0]).flatten(0, 1) for gx, gy in ((one, zero), (zero, one)))
        i, j = UPPER
        self.rows = torch.cat([a, b])
        self.products = torch.cat([a[:, i] * a[:, j], a[:, i] * b[:, j] + b[:, i] * a[:, j], b[:, i] * b[:, j]])

    def __call__(self, gradients: Float[Tensor, "b 2 k"], e: Float[Tensor, "c k"]) -> tuple[Float[Tensor, "b 6 6"], Float[Tensor, "c 6"]]:
        """H and g, float64; b is 1 where one gradient serves all errors."""
        gx, gy = gradients.unbind(1)
        upper = (torch.cat([gx * gx, gx * gy, gy * gy], 1) @ self.products).double()
        H = torch.zeros(len(gradients), 6, 6, dtype=torch.float64)
        H[:, UPPER[0], UPPER[1]] = upper
        H[:, UPPER[1], UPPER[0]] = upper
        return H, ((gradients * e[:, None]).flatten(1) @ self.rows).double()
