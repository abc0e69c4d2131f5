"""What the tasks that networks learn have in common.

They share the scene, the random numbers of a step, and perturbed pictures.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.scene import Scene, perturb, taught

PERTURBED = 0.7  # share of the pictures that are lit, covered or made noisy


class Task(Protocol):
    """Something to learn: the loss of one batch, a function of the seed and the step."""

    @property
    def rate(self) -> float:
        """Learning rate at its highest."""
        ...

    def loss(self, net: Any, seed: int, step: int) -> Tensor:
        """The loss of the batch of this step."""
        ...


@dataclass(frozen=True)
class SceneTask:
    """A task on rendered pictures of one scene."""

    scene: Scene
    camera: Camera
    distance: float
    """Of the reference pose to the scene [m]."""

    def poses(self, n: int, g: torch.Generator) -> Float[Tensor, "n 4 4"]:
        """n poses of the workspace, before a solid those that have room."""
        return taught.workspace(self.scene, n, g, self.distance)


def generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step.

    A run that goes on from step k draws what an uninterrupted one would.
    """
    return torch.Generator(torch.get_default_device()).manual_seed(
        (seed * 1_000_003 + step) % 2**63
    )


def perturbed(
    images: Float[Tensor, "b 1 h w"], g: torch.Generator, share: float = PERTURBED
) -> Float[Tensor, "b 1 h w"]:
    """A share of the images perturbed, the others unchanged.

    Perturbed ones are under spots of light, dimmed or brightened, partly covered, noisy.
    """
    n = len(images)
    grey = torch.rand(n, 1, 1, 1, generator=g) * (torch.rand(n, 1, 1, 1, generator=g) < 0.5)
    worse = perturb.contrast(perturb.brightness(perturb.lights(images, g), g), g)
    worse = perturb.noise(
        perturb.erase(worse, g, fill=grey), g, 0.06 * torch.rand(n, 1, 1, 1, generator=g) ** 2
    )
    return torch.where(torch.rand(n, 1, 1, 1, generator=g) < share, worse, images)
