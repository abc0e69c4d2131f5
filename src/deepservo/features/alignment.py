"""Photometric registration at one size: warp, gain and bias, robust weights, cost, normal
equations, and the steps from these.

    r = (I_warped - bias) / gain - I_goal,    J = [L, I, 1],    H = J^T W J,    g = J^T W r

On a CPU the work is done by `registration.c`, run after run, so that a run's pictures never leave
the cache; `align_reference` and `step_reference` are the same arithmetic in torch, for machines
without a compiler and for the tests.
"""

from ctypes import Structure
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepservo import native
from deepservo.camera import Camera
from deepservo.features.lighting import (
    GRID,
    SMALLEST,
    difference,
    first_gain_bias,
    next_gain_bias,
    smooth,
    subsampled,
)
from deepservo.features.luminance import gradient
from deepservo.features.unseen_pixels import continued, has_unseen, reached
from deepservo.geometry import se3
from deepservo.images.sampler import build_pyramid, sample_covered

MARGIN = 3  # pixels whose gradient would reach over the border
CUT = 2.385  # deviations at which a residual's weight has fallen to a quarter
NEARER = 0.05  # than this part of its distance to the plane, the view's centre counts as no nearer
# of the cost: warping blurs a little, more or less with each step, and that must not hold a step
# back
TOLERANCE = 1.02
LONGEST = 0.2  # of a step [m, rad]
# a grey level's place-holder where a pixel shows nothing (the C knows no NaN); a share of it in a
# warped pixel is enough
UNSEEN = -1e4
SHOWN = -0.01  # what is less is such a place-holder


class Arguments(Structure):
    """`Registering` of registration.c."""

    _fields_ = native.fields(
        "* views homographies dets goal_image goal_gx goal_gy", "i64 goal_step",
        "* planes centres camera goal_noises noises floors", "* scales fits costs H g",
        "i32 view_w view_h w h first",
    )  # fmt: skip


class Aligning(Structure):
    """`Aligning` of registration.c."""

    _fields_ = [
        ("step", Arguments),
        *native.fields("* normals camera goal_camera_inv poses", "f64 damping", "i32 iterations"),
    ]


@dataclass(frozen=True)
class Goals:
    """G goal pictures of one size: grey levels, their gradient per normalised unit; `depth` (G, 3),
    `1 / Z = a x + b y + c`.
    """

    camera: Camera
    image: Float[Tensor, "g h w"]
    gx: Float[Tensor, "g h w"]
    gy: Float[Tensor, "g h w"]
    depth: Float[Tensor, "g 3"]
    noise: Float[Tensor, "g 1"]
    spread: Float[Tensor, "g 1"]

    @classmethod
    def of(
        cls,
        camera: Camera,
        image: Float[Tensor, "g 1 h w"],
        plane: Float[Tensor, "g 4"],
        noise: Float[Tensor, "g 1"],
    ) -> "Goals":
        """Made ready from the pictures, their planes [n, d] and the deviation of their noise."""
        inside, unseen = _inside(camera) > 0, reached(image, MARGIN) if has_unseen(image) else None
        image = continued(image)
        gx, gy = gradient(image)
        if unseen is not None:
            inside, image = inside & ~unseen, image.masked_fill(unseen[:, None], UNSEEN)
        spread = _centre_and_spread(image.flatten(1), inside.flatten(-2))[1]
        depth = (plane[:, :3] / plane[:, 3:]).float()
        return cls(
            camera,
            image[:, 0].contiguous(),
            (gx * camera.fx).contiguous(),
            (gy * camera.fy).contiguous(),
            depth,
            noise,
            spread,
        )

    def pick(self, index: Tensor) -> "Goals":
        """The goals of these runs; one that serves all stays one."""
        if len(self.image) == 1:
            return self
        parts: dict[str, Any] = {
            name: rows(getattr(self, name), index)
            for name in ("image", "gx", "gy", "depth", "noise", "spread")
        }
        return replace(self, **parts)

    def inverse_depth(self) -> Float[Tensor, "g h w"]:
        """1 / Z of every pixel."""
        x, y = self.camera.xy()
        a, b, c = self.depth[:, :, None, None].unbind(1)
        return a * x + b * y + c


@dataclass(frozen=True)
class Pairs:
    """Views and their goals at one size: what stays the same from step to step, laid out for the C.

    noise, goal_noise: deviations of the pictures' noise; floor: least deviation of the residuals.
    """

    goals: Goals
    views: Float[Tensor, "b 1 _ _"]
    depth: Float[Tensor, "b 3"]
    noise: Float[Tensor, "b 1"]
    goal_noise: Float[Tensor, "b 1"]
    floor: Float[Tensor, "b 1"]
    intrinsics: Float[Tensor, "4"]

    @classmethod
    def of(
        cls,
        views: Float[Tensor, "b 1 _ _"],
        noise: Float[Tensor, "b 1"],
        goals: Goals,
        floor: Float[Tensor, "b 1"],
    ) -> "Pairs":
        """One goal serves all views, or there is one each."""
        wide = (
            values.float().expand(len(views), -1).contiguous()
            for values in (goals.depth, noise, goals.noise, floor)
        )
        depth, noise, goal_noise, floor = wide
        return cls(
            goals,
            views.float().contiguous(),
            depth,
            noise,
            goal_noise,
            floor,
            goals.camera.intrinsics,
        )


@dataclass(frozen=True)
class Step:
    """What a step of registration finds at a pose; `cost` is by the scale given, `next_cost` by the
    new `scale`.
    """

    gain_bias: Float[Tensor, "b 3"]
    cost: Float[Tensor, " b"]
    scale: Float[Tensor, "b 1"]
    next_cost: Float[Tensor, " b"]
    H: Float[Tensor, "b 8 8"]
    g: Float[Tensor, "b 8"]


def _inside(camera: Camera) -> Float[Tensor, "h w"]:
    """1 where the gradient does not reach over the border."""
    inside = torch.zeros(camera.height, camera.width)
    inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
    return inside


def marked(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Views with UNSEEN in the place of NaN."""
    return images.nan_to_num(UNSEEN) if has_unseen(images) else images


def rows(values: Float[Tensor, "n *_"], index: Int64[Tensor, " r"]) -> Float[Tensor, "r *_"]:
    """`values[index]`, and no copy where these are all, in their order."""
    every = len(index) == len(values) and torch.equal(index, torch.arange(len(values)))
    return values if every else values[index]


def warp(
    views: Float[Tensor, "b 1 _ _"], Hs: Float[Tensor, "b 3 3"], goals: Goals
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """The views on the goals' pixels, and 1 where a pixel and its neighbours are seen and in front
    of both cameras.

    What the view does not see is the goal's: the slope beside it is then as right as the pictures
    are alike.
    """
    camera = goals.camera
    warped, coverage = sample_covered(
        build_pyramid(views, antialias=False), Hs, (camera.height, camera.width), None
    )
    unseen = warped[:, 0] < SHOWN
    whole = (
        -torch.nn.functional.max_pool2d(((coverage < 0.999) | unseen).float()[:, None], 3, 1, 1)[
            :, 0
        ]
        + 1
    )
    valid = whole * _inside(camera) * ((goals.inverse_depth() > 0) & (goals.image >= SHOWN))
    return torch.where(unseen, goals.image.clamp(min=0), warped[:, 0]), valid


def homographies(
    T_goal_cam: Float[Tensor, "b 4 4"],
    plane: Float[Tensor, "#b 4"],
    camera: Camera,
    goal_camera: Camera,
) -> Float[Tensor, "b 3 3"]:
    """From goal pixels to the views': `K (R + t n^T / d) K_goal^-1` with (R, t) = T_cam_goal."""
    T = se3.inverse(T_goal_cam)
    H = T[:, :3, :3] + T[:, :3, 3:] * (plane[:, None, :3] / plane[:, 3, None, None])
    return camera.K @ H @ goal_camera.K_inv


def align(
    pairs: Pairs,
    camera: Camera,
    plane: Float[Tensor, "#b 4"],
    T_goal_cam: Float[Tensor, "b 4 4"],
    iterations: int,
    damping: float,
    gain_bias: Float[Tensor, "b 3"] | None,
) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, "b 3"]]:
    """Levenberg-Marquardt: a step that does not lower the cost is taken back and damped more. The
    poses, and the fits there.

    camera: of the views. plane: [n, d] of the goals', in their frames. damping: the least.
    gain_bias (b, 3): gain and bias so far and the first gain; None where there are none yet.
    """
    lib = native.library() if T_goal_cam.device.type == "cpu" else None
    if lib is None:
        return align_reference(pairs, camera, plane, T_goal_cam, iterations, damping, gain_bias)
    B, poses = len(T_goal_cam), T_goal_cam.double().clone(memory_format=torch.contiguous_format)
    normals = (plane[:, :3] / plane[:, 3:]).double().expand(B, 3).contiguous()
    K, K_inv, places = (
        camera.K,
        pairs.goals.camera.K_inv,
        [torch.empty(B, 9), torch.empty(B), torch.empty(B, 3)],
    )
    step, found = _arguments(pairs, places, 2 * pairs.floor, gain_bias)
    arguments = Aligning(
        step=step, normals=normals.data_ptr(), camera=K.data_ptr(),
        goal_camera_inv=K_inv.data_ptr(), poses=poses.data_ptr(), damping=damping,
        iterations=iterations,
    )  # fmt: skip
    native.run(lib.alignment_runs, arguments, B)
    return poses, found.gain_bias


def align_reference(
    pairs: Pairs,
    camera: Camera,
    plane: Float[Tensor, "#b 4"],
    T_goal_cam: Float[Tensor, "b 4 4"],
    iterations: int,
    damping: float,
    gain_bias: Float[Tensor, "b 3"] | None,
) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, "b 3"]]:
    """`align` in plain torch."""
    T, B = T_goal_cam.double(), len(T_goal_cam)
    mu = torch.full((B,), max(1e-4, damping), dtype=torch.float64)
    cost, scale = torch.full((B,), torch.inf), 2 * pairs.floor
    T_best, H, g = (
        T,
        torch.zeros(B, 8, 8, dtype=torch.float64),
        torch.zeros(B, 8, dtype=torch.float64),
    )
    for i in range(iterations + 1):
        found = step(
            pairs, homographies(T, plane, camera, pairs.goals.camera), T[:, :3, 3], scale, gain_bias
        )
        better, gain_bias = found.cost <= TOLERANCE * cost, found.gain_bias
        T_best = torch.where(better[:, None, None], T, T_best)
        if i == iterations:
            break
        mu = torch.where(better, mu * 0.1, mu * 10).clamp(damping, 1e3)
        scale = torch.where(better[:, None], found.scale, scale)
        cost = torch.where(better, found.next_cost, cost)
        H, g = (
            torch.where(better[:, None, None], found.H, H),
            torch.where(better[:, None], found.g, g),
        )
        T = se3.exp(_twist(H, g, mu)) @ T_best
    assert gain_bias is not None
    return T_best, gain_bias


def _twist(H: Tensor, g: Tensor, mu: Tensor) -> Float[Tensor, "b 6"]:
    """The twist of the damped system, at most LONGEST (m or rad)."""
    diagonal = torch.diagonal(H, dim1=1, dim2=2)
    ridge = (
        diagonal * mu[:, None] * (torch.arange(8) < 6)
        + 1e-12 * diagonal.amax(1, keepdim=True)
        + 1e-12
    )
    twist = torch.linalg.solve(H + torch.diag_embed(ridge), g)[:, :6]
    return twist / (twist.abs().amax(1, keepdim=True) / LONGEST).clamp(min=1)


def step(
    pairs: Pairs,
    Hs: Float[Tensor, "b 3 3"],
    centre: Float[Tensor, "b 3"],
    scale: Float[Tensor, "b 1"],
    gain_bias: Tensor | None,
) -> Step:
    """One step for each run.

    Hs take goal pixels to view pixels; centre is the view's, in the goal's frame [m]. scale: the
    residual's deviation so far.
    gain_bias (b, 3): gain and bias so far and the first gain; None at the first step.
    """
    lib = native.library() if Hs.device.type == "cpu" else None
    if lib is None:
        return step_reference(pairs, Hs, centre, scale, gain_bias)
    centres = _scaled(centre, pairs.goals).expand(len(Hs), 3)
    places = [values.float().contiguous() for values in (Hs, torch.linalg.det(Hs).abs(), centres)]
    arguments, found = _arguments(pairs, places, scale, gain_bias)
    native.run(lib.registration_runs, arguments, len(Hs))
    return found


def _arguments(
    pairs: Pairs,
    places: list[Tensor],
    scale: Float[Tensor, "b 1"],
    gain_bias: Float[Tensor, "b 3"] | None,
) -> tuple[Arguments, Step]:
    """What the C reads, and where it will write: they point into `pairs`, the places and the step,
    which must outlive them.
    """
    goals, views, B = pairs.goals, pairs.views, len(pairs.views)
    (view_h, view_w), (h, w) = views.shape[-2:], goals.image.shape[-2:]
    scales = scale.float().expand(B, 1).clone(memory_format=torch.contiguous_format)
    fits = torch.zeros(B, 3) if gain_bias is None else gain_bias.clone()
    costs, H, g = (
        torch.zeros(B, 2),
        torch.zeros(B, 8, 8, dtype=torch.float64),
        torch.zeros(B, 8, dtype=torch.float64),
    )
    arguments = Arguments(
        views=views.data_ptr(), homographies=places[0].data_ptr(), dets=places[1].data_ptr(),
        goal_image=goals.image.data_ptr(), goal_gx=goals.gx.data_ptr(), goal_gy=goals.gy.data_ptr(),
        goal_step=h * w if len(goals.image) > 1 else 0, planes=pairs.depth.data_ptr(),
        centres=places[2].data_ptr(), camera=pairs.intrinsics.data_ptr(),
        goal_noises=pairs.goal_noise.data_ptr(), noises=pairs.noise.data_ptr(),
        floors=pairs.floor.data_ptr(), scales=scales.data_ptr(), fits=fits.data_ptr(),
        costs=costs.data_ptr(), H=H.data_ptr(), g=g.data_ptr(), view_w=view_w, view_h=view_h, w=w,
        h=h, first=gain_bias is None,
    )  # fmt: skip
    return arguments, Step(fits, costs[:, 0], scales, costs[:, 1], H, g)


def step_reference(
    pairs: Pairs,
    Hs: Float[Tensor, "b 3 3"],
    centre: Float[Tensor, "b 3"],
    scale: Float[Tensor, "b 1"],
    gain_bias: Tensor | None,
) -> Step:
    """`step` in plain torch."""
    goals, noise = pairs.goals, pairs.noise
    warped, valid_map = warp(pairs.views, Hs, goals)
    image, values, valid = goals.image.flatten(1), warped.flatten(1), valid_map.flatten(1)
    ratio = (noise / goals.noise).square().clamp(1e-4, 1e4)
    gain_bias = (
        first_gain_bias(goals.image, goals.noise, warped, valid_map, noise)
        if gain_bias is None
        else gain_bias
    )
    for _ in range(2):
        residual, told = difference(image, values, valid, gain_bias)
        gain_bias = next_gain_bias(
            image, values, told * _weight(residual / (CUT * scale)), ratio, gain_bias[:, 2:]
        )
    residual, told = difference(image, values, valid, gain_bias)
    if warped.shape[-1] >= GRID * SMALLEST:
        residual = residual - valid * smooth(
            goals.image, warped, *(each.view_as(warped) for each in (residual, told))
        ).flatten(1)
    new_scale = torch.maximum(_scale(residual, told), pairs.floor)
    weights = told * _weight(residual / (CUT * new_scale))
    share = ratio / (
        ratio + gain_bias[:, :1].square()
    )  # the goal's share in the gradient: the view's noise is ratio / gain^2 of its own
    H, g = _normal_equations(goals, warped, centre, gain_bias, share, residual, weights)
    return Step(
        gain_bias, _cost(residual, valid, scale), new_scale, _cost(residual, valid, new_scale), H, g
    )


def _normal_equations(
    goals: Goals,
    warped: Float[Tensor, "b h w"],
    centre: Tensor,
    gain_bias: Tensor,
    share: Tensor,
    residual: Tensor,
    weights: Tensor,
) -> tuple[Float[Tensor, "b 8 8"], Float[Tensor, "b 8"]]:
    """`J^T W J` and `J^T W r`, float64, of J = [L, I, 1]: what is left of gain and bias is solved
    along with the twist.

    L is that of `interaction.luminance`, `L = [q, X x q]` with q the slope of the grey level along
    the point X, but of a point that stays on the plane as the *view* sees it: moved by dX it is
    seen where `dX + c (n . dX) / (d - n . c)` is, from c. Without that a step is right near home
    alone.
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
    J = (
        torch.cat([L, image[..., None], torch.ones_like(image)[..., None]], -1)
        .flatten(1, 2)
        .double()
    )
    weighted = (J * weights[..., None]).mT
    return weighted @ J, (weighted @ residual[..., None].double())[..., 0]


def _scaled(centre: Tensor, goals: Goals) -> Float[Tensor, "b 3"]:
    """c / (1 - n . c / d): far from the plane c itself, more and more the nearer to it."""
    return centre / (1 - (goals.depth * centre).sum(1, keepdim=True)).clamp(min=NEARER)


def _weight(r: Tensor) -> Tensor:
    """Geman-McClure's `(1 + r^2)^-2`: Cauchy's weights fall too slowly for the edges of a black
    patch.
    """
    return (1 + r.square()).square().reciprocal()


def _cost(residual: Tensor, valid: Tensor, scale: Tensor) -> Tensor:
    """Mean Geman-McClure loss over the valid pixels; the largest float where the two pictures
    hardly meet.
    """
    total = valid.sum(1)
    r2 = (residual / (CUT * scale)).square()
    loss = (r2 / (1 + r2)).sum(1) / total.clamp(min=1)
    return torch.where(total > 0.05 * valid.shape[1], loss, torch.finfo(torch.float32).max)


def _centre_and_spread(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Median and robust deviation (b, 1) of the valid values: 1.4826 MAD, or a quarter of the
    deviation where that is more.

    In a picture that is mostly paper the MAD alone measures the paper.
    """
    v = torch.where(subsampled(valid), subsampled(values), torch.nan)
    centre = v.nanmedian(-1, keepdim=True).values
    mad = 1.4826 * (v - centre).abs().nanmedian(-1, keepdim=True).values
    deviation = (v - v.nanmean(-1, keepdim=True)).square().nanmean(-1, keepdim=True).sqrt()
    return centre.nan_to_num(0.5), torch.maximum(mad, deviation / 4).nan_to_num(1.0).clamp(min=1e-3)


def _scale(residual: Tensor, valid: Tensor) -> Tensor:
    """Robust deviation (1.4826 MAD) of the valid residuals, from an even sample of them."""
    r = torch.where(subsampled(valid) > 0, subsampled(residual).abs(), torch.nan)
    return (1.4826 * r.nanmedian(1, keepdim=True).values).nan_to_num(1.0).clamp(min=1e-4)
