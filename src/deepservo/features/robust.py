"""Robust statistics of residuals (b, n): location and scale by medians, Geman-McClure's weights."""

import torch
from jaxtyping import Float
from torch import Tensor

MEDIAN_SAMPLES = 4096  # pixels of which a median is taken: enough for a scale
ROBUST_SCALE = 2.385  # robust deviations at which a residual's weight has fallen to a quarter
MIN_OVERLAP = 0.05  # share of valid pixels under which two pictures have no cost to compare


def subsampled(values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch k"]:
    """An even sample of about MEDIAN_SAMPLES values along the last axis (a view, no copy)."""
    return values[..., :: max(1, values.shape[-1] // MEDIAN_SAMPLES)]


def weight(residual: Float[Tensor, "b n"], scale: Float[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
    """Geman-McClure's `(1 + r^2)^-2`, r the residual over ROBUST_SCALE deviations `scale`.

    Cauchy's weights fall too slowly for the edges of a black patch.
    """
    return (1 + (residual / (ROBUST_SCALE * scale)).square()).square().reciprocal()


def cost(
    residual: Float[Tensor, "b n"], valid: Float[Tensor, "b n"], scale: Float[Tensor, "b 1"]
) -> Float[Tensor, " b"]:
    """Mean Geman-McClure loss over the valid pixels; the largest float where those are too few."""
    total = valid.sum(1)
    r2 = (residual / (ROBUST_SCALE * scale)).square()
    loss = (r2 / (1 + r2)).sum(1) / total.clamp(min=1)
    return torch.where(total > MIN_OVERLAP * valid.shape[1], loss, torch.finfo(torch.float32).max)


def residual_scale(
    residual: Float[Tensor, "b n"], valid: Float[Tensor, "b n"]
) -> Float[Tensor, "b 1"]:
    """Robust deviation (1.4826 times the median size) of the valid residuals, from a sample."""
    r = torch.where(subsampled(valid) > 0, subsampled(residual).abs(), torch.nan)
    return (1.4826 * r.nanmedian(1, keepdim=True).values).nan_to_num(1.0).clamp(min=1e-4)


def picture_spread(
    levels: Float[Tensor, "b n"], valid: Float[Tensor, "b n"]
) -> Float[Tensor, "b 1"]:
    """Robust deviation of a picture's valid grey levels.

    It is 1.4826 MAD, and at least a quarter of the standard deviation. In a picture that is mostly
    white paper the MAD alone would measure the paper's noise.
    """
    v = torch.where(subsampled(valid), subsampled(levels), torch.nan)
    mad = (
        1.4826 * (v - v.nanmedian(-1, keepdim=True).values).abs().nanmedian(-1, keepdim=True).values
    )
    deviation = (v - v.nanmean(-1, keepdim=True)).square().nanmean(-1, keepdim=True).sqrt()
    return torch.maximum(mad, deviation / 4).nan_to_num(1.0).clamp(min=1e-3)
