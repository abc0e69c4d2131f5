"""Training batches, rendered and perturbed on the fly: an endless data set that is a function of
the seed and the step.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.geometry import pnp
from deepservo.nets.pose import GRID, PoseNet, cell_rays
from deepservo.nets.precision import half_precision
from deepservo.scene import PlanarScene, perturb, sampling

PERTURBED = 0.7  # share of the pictures that are lit, covered or made noisy
SHALLOWEST = 0.15  # slope of a ray under which the plane point it meets is not asked for


def generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: a run that goes on from step k sees what an uninterrupted one
    would.
    """
    return torch.Generator(torch.get_default_device()).manual_seed(
        (seed * 1_000_003 + step) % 2**63
    )


def perturbed(
    images: Float[Tensor, "b 1 h w"], g: torch.Generator, share: float = PERTURBED
) -> Float[Tensor, "b 1 h w"]:
    """A share of the images under spots of light, dimmed or brightened, partly covered, noisy; the
    others as they are.
    """
    n = len(images)
    grey = torch.rand(n, 1, 1, 1, generator=g) * (torch.rand(n, 1, 1, 1, generator=g) < 0.5)
    worse = perturb.contrast(perturb.brightness(perturb.lights(images, g), g), g)
    worse = perturb.noise(
        perturb.erase(worse, g, fill=grey), g, 0.06 * torch.rand(n, 1, 1, 1, generator=g) ** 2
    )
    return torch.where(torch.rand(n, 1, 1, 1, generator=g) < share, worse, images)


@dataclass(frozen=True)
class PoseTask:
    """Teaches a PoseNet one scene: pictures from anywhere in the workspace, and the plane point of
    every cell.
    """

    scene: PlanarScene
    camera: Camera
    distance: float
    batch: int = 64
    rate: float = 2e-3

    def loss(self, net: PoseNet, seed: int, step: int) -> Tensor:
        """Mean negative log-likelihood of the cells' points under 2D Laplace errors of the width
        the network tells.
        """
        g = generator(seed, step)
        T = sampling.workspace(self.batch, g, self.distance)
        grey = torch.rand(self.batch, 1, generator=g)
        background = torch.where(
            torch.rand(self.batch, 1, generator=g) < 0.5, self.scene.background, grey
        )
        images, coverage = self.scene.render_covered(
            self.camera.resize(net.size, net.size), T, background
        )
        points, slope = pnp.plane_points(cell_rays(self.camera), T)
        images = perturbed(images, g).contiguous(memory_format=torch.channels_last)
        with half_precision():
            out = net(images)
        out = out.float().flatten(2)
        distance = (out[:, :2] - (points / self.distance).mT.float()).norm(dim=1)
        log_error = out[:, 2].clamp(-6, 3)
        covered = torch.nn.functional.adaptive_avg_pool2d(coverage, GRID).flatten(1)
        weight = (slope > SHALLOWEST) * (0.05 + covered)
        return (weight * (distance * torch.exp(-log_error) + 2 * log_error)).sum() / weight.sum()
