"""What the world does to a picture: lights, occlusions, noise, brightness, erasing. (B, C, H, W) in, the same out, in [0, 1].

Random numbers come from the generator given. Each function draws for the whole batch at once.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "b c h w"]


def _rand(images: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """One uniform number an image, (B, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)


def brightness(images: Images, generator: torch.Generator, low: float = 0.4, high: float = 1.6) -> Images:
    """Multiply by a factor in [low, high]."""
    return (images * _rand(images, generator, low, high)).clamp(0, 1)


def contrast(images: Images, generator: torch.Generator, low: float = 0.6, high: float = 1.4) -> Images:
    """Scale about the image's mean by a factor in [low, high]."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * _rand(images, generator, low, high)).clamp(0, 1)


def noise(images: Images, generator: torch.Generator, deviation: float | Tensor = 0.05) -> Images:
    """Add Gaussian noise."""
    return (images + deviation * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def blur(images: Images, generator: torch.Generator, probability: float = 0.5) -> Images:
    """Mix each image, with a probability, with the mean of every pixel and its eight neighbours, by a share of its own, twice."""
    share = _rand(images, generator, 0, 1) * (_rand(images, generator, 0, 1) < probability)
    for _ in range(2):
        images = images + share * (_mean_about(images) - images)
    return images


def _mean_about(images: Images) -> Images:
    """Of each pixel and its neighbours that there are: `avg_pool2d(images, 3, 1, 1, count_include_pad=False)`, in a third of the time."""
    for axis, size in ((2, images.shape[2]), (3, images.shape[3])):
        total, count = images.clone(), torch.full((size,), 3.0)
        total.narrow(axis, 0, size - 1).add_(images.narrow(axis, 1, size - 1))
        total.narrow(axis, 1, size - 1).add_(images.narrow(axis, 0, size - 1))
        count[0] -= 1
        count[-1] -= 1
        images = total.div_(count.view(-1, 1) if axis == 2 else count)
    return images


def erase(
    images: Images,
    generator: torch.Generator,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.33),
    fill: Tensor | float = 0.0,
) -> Images:
    """Cover one rectangle (area a share of the image, ratio 0.3 to 3.3) of each image with `fill`, with a probability."""
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


def lights(images: Images, generator: torch.Generator, count: int = 3, strength: float = 0.6) -> Images:
    """Multiply by 1 + a sum of 2D Gaussian spots, bright or dark (CNN-VS Eq. 8-9), random gain, centre and widths.

    A spot is a column times a row, and their sum a product of matrices: a sixth of a training step was spent on exponentials.
    """
    B, _, H, W = images.shape
    gain, cx, cy = (torch.rand(3, B, count, 1, generator=generator) * 2 - 1).unbind(0)
    sx, sy = (0.2 + 0.8 * torch.rand(2, B, count, 1, generator=generator)).unbind(0)
    column = gain * torch.exp(-(((torch.linspace(-1, 1, H) - cy) / sy) ** 2))
    row = torch.exp(-(((torch.linspace(-1, 1, W) - cx) / sx) ** 2))
    return (images * (1 + strength * (column.mT @ row)[:, None])).clamp(0, 1)


def as_mlvs(images: Images, generator: torch.Generator) -> Images:
    """The perturbed goal of `lookat-rz-perturbed`: erased with p 0.5, brightness, contrast, noise 0.05, clipped."""
    images = erase(images, generator)
    return noise(contrast(brightness(images, generator), generator), generator)
