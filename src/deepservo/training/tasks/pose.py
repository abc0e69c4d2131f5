"""What a PoseNet learns from: pictures of one scene, and the plane point that each cell shows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepservo.geometry import pnp
from deepservo.nets.pose import GRID, PoseNet, cell_rays
from deepservo.nets.precision import half_precision
from deepservo.scene import taught
from deepservo.training.tasks.task import SceneTask, generator, perturbed

MIN_SLOPE = 0.15  # of a ray, under which the plane point that it meets is not learned


@dataclass(frozen=True)
class PoseTask(SceneTask):
    """A PoseNet learns the plane point of every cell of pictures from anywhere in the workspace.

    Of a solid too: a cell's point is where its ray meets the world's plane z = 0, at the reference
    pose's distance, whatever stands before the plane or behind it. The pose follows from these
    points as before a plane; what the parallax says of it the network learns.
    """

    batch: int = 64
    rate: float = 2e-3

    def loss(self, net: PoseNet, seed: int, step: int) -> Tensor:
        """Mean negative log-likelihood of the cells' points.

        Their errors are 2D Laplace, of the width that the network gives.
        """
        g = generator(seed, step)
        T = self.poses(self.batch, g)
        grey = torch.rand(self.batch, 1, generator=g)
        background = torch.where(
            torch.rand(self.batch, 1, generator=g) < 0.5, self.scene.background, grey
        )
        images, coverage = taught.shown_covered(
            self.scene, self.camera.resize(net.size, net.size), T, background
        )
        points, slope = pnp.plane_points(cell_rays(self.camera), T)
        images = perturbed(images, g).contiguous(memory_format=torch.channels_last)
        with half_precision():
            out = net(images)
        out = out.float().flatten(2)
        distance = (out[:, :2] - (points / self.distance).mT.float()).norm(dim=1)
        log_error = out[:, 2].clamp(-6, 3)
        covered = torch.nn.functional.adaptive_avg_pool2d(coverage, GRID).flatten(1)
        weight = (slope > MIN_SLOPE) * (0.05 + covered)
        return (weight * (distance * torch.exp(-log_error) + 2 * log_error)).sum() / weight.sum()
