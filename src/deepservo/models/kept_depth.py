"""The depth of a learned scene as a model file holds it: 16 bits a pixel.

Levels are even in 1 / Z, as pixels move by it. Between 0.3 and 3 m, at 0.6 m, they are 0.02 mm
apart; numbers of float16 would be 0.5 mm apart there, and a smooth surface would become stairs.
"""

import math

import torch
from jaxtyping import Float, Int16
from torch import Tensor

HALF = 2**15 - 1  # levels are -HALF to HALF
UNKNOWN = -HALF - 1


def levels(Z: Float[Tensor, "h w"]) -> tuple[Int16[Tensor, "h w"], tuple[float, float]]:
    """The level of each pixel's depth [m], and the least and the greatest 1 / Z [1/m].

    What is not finite or not positive is unknown; some pixel must be known.
    """
    inverse = 1 / Z.double()
    known = torch.isfinite(inverse) & (inverse > 0)
    low, high = float(inverse[known].min()), float(inverse[known].max())
    level = ((inverse - low) / _step(low, high)).round() - HALF
    return torch.where(known, level, UNKNOWN).to(torch.int16), (low, high)


def metres(level: Int16[Tensor, "h w"], low: float, high: float) -> Float[Tensor, "h w"]:
    """Z [m] of each pixel, NaN where unknown; low, high: the least and the greatest 1 / Z [1/m].

    Raises ValueError where these are no such numbers.
    """
    if not 0 < low <= high < math.inf:
        raise ValueError(f"inverse depths of {low} to {high}")
    Z = 1 / (low + (level.double() + HALF) * _step(low, high))
    return torch.where(level == UNKNOWN, torch.nan, Z)


def _step(low: float, high: float) -> float:
    """From one level to the next [1/m]."""
    return (high - low) / (2 * HALF) or 1.0
