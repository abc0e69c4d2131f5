"""Poses of the camera relative to the reference pose.

That one faces the origin of the plane z = 0 from `distance` [m].
"""

from jaxtyping import Float
from torch import Tensor


def to_reference(T_world_cam: Float[Tensor, "b 4 4"], distance: float) -> Float[Tensor, "b 4 4"]:
    """`T_ref_cam` with lengths in units of the distance [m]."""
    T = T_world_cam.clone()
    T[:, 2, 3] += distance
    T[:, :3, 3] /= distance
    return T


def to_world(T_ref_cam: Float[Tensor, "b 4 4"], distance: float) -> Float[Tensor, "b 4 4"]:
    """`T_world_cam` [m]: the inverse of `to_reference`."""
    T = T_ref_cam.clone()
    T[:, :3, 3] *= distance
    T[:, 2, 3] -= distance
    return T
