"""What a controller knows of its goal's depth: a good or a bad map, one number, or nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

STEP = 8  # pixels, along x and along y, from one that a coarse map has to the next
NOISE = 0.02  # of the depth: a noisy map's standard deviation
UNKNOWN = 0.1  # of a noisy map's pixels
BLOTCHES = 8  # random numbers along x and along y that the unknown pixels lie by

OfMap = Callable[[Float[Tensor, "h w"], torch.Generator], Float[Tensor, "m n"]]


@dataclass(frozen=True)
class OfMedian:
    """One number: this multiple of the median of the goal's true map."""

    multiple: float

    def __call__(self, Z: Float[Tensor, "h w"]) -> float:
        """The number [m], from the true map, infinite where nothing is."""
        return self.multiple * float(Z[Z.isfinite()].median())


KnownDepth = float | OfMedian | OfMap | None
"""One number: this multiple of the distance at which the goals' reference pose is from the plane,
or one of each goal's own; what is made of each goal's true map; or nothing.
"""


def whole(Z: Float[Tensor, "h w"], generator: torch.Generator) -> Float[Tensor, "h w"]:
    """The true map [m]."""
    return Z


def coarse(Z: Float[Tensor, "h w"], generator: torch.Generator) -> Float[Tensor, "m n"]:
    """Every eighth pixel of it, along x and along y."""
    return Z[STEP // 2 :: STEP, STEP // 2 :: STEP]


def noisy(Z: Float[Tensor, "h w"], generator: torch.Generator) -> Float[Tensor, "h w"]:
    """With noise of each pixel's own, and a tenth of the pixels unknown, NaN, in blotches."""
    noise = torch.randn(Z.shape, generator=generator, dtype=Z.dtype)
    blotches = torch.nn.functional.interpolate(
        torch.rand(1, 1, BLOTCHES, BLOTCHES, generator=generator), Z.shape, mode="bicubic"
    )[0, 0]
    unknown = blotches > torch.quantile(blotches, 1 - UNKNOWN)
    return torch.where(unknown, torch.nan, Z * (1 + NOISE * noise))


PARTS: tuple[tuple[str, KnownDepth], ...] = (
    ("depth map", whole),
    ("coarse map", coarse),
    ("noisy map", noisy),
    *((f"depth x {multiple:g}", OfMedian(multiple)) for multiple in (0.7, 1.4)),
    ("no depth", None),
)
