"""One Gauss-Newton step of photometric registration at one picture size.

    r = (I_warped - bias) / gain - I_goal,    J = [L, I, 1],    H = J^T W J,    g = J^T W r

On a CPU `step` is done by `registration.c`, run after run, so that a run's pictures never leave the
cache. `step_reference` is the same arithmetic in torch, for other devices, for machines without a
compiler, and for the tests.
"""

from ctypes import Structure
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.features import robust
from deepservo.features.lighting import (
    LIGHT_CELLS,
    MIN_CELL_WIDTH,
    difference,
    first_gain_bias,
    next_gain_bias,
    smooth,
)
from deepservo.features.luminance import gradient
from deepservo.features.pairs import Goals, Pairs, Projection, warp

# The view's centre counts as no nearer to the plane than this share of the goal's distance to it.
MIN_DISTANCE_RATIO = 0.05
BLOCKS = 16  # along each side of a picture


class StepArguments(Structure):
    """What `registration_runs` of registration.c reads and writes."""

    _fields_ = native.fields(
        "* views homographies dets goal_image goal_gx goal_gy", "i64 goal_step",
        "* planes inverse_depths shifts", "i64 depth_step",
        "* centres camera goal_noises noises floors", "* scales fits costs H g",
        "* scatters moments totals",
        "i32 view_w view_h w h first",
    )  # fmt: skip


class Places(NamedTuple):
    """Where the views are warped from, float32 and contiguous."""

    matrices: Float[Tensor, "b 9"]
    determinants: Float[Tensor, " b"]
    shifts: Float[Tensor, "b 3"]
    centres: Float[Tensor, "b 3"]


@dataclass(frozen=True)
class Step:
    """What a step finds at a pose.

    gain_bias: gain, bias and the first gain. cost: by the scale given; next_cost: by the new
    `scale`, the robust deviation of the residuals. H, g: float64, of the twist [m, rad], then of
    what is left of gain and bias. blocks: where they were asked for.
    """

    gain_bias: Float[Tensor, "b 3"]
    cost: Float[Tensor, " b"]
    scale: Float[Tensor, "b 1"]
    next_cost: Float[Tensor, " b"]
    H: Float[Tensor, "b 8 8"]
    g: Float[Tensor, "b 8"]
    blocks: "Blocks | None" = None


class Blocks(NamedTuple):
    """What the blocks of the goals' pictures say, BLOCKS along each side.

    scatter: the sum of `g g^T` over the blocks, float64: how much of g is chance, where what
    disturbs one block does not disturb another. moments: in each block, the number of pixels
    compared, and their sums of a, b, aa, bb and ab, of the goal's grey levels a and the view's b.
    totals: over the picture, float64: the sum of the derivatives of weighted residuals `w r` by r,
    which is that of the weights where all residuals are small, and less where many are so large
    that their weights fall; and the sum of `w r^2`.
    """

    scatter: Float[Tensor, "b 8 8"]
    moments: Float[Tensor, "b k k 6"]
    totals: Float[Tensor, "b 2"]


def step(
    pairs: Pairs,
    seen: Projection,
    centre: Float[Tensor, "b 3"],
    scale: Float[Tensor, "b 1"],
    gain_bias: Float[Tensor, "b 3"] | None,
    *,
    blocks: bool = False,
) -> Step:
    """One step for each run.

    seen: where the views see the goals' pixels. centre: the view's, in the goal's frame [m]. scale:
    robust deviation of the residuals so far. gain_bias: gain, bias and first gain so far; None at
    the first step. blocks: whether they are summed too.
    """
    lib = native.library() if seen.matrix.device.type == "cpu" else None
    if lib is None:
        return step_reference(pairs, seen, centre, scale, gain_bias, blocks=blocks)
    B, determinant = len(seen.matrix), torch.linalg.det(seen.matrix).abs()
    shift = torch.zeros(B, 3) if seen.shift is None else seen.shift
    centres = _scaled(centre, pairs.goals).expand(B, 3)
    values = (seen.matrix, determinant, shift, centres)
    places = Places(*(each.float().contiguous() for each in values))
    arguments, found = step_arguments(pairs, places, scale, gain_bias, blocks=blocks)
    native.run(lib.registration_runs, arguments, B)
    return found


def step_arguments(
    pairs: Pairs,
    places: Places,
    scale: Float[Tensor, "b 1"],
    gain_bias: Float[Tensor, "b 3"] | None,
    *,
    blocks: bool,
) -> tuple[StepArguments, Step]:
    """What the C code reads, and the Step that it will write.

    The arguments point into `pairs`, `places` and the Step, which must outlive them.
    """
    goals, views, B, depths = pairs.goals, pairs.views, len(pairs.views), pairs.goals.map
    (view_h, view_w), (h, w) = views.shape[-2:], goals.image.shape[-2:]
    scales = scale.float().expand(B, 1).clone(memory_format=torch.contiguous_format)
    fits = torch.zeros(B, 3) if gain_bias is None else gain_bias.clone()
    costs = torch.zeros(B, 2)
    H, g = torch.zeros(B, 8, 8, dtype=torch.float64), torch.zeros(B, 8, dtype=torch.float64)
    sums = None
    if blocks:
        totals = torch.empty(B, 2, dtype=torch.float64)
        sums = Blocks(torch.empty_like(H), torch.empty(B, BLOCKS, BLOCKS, 6), totals)
    arguments = StepArguments(
        views=views.data_ptr(), homographies=places.matrices.data_ptr(),
        dets=places.determinants.data_ptr(), goal_image=goals.image.data_ptr(),
        goal_gx=goals.gx.data_ptr(), goal_gy=goals.gy.data_ptr(),
        goal_step=h * w if len(goals.image) > 1 else 0, planes=pairs.depth.data_ptr(),
        inverse_depths=None if depths is None else depths.data_ptr(),
        shifts=places.shifts.data_ptr(),
        depth_step=h * w if depths is not None and len(depths) > 1 else 0,
        centres=places.centres.data_ptr(), camera=pairs.intrinsics.data_ptr(),
        goal_noises=pairs.goal_noise.data_ptr(), noises=pairs.noise.data_ptr(),
        floors=pairs.floor.data_ptr(), scales=scales.data_ptr(), fits=fits.data_ptr(),
        costs=costs.data_ptr(), H=H.data_ptr(), g=g.data_ptr(),
        scatters=None if sums is None else sums.scatter.data_ptr(),
        moments=None if sums is None else sums.moments.data_ptr(),
        totals=None if sums is None else sums.totals.data_ptr(),
        view_w=view_w, view_h=view_h, w=w, h=h, first=gain_bias is None,
    )  # fmt: skip
    return arguments, Step(fits, costs[:, 0], scales, costs[:, 1], H, g, sums)


def step_reference(
    pairs: Pairs,
    seen: Projection,
    centre: Float[Tensor, "b 3"],
    scale: Float[Tensor, "b 1"],
    gain_bias: Float[Tensor, "b 3"] | None,
    *,
    blocks: bool = False,
) -> Step:
    """`step` in plain torch."""
    goals, noise = pairs.goals, pairs.noise
    warped, valid_map = warp(pairs.views, seen, goals)
    image, values, valid = goals.image.flatten(1), warped.flatten(1), valid_map.flatten(1)
    ratio = (noise / goals.noise).square().clamp(1e-4, 1e4)
    if gain_bias is None:
        gain_bias = first_gain_bias(goals.image, goals.noise, warped, valid_map, noise)
    for _ in range(2):
        residual, informative = difference(image, values, valid, gain_bias)
        weights = informative * robust.weight(residual, scale)
        gain_bias = next_gain_bias(image, values, weights, ratio, gain_bias[:, 2:])
    residual, informative = difference(image, values, valid, gain_bias)
    if warped.shape[-1] >= LIGHT_CELLS * MIN_CELL_WIDTH:
        light = smooth(goals.image, warped, residual.view_as(warped), informative.view_as(warped))
        residual = residual - valid * light.flatten(1)
    new_scale = torch.maximum(robust.residual_scale(residual, informative), pairs.floor)
    # The goal's share in the gradient: the view's noise is ratio / gain^2 of the goal's.
    share = ratio / (ratio + gain_bias[:, :1].square())
    J = _jacobian(goals, warped, centre, gain_bias, share)
    weights = informative * robust.weight(residual, new_scale)
    H, g = _normal_equations(J, residual, weights)
    slopes = J * (weights * residual)[..., None]
    sums = None
    if blocks:
        root = robust.weight(residual, new_scale).sqrt()
        totals = torch.stack([weights * (4 * root - 3), weights * residual.square()], 2)
        sums = Blocks(*_block_sums(goals, warped, valid_map, slopes), totals.double().sum(1))
    cost, next_cost = (robust.cost(residual, valid, each) for each in (scale, new_scale))
    return Step(gain_bias, cost, new_scale, next_cost, H, g, sums)


def _jacobian(
    goals: Goals,
    warped: Float[Tensor, "b h w"],
    centre: Float[Tensor, "b 3"],
    gain_bias: Float[Tensor, "b 3"],
    share: Float[Tensor, "b 1"],
) -> Float[Tensor, "b n 8"]:
    """J = [L, I, 1] of every pixel, float64.

    What is left of gain and bias is solved along with the twist. share: of the goal's gradient, the
    view's has the rest. L is that of `interaction.luminance`, `L = [q, X x q]` with q the slope of
    the grey level along the point X, but of a point that stays on the plane as the *view* sees it:
    moved by dX it is seen where `dX + c (n . dX) / (d - n . c)` is, from the view's centre c.
    Without that a step is right near the goal alone.
    """
    gain, bias, share = gain_bias[:, :1, None], gain_bias[:, 1:2, None], share[:, :, None]
    gx, gy = gradient(warped[:, None])
    gx = share * goals.gx + (1 - share) / gain * goals.camera.fx * gx
    gy = share * goals.gy + (1 - share) / gain * goals.camera.fy * gy
    image = share * goals.image + (1 - share) / gain * (warped - bias)
    x, y = goals.camera.xy()
    iz, m = goals.inverse_depth().clamp(min=1e-6), goals.depth[:, None, None]
    X = torch.stack(torch.broadcast_tensors(x / iz, y / iz, 1 / iz), -1)
    q = torch.stack([gx, gy, -(gx * x + gy * y)], -1) * iz[..., None]
    q = q + (q * _scaled(centre, goals)[:, None, None].float()).sum(-1, keepdim=True) * m
    L = torch.cat([q, torch.linalg.cross(X.expand_as(q), q)], -1)
    J = torch.cat([L, image[..., None], torch.ones_like(image)[..., None]], -1)
    return J.flatten(1, 2).double()


def _normal_equations(
    J: Float[Tensor, "b n 8"], residual: Float[Tensor, "b n"], weights: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, "b 8 8"], Float[Tensor, "b 8"]]:
    """`J^T W J` and `J^T W r`, float64."""
    weighted = (J * weights[..., None]).mT
    return weighted @ J, (weighted @ residual[..., None].double())[..., 0]


def _block_sums(
    goals: Goals,
    warped: Float[Tensor, "b h w"],
    valid: Float[Tensor, "b h w"],
    slopes: Float[Tensor, "b n 8"],
) -> tuple[Float[Tensor, "b 8 8"], Float[Tensor, "b k k 6"]]:
    """The blocks' scatter and moments; slopes: what each pixel adds to g."""
    b, h, w = warped.shape
    rows, columns = (torch.arange(n) * BLOCKS // n for n in (h, w))
    block = (rows[:, None] * BLOCKS + columns).flatten().expand(b, -1)
    image, view = (each.expand(b, -1, -1) * valid for each in (goals.image, warped))
    moments = torch.stack([valid, image, view, image**2, view**2, image * view], -1)
    g, sums = (
        torch.zeros(b, BLOCKS**2, each.shape[-1], dtype=each.dtype).scatter_add_(
            1, block[..., None].expand_as(each), each
        )
        for each in (slopes, moments.flatten(1, 2))
    )
    return g.mT @ g, sums.view(b, BLOCKS, BLOCKS, -1)


def _scaled(centre: Float[Tensor, "b 3"], goals: Goals) -> Float[Tensor, "b 3"]:
    """c / (1 - n . c / d) of the view's centre c: about c far from the plane, longer near it."""
    nearness = 1 - (goals.depth * centre).sum(1, keepdim=True)
    return centre / nearness.clamp(min=MIN_DISTANCE_RATIO)
