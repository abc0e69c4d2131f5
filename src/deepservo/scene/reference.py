"""Poses of the camera relative to the reference one, which faces the plane z = 0 from `distance`
[m] and sees its origin in the centre.
"""

from jaxtyping import Float
from torch import Tensor


def to_reference(T_world_cam: Float[Tensor, "b 4 4"], distance: float) -> Float[Tensor, "b 4 4"]:
    """`T_ref_cam` in units of the distance: the reference faces the plane from there."""
    T = T_world_cam.clone()
    T[:, 2, 3] += distance
    T[:, :3, 3] /= distance
    return T


def to_world(T_ref_cam: Float[Tensor, "b 4 4"], distance: float) -> Float[Tensor, "b 4 4"]:
    """`T_world_cam`, back from `to_reference`."""
    T = T_ref_cam.clone()
    T[:, :3, 3] *= distance
    T[:, 2, 3] -= distance
    return T
