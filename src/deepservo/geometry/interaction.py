"""Interaction matrices: `ds/dt = L v_cam`.

`v_cam = (vx, vy, vz, wx, wy, wz)` [m/s, rad/s] is in the camera frame.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.geometry import se3


def point(
    x: Float[Tensor, "*batch"], y: Float[Tensor, "*batch"], Z: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 2 6"]:
    """Interaction matrix of a point at normalised (x, y) and depth Z [m].

    Chaumette & Hutchinson 2006, Eq. 11.
    """
    x, y, Z = torch.broadcast_tensors(x, y, Z)
    iz, o = 1 / Z, torch.zeros_like(x)
    row_x = torch.stack([-iz, o, x * iz, x * y, -(1 + x * x), y], -1)
    row_y = torch.stack([o, -iz, y * iz, 1 + y * y, -x * y, -x], -1)
    return torch.stack([row_x, row_y], -2)


def luminance(
    gx: Float[Tensor, "*batch"],
    gy: Float[Tensor, "*batch"],
    x: Float[Tensor, "*batch"],
    y: Float[Tensor, "*batch"],
    Z: Float[Tensor, "*batch"],
    *,
    axis: int = -1,
) -> Float[Tensor, "..."]:
    """Interaction matrix of a pixel's luminance, `L_I = -(grad I)^T L_point`.

    gx, gy: derivatives per *normalised* unit, the pixel derivatives times fx, fy. x, y: normalised
    coordinates. Z: depth [m]. axis: of the result along which the six columns are, (..., 6) by
    default. Collewet & Marchand 2011, Eq. 10, written out so that no (..., 2, 6) is stored.
    """
    gx, gy, x, y, Z = torch.broadcast_tensors(gx, gy, x, y, Z)
    iz = 1 / Z
    turn = gx * x + gy * y
    return torch.stack(
        [gx * iz, gy * iz, -turn * iz, -(gy + y * turn), gx + x * turn, gy * x - gx * y],
        axis,
    )


def pose(T_f_cam: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 6 6"]:
    """Interaction matrix of r = (t, theta u) of `T_f_cam`, f a fixed frame.

    `blockdiag(R_f_cam, L_thetau)` (MLVS Eq. 5).
    """
    R = T_f_cam[..., :3, :3]
    L_w = se3.thetau_jacobian(se3.so3_log(R))
    o = torch.zeros_like(R)
    return torch.cat([torch.cat([R, o], -1), torch.cat([o, L_w], -1)], -2)
