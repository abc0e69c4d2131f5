"""Scenes of the registration tests: N goals, tilted planes, a lamp."""

import torch

from deepservo.scene import sampling

N = 4


def lamp(images: torch.Tensor) -> torch.Tensor:
    """A bright spot on the left, so wide that hardly any of the picture is out of it."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, images.shape[2]),
        torch.linspace(-1, 1, images.shape[3]),
        indexing="ij",
    )
    return (0.6 * images * (1 + 0.5 * torch.exp(-2 * ((x + 0.6).square() + y.square())))).clamp(
        max=1
    )


def tilted_goals() -> torch.Tensor:
    """N different goals that see the plane from the side."""
    generator = torch.Generator().manual_seed(5)
    aside = 0.5 * (torch.rand(N, 3, generator=generator, dtype=torch.float64) - 0.5) + torch.tensor(
        [0.0, 0.0, -0.6]
    )
    return sampling.look_at(
        aside, torch.zeros(N, 3, dtype=torch.float64), torch.linspace(-1, 1, N, dtype=torch.float64)
    )


def plane_of(T_world_goal: torch.Tensor) -> torch.Tensor:
    return torch.cat([T_world_goal[:, 2, :3], -T_world_goal[:, 2, 3:]], 1)
