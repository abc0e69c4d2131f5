"""Pictures seen through homographies, antialiased, in one fused pass.

Every output pixel takes one trilinear sample of a box-filtered pyramid. Its level comes from the
area of the pixel's footprint on the picture, which for a homography H is exactly `|det H| / w^3` (w
the third homogeneous coordinate), so no derivative is formed. On a CPU the work is done by
`sampler.c`, on a GPU by `sampler_gpu.py`; `sample_reference` is the same arithmetic in torch, for
other devices, for gradients and for the tests.
"""

import functools
import math
import warnings
from collections.abc import Callable
from ctypes import Structure
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from deepservo import native


class Arguments(Structure):
    """What `sample_rows` of sampler.c reads and writes."""

    _fields_ = native.fields(
        "* textures", "i64 texture_step stride", "* offsets",
        "i32 levels padded_w padded_h texture_w texture_h",
        "* homographies dets background out inside", "i32 channels h w",
    )  # fmt: skip


@dataclass(frozen=True)
class Pyramid:
    """The levels of T pictures of C channels one after the other: `flat`, and where each begins.

    size: of the pictures [px]. padded: of level 0 with its padding.
    """

    flat: Float[Tensor, "t c n"]
    offsets: Int32[Tensor, " levels"]
    size: tuple[int, int]
    padded: tuple[int, int]
    levels: int


def build_pyramid(pictures: Float[Tensor, "t c h w"], antialias: bool = True) -> Pyramid:
    """The box-filtered pyramid of float32 pictures; without `antialias` level 0 alone.

    Padding to a multiple of the coarsest texel (by replication) makes every texel an exact 2 x 2
    mean.
    """
    h, w = pictures.shape[-2:]
    levels = max(1, int(math.log2(min(h, w)))) if antialias else 1
    step = 2 ** (levels - 1)
    level = (
        torch.nn.functional.pad(pictures, (0, -w % step, 0, -h % step), mode="replicate")
        if step > 1
        else pictures
    )
    padded = (level.shape[-2], level.shape[-1])
    flat, offsets, start = [], [], 0
    for i in range(levels):
        offsets.append(start)
        start += level.shape[-2] * level.shape[-1]
        flat.append(level.flatten(-2))
        if i < levels - 1:
            level = torch.nn.functional.avg_pool2d(level, 2)
    offset = torch.tensor(offsets, dtype=torch.int32, device=pictures.device)
    return Pyramid(torch.cat(flat, -1).contiguous(), offset, (h, w), padded, levels)


def sample(
    pyramid: Pyramid,
    Hs: Float[Tensor, "b 3 3"],
    size: tuple[int, int],
    background: Float[Tensor, "b c"] | None,
) -> Float[Tensor, "b c h w"]:
    """Images of size (h, w) through homographies that take output pixels to picture pixels.

    Hs: float64, with a third homogeneous coordinate that is positive in front of the camera. One
    picture serves all homographies, or there is one each. background: of what the picture does not
    cover; None: its edge is continued there. Raises ValueError for another number of pictures.
    """
    return _sampled(pyramid, Hs, size, background, covered=False)[0]


def sample_covered(
    pyramid: Pyramid,
    Hs: Float[Tensor, "b 3 3"],
    size: tuple[int, int],
    background: Float[Tensor, "b c"] | None,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
    """`sample`, and the share of each pixel that the picture covers."""
    image, coverage = _sampled(pyramid, Hs, size, background, covered=True)
    assert coverage is not None
    return image, coverage


Write = Callable[[Pyramid, Tensor, Tensor | None, Tensor, Tensor | None], None]
"""Fills images (b, c, h, w), and their coverage (b, h, w) where it is not None.

Its arguments are the pyramid, Hs, the background (b, c) or None, the images and the coverage.
"""


def _sampled(
    pyramid: Pyramid,
    Hs: Float[Tensor, "b 3 3"],
    size: tuple[int, int],
    background: Float[Tensor, "b c"] | None,
    covered: bool,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"] | None]:
    """`sample`, and with `covered` the coverage."""
    if len(pyramid.flat) not in (1, len(Hs)):
        raise ValueError(f"{len(pyramid.flat)} pictures for {len(Hs)} homographies")
    write = _fused(pyramid, Hs)
    if write is None:
        return sample_reference(pyramid, Hs, size, background)
    B, C, device = len(Hs), pyramid.flat.shape[1], pyramid.flat.device
    back = None if background is None else background.float().expand(B, C).contiguous()
    image = torch.empty(B, C, *size, device=device)
    coverage = torch.empty(B, *size, device=device) if covered else None
    write(pyramid, Hs, back, image, coverage)
    return image, coverage


def _fused(pyramid: Pyramid, Hs: Tensor) -> Write | None:
    """The fused pass for the pictures' device; None where torch must sample.

    torch also raises the error for two devices.
    """
    kinds = pyramid.flat.device.type, Hs.device.type
    if kinds == ("cpu", "cpu"):
        return _in_c if native.library() is not None else None
    return _on_gpu() if kinds == ("cuda", "cuda") and not Hs.requires_grad else None


@functools.cache
def _on_gpu() -> Write | None:
    """The GPU's kernel; None where there is no GPU.

    It is also None, after one warning, where Triton cannot build it.
    """
    if not torch.cuda.is_available():
        return None
    try:
        from deepservo.images.sampler_gpu import write

        image = torch.empty(1, 1, 2, 2, device="cuda")
        write(
            build_pyramid(image),
            torch.eye(3, dtype=torch.float64, device="cuda")[None],
            None,
            image,
            None,
        )
    except Exception as error:  # Triton is not there, or lacks a compiler: it raises what it likes
        why = (str(error).splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"deepservo: Triton could not build the GPU's sampler ({why}), so torch renders, many "
            "times slower",
            stacklevel=2,
        )
        return None
    return write


def _in_c(
    pyramid: Pyramid,
    Hs: Float[Tensor, "b 3 3"],
    background: Tensor | None,
    image: Tensor,
    coverage: Tensor | None,
) -> None:
    """`Write` in C."""
    lib = native.library()
    assert lib is not None
    B, _, h, w = image.shape
    arguments, kept = sampling(pyramid, Hs, background, (h, w))
    arguments.out = image.data_ptr()
    arguments.inside = None if coverage is None else coverage.data_ptr()
    native.run(lib.sample_rows, arguments, B * h, least=max(1, 20_000 // w))
    del kept  # what the arguments point into


def sampling(
    pyramid: Pyramid,
    Hs: Float[Tensor, "b 3 3"],
    background: Float[Tensor, "b c"] | None,
    size: tuple[int, int],
) -> tuple[Arguments, tuple[Tensor, ...]]:
    """The arguments of `sample_rows` but for where it writes to, and the tensors that have to be
    kept for them.
    """
    flat, (C, stride) = pyramid.flat, pyramid.flat.shape[1:]
    dets = torch.linalg.det(Hs.double()).abs().float().contiguous()
    homographies = Hs.float().contiguous()
    arguments = Arguments(
        textures=flat.data_ptr(), texture_step=C * stride if len(flat) > 1 else 0, stride=stride,
        offsets=pyramid.offsets.data_ptr(), levels=pyramid.levels, padded_w=pyramid.padded[1],
        padded_h=pyramid.padded[0], texture_w=pyramid.size[1], texture_h=pyramid.size[0],
        homographies=homographies.data_ptr(), dets=dets.data_ptr(),
        background=None if background is None else background.data_ptr(),
        channels=C, h=size[0], w=size[1],
    )  # fmt: skip
    return arguments, (dets, homographies)


def sample_reference(
    pyramid: Pyramid,
    Hs: Float[Tensor, "b 3 3"],
    size: tuple[int, int],
    background: Float[Tensor, "b c"] | None,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
    """`sample_covered` in plain torch, on any device, differentiable in Hs."""
    (h, w), device = size, pyramid.flat.device
    dets = torch.linalg.det(Hs.double()).abs().float()[:, None, None]
    m = Hs.float()[:, :, :, None, None]
    x = torch.arange(w, dtype=torch.float32, device=device)[None, None, :]
    y = torch.arange(h, dtype=torch.float32, device=device)[None, :, None]
    den = m[:, 2, 0] * x + (m[:, 2, 1] * y + m[:, 2, 2])
    front = den > 0
    inv = 1 / torch.where(front, den, torch.ones_like(den))
    u = ((m[:, 0, 0] * x + (m[:, 0, 1] * y + m[:, 0, 2])) * inv).clamp(-1e6, 1e6)
    v = ((m[:, 1, 0] * x + (m[:, 1, 1] * y + m[:, 1, 2])) * inv).clamp(-1e6, 1e6)
    lod = (0.5 * torch.log2(dets * inv * inv * inv)).clamp(0.0, float(pyramid.levels - 1))
    image, coverage = sample_at(pyramid, u, v, lod)
    coverage = front * coverage
    if background is None:
        return image, coverage
    back = background.float().expand(len(Hs), pyramid.flat.shape[1])[:, :, None, None]
    return image * coverage[:, None] + back * (1 - coverage[:, None]), coverage


def sample_at(
    pyramid: Pyramid,
    u: Float[Tensor, "b h w"],
    v: Float[Tensor, "b h w"],
    lod: Float[Tensor, "b h w"] | None = None,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
    """Values at level-0 texels (u, v), edges clamped, and the share of each that lies within.

    In plain torch, on any device. lod: the level of detail, a real number; None: level 0.
    """
    th, tw = pyramid.size
    lod = torch.zeros_like(u) if lod is None else lod
    level = lod.detach().to(torch.int32)
    blend = lod - level
    k = 1 / (torch.exp2(level.float()) * (1 + blend))  # the edge is as wide as a pixel's footprint
    coverage = ((u + 0.5) * k + 0.5).clamp(0, 1) * ((tw - 0.5 - u) * k + 0.5).clamp(0, 1)
    coverage = coverage * ((v + 0.5) * k + 0.5).clamp(0, 1) * ((th - 0.5 - v) * k + 0.5).clamp(0, 1)
    return trilinear(pyramid, lod, u, v), coverage


def trilinear(
    pyramid: Pyramid,
    lod: Float[Tensor, "b h w"],
    u: Float[Tensor, "b h w"],
    v: Float[Tensor, "b h w"],
) -> Float[Tensor, "b c h w"]:
    """The pictures at level-0 texels (u, v), each between the two levels about its `lod`."""
    level = lod.detach().to(torch.int32)
    blend = lod - level
    fine = _bilinear(pyramid, level, u, v)
    coarse = _bilinear(pyramid, (level + 1).clamp(max=pyramid.levels - 1), u, v)
    return fine * (1 - blend)[:, None] + coarse * blend[:, None]


def _bilinear(pyramid: Pyramid, level: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Bilinear samples (B, C, h, w) at level-0 texel coordinates (u, v), edges clamped.

    level: of each pixel.
    """
    scale = torch.exp2(-level.float())
    wl, hl = pyramid.padded[1] >> level, pyramid.padded[0] >> level
    ul = torch.minimum(((u + 0.5) * scale - 0.5).clamp(min=0.0), wl - 1.0)
    vl = torch.minimum(((v + 0.5) * scale - 0.5).clamp(min=0.0), hl - 1.0)
    x0, y0 = ul.detach().to(torch.int64), vl.detach().to(torch.int64)
    fu, fv = (ul - x0)[:, None], (vl - y0)[:, None]
    x1, y1 = torch.minimum(x0 + 1, wl.long() - 1), torch.minimum(y0 + 1, hl.long() - 1)
    start = pyramid.offsets.long()[level.long()]

    def at(yy: Tensor, xx: Tensor) -> Tensor:
        index = (start + yy * wl + xx).flatten(1)[:, None]  # (B, 1, h w)
        flat = pyramid.flat.expand(len(index), -1, -1)
        return flat.gather(2, index.expand(-1, flat.shape[1], -1)).unflatten(
            2, (u.shape[1], u.shape[2])
        )

    top = at(y0, x0) * (1 - fu) + at(y0, x1) * fu
    bottom = at(y1, x0) * (1 - fu) + at(y1, x1) * fu
    return top * (1 - fv) + bottom * fv
