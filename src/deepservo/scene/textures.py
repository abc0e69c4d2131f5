"""Pictures made by code, endless and free of licence.

They are for tests, for benchmarks, and to train on where there is no data set. Each picture is
drawn from one number of the generator given. So the same seed gives the same picture bit for bit,
whatever was drawn before and on however many threads, and in a sequence of pictures none depends on
the kinds of those before it. Lengths are shares of the picture's longer side: a larger picture
shows the same things larger, down to the finest that its pixels can hold.
"""

from collections.abc import Callable
from numbers import Integral

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import InputError
from deepservo.scene.drawing import (
    Grey,
    Random,
    Size,
    blur,
    fill_shapes,
    log_uniform,
    noise_field,
    ramp,
    smooth_surface,
)
from deepservo.scene.texture_kinds import MIN_SIDE, clouds, faint, leaves, strokes, tiles

MAX_SIDE = 4096  # px of a picture's longer side


def _mask(size: Size, rng: Random) -> Grey:
    """How much a second picture covers a first one, in [0, 1], sharp or soft.

    It covers half of it, patches of it, or a few shapes.
    """
    if rng.random() < 0.4:
        mask = np.zeros(size, np.uint8)
        radius = rng.uniform(0.1, 0.45, rng.integers(1, 6)) * max(size)
        fill_shapes(mask, radius, np.full(len(radius), 255), rng)
        return mask / np.float32(255)
    field = rng.uniform(0, 1.5) * ramp(size, rng) + rng.uniform(0.1, 0.7) * smooth_surface(
        size, rng, int(rng.integers(1, 7))
    )
    field = field + rng.uniform(0, 0.12) * noise_field(size, rng, 1.4)
    field = field - field.mean() - rng.normal(0, 0.3) * field.std()
    return np.clip(field * log_uniform(rng, 0.5, max(size) / 4) + 0.5, 0, 1)


def _layer(size: Size, rng: Random) -> Grey:
    """One of the plain kinds, frontal or in perspective, under a random light."""
    kind = (clouds, leaves, strokes, tiles, faint)[rng.choice(5, p=[0.26, 0.42, 0.1, 0.14, 0.08])]
    picture = kind(size, rng)
    if rng.random() < 0.4:
        h, w = size
        corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        seen = (
            corners
            + (corners - [w / 2, h / 2]) * rng.uniform(0.08, 0.7, (4, 1))
            + rng.normal(0, 0.02, (4, 2)) * max(size)
        )
        H = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
        picture = cv2.warpPerspective(
            picture, H, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    light = log_uniform(rng, 0.5, 1.2) * (
        1
        + rng.uniform(0, 0.4) * ramp(size, rng)
        + rng.uniform(0, 0.2) * smooth_surface(size, rng, 2)
    )
    return picture * light


def _mixed(size: Size, rng: Random) -> Grey:
    """Up to four of the other kinds in front of each other.

    They have light and shadows, depth of field, tone and noise.
    """
    side = max(size)
    picture = _layer(size, rng)
    for _ in range(rng.choice(4, p=[0.3, 0.35, 0.25, 0.1])):
        if rng.random() < 0.3:  # the background is out of focus
            picture = blur(picture, log_uniform(rng, 0.003, 0.02) * side)
        mask = _mask(size, rng)
        if rng.random() < 0.3:  # the foreground casts a shadow
            picture = picture * (
                1 - rng.uniform(0.2, 0.8) * blur(mask, rng.uniform(0.01, 0.05) * side)
            )
        picture = picture + mask * (_layer(size, rng) - picture)
    if rng.random() < 0.2:  # something outside the picture casts one
        picture = picture * (1 - rng.uniform(0.3, 0.7) * _mask(size, rng))
    if rng.random() < 0.3:
        picture = blur(picture, log_uniform(rng, 0.0015, 0.005) * side)
    picture = (picture - picture.mean()) * min(
        log_uniform(rng, 0.12, 0.36) / (picture.std() + 1e-6), 4.0
    )
    picture = np.clip(picture + rng.uniform(0.3, 0.65), 0, 1) ** log_uniform(rng, 0.7, 1.6)
    return picture + rng.uniform(0, 0.02) * (rng.random() < 0.5) * rng.standard_normal(
        size, np.float32
    )


def _as_tensor(
    draw: Callable[[Size, Random], Grey],
) -> Callable[[Size, torch.Generator], Float[Tensor, "1 h w"]]:
    def drawn(size: Size, generator: torch.Generator) -> Float[Tensor, "1 h w"]:
        whole = (
            isinstance(size, tuple | list)
            and len(size) == 2
            and all(isinstance(n, Integral) for n in size)
        )
        if not whole or not all(MIN_SIDE <= n <= MAX_SIDE for n in size):
            raise InputError(
                f"texture: the size must be (height, width), each {MIN_SIDE} to {MAX_SIDE} whole "
                f"pixels, not {size}"
            )
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        picture = draw((int(size[0]), int(size[1])), np.random.default_rng(int(seed)))
        return torch.from_numpy(picture.clip(0, 1).astype(np.float32))[None]

    drawn.__doc__ = draw.__doc__
    return drawn


TEXTURES = {
    "clouds": _as_tensor(clouds),
    "leaves": _as_tensor(leaves),
    "strokes": _as_tensor(strokes),
    "tiles": _as_tensor(tiles),
    "faint": _as_tensor(faint),
    "mixed": _as_tensor(_mixed),
}


def texture(size: Size, generator: torch.Generator, kind: str = "mixed") -> Float[Tensor, "1 h w"]:
    """A picture of `size` (height, width) [px], float32 in [0, 1], of a kind of TEXTURES.

    Raises InputError for an unknown kind and for sides under 16 or over 4096 pixels.
    """
    if kind not in TEXTURES:
        raise InputError(f"{kind!r} is no kind of texture; choose one of {', '.join(TEXTURES)}")
    return TEXTURES[kind](size, generator)
