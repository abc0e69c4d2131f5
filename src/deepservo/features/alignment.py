"""Photometric registration at one picture size: Levenberg-Marquardt over `registration_step`.

On a CPU the work is done by `registration.c`; `align_reference` is the same arithmetic in torch.
"""

from ctypes import Structure
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo import native
from deepservo.features.pairs import Pairs, projections
from deepservo.features.registration_step import (
    Places,
    Step,
    StepArguments,
    step,
    step_arguments,
)
from deepservo.geometry import se3

# A step is kept while it raises the cost by no more than this factor: warping blurs a little, more
# or less with each step, and that must not reject one. Of pictures without noise, the blur may be
# most of the cost, which is least where nothing is warped; so a step of no more than SMALL_STEP
# [px of full size], over which grey levels are nearly linear, is kept whatever the cost.
COST_TOLERANCE = 1.02
SMALL_STEP = 0.5
# A step of no more than this [px of full size] is taken, and is the last: what the pictures say at
# its end is what they said before it, but for g, which is 0 there.
TINY_STEP = 0.07
# By level: least damping. A turn and a shift that look alike at a coarse level are left to the
# finer ones.
MIN_DAMPING = (1e-9, 1e-4, 1e-3, 1e-2)
FIRST_DAMPING, MAX_DAMPING = 1e-4, 1e3  # of Levenberg-Marquardt: at the first step, and at most
MAX_STEP = 0.2  # m, rad: largest component of a step's twist


class AlignmentArguments(Structure):
    """What `alignment_runs` of registration.c reads and writes."""

    _fields_ = [
        ("step", StepArguments),
        *native.fields(
            "* normals camera goal_camera_inv poses", "f64 damping small tiny", "i32 iterations"
        ),
    ]


def align(
    pairs: Pairs,
    T_goal_cam: Float[Tensor, "b 4 4"],
    iterations: int,
    level: int,
    gain_bias: Float[Tensor, "b 3"] | None,
    *,
    blocks: bool = False,
) -> tuple[Float[Tensor, "b 4 4"], Step]:
    """Refined `T_goal_cam` (float64), and what the last step found.

    A step that raises the cost is taken back, and the next one is damped more. level: of the
    pyramid. gain_bias: gain, bias and first gain so far; None where there are none yet. blocks:
    whether the last step sums them; its H and g are summed only then.
    """
    lib = native.library() if T_goal_cam.device.type == "cpu" else None
    if lib is None:
        return align_reference(pairs, T_goal_cam, iterations, level, gain_bias, blocks=blocks)
    alignment, (poses, found, *_) = alignment_arguments(pairs, T_goal_cam, gain_bias, blocks=blocks)
    alignment.damping, alignment.iterations = MIN_DAMPING[level], iterations
    alignment.small, alignment.tiny = (_way(pairs, level, px) for px in (SMALL_STEP, TINY_STEP))
    native.run(lib.alignment_runs, alignment, len(poses))
    return poses, found


def alignment_arguments(
    pairs: Pairs,
    T_goal_cam: Float[Tensor, "b 4 4"],
    gain_bias: Float[Tensor, "b 3"] | None = None,
    *,
    blocks: bool = False,
) -> tuple[AlignmentArguments, tuple[Any, ...]]:
    """What the C code reads of pairs at these poses; and what that points into, which must outlive
    it: a copy of the poses and the Step that will be written, among others.
    """
    B, plane = len(T_goal_cam), pairs.goals.plane
    poses = T_goal_cam.double().clone(memory_format=torch.contiguous_format)
    normals = (plane[:, :3] / plane[:, 3:]).double().expand(B, 3).contiguous()
    K, K_inv = pairs.camera.K, pairs.goals.camera.K_inv
    places = Places(*(torch.empty(B, k) for k in (9, 1, 3, 3)))
    arguments, found = step_arguments(pairs, places, 2 * pairs.floor, gain_bias, blocks=blocks)
    alignment = AlignmentArguments(
        step=arguments, normals=normals.data_ptr(), camera=K.data_ptr(),
        goal_camera_inv=K_inv.data_ptr(), poses=poses.data_ptr(),
    )  # fmt: skip
    return alignment, (poses, found, normals, places, K, K_inv)


def align_reference(
    pairs: Pairs,
    T_goal_cam: Float[Tensor, "b 4 4"],
    iterations: int,
    level: int,
    gain_bias: Float[Tensor, "b 3"] | None,
    *,
    blocks: bool = False,
) -> tuple[Float[Tensor, "b 4 4"], Step]:
    """`align` in plain torch."""
    goals, T, B = pairs.goals, T_goal_cam.double(), len(T_goal_cam)
    damping = MIN_DAMPING[level]
    mu = torch.full((B,), max(FIRST_DAMPING, damping), dtype=torch.float64)
    cost, scale = torch.full((B,), torch.inf), 2 * pairs.floor
    small, tiny = (_way(pairs, level, px) for px in (SMALL_STEP, TINY_STEP))
    T_best, way, done = T, torch.zeros(B, dtype=torch.float64), torch.zeros(B, dtype=torch.bool)
    H, g = torch.zeros(B, 8, 8, dtype=torch.float64), torch.zeros(B, 8, dtype=torch.float64)
    found: Step | None = None
    for i in range(iterations + 1):
        seen = projections(T, goals, pairs.camera)
        now = step(pairs, seen, T[:, :3, 3], scale, gain_bias, blocks=blocks)
        found = now if found is None else _chosen(done, found, now)
        better = ((found.cost <= COST_TOLERANCE * cost) | (way <= small)) & ~done
        gain_bias = found.gain_bias
        T_best = torch.where(better[:, None, None], T, T_best)
        if i == iterations:
            break
        mu = torch.where(better, mu * 0.1, mu * 10).clamp(damping, MAX_DAMPING)
        scale = torch.where(better[:, None], found.scale, scale)
        cost = torch.where(better, found.next_cost, cost)
        H = torch.where(better[:, None, None], found.H, H)
        g = torch.where(better[:, None], found.g, g)
        twist = _twist(H, g, mu)
        way = twist[:, :3].norm(dim=1) / goals.plane[:, 3] + twist[:, 3:].norm(dim=1)
        T = se3.exp(twist) @ T_best
        last = better & (way <= tiny)
        T_best = torch.where(last[:, None, None], T, T_best)
        found = replace(found, g=found.g.masked_fill(last[:, None], 0.0))
        done = done | last
    assert found is not None
    return T_best, found


def _way(pairs: Pairs, level: int, px: float) -> float:
    """So many pixels of full size, as the sum of a step's way, over the distance of the goal's
    plane, and its turn [rad].
    """
    return px / 2**level / pairs.goals.camera.fx


def _chosen(which: Bool[Tensor, " b"], one: Any, other: Any) -> Any:
    """What one step has found of these runs, and another of the others."""
    if isinstance(one, Tensor):
        return torch.where(which.view(-1, *[1] * (one.ndim - 1)), one, other)
    if one is None:
        return None
    if isinstance(one, Step):
        parts = {f.name: (getattr(one, f.name), getattr(other, f.name)) for f in fields(Step)}
        return Step(**{name: _chosen(which, *pair) for name, pair in parts.items()})
    return type(one)(*(_chosen(which, *pair) for pair in zip(one, other, strict=True)))


def _twist(
    H: Float[Tensor, "b 8 8"], g: Float[Tensor, "b 8"], mu: Float[Tensor, " b"]
) -> Float[Tensor, "b 6"]:
    """The twist of the system damped by mu, its components at most MAX_STEP [m, rad]."""
    diagonal = torch.diagonal(H, dim1=1, dim2=2)
    ridge = (
        diagonal * mu[:, None] * (torch.arange(8) < 6)
        + 1e-12 * diagonal.amax(1, keepdim=True)
        + 1e-12
    )
    twist = torch.linalg.solve(H + torch.diag_embed(ridge), g)[:, :6]
    return twist / (twist.abs().amax(1, keepdim=True) / MAX_STEP).clamp(min=1)
