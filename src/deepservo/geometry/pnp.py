"""The pose of a camera from points of the plane z = 0 on its rays, robustly and in batches."""

from ctypes import Structure

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.geometry import se3

MIN_SLOPE = 0.05  # least cosine between a ray and the plane's normal
L1_FLOOR = 2e-3  # m: residuals under this have the same weight
ITERATIONS = 12
MAX_STEP = 0.5  # m, rad: largest component of a step
# Sets of four points that homographies are drawn from: with a fifth of all points wrong, every set
# has a wrong one once in five thousand times.
DRAWS = 16


def plane_points(
    rays: Float[Tensor, "n 3"], T_world_cam: Float[Tensor, "b 4 4"]
) -> tuple[Float[Tensor, "b n 2"], Float[Tensor, "b n"]]:
    """Where rays meet the plane z = 0, (X, Y) [m], and the cosine between each and its normal.

    The rays are in the camera frame, with z = 1. The cosine is clamped at MIN_SLOPE, so that a ray
    over the horizon gives a far but finite point.
    """
    directions = rays @ T_world_cam[:, :3, :3].mT
    slope = directions[..., 2] / directions.norm(dim=-1)
    down = directions[..., 2].clamp(min=MIN_SLOPE)
    points = (
        T_world_cam[:, None, :2, 3]
        - (T_world_cam[:, None, 2, 3] / down)[..., None] * directions[..., :2]
    )
    return points, slope


def _first_homography(rays: Tensor, points: Tensor, weights: Tensor) -> Float[Tensor, "b 3 3"]:
    """The best homography G with `(X, Y, 1) ~ G ray`, of many.

    These are DRAWS through four points each, and the least squares one of all points. The best has
    the least weighted sum of square roots of distances, which depends little on points that are far
    off.
    """
    draws = torch.rand(DRAWS, len(rays), generator=torch.Generator().manual_seed(0)).argsort(1)[
        :, :4
    ]
    four = _rows(rays[draws], points[:, draws])
    g, _ = torch.linalg.solve_ex(four[..., :8], -four[..., 8])
    through_four = torch.cat([g, torch.ones_like(g[..., :1])], -1)
    rows = _rows(rays, points) * torch.cat([weights, weights], 1)[..., None]
    nearest = torch.linalg.eigh(rows.mT @ rows)[1][..., 0]
    Gs = torch.cat([through_four, nearest[:, None]], 1).unflatten(-1, (3, 3))
    met = rays @ Gs.mT
    distance = (met[..., :2] / met[..., 2:] - points[:, None]).norm(dim=-1).nan_to_num(1e3, 1e3)
    best = (weights[:, None] * distance.sqrt()).sum(-1).argmin(1)
    return Gs[torch.arange(len(Gs)), best].nan_to_num(0.0, 0.0, 0.0)


def _rows(
    rays: Float[Tensor, "*#batch n 3"], points: Float[Tensor, "*batch n 2"]
) -> Float[Tensor, "*batch two_n 9"]:
    """Two equations a point, linear in the nine numbers of a homography from rays to points."""
    r = rays.expand(*points.shape[:-1], 3)
    o = torch.zeros_like(r)
    return torch.cat(
        [torch.cat([r, o, -points[..., :1] * r], -1), torch.cat([o, r, -points[..., 1:] * r], -1)],
        -2,
    )


def _pose_of_homography(G: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 4 4"]:
    """`T_world_cam`, at z < 0, whose plane homography `[r1 r2 t]^-1` is nearest to G."""
    M = torch.linalg.pinv(G)
    M = M * torch.where(M[:, 2, 2] < 0, -1.0, 1.0)[:, None, None]
    M = M / (M[:, :, 0].norm(dim=1) * M[:, :, 1].norm(dim=1)).sqrt().clamp(min=1e-9)[:, None, None]
    U, _, Vh = torch.linalg.svd(
        torch.stack([M[:, :, 0], M[:, :, 1], torch.linalg.cross(M[:, :, 0], M[:, :, 1])], -1)
    )
    one = torch.ones(len(U))
    U = U * torch.stack([one, one, torch.linalg.det(U @ Vh)], -1).to(U)[:, None]
    return se3.inverse(se3.transform(U @ Vh, M[:, :, 2]))


class Arguments(Structure):
    """What `plane_pose_runs` of plane_pose.c reads and writes."""

    _fields_ = native.fields(
        "* rays points weights poses costs", "i32 n iterations", "f64 steepest floor farthest"
    )


def pose_from_plane_points(
    rays: Float[Tensor, "n 3"], points: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, " b"]]:
    """`T_world_cam` from points [m] of the plane z = 0 on rays (camera frame, z = 1).

    It has the least weighted sum of distances between `points` and where the rays meet the plane,
    which is answered too, over the sum of weights [m]. Both are float64. The first pose is that of
    a homography through points that agree; it is refined by Levenberg-Marquardt, reweighted for the
    L1 norm. About a third of the points may be wrong.
    """
    rays, points, weights = (each.double().contiguous() for each in (rays, points, weights))
    T = _pose_of_homography(_first_homography(rays, points, weights))
    facing = torch.eye(4, dtype=T.dtype)
    facing[2, 3] = -1
    usable = (T[:, 2, 3] < -1e-3) & torch.isfinite(T).flatten(1).all(1)
    T = torch.where(usable[:, None, None], T, facing)
    lib = native.library()
    if lib is None:
        best, cost = refined_reference(rays, points, weights, T)
    else:
        best, cost = T.contiguous(), torch.empty(len(T), dtype=T.dtype)
        arguments = Arguments(
            rays=rays.data_ptr(), points=points.data_ptr(), weights=weights.data_ptr(),
            poses=best.data_ptr(), costs=cost.data_ptr(), n=len(rays), iterations=ITERATIONS,
            steepest=MIN_SLOPE, floor=L1_FLOOR, farthest=MAX_STEP,
        )  # fmt: skip
        native.run(lib.plane_pose_runs, arguments, len(T))
    return best, cost / weights.sum(1)


def refined_reference(
    rays: Tensor, points: Tensor, weights: Tensor, T: Float[Tensor, "b 4 4"]
) -> tuple[Tensor, Tensor]:
    """The iterations of `pose_from_plane_points` from poses T, in plain torch.

    Returns the poses, and the weighted sums of distances.
    """
    best, cost = T, torch.full((len(T),), torch.inf, dtype=T.dtype)
    mu = torch.full((len(T),), 1e-3, dtype=T.dtype)
    H, g = torch.zeros(len(T), 6, 6, dtype=T.dtype), torch.zeros(len(T), 6, dtype=T.dtype)
    for _ in range(ITERATIONS):
        error, J = _residual(rays, T, points)
        distance = error.norm(dim=-1)
        now = (weights * distance).sum(1)
        better = now < cost
        cost, best = torch.where(better, now, cost), torch.where(better[:, None, None], T, best)
        mu = torch.where(better, mu * 0.3, mu * 10)
        w = weights / distance.clamp(min=L1_FLOOR)
        H = torch.where(better[:, None, None], torch.einsum("bnij,bn,bnik->bjk", J, w, J), H)
        g = torch.where(better[:, None], torch.einsum("bnij,bn,bni->bj", J, w, error), g)
        diagonal = torch.diagonal(H, dim1=1, dim2=2)
        damped = H + torch.diag_embed(mu[:, None] * diagonal + 1e-9)
        step = -torch.linalg.solve(damped, g)
        T = best @ se3.exp(step.clamp(-MAX_STEP, MAX_STEP))
    return best, cost


def _residual(
    rays: Tensor, T: Tensor, points: Tensor
) -> tuple[Float[Tensor, "b n 2"], Float[Tensor, "b n 2 6"]]:
    """Where the rays meet the plane minus `points`, and its derivative by the camera's twist."""
    R, z = T[:, :3, :3], T[:, None, 2, 3]
    met, _ = plane_points(rays, T)
    d = rays @ R.mT
    down = d[..., 2].clamp(min=MIN_SLOPE)
    # p = t + k d with k = -t_z / d_z; dt = R v, dd = -R [ray]x w.
    dt = R[:, None].expand(-1, len(rays), 3, 3)
    dd = -R[:, None] @ se3.hat(rays)
    o = torch.zeros_like(dd)
    dt, dd = torch.cat([dt, o], -1), torch.cat([o, dd], -1)
    k = -z / down
    dk = (
        -dt[..., 2, :] / down[..., None]
        + (z / down**2)[..., None] * dd[..., 2, :] * (d[..., 2] > MIN_SLOPE)[..., None]
    )
    J = dt[..., :2, :] + k[..., None, None] * dd[..., :2, :] + d[..., :2, None] * dk[..., None, :]
    return met - points, J
