"""`sample_reference` of sampler.py as one kernel of a GPU: each output pixel reads eight texels at
most, and is written once.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

BLOCK = 256  # output pixels a program
FAR = tl.constexpr(1e6)  # texels: where what looks past the horizon is


@triton.jit
def _bilinear(texture, offsets, level, padded_w, padded_h, u, v, there):  # type: ignore[no-untyped-def]
    scale = tl.exp2(-level.to(tl.float32))
    w, h = padded_w >> level, padded_h >> level
    u = tl.minimum(tl.maximum((u + 0.5) * scale - 0.5, 0.0), (w - 1).to(tl.float32))
    v = tl.minimum(tl.maximum((v + 0.5) * scale - 0.5, 0.0), (h - 1).to(tl.float32))
    x, y = u.to(tl.int32), v.to(tl.int32)
    fu, fv = u - x, v - y
    right, below = tl.minimum(x + 1, w - 1), tl.minimum(y + 1, h - 1)
    texture += tl.load(offsets + level, mask=there, other=0)
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
def _kernel(  # type: ignore[no-untyped-def]
    textures, texture_step, stride, offsets, padded_w, padded_h, texture_w, texture_h, homographies,
    background, image, coverage, h, w, LEVELS: tl.constexpr, CHANNELS: tl.constexpr,
    FILLED: tl.constexpr, COVERED: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)  # of many pictures: their pixels are more than 32 bits count
    at = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    there = at < h * w
    x, y = (at % w).to(tl.float32), (at // w).to(tl.float32)
    m = homographies + 9 * b
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
    u, v = tl.minimum(tl.maximum(u, -FAR), FAR), tl.minimum(tl.maximum(v, -FAR), FAR)
    lod = tl.minimum(tl.maximum(0.5 * tl.log2(det * inv * inv * inv), 0.0), LEVELS - 1.0)
    level = lod.to(tl.int32)
    blend = lod - level
    coarser = tl.minimum(level + 1, LEVELS - 1)
    k = 1 / (tl.exp2(level.to(tl.float32)) * (1 + blend))
    inside = tl.where(front, _within(u, texture_w, k) * _within(v, texture_h, k), 0.0)
    for c in tl.static_range(CHANNELS):
        texture = textures + b * texture_step + c * stride
        value = _bilinear(texture, offsets, level, padded_w, padded_h, u, v, there) * (1 - blend)
        value += _bilinear(texture, offsets, coarser, padded_w, padded_h, u, v, there) * blend
        if FILLED:
            value = value * inside + tl.load(background + b * CHANNELS + c) * (1 - inside)
        tl.store(image + (b * CHANNELS + c) * h * w + at, value, mask=there)
    if COVERED:
        tl.store(coverage + b * h * w + at, inside, mask=there)


def write(
    pyramid: Any,
    Hs: Float[Tensor, "b 3 3"],
    background: Tensor | None,
    image: Tensor,
    coverage: Tensor | None,
) -> None:
    """`Write` of sampler.py."""
    B, C, h, w = image.shape
    flat, (ph, pw), (th, tw) = pyramid.flat, pyramid.padded, pyramid.size
    with torch.cuda.device_of(image):
        _kernel[(B, triton.cdiv(h * w, BLOCK))](
            flat, C * flat.shape[2] if len(flat) > 1 else 0, flat.shape[2], pyramid.offsets, pw, ph,
            tw, th, Hs.double().contiguous(), image if background is None else background, image,
            image if coverage is None else coverage, h, w, LEVELS=pyramid.levels, CHANNELS=C,
            FILLED=background is not None, COVERED=coverage is not None, PIXELS=BLOCK,
        )  # fmt: skip
