"""Control laws: pure functions to `v_cam` (..., 6).

They take a pose error, or the normal equations of (L, e). With `e = s - s_goal` and `ds/dt = L v`,
the normal equations are `H = L^T L` (..., 6, 6) and `g = L^T e` (..., 6): a law never needs the
thousands of rows of L. Gains are per second.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.geometry import se3


def pbvs(T_goal_cam: Float[Tensor, "*batch 4 4"], gain: float) -> Float[Tensor, "*batch 6"]:
    """Pose-based law: `v = -gain R^T t`, `w = -gain theta u` (Siame-se(3) Eq. 3).

    The camera moves on a straight line, and rotates about one axis.
    """
    R, t = T_goal_cam[..., :3, :3], T_goal_cam[..., :3, 3:]
    return -gain * torch.cat([(R.mT @ t)[..., 0], se3.so3_log(R)], -1)


def pose_of_pbvs(v_cam: Float[Tensor, "*batch 6"], gain: float) -> Float[Tensor, "*batch 4 4"]:
    """The `T_goal_cam` for which `pbvs` answers v_cam."""
    R = se3.so3_exp(-v_cam[..., 3:] / gain)
    return se3.transform(R, (R @ (-v_cam[..., :3, None] / gain))[..., 0])


def normal_equations(
    L: Float[Tensor, "*batch k 6"], e: Float[Tensor, "*batch k"]
) -> tuple[Float[Tensor, "*batch 6 6"], Float[Tensor, "*batch 6"]]:
    """`H = L^T L` and `g = L^T e`."""
    return L.mT @ L, (L.mT @ e[..., None])[..., 0]


def gauss_newton(
    H: Float[Tensor, "*batch 6 6"], g: Float[Tensor, "*batch 6"], gain: float
) -> Float[Tensor, "*batch 6"]:
    """`v = -gain L^+ e`, by eigenvalues of H: zero along directions that no feature observes."""
    return (
        -gain
        * (torch.linalg.pinv(H.double(), hermitian=True, rtol=1e-9) @ g.double()[..., None])[..., 0]
    )


def levenberg_marquardt(
    H: Float[Tensor, "*batch 6 6"], g: Float[Tensor, "*batch 6"], gain: float, mu: float
) -> Float[Tensor, "*batch 6"]:
    """`v = -gain (H + mu diag H)^-1 L^T e` (AEVS Eq. 18)."""
    H = H.double()
    damped = H + torch.diag_embed(mu * torch.diagonal(H, dim1=-2, dim2=-1))
    return gauss_newton(damped, g, gain)


def saturate(
    v_cam: Float[Tensor, "*batch 6"], linear: float, angular: float
) -> Float[Tensor, "*batch 6"]:
    """Scale the twist down until its speeds are at most `linear` [m/s] and `angular` [rad/s]."""
    speed = v_cam[..., :3].norm(dim=-1, keepdim=True) / linear
    turn = v_cam[..., 3:].norm(dim=-1, keepdim=True) / angular
    return v_cam / torch.maximum(speed, turn).clamp(min=1)
