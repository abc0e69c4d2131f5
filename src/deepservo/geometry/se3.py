"""Rigid motions as plain (..., 4, 4) tensors.

`T_a_b` takes points of frame b to frame a: `p_a = T_a_b p_b`. A twist is `(vx, vy, vz, wx, wy, wz)`
[m/s, rad/s]. Every function keeps the dtype and the leading batch shape of its input, and has
finite gradients at theta = 0 and pi.
"""

from ctypes import CDLL, Structure

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native

RUNS_A_THREAD = 2000  # at least: one takes a tenth of a microsecond


class MotionArguments(Structure):
    """What `exp_runs` and `so3_log_runs` of motions.c read and write."""

    _fields_ = native.fields("* of found")


def _library(values: Tensor) -> CDLL | None:
    """The C, for values of which no gradient is wanted."""
    plain = values.device.type == "cpu" and values.dtype == torch.float64
    return native.library() if plain and not values.requires_grad else None


def _found(work: object, values: Tensor, *size: int, of: int) -> Tensor:
    """What the C makes of values (*batch, ..); the last `of` dimensions are one motion's."""
    batch, values = values.shape[: values.ndim - of], values.contiguous()
    found = values.new_empty(*batch, *size)
    arguments = MotionArguments(of=values.data_ptr(), found=found.data_ptr())
    native.run(work, arguments, batch.numel(), RUNS_A_THREAD)
    return found


def hat(w: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Skew-symmetric matrix: `hat(a) @ b = a x b`."""
    x, y, z = w.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))


def _series(theta2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(sin t / t, (1 - cos t) / t^2, (t - sin t) / t^3) from t^2, by Taylor series near 0."""
    small = theta2 < (1e-1 if theta2.dtype == torch.float32 else 1e-3)
    safe = torch.where(small, torch.ones_like(theta2), theta2)
    t = safe.sqrt()
    a = torch.where(small, 1 - theta2 / 6 * (1 - theta2 / 20 * (1 - theta2 / 42)), t.sin() / t)
    b = torch.where(
        small, 0.5 * (1 - theta2 / 12 * (1 - theta2 / 30 * (1 - theta2 / 56))), (1 - t.cos()) / safe
    )
    c = torch.where(
        small,
        (1 - theta2 / 20 * (1 - theta2 / 42 * (1 - theta2 / 72))) / 6,
        (t - t.sin()) / (safe * t),
    )
    return a, b, c


def so3_exp(thetau: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of the rotation vector theta u [rad] (Rodrigues)."""
    a, b, _ = _series((thetau * thetau).sum(-1))
    k = hat(thetau)
    eye = torch.eye(3, dtype=thetau.dtype, device=thetau.device)
    return eye + a[..., None, None] * k + b[..., None, None] * (k @ k)


def _quaternion(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z) with w >= 0.

    It is computed from its largest component (Shepperd 1978), which is well-conditioned for every
    rotation.
    """
    m00, m11, m22 = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    sums, differences = R + R.mT, R - R.mT
    xy, xz, yz = sums[..., 1, 0], sums[..., 2, 0], sums[..., 2, 1]
    wx, wy, wz = differences[..., 2, 1], differences[..., 0, 2], differences[..., 1, 0]
    # Row i is 4 q_i q.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, wx, wy, wz], -1),
            torch.stack([wx, 1 + m00 - m11 - m22, xy, xz], -1),
            torch.stack([wy, xy, 1 - m00 + m11 - m22, yz], -1),
            torch.stack([wz, xz, yz, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )
    best = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    q = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def so3_log(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector theta u [rad], theta in [0, pi], of a rotation matrix."""
    lib = _library(R)
    return so3_log_reference(R) if lib is None else _found(lib.so3_log_runs, R, 3, of=2)


def so3_log_reference(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """`so3_log` in plain torch."""
    q = _quaternion(R)
    w, xyz = q[..., 0], q[..., 1:]
    n2 = (xyz * xyz).sum(-1)
    small = n2 < 1e-6
    n = torch.where(small, torch.ones_like(n2), n2).sqrt()
    # near 0: 2 asin(n) / n = 2 + n^2 / 3 + 3 n^4 / 20
    scale = torch.where(small, 2 + n2 / 3 * (1 + 0.45 * n2), 2 * torch.atan2(n, w) / n)
    return scale[..., None] * xyz


def transform(
    R: Float[Tensor, "*batch 3 3"], t: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """The rigid motion (..., 4, 4) of R and t."""
    R, t = torch.broadcast_tensors(R, t[..., None, :])
    t = t[..., 0, :]
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=R.dtype, device=R.device).expand(
        *t.shape[:-1], 1, 4
    )
    return torch.cat([torch.cat([R, t[..., None]], -1), bottom], -2)


def exp(twist: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """The rigid motion of a twist held for one second.

    `T_world_cam @ exp(v_cam * dt)` moves the camera.
    """
    lib = _library(twist)
    return exp_reference(twist) if lib is None else _found(lib.exp_runs, twist, 4, 4, of=1)


def exp_reference(twist: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """`exp` in plain torch."""
    v, w = twist[..., :3], twist[..., 3:]
    a, b, c = (factor[..., None, None] for factor in _series((w * w).sum(-1)))
    k = hat(w)
    kk, eye = k @ k, torch.eye(3, dtype=twist.dtype, device=twist.device)
    return transform(eye + a * k + b * kk, ((eye + b * k + c * kk) @ v[..., None])[..., 0])


def log(T: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 6"]:
    """The twist whose `exp` is T, with a rotation in [0, pi]."""
    w = so3_log(T[..., :3, :3])
    k = hat(w)
    V_inv = (
        torch.eye(3, dtype=T.dtype, device=T.device)
        - 0.5 * k
        + _cot_term(w)[..., None, None] * (k @ k)
    )
    return torch.cat([(V_inv @ T[..., :3, 3:])[..., 0], w], -1)


def _cot_term(w: Tensor) -> Tensor:
    """(1 - (t/2) cot(t/2)) / t^2 for the rotation vector w of angle t."""
    theta2 = (w * w).sum(-1)
    a, b, _ = _series(theta2)
    small = theta2 < 1e-2
    safe = torch.where(small, torch.ones_like(theta2), theta2)
    return torch.where(small, (1 + theta2 / 60 * (1 + theta2 / 42)) / 12, (1 - a / (2 * b)) / safe)


def thetau_jacobian(w: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """L_thetau of `d(theta u)/dt = L_thetau w_cam` (MLVS Eq. 5).

    theta u is that of R_f_cam, f a fixed frame. `I + (theta/2) [u]x + (1 -
    sinc(theta)/sinc^2(theta/2)) [u]x^2`; singular only at theta = 2 pi.
    """
    k = hat(w)
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    return eye + 0.5 * k + _cot_term(w)[..., None, None] * (k @ k)


def inverse(T: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """`T_b_a` of `T_a_b`, exactly rigid."""
    R_t = T[..., :3, :3].mT
    return transform(R_t, -(R_t @ T[..., :3, 3:])[..., 0])


def adjoint(T: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 6 6"]:
    """The matrix that takes a rigid body's twist to another frame: `v_a = adjoint(T_a_b) v_b`."""
    R = T[..., :3, :3]
    tR = hat(T[..., :3, 3]) @ R
    top = torch.cat([R, tR], -1)
    return torch.cat([top, torch.cat([torch.zeros_like(R), R], -1)], -2)


def distance(
    T_a: Float[Tensor, "*batch 4 4"], T_b: Float[Tensor, "*batch 4 4"]
) -> tuple[Tensor, Tensor]:
    """Translation [m] and rotation angle [rad] of `inverse(T_a) @ T_b`."""
    delta = inverse(T_a) @ T_b
    return delta[..., :3, 3].norm(dim=-1), so3_log(delta[..., :3, :3]).norm(dim=-1)
