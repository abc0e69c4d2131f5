"""How two pictures of the same place are lit against each other: a gain and a bias, lamps and
shadows, and what is overexposed.

The plain arithmetic of `registration.c`, in torch.
"""

import torch
from jaxtyping import Float
from torch import Tensor

SUBSAMPLE = 4096  # pixels that estimate a scale
WINDOWS = 10  # across the picture, for the first gain
USED = 0.6  # share of a window that must be seen
DRIFT = 1.5  # of the gain from its first value
GRID = 5  # cells across the picture, of what is smooth about the residual
SMALLEST = 8  # pixels across one: in fewer, what has moved looks like light
DENSE = 12  # rows of one that are looked at
FEWEST = 16  # pixels of them that tell
TOGETHER = 0.9  # correlation of the pictures in a cell that has a say
ROUGH = 3  # times as rough as usual, it has none
LEAST = 0.002  # grey level that a lamp makes
WHITE = 1 - 0.5 / 255  # grey level from which on a sensor tells no more


def subsampled(values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch k"]:
    """An even sample of about SUBSAMPLE pixels, enough for a median."""
    return values[..., :: max(1, values.shape[-1] // SUBSAMPLE)]


def first_gain_bias(
    goal: Float[Tensor, "g h w"], goal_noise: Float[Tensor, "g 1"], warped: Float[Tensor, "b h w"],
    valid: Float[Tensor, "b h w"], noise: Float[Tensor, "b 1"],
) -> Float[Tensor, "b 3"]:  # fmt: skip
    """Gain and bias between two pictures that need not be aligned yet nor wholly visible.

    The median over windows of the ratio of their deviations, where the goal has structure, then the
    median of what is left. A cover spoils its windows and no more.
    """
    side = max(4, warped.shape[-1] // WINDOWS)

    def mean(values: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(values[:, None].double(), side)[:, 0].flatten(1)

    seen, used = mean(valid).clamp(min=1e-6), mean(valid) > USED
    variance, other = (
        (
            mean(values.double().square() * valid) / seen - (mean(values * valid) / seen).square()
        ).float()
        - deviation.square()
        for values, deviation in ((goal, goal_noise), (warped, noise))
    )
    ratio = (other.clamp(min=0) / variance.clamp(min=1e-9)).sqrt()
    variance = torch.where(used, variance, torch.nan)
    least = variance.nanmedian(1, keepdim=True).values.clamp(min=torch.finfo(torch.float32).tiny)
    gain = (
        torch.where(variance >= least, ratio, torch.nan)
        .nanmedian(1, keepdim=True)
        .values.nan_to_num(1.0)
        .clamp(0.02, 50)
    )
    left = (warped - gain[:, :, None] * goal).flatten(1)
    left = subsampled(torch.where(valid.flatten(1) > 0, left, torch.nan))
    return torch.cat([gain, left.nanmedian(1, keepdim=True).values.nan_to_num(0.0), gain], 1)


def next_gain_bias(
    goal: Tensor, values: Tensor, weights: Tensor, ratio: Tensor, first: Tensor
) -> Float[Tensor, "b 3"]:
    """Gain and bias that take the goal's grey levels to `values`, both noisy, `ratio` of their
    noises' variances known.

    Deming's regression: plain least squares takes the noise of the goal for contrast, and finds too
    small a gain. The gain stays near its first value: a flat picture explains whatever is covered,
    given gain enough.
    """
    total = weights.sum(1, keepdim=True).clamp(min=1e-6)
    mean_goal, mean = (
        (weights * goal).sum(1, keepdim=True) / total,
        (weights * values).sum(1, keepdim=True) / total,
    )
    a, b = goal - mean_goal, values - mean
    aa, bb, ab = (
        (weights * a * a).sum(1, keepdim=True),
        (weights * b * b).sum(1, keepdim=True),
        (weights * a * b).sum(1, keepdim=True),
    )
    q = bb - ratio * aa
    gain = (q + (q * q + 4 * ratio * ab * ab).sqrt()) / (2 * ab).clamp(min=1e-9)
    gain = torch.clamp(torch.where(ab > 0, gain, 0.0), first / DRIFT, first * DRIFT)
    return torch.cat([gain, mean - gain * mean_goal, first], 1)


def difference(
    goal: Tensor, values: Tensor, valid: Tensor, gain_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """`(values - bias) / gain - goal`, where either may be overexposed, and 1 where it changes when
    the camera moves.

    What is brighter than white shows as white in the goal, and white in the view may be any
    brighter. (Black is not treated so: things that cover are dark, and given bias enough all that
    they hide would be darker still.)
    """
    p = (values - gain_bias[:, 1:2]) / gain_bias[:, :1]
    r = p.clamp(max=1) - goal
    hidden = (values >= WHITE) & (r < 0)
    return torch.where(hidden, 0.0, r) * valid, ((p <= 1) & ~hidden) * valid


def smooth(
    goal: Float[Tensor, "#b h w"],
    warped: Float[Tensor, "b h w"],
    residual: Float[Tensor, "b h w"],
    told: Float[Tensor, "b h w"],
) -> Float[Tensor, "b h w"]:
    """What is smooth about the residual, as a lamp is: the mean of each of GRID x GRID cells,
    bilinear between their middles.

    Cells in which the pictures do not go together, or much less than usual, as where one is
    covered, have no say.
    """
    B, h, w = warped.shape
    level, rough = torch.full((B, GRID, GRID), torch.nan), torch.full((B, GRID, GRID), torch.nan)
    apart = max(1, w // (GRID * DENSE))
    for i in range(GRID):
        for j in range(GRID):
            cell = (
                ...,
                slice(i * h // GRID, (i + 1) * h // GRID, apart),
                slice(j * w // GRID, (j + 1) * w // GRID),
            )
            a, b, r, m = (
                each[cell].expand(B, -1, -1).flatten(1) for each in (goal, warped, residual, told)
            )
            n = m.sum(1, keepdim=True)
            a, b = (m * (each - (m * each).sum(1, keepdim=True) / n) for each in (a, b))
            rho = (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)).sqrt()
            r = torch.where((m > 0) & (n >= FEWEST) & (rho > TOGETHER)[:, None], r, torch.nan)
            level[:, i, j] = r.nanmean(1)
            rough[:, i, j] = (r - level[:, i, j, None]).square().nanmean(1).sqrt()
    sure = (rough <= ROUGH * rough.flatten(1).nanmedian(1).values[:, None, None]).float()
    level = torch.where(sure > 0, level, 0.0)
    level *= (level.abs().amax((1, 2), keepdim=True) >= LEAST).float()
    both = torch.stack([level, sure], 1)
    value, share = torch.nn.functional.interpolate(
        both, (h, w), mode="bilinear", align_corners=False
    ).unbind(1)
    return value / share.clamp(min=1e-6)
