"""How two pictures of the same place are lit against each other.

They may differ by a gain and a bias, by lamps and shadows, and in what is overexposed. The plain
arithmetic of `lighting.h`, in torch.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.features.robust import subsampled

GAIN_WINDOWS = 10  # windows across the picture that judge the first gain
MIN_WINDOW_SHARE = 0.6  # share of a window's pixels that must be seen
MIN_GAIN, MAX_GAIN = 0.02, 50  # of the first gain: a ratio beyond them is no change of the light
MAX_GAIN_DRIFT = 1.5  # factor by which the gain may leave its first value
LIGHT_CELLS = 5  # cells across the picture in which the residual's smooth part is measured
MIN_CELL_WIDTH = 8  # px: in smaller cells a displacement looks like light
CELL_ROWS = 12  # rows of a cell that are read, evenly spaced
MIN_CELL_PIXELS = 16  # informative pixels that a cell needs
MIN_CELL_CORRELATION = 0.9  # of the two pictures in a cell that counts
MAX_CELL_ROUGHNESS = 3  # times the median roughness of the cells, over which a cell does not count
MIN_LIGHT = 0.002  # grey level under which the smooth part is taken for nothing
SATURATED = 1 - 0.5 / 255  # grey level from which on a sensor is overexposed


def first_gain_bias(
    goal: Float[Tensor, "g h w"],
    goal_noise: Float[Tensor, "g 1"],
    warped: Float[Tensor, "b h w"],
    valid: Float[Tensor, "b h w"],
    noise: Float[Tensor, "b 1"],
) -> Float[Tensor, "b 3"]:
    """Gain, bias and again the gain between two pictures that are not aligned yet.

    They may be partly covered. The gain is the median over windows, where the goal has structure,
    of the ratio of their deviations; the bias is the median of what is left. So a cover changes its
    own windows only.
    """
    side = max(4, warped.shape[-1] // GAIN_WINDOWS)

    def mean(values: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(values[:, None].double(), side)[:, 0].flatten(1)

    seen, used = mean(valid).clamp(min=1e-6), mean(valid) > MIN_WINDOW_SHARE
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
        .clamp(MIN_GAIN, MAX_GAIN)
    )
    left = (warped - gain[:, :, None] * goal).flatten(1)
    left = subsampled(torch.where(valid.flatten(1) > 0, left, torch.nan))
    return torch.cat([gain, left.nanmedian(1, keepdim=True).values.nan_to_num(0.0), gain], 1)


def next_gain_bias(
    goal: Float[Tensor, "#b n"],
    values: Float[Tensor, "b n"],
    weights: Float[Tensor, "b n"],
    ratio: Float[Tensor, "b 1"],
    first: Float[Tensor, "b 1"],
) -> Float[Tensor, "b 3"]:
    """Gain and bias that take the goal's grey levels to `values`, and the first gain.

    ratio: variance of the noise in `values` over that in `goal`. Both are noisy, so this is
    Deming's regression: least squares would take the goal's noise for contrast, and find too small
    a gain. The gain stays within MAX_GAIN_DRIFT of its first value: with gain enough a flat
    picture explains any cover.
    """
    total = weights.sum(1, keepdim=True).clamp(min=1e-6)
    mean_goal = (weights * goal).sum(1, keepdim=True) / total
    mean = (weights * values).sum(1, keepdim=True) / total
    a, b = goal - mean_goal, values - mean
    aa = (weights * a * a).sum(1, keepdim=True)
    bb = (weights * b * b).sum(1, keepdim=True)
    ab = (weights * a * b).sum(1, keepdim=True)
    q = bb - ratio * aa
    gain = (q + (q * q + 4 * ratio * ab * ab).sqrt()) / (2 * ab).clamp(min=1e-9)
    gain = torch.where(ab > 0, gain, 0.0).clamp(first / MAX_GAIN_DRIFT, first * MAX_GAIN_DRIFT)
    return torch.cat([gain, mean - gain * mean_goal, first], 1)


def difference(
    goal: Float[Tensor, "#b n"],
    values: Float[Tensor, "b n"],
    valid: Float[Tensor, "b n"],
    gain_bias: Float[Tensor, "b 3"],
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """The residual `(values - bias) / gain - goal`, and 1 where it is informative.

    It is informative where it changes when the camera moves. Either picture may be overexposed.
    What is brighter than white is white in the goal, and white in the view may be any brighter.
    (Black is not treated so: covers are dark, and with bias enough all that they hide would be
    darker still.)
    """
    p = (values - gain_bias[:, 1:2]) / gain_bias[:, :1]
    r = p.clamp(max=1) - goal
    overexposed = (values >= SATURATED) & (r < 0)
    return torch.where(overexposed, 0.0, r) * valid, ((p <= 1) & ~overexposed) * valid


def smooth(
    goal: Float[Tensor, "#b h w"],
    warped: Float[Tensor, "b h w"],
    residual: Float[Tensor, "b h w"],
    informative: Float[Tensor, "b h w"],
) -> Float[Tensor, "b h w"]:
    """The smooth part of the residual, as a lamp makes it.

    It is the mean of each of LIGHT_CELLS x LIGHT_CELLS cells, bilinear between their middles. Cells
    in which the pictures hardly correlate, or differ much more roughly than usual, as where one is
    covered, do not count.
    """
    B, h, w = warped.shape
    level, rough = torch.full((2, B, LIGHT_CELLS, LIGHT_CELLS), torch.nan).unbind(0)
    apart = max(1, w // (LIGHT_CELLS * CELL_ROWS))
    for i in range(LIGHT_CELLS):
        for j in range(LIGHT_CELLS):
            cell = (
                ...,
                slice(i * h // LIGHT_CELLS, (i + 1) * h // LIGHT_CELLS, apart),
                slice(j * w // LIGHT_CELLS, (j + 1) * w // LIGHT_CELLS),
            )
            a, b, r, m = (
                each[cell].expand(B, -1, -1).flatten(1)
                for each in (goal, warped, residual, informative)
            )
            n = m.sum(1, keepdim=True)
            a, b = (m * (each - (m * each).sum(1, keepdim=True) / n) for each in (a, b))
            rho = (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)).sqrt()
            counts = (n >= MIN_CELL_PIXELS) & (rho > MIN_CELL_CORRELATION)[:, None]
            r = torch.where((m > 0) & counts, r, torch.nan)
            level[:, i, j] = r.nanmean(1)
            rough[:, i, j] = (r - level[:, i, j, None]).square().nanmean(1).sqrt()
    usual = rough.flatten(1).nanmedian(1).values[:, None, None]
    used = (rough <= MAX_CELL_ROUGHNESS * usual).float()
    level = torch.where(used > 0, level, 0.0)
    level *= (level.abs().amax((1, 2), keepdim=True) >= MIN_LIGHT).float()
    value, share = torch.nn.functional.interpolate(
        torch.stack([level, used], 1), (h, w), mode="bilinear", align_corners=False
    ).unbind(1)
    return value / share.clamp(min=1e-6)
