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
from deepservo.scene import Scene
from deepservo.scene.sampling import fronto_parallel

AXES = ("x", "y", "z", "rx", "ry", "rz")
REACH_DISTANCE = 0.6  # m, of the goal for which REACH is given
REACH = (0.3, 0.3, 0.2, *(math.radians(deg) for deg in (30, 30, 90)))
"""To either side of the goal, by axis [m, rad]; translations grow with the goal's distance."""
POINTS = 21  # along each axis


def reach(axis: int, distance: float) -> float:
    """How far a landscape goes along an axis, to either side of a goal at `distance` [m, rad]."""
    return REACH[axis] * (distance / REACH_DISTANCE if axis < 3 else 1)


def landscape(
    features: Features,
    scene: Scene,
    camera: Camera,
    axes: tuple[int, int],
    distance: float,
) -> Float[Tensor, "p p"]:
    """The cost `|s - s_goal|^2` over offsets along two axes, as a share of its largest value there.

    The offsets are `exp` of twists in the frame of a goal `distance` [m] in front of the plane; the
    first axis runs along the columns, the second along the rows.
    """
    at = torch.linspace(-1, 1, POINTS, dtype=torch.float64)
    twist = torch.zeros(POINTS, POINTS, 6, dtype=torch.float64)
    twist[..., axes[0]] = at * reach(axes[0], distance)
    twist[..., axes[1]] = at[:, None] * reach(axes[1], distance)
    T_goal = fronto_parallel(distance)
    s_goal = features.s(scene.render(camera, T_goal))
    cost = torch.cat(
        [
            (features.s(scene.render(camera, Ts)) - s_goal).square().sum(1)
            for Ts in (T_goal @ se3.exp(twist.flatten(0, 1))).split(64)
        ]
    )
    return (cost / cost.max().clamp(min=1e-12)).view(POINTS, POINTS)


def landscapes(
    features: Features, scene: Scene, camera: Camera, distance: float
) -> dict[str, Float[Tensor, "p p"]]:
    """The landscapes of all fifteen pairs of axes, by the names of the two."""
    pairs = itertools.combinations(range(6), 2)
    return {
        f"{AXES[a]} {AXES[b]}": landscape(features, scene, camera, (a, b), distance)
        for a, b in pairs
    }
