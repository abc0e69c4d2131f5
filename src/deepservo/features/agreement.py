"""How well two registered pictures agree: the mean correlation of small windows.

A cover changes its own windows only. (One correlation of the whole pictures would match any two
that are bright on the same side.) On a CPU the work is done by `registration.c`;
`compare_reference` is the same arithmetic in torch.
"""

from ctypes import Structure
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.features.alignment import AlignmentArguments, alignment_arguments
from deepservo.features.pairs import Pairs, projections, warp

WINDOW_SIDE = 7  # px: side of the windows whose correlation is taken
# A window is flat whose variance is not well over this share of the picture's variance plus this
# multiple of its noise's.
FLAT_VARIANCE_SHARE = 0.01
FLAT_NOISE_FACTOR = 4
MIN_WINDOW_SHARE = 0.6  # share of a window's pixels that must be seen


class Comparison(NamedTuple):
    """How well views, warped to their goals, agree with them.

    agreement: mean local correlation, up to 1. attainable: what the view's noise leaves of it at
    the right pose. seen: share of the goal's pixels that the view shows; in_common: of those that
    show something.
    """

    agreement: Float[Tensor, " r"]
    attainable: Float[Tensor, " r"]
    seen: Float[Tensor, " r"]
    in_common: Float[Tensor, " r"]


class ComparisonArguments(Structure):
    """What `comparison_runs` of registration.c reads and writes."""

    _fields_ = [("alignment", AlignmentArguments), *native.fields("* found")]


def compare(pairs: Pairs, T_goal_cam: Float[Tensor, "b 4 4"]) -> Comparison:
    """How well the views, warped by these poses, agree with the goals."""
    lib = native.library() if T_goal_cam.device.type == "cpu" else None
    if lib is None:
        return compare_reference(pairs, T_goal_cam)
    found = torch.empty(len(T_goal_cam), 4)
    alignment, kept = alignment_arguments(pairs, T_goal_cam)
    arguments = ComparisonArguments(alignment=alignment, found=found.data_ptr())
    native.run(lib.comparison_runs, arguments, len(found))
    del kept  # what the arguments point into
    return Comparison(*found.unbind(1))


def compare_reference(pairs: Pairs, T_goal_cam: Float[Tensor, "b 4 4"]) -> Comparison:
    """`compare` in plain torch."""
    goals, shown = pairs.goals, pairs.goals.shown()
    at = projections(T_goal_cam, goals, pairs.camera)
    warped, valid = warp(pairs.views, at, goals, shown)
    seen = valid.mean((1, 2))
    in_common = seen / shown.float().mean((1, 2)).clamp(min=1e-6)
    noises = (pairs.goal_noise, pairs.noise)
    return Comparison(*local_correlation(goals.image, warped, valid, noises), seen, in_common)


def local_correlation(
    goal: Float[Tensor, "#b h w"],
    warped: Float[Tensor, "b h w"],
    valid: Float[Tensor, "b h w"],
    noises: tuple[Float[Tensor, "#b 1"], Float[Tensor, "b 1"]],
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Mean correlation of the two pictures over small windows, and what noise leaves of it.

    The mean is weighted by how little flat the less flat window of the two is. The second number is
    the correlation between the second picture and its own truth without noise. noises: deviations
    of the pictures' noise.
    """

    def flat(values: Tensor, noise: Tensor) -> Tensor:
        centre = values.sum((1, 2), keepdim=True) / total
        variance = values.square().sum((1, 2), keepdim=True) / total - centre.square()
        return (
            FLAT_VARIANCE_SHARE * variance.clamp(min=1e-9)
            + FLAT_NOISE_FACTOR * noise.square()[:, :, None]
        )

    total = valid.sum((1, 2), keepdim=True).clamp(min=1)
    a, b = goal * valid, warped * valid
    share, *means = torch.nn.functional.avg_pool2d(
        torch.stack([valid, a, b, a * a, b * b, a * b]), WINDOW_SIDE, WINDOW_SIDE // 2
    )
    used, share = (share > MIN_WINDOW_SHARE).float(), share.clamp(min=1e-6)
    mean_a, mean_b, aa, bb, ab = (mean / share for mean in means)
    aa, bb, ab = aa - mean_a.square(), bb - mean_b.square(), ab - mean_a * mean_b
    flat_a, flat_b = flat(a, noises[0]), flat(b, noises[1])
    aa, bb = aa.clamp(min=0), bb.clamp(min=0)
    rho = ab / ((aa + flat_a) * (bb + flat_b)).sqrt()
    weight = used * torch.maximum(aa / (aa + flat_a), bb / (bb + flat_b))
    clean = ((bb - noises[1].square()[:, :, None]).clamp(min=0) / (bb + flat_b)).sqrt()
    counted = weight.sum((1, 2)).clamp(min=1)
    return (rho * used).sum((1, 2)) / counted, (clean * weight).sum((1, 2)) / counted
