"""Perturbations of pictures (B, C, H, W) in [0, 1]: light, covers, blur, noise.

Random numbers come from the generator given; each function draws those of the whole batch at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Images = Float[Tensor, "b c h w"]

RESOLUTIONS = 6  # that `fewer_pixels` chooses from


def _rand(images: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """One uniform number of each picture, (B, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)


def brightness(
    images: Images, generator: torch.Generator, low: float = 0.4, high: float = 1.6
) -> Images:
    """Multiply each picture by a factor in [low, high]."""
    return (images * _rand(images, generator, low, high)).clamp(0, 1)


def contrast(
    images: Images, generator: torch.Generator, low: float = 0.6, high: float = 1.4
) -> Images:
    """Scale each picture's grey levels about their mean by a factor in [low, high]."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * _rand(images, generator, low, high)).clamp(0, 1)


def noise(images: Images, generator: torch.Generator, deviation: float | Tensor = 0.05) -> Images:
    """Add Gaussian noise of this standard deviation [grey level]."""
    return (images + deviation * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def blur(images: Images, generator: torch.Generator, probability: float = 0.5) -> Images:
    """Mix each picture, with a probability, with its mean over 3 x 3 pixels, twice.

    The share of the mean is random.
    """
    share = _rand(images, generator, 0, 1) * (_rand(images, generator, 0, 1) < probability)
    for _ in range(2):
        images = images + share * (_mean_about(images) - images)
    return images


def _mean_about(images: Images) -> Images:
    """The mean of each pixel and its neighbours within the picture.

    It is `avg_pool2d(images, 3, 1, 1, count_include_pad=False)` in a third of the time.
    """
    for axis, size in ((2, images.shape[2]), (3, images.shape[3])):
        total, count = images.clone(), torch.full((size,), 3.0)
        total.narrow(axis, 0, size - 1).add_(images.narrow(axis, 1, size - 1))
        total.narrow(axis, 1, size - 1).add_(images.narrow(axis, 0, size - 1))
        count[0] -= 1
        count[-1] -= 1
        images = total.div_(count.view(-1, 1) if axis == 2 else count)
    return images


def defocus(
    images: Images, generator: torch.Generator, most: float, probability: float = 0.5
) -> Images:
    """Blur each picture, with a probability, by a Gaussian.

    Its deviation is random, from most / 5 to `most` [px].
    """
    deviation = _rand(images, generator, most / 5, most) * (
        _rand(images, generator, 0, 1) < probability
    )
    for axis in (2, 3):
        k = torch.arange(float(images.shape[axis]))
        weights = torch.exp(-(k[:, None] - k).square() / (2 * deviation.square() + 1e-6))
        weights = weights / weights.sum(3, keepdim=True)
        images = weights @ images if axis == 2 else images @ weights.mT
    return images


def fewer_pixels(
    images: Images, generator: torch.Generator, fewest: float = 0.25, probability: float = 0.2
) -> Images:
    """Reduce each picture, with a probability, and enlarge it again.

    fewest: least share of its side's pixels that it is reduced to.
    """
    level = (_rand(images, generator, 0, 1) / probability * RESOLUTIONS).long()
    level = level.clamp(max=RESOLUTIONS)[:, 0, 0, 0]
    for axis in (2, 3):
        shown = torch.eye(images.shape[axis])[None]
        shares = [1 - (1 - fewest) * (k + 1) / RESOLUTIONS for k in range(RESOLUTIONS)]
        down = [
            torch.nn.functional.interpolate(
                shown, max(2, round(share * shown.shape[1])), mode="area"
            )
            for share in shares
        ]
        up = [torch.nn.functional.interpolate(each, shown.shape[1], mode="linear") for each in down]
        weights = torch.cat([*up, shown]).mT[level][:, None]
        images = weights @ images if axis == 2 else images @ weights.mT
    return images


def exposure(images: Images, generator: torch.Generator, most: float = 3.3) -> Images:
    """Multiply each picture by a factor between 1 / most and most; grey levels over 1 saturate."""
    factor = torch.exp(_rand(images, generator, -math.log(most), math.log(most)))
    return (images * factor).clamp(0, 1)


def shadow(images: Images, generator: torch.Generator, probability: float = 0.3) -> Images:
    """Darken each picture, with a probability, on one side of a soft edge."""
    x, y = _about(images, generator)
    angle = _rand(images, generator, -math.pi, math.pi)
    dark = torch.sigmoid((angle.cos() * x + angle.sin() * y) / _rand(images, generator, 0.03, 0.18))
    return images * (
        1
        - dark
        * _rand(images, generator, 0.15, 0.85)
        * (_rand(images, generator, 0, 1) < probability)
    )


def highlight(images: Images, generator: torch.Generator, probability: float = 0.2) -> Images:
    """Add a saturating spot to each picture, with a probability."""
    x, y = _about(images, generator)
    spot = 1.5 * torch.exp(-(x * x + y * y) / (2 * _rand(images, generator, 0.1, 0.35).square()))
    return (images + spot * (_rand(images, generator, 0, 1) < probability)).clamp(0, 1)


def _about(images: Images, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x and y of each pixel relative to a random point of its picture; its sides are [-1, 1]."""
    H, W = images.shape[-2:]
    y, x = torch.linspace(-1, 1, H)[:, None], torch.linspace(-1, 1, W)
    return x - _rand(images, generator, -0.8, 0.8), y - _rand(images, generator, -0.8, 0.8)


def erase(
    images: Images,
    generator: torch.Generator,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.33),
    fill: Tensor | float = 0.0,
) -> Images:
    """Cover a rectangle of each picture with `fill`, with a probability.

    area: its least and largest share of the picture. Its sides have a ratio of 0.3 to 3.3.
    """
    _, _, H, W = images.shape
    a = _rand(images, generator, *area) * H * W
    ratio = torch.exp(_rand(images, generator, math.log(0.3), math.log(3.3)))
    h, w = (a * ratio).sqrt().round().clamp(max=H), (a / ratio).sqrt().round().clamp(max=W)
    top = (_rand(images, generator, 0, 1) * (H - h + 1)).floor()
    left = (_rand(images, generator, 0, 1) * (W - w + 1)).floor()
    y, x = torch.arange(H)[None, None, :, None], torch.arange(W)[None, None, None, :]
    hit = (y >= top) & (y < top + h) & (x >= left) & (x < left + w)
    hit = hit & (_rand(images, generator, 0, 1) < probability)
    return torch.where(hit, torch.as_tensor(fill, dtype=images.dtype), images)


@dataclass(frozen=True)
class Patch:
    """A piece of another picture: the pixels of its bounding box, and which of them are its own."""

    pixels: Float[Tensor, "h w"]
    mask: Bool[Tensor, "h w"]


def superpixels(picture: Float[Tensor, "1 h w"], count: int = 30) -> list[Patch]:
    """The picture cut into about `count` pieces along its edges, by SLIC (CNN-VS III-B)."""
    from skimage.segmentation import slic  # imported here: it takes half a second

    labels = torch.from_numpy(
        slic(picture[0].numpy(), count, compactness=0.1, channel_axis=None, start_label=0)
    )
    found = []
    for label in range(int(labels.max()) + 1):
        y, x = (labels == label).nonzero(as_tuple=True)
        if len(y):
            box = slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1)
            found.append(Patch(picture[0][box], labels[box] == label))
    return found


def cover(
    images: Images, generator: torch.Generator, patches: Sequence[Patch], probability: float = 0.5
) -> Images:
    """Put a random patch at a random place of each picture, with a probability (CNN-VS III-B)."""
    H, W = images.shape[-2:]
    images = images.clone()
    hit = torch.rand(len(images), generator=generator) < probability
    which = torch.randint(len(patches), (len(images),), generator=generator)
    middle = (torch.rand(len(images), 2, generator=generator) * torch.tensor([H, W])).long()
    drawn = torch.column_stack([hit.long(), which, middle]).tolist()  # one transfer from a GPU
    for i, (covered, k, v, u) in enumerate(drawn):
        if not covered:
            continue
        patch = patches[k]
        h, w = patch.mask.shape
        top, left = v - h // 2, u - w // 2
        seen = images[i, :, max(0, top) : top + h, max(0, left) : left + w]
        of_patch = slice(max(0, -top), H - top), slice(max(0, -left), W - left)
        seen[:] = torch.where(patch.mask[of_patch], patch.pixels[of_patch], seen)
    return images


def lights(
    images: Images, generator: torch.Generator, count: int = 3, strength: float = 0.6
) -> Images:
    """Multiply by 1 + a sum of `count` 2D Gaussian spots, bright or dark (CNN-VS Eq. 8-9).

    Gains, up to `strength`, centres and widths are random. A spot is a column times a row, and
    their sum a product of matrices, which saves a sixth of a training step.
    """
    B, _, H, W = images.shape
    gain, cx, cy = (torch.rand(3, B, count, 1, generator=generator) * 2 - 1).unbind(0)
    sx, sy = (0.2 + 0.8 * torch.rand(2, B, count, 1, generator=generator)).unbind(0)
    column = gain * torch.exp(-(((torch.linspace(-1, 1, H) - cy) / sy) ** 2))
    row = torch.exp(-(((torch.linspace(-1, 1, W) - cx) / sx) ** 2))
    return (images * (1 + strength * (column.mT @ row)[:, None])).clamp(0, 1)


def as_mlvs(images: Images, generator: torch.Generator) -> Images:
    """The perturbation of the set `lookat-rz-perturbed`.

    Erased with probability 0.5, then brightness, contrast, and noise of 0.05.
    """
    images = erase(images, generator)
    return noise(contrast(brightness(images, generator), generator), generator)
