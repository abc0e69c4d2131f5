"""How much blunter one picture is than another of the same scene, and pictures blurred as much.

A Gaussian of the deviation s takes `exp(-4 pi^2 s^2 f^2)` from the power of a picture at f periods
a pixel, along rows and along columns. So the logarithm of the power of one picture over another's
is a line over f^2: its slope tells s^2, and its height the light. It is fitted where both pictures
have more power than their noise, and the more so the more alike the powers are.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.features.pairs import MIN_SHOWN, UNSEEN

LINES = 48  # rows and columns of a picture that are looked at, about
LEAST_FREQUENCY, MOST_FREQUENCY = 0.02, 0.45  # periods a pixel
MIN_SNR = 4.0  # of powers
MIN_USED = 8  # frequencies
REACH = 3.0  # deviations, up to which a Gaussian is summed


def blur_between(
    goal: Float[Tensor, "b h w"],
    view: Float[Tensor, "b h w"],
    noises: tuple[Float[Tensor, "b 1"], Float[Tensor, "b 1"]],
) -> Float[Tensor, " b"]:
    """The variance [px^2] of the Gaussian that each view is blunter by than its goal; negative
    where the goal is the blunter one. 0 where noise hides it.

    noises: deviations of the goals' noise and of the views'. Pixels are UNSEEN where nothing is
    seen.
    """
    normal, right = torch.zeros(len(view), 3, 3), torch.zeros(len(view), 3)
    used = torch.zeros(len(view), dtype=torch.int64)
    for axis in (0, 1):
        f = torch.fft.rfftfreq(view.shape[2 - axis])
        counts, pure = (f > LEAST_FREQUENCY) & (f < MOST_FREQUENCY), []
        for pictures, noise in zip((goal, view), noises, strict=True):
            power, of_noise = _power(pictures, noise, axis)
            pure.append((power - of_noise).clamp(min=1e-12))
            counts = counts & (pure[-1] > MIN_SNR * of_noise)
        log_ratio = (pure[1] / pure[0]).log()
        weight = counts * (-1.3 * log_ratio.abs()).exp()
        heights = [torch.full_like(f, float(axis == i)) for i in (0, 1)]
        line = torch.stack([*heights, -4 * math.pi**2 * f.square()], -1)
        normal += torch.einsum("bf,fi,fj->bij", weight, line, line)
        right += torch.einsum("bf,fi,bf->bi", weight, line, log_ratio)
        used += counts.sum(1)
    ridge = 1e-6 * torch.eye(3)
    return torch.linalg.solve(normal + ridge, right)[:, 2].where(used >= MIN_USED, 0.0)


def blurred(
    images: Float[Tensor, "b h w"], deviations: Float[Tensor, " b"]
) -> Float[Tensor, "b h w"]:
    """Each picture blurred by a Gaussian of its deviation [px]; UNSEEN pixels stay so, and have no
    part in the others.
    """
    unseen = images == UNSEEN
    if not unseen.any():
        return _blurred(images, deviations)
    share = _blurred((~unseen).float(), deviations)
    seen = _blurred(images.masked_fill(unseen, 0.0), deviations) / share.clamp(min=1e-3)
    return seen.masked_fill(unseen, UNSEEN)


def noise_left(deviations: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Share of the deviation of white noise that `blurred` leaves."""
    return _gaussians(deviations).square().sum(1)


def _power(
    pictures: Float[Tensor, "b h w"], noise: Float[Tensor, "b 1"], axis: int
) -> tuple[Float[Tensor, "b f"], Float[Tensor, "b 1"]]:
    """The mean power of rows (axis 0) or columns (1), at the frequencies of `torch.fft.rfftfreq`,
    and that of their noise.

    A row is the mean of a few, so that hardly any blur along columns is in its power. It fades out
    to the first and the last of its pixels that are seen.
    """
    thick = max(1, pictures.shape[1 + axis] // LINES)
    rows, shown = _in_groups(pictures, axis, thick), pictures > MIN_SHOWN
    seen = torch.ones_like(rows)
    if not shown.all():
        seen = (_in_groups(shown.float(), axis, thick) > 1 - 1e-3).float()
    first = seen.argmax(-1, keepdim=True)
    last = seen.shape[-1] - 1 - seen.flip(-1).argmax(-1, keepdim=True)
    at = (torch.arange(seen.shape[-1]) - first + 0.5) / (last - first + 1)
    window = seen * (math.pi * at.clamp(0, 1)).sin().square()
    mean = (rows * window).sum(-1, keepdim=True) / window.sum(-1, keepdim=True).clamp(min=1e-6)
    power = torch.fft.rfft((rows - mean) * window).abs().square().sum(1)
    total = window.square().sum((1, 2)).clamp(min=1e-6)[:, None]
    return power / total, noise.square() / thick


def _in_groups(pictures: Float[Tensor, "b h w"], axis: int, thick: int) -> Float[Tensor, "b n m"]:
    """Means of so many rows each (axis 0) or columns (1), as rows; the rest has no part."""
    n = pictures.shape[1 + axis] // thick
    if axis == 0:
        return pictures[:, : n * thick].unflatten(1, (n, thick)).mean(2)
    # One product is faster than means over neighbours in a row.
    means = torch.eye(n).repeat_interleave(thick, 1) / thick
    return means @ pictures[:, :, : n * thick].mT


def _gaussians(deviations: Float[Tensor, " b"]) -> Float[Tensor, "b t"]:
    reach = math.ceil(REACH * float(deviations.max()))
    at = torch.arange(-reach, reach + 1.0)
    weights = (-(at / deviations[:, None]).square() / 2).exp()
    return weights / weights.sum(1, keepdim=True)


def _blurred(
    images: Float[Tensor, "b h w"], deviations: Float[Tensor, " b"]
) -> Float[Tensor, "b h w"]:
    """Without a look at what is seen. Beyond their edges pictures go on as there."""
    weights, b = _gaussians(deviations), len(images)
    reach = weights.shape[1] // 2
    padded = torch.nn.functional.pad(images[None], (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, weights[:, None, None], groups=b)
    return torch.nn.functional.conv2d(rows, weights[:, None, :, None], groups=b)[0]
