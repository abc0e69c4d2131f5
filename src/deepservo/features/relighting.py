"""Views lit as their goals are, where lamps or shadows light them otherwise.

A lamp makes a part of the picture brighter and its texture stronger: by a gain and a bias of its
own, which change slowly over the picture. Near the goal both pictures show nearly the same in each
small window, so that there

    gain = goal's deviation / view's deviation,    bias = goal's mean - gain * view's mean

and `gain * view + bias` is lit as the goal. Windows count where the two pictures correlate, so that
covers have no say; what lies between is filled smoothly. Deviations are without the noise's.
"""

from ctypes import Structure
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from deepservo import native
from deepservo.features.lighting import SATURATED
from deepservo.features.pairs import MIN_SHOWN, UNSEEN

CELLS, WINDOW = 28, 3  # along each side of a picture; of a window, in cells
MIN_SHOWN_SHARE = 0.6  # of a window's pixels
MIN_CORRELATION = 0.8  # of the pictures in a window that counts
MIN_VARIANCE, MIN_SNR = 1e-5, 64.0  # of a window's pixels: grey levels squared; over the noise's
MAX_GAIN = 10.0
# The light is not the goal's where the logarithm of the gain varies by more from the first to the
# last tenth of the windows that count. A gain for all alike is found by the registration itself.
MIN_SPREAD = 0.25
MIN_USED = 0.1  # of all windows
FILL = 1e-3  # weight of the next larger surroundings of a window, against its own


class LightArguments(Structure):
    """What `light_runs` of relighting.c reads and writes."""

    _fields_ = native.fields(
        "* goals views", "i64 goal_step",
        "* goal_noises noises differs gains biases medians", "i32 w h",
    )  # fmt: skip


class RelitArguments(Structure):
    """What `relit_runs` of relighting.c reads and writes."""

    _fields_ = native.fields("* views gains biases relit", "i32 w h")


class Light(NamedTuple):
    """How B views are lit against their goals. differs: whether in one place otherwise than in
    another. Only there the others are known: gain and bias of each cell, and the median gain.
    """

    differs: Bool[Tensor, " b"]
    gain: Float[Tensor, "b k k"]
    bias: Float[Tensor, "b k k"]
    median: Float[Tensor, " b"]

    def pick(self, index: Tensor) -> "Light":
        """Of these runs."""
        return Light(*(each[index] for each in self))


def light(
    goal: Float[Tensor, "#b h w"],
    view: Float[Tensor, "b h w"],
    noises: tuple[Float[Tensor, "#b 1"], Float[Tensor, "b 1"]],
) -> Light:
    """From small pictures that show the same to within a few pixels, UNSEEN where nothing is seen.

    noises: deviations of the goal's noise and of the view's, in these pictures.
    """
    lib = native.library() if view.device.type == "cpu" else None
    if lib is None:
        return light_reference(goal, view, noises)
    n, h, w = view.shape
    goal_noise, noise = (each.float().expand(n, 1).contiguous() for each in noises)
    goal, view, differs = goal.contiguous(), view.contiguous(), torch.empty(n, dtype=torch.bool)
    gain, bias = torch.empty(2, n, CELLS, CELLS)
    found = Light(differs, gain, bias, torch.empty(n))
    arguments = LightArguments(
        goals=goal.data_ptr(), views=view.data_ptr(),
        goal_step=h * w if len(goal) > 1 else 0, goal_noises=goal_noise.data_ptr(),
        noises=noise.data_ptr(), differs=differs.data_ptr(), gains=found.gain.data_ptr(),
        biases=found.bias.data_ptr(), medians=found.median.data_ptr(), w=w, h=h,
    )  # fmt: skip
    native.run(lib.light_runs, arguments, n)
    return found


def relit(view: Float[Tensor, "b 1 h w"], found: Light) -> Float[Tensor, "b 1 h w"]:
    """The views of any size, lit as the goals; UNSEEN where they are overexposed, too."""
    lib = native.library() if view.device.type == "cpu" else None
    if lib is None:
        return relit_reference(view, found)
    view, gain, bias = (each.contiguous() for each in (view, found.gain, found.bias))
    out, (h, w) = torch.empty_like(view), view.shape[-2:]
    arguments = RelitArguments(
        views=view.data_ptr(), gains=gain.data_ptr(), biases=bias.data_ptr(),
        relit=out.data_ptr(), w=w, h=h,
    )  # fmt: skip
    native.run(lib.relit_runs, arguments, len(view))
    return out


def light_reference(
    goal: Float[Tensor, "#b h w"],
    view: Float[Tensor, "b h w"],
    noises: tuple[Float[Tensor, "#b 1"], Float[Tensor, "b 1"]],
) -> Light:
    """`light` in plain torch."""
    goal = goal.expand_as(view)
    low, high = torch.minimum(goal, view), torch.maximum(goal, view)
    shown = ((low > MIN_SHOWN) & (high < SATURATED)).float()
    a, b = goal * shown, view * shown
    cells = adaptive_avg_pool2d(torch.stack([shown, a, b, a * a, b * b, a * b], 1), CELLS)
    share, *sums = _surroundings(cells, WINDOW).unbind(1)
    mean_a, mean_b, aa, bb, ab = (each / share.clamp(min=1e-3) for each in sums)
    noise_a, noise_b = (each.square()[:, :, None] for each in noises)
    pure_a = (aa - mean_a * mean_a - noise_a).clamp(min=1e-9)
    pure_b = (bb - mean_b * mean_b - noise_b).clamp(min=1e-9)
    counts = (
        (share > MIN_SHOWN_SHARE)
        & (pure_a > MIN_SNR * noise_a + MIN_VARIANCE)
        & (pure_b > MIN_SNR * noise_b + MIN_VARIANCE)
        & (ab - mean_a * mean_b > MIN_CORRELATION * (pure_a * pure_b).sqrt())
    )
    log_gain = (pure_a / pure_b).clamp(1 / MAX_GAIN**2, MAX_GAIN**2).log() / 2
    used = counts.flatten(1).sum(1)
    known = log_gain.masked_fill(~counts, torch.inf).flatten(1).sort(1).values
    last = (used - 1).clamp(min=0)
    ranks = torch.stack([last // 10, last // 2, 9 * last // 10], 1)
    first, median, most = known.gather(1, ranks).unbind(1)
    differs = (used > MIN_USED * CELLS**2) & (most - first > MIN_SPREAD)
    values = torch.stack([torch.ones_like(log_gain), log_gain, mean_a, mean_b], 1)
    values, weight, side = values * counts[:, None], 1.0, WINDOW
    total = _surroundings(values, side)
    while side < CELLS:
        weight, side = FILL * weight, 2 * side + 1
        total = total + weight * _surroundings(values, side)
    log_gain, mean_a, mean_b = (total[:, 1:] / total[:, :1].clamp(min=1e-20)).unbind(1)
    gain = log_gain.exp()
    return Light(differs, gain, mean_a - gain * mean_b, median.exp())


def relit_reference(view: Float[Tensor, "b 1 h w"], found: Light) -> Float[Tensor, "b 1 h w"]:
    """`relit` in plain torch."""
    fields = torch.stack([found.gain, found.bias], 1)
    gain, bias = interpolate(fields, view.shape[-2:], mode="bilinear").split(1, 1)
    shown = (view > MIN_SHOWN) & (view < SATURATED)
    return torch.where(shown, gain * view + bias, UNSEEN)


def _surroundings(values: Float[Tensor, "b c k l"], side: int) -> Float[Tensor, "b c k l"]:
    """Means over `side` x `side` cells, of those that are in the picture."""
    for size in ((1, side), (side, 1)):
        margin = size[0] // 2, size[1] // 2
        values = avg_pool2d(values, size, 1, margin, count_include_pad=False)
    return values
