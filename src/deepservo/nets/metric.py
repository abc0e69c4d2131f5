"""Two encoders into one latent space, of pictures and of poses (MLVS).

The distance of two of its points measures that of their poses.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.geometry import se3
from deepservo.nets.resnet import Encoder, Shape
from deepservo.nets.tangent import with_tangents

HIDDEN = (32, 64, 128, 64)  # widths of the pose encoder's layers
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class PoseEncoder(nn.Module):
    """phi: a pose relative to the reference, lengths over the scene's distance, to (B, latent).

    Its input is t and the first two columns of R, nine numbers, where MLVS has theta u, which jumps
    at half a turn.
    """

    def __init__(
        self, latent: int = 32, activation: str = "relu", hidden: Sequence[int] = HIDDEN
    ) -> None:
        super().__init__()
        sizes = (9, *hidden, latent)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(sizes):
            layers += [nn.Linear(c_in, c_out), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, T_ref_cam: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch k"]:
        """z_r of poses whose translation is in units of the scene's distance."""
        return self.layers(numbers(T_ref_cam).to(self._dtype()))

    def measure(
        self, T_ref_cam: Float[Tensor, "*batch 4 4"]
    ) -> tuple[Float[Tensor, "*batch k"], Float[Tensor, "*batch k 6"]]:
        """z_r and its interaction matrix (Eq. 5), for twists in the camera's frame.

        Lengths are in units of the scene's distance.
        """
        R, o = T_ref_cam[..., :3, :3], torch.zeros_like(T_ref_cam[..., :3, :3])
        # R exp([w]x) changes column k by R [w]x e_k = -R [e_k]x w.
        turned = [-R @ se3.hat(torch.eye(3, dtype=R.dtype)[k]) for k in (0, 1)]
        of_numbers = torch.cat(
            [torch.cat([R, o], -1), *(torch.cat([o, each], -1) for each in turned)], -2
        )
        poses, tangents = (
            x.flatten(0, -k).to(self._dtype())
            for x, k in ((numbers(T_ref_cam), 2), (of_numbers.mT, 3))
        )
        z, L = with_tangents(self.layers, poses, tangents)
        return z.view(*R.shape[:-2], -1), L.view(*R.shape[:-2], -1, 6)

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


def numbers(T: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 9"]:
    """A pose as t and the first two columns of R."""
    return torch.cat([T[..., :3, 3], T[..., :3, 0], T[..., :3, 1]], -1)


class MetricNet(nn.Module):
    """psi, the encoder of pictures (`images`), and phi, that of poses (`poses`)."""

    def __init__(self, shape: Shape, activation: str = "relu") -> None:
        super().__init__()
        self.images, self.poses = Encoder(shape), PoseEncoder(shape.latent, activation)
        self.activation = activation

    def config(self) -> dict[str, Any]:
        """The arguments that it was built from."""
        return {"shape": self.images.config(), "activation": self.activation}
