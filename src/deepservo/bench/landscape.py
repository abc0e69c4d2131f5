"""The cost that a method descends, around the goal, over any two of the six axes of the camera's
motion (AEVS Fig. 3).
"""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.geometry import se3
from deepservo.methods.direct import Features
from deepservo.scene import PlanarScene
from deepservo.scene.sampling import fronto_parallel

AXES = ("x", "y", "z", "rx", "ry", "rz")
REACH = (
    0.3,
    0.3,
    0.2,
    math.radians(30),
    math.radians(30),
    math.radians(90),
)  # to either side [m for a goal at 0.6 m, rad]
POINTS = 21


def landscape(
    features: Features,
    scene: PlanarScene,
    camera: Camera,
    axes: tuple[int, int],
    distance: float = 0.6,
    points: int = POINTS,
) -> Float[Tensor, "points points"]:
    """`|s - s_goal|^2` over offsets `exp(a, b)` from the goal, the second axis down; 1 is the most
    there.
    """
    reach = torch.tensor(REACH, dtype=torch.float64) * torch.tensor(
        [distance / 0.6] * 3 + [1.0] * 3
    )
    at = torch.linspace(-1, 1, points, dtype=torch.float64)
    twist = torch.zeros(points, points, 6, dtype=torch.float64)
    twist[..., axes[0]] = at * reach[axes[0]]
    twist[..., axes[1]] = at[:, None] * reach[axes[1]]
    T_goal = fronto_parallel(distance)
    s_goal = features.s(scene.render(camera, T_goal))
    cost = torch.cat(
        [
            (features.s(scene.render(camera, Ts)) - s_goal).square().sum(1)
            for Ts in (T_goal @ se3.exp(twist.flatten(0, 1))).split(64)
        ]
    )
    return (cost / cost.max().clamp(min=1e-12)).view(points, points)


def landscapes(
    features: Features, scene: PlanarScene, camera: Camera, distance: float = 0.6
) -> dict[str, Float[Tensor, "p p"]]:
    """All fifteen, by the names of the two axes."""
    pairs = itertools.combinations(range(6), 2)
    return {
        f"{AXES[a]} {AXES[b]}": landscape(features, scene, camera, (a, b), distance)
        for a, b in pairs
    }
