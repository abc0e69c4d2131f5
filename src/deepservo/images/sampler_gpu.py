"""`sample_reference` of sampler.py as one kernel of a GPU.

Each output pixel reads at most eight texels, and is written once.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

PIXELS = tl.constexpr(256)  # output pixels a program
HORIZON = tl.constexpr(1e6)  # texels: where a pixel that looks past the horizon is put


class Textures(NamedTuple):
    """The pyramid as the kernel takes it, its sizes in texels.

    flat: (T, C, N) float32. step, stride: from one picture, and from one channel, to the next.
    offsets: where each level begins, int32. padded_w, padded_h: of level 0 with its padding. w, h:
    of the pictures.
    """

    flat: Tensor
    step: int
    stride: int
    offsets: Tensor
    padded_w: int
    padded_h: int
    w: int
    h: int


class Views(NamedTuple):
    """What is seen and what is written: homographies (B, 3, 3) float64, and images (B, C, h, w).

    background: (B, C), or None where the edge's grey levels go on. coverage: (B, h, w), or None.
    """

    homographies: Tensor
    background: Tensor | None
    image: Tensor
    coverage: Tensor | None
    w: int
    h: int


@triton.jit
def _bilinear(textures, texture, level, place, there):  # type: ignore[no-untyped-def]
    u, v = place
    scale = tl.exp2(-level.to(tl.float32))
    w, h = textures.padded_w >> level, textures.padded_h >> level
    u = tl.minimum(tl.maximum((u + 0.5) * scale - 0.5, 0.0), (w - 1).to(tl.float32))
    v = tl.minimum(tl.maximum((v + 0.5) * scale - 0.5, 0.0), (h - 1).to(tl.float32))
    x, y = u.to(tl.int32), v.to(tl.int32)
    fu, fv = u - x, v - y
    right, below = tl.minimum(x + 1, w - 1), tl.minimum(y + 1, h - 1)
    texture += tl.load(textures.offsets + level, mask=there, other=0)
    top = (
        tl.load(texture + y * w + x, mask=there, other=0.0) * (1 - fu)
        + tl.load(texture + y * w + right, mask=there, other=0.0) * fu
    )
    bottom = tl.load(texture + below * w + x, mask=there, other=0.0) * (1 - fu)
    bottom += tl.load(texture + below * w + right, mask=there, other=0.0) * fu
    return top * (1 - fv) + bottom * fv


@triton.jit
def _within(place, size, k):  # type: ignore[no-untyped-def]
    low = tl.minimum(tl.maximum((place + 0.5) * k + 0.5, 0.0), 1.0)
    return low * tl.minimum(tl.maximum((size - 0.5 - place) * k + 0.5, 0.0), 1.0)


@triton.jit
def _kernel(textures, views, LEVELS: tl.constexpr, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    w, h = views.w, views.h
    b = tl.program_id(0).to(tl.int64)  # 32 bits do not count the pixels of many pictures
    at = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    there = at < h * w
    x, y = (at % w).to(tl.float32), (at // w).to(tl.float32)
    m = views.homographies + 9 * b
    a0, a1, a2 = tl.load(m), tl.load(m + 1), tl.load(m + 2)
    b0, b1, b2 = tl.load(m + 3), tl.load(m + 4), tl.load(m + 5)
    c0, c1, c2 = tl.load(m + 6), tl.load(m + 7), tl.load(m + 8)
    det = tl.abs(a0 * (b1 * c2 - b2 * c1) - a1 * (b0 * c2 - b2 * c0) + a2 * (b0 * c1 - b1 * c0)).to(
        tl.float32
    )
    den = c0.to(tl.float32) * x + (c1.to(tl.float32) * y + c2.to(tl.float32))
    front = den > 0
    inv = 1 / tl.where(front, den, 1.0)
    u = (a0.to(tl.float32) * x + (a1.to(tl.float32) * y + a2.to(tl.float32))) * inv
    v = (b0.to(tl.float32) * x + (b1.to(tl.float32) * y + b2.to(tl.float32))) * inv
    u = tl.minimum(tl.maximum(u, -HORIZON), HORIZON)
    v = tl.minimum(tl.maximum(v, -HORIZON), HORIZON)
    lod = tl.minimum(tl.maximum(0.5 * tl.log2(det * inv * inv * inv), 0.0), LEVELS - 1.0)
    level = lod.to(tl.int32)
    blend = lod - level
    coarser = tl.minimum(level + 1, LEVELS - 1)
    k = 1 / (tl.exp2(level.to(tl.float32)) * (1 + blend))
    inside = tl.where(front, _within(u, textures.w, k) * _within(v, textures.h, k), 0.0)
    for c in tl.static_range(CHANNELS):
        texture = textures.flat + b * textures.step + c * textures.stride
        value = _bilinear(textures, texture, level, (u, v), there) * (1 - blend)
        value += _bilinear(textures, texture, coarser, (u, v), there) * blend
        if views.background is not None:
            back = tl.load(views.background + b * CHANNELS + c)
            value = value * inside + back * (1 - inside)
        tl.store(views.image + (b * CHANNELS + c) * h * w + at, value, mask=there)
    if views.coverage is not None:
        tl.store(views.coverage + b * h * w + at, inside, mask=there)


def write(
    pyramid: Any,
    Hs: Float[Tensor, "b 3 3"],
    background: Float[Tensor, "b c"] | None,
    image: Float[Tensor, "b c h w"],
    coverage: Float[Tensor, "b h w"] | None,
) -> None:
    """`Write` of sampler.py."""
    B, C, h, w = image.shape
    flat, stride = pyramid.flat, pyramid.flat.shape[2]
    (padded_h, padded_w), (texture_h, texture_w) = pyramid.padded, pyramid.size
    step = C * stride if len(flat) > 1 else 0
    textures = Textures(
        flat, step, stride, pyramid.offsets, padded_w, padded_h, texture_w, texture_h
    )
    views = Views(Hs.double().contiguous(), background, image, coverage, w, h)
    with torch.cuda.device_of(image):
        _kernel[(B, triton.cdiv(h * w, PIXELS.value))](
            textures, views, LEVELS=pyramid.levels, CHANNELS=C
        )
