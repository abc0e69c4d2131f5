"""Pictures in falling sizes, and how much noise is in them."""

import itertools
import math
from ctypes import Structure

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.camera import Camera
from deepservo.features.pairs import marked
from deepservo.features.robust import MEDIAN_SAMPLES
from deepservo.features.unseen_pixels import has_unseen

MIN_SEEN_PART = 0.5  # of a pixel of a smaller picture, for it to count as seen
LEAST_NOISE = 1e-4  # grey levels
MOST_HALVED = 3  # times, by the C code

Ready = tuple[list[Float[Tensor, "b 1 _ _"]], Float[Tensor, "b 1"]]


class PyramidArguments(Structure):
    """What `pyramid_runs` of pyramid.c reads and writes."""

    _fields_ = native.fields("* pictures half quarter eighth noises", "i32 w h apart")


def resize(images: Float[Tensor, "b c h w"], camera: Camera) -> Float[Tensor, "b c h2 w2"]:
    """The pictures resized (area) to the size of `camera`; the same tensor where they have it.

    A pixel is the mean of its seen part, and unseen where that is less than MIN_SEEN_PART.
    """
    size = (camera.height, camera.width)
    if images.shape[-2:] == size:
        return images
    if not has_unseen(images):
        return torch.nn.functional.interpolate(images, size, mode="area")
    seen = torch.nn.functional.interpolate((~images.isnan()).to(images.dtype), size, mode="area")
    total = torch.nn.functional.interpolate(images.nan_to_num(0.0), size, mode="area")
    return torch.where(seen < MIN_SEEN_PART, torch.nan, total / seen)


def pyramid(images: Float[Tensor, "b 1 h w"], cameras: list[Camera]) -> Ready:
    """The pictures `resize`d to the size of each camera, in the order of falling size, with UNSEEN
    in the place of NaN; and the deviation of their noise, the median of what a plane through 3 x 3
    pixels does not explain (after Immerkaer 1996).
    """
    size = (cameras[0].height, cameras[0].width)
    alike = images.shape[-2:] == size and not has_unseen(images)
    plain = alike and images.device.type == "cpu" and images.dtype == torch.float32
    halved = min(_halved(cameras), MOST_HALVED)
    lib = native.library() if plain and halved else None
    if lib is None:
        return pyramid_reference(images, cameras), noise_reference(images)
    images, (h, w), n = images.contiguous(), images.shape[-2:], len(images)
    levels = [images, *(images.new_empty(n, 1, h >> i, w >> i) for i in range(1, halved + 1))]
    halves = [level.data_ptr() for level in levels[1:]] + [None] * (MOST_HALVED - halved)
    noise = images.new_empty(n, 1)
    arguments = PyramidArguments(
        images.data_ptr(), *halves, noise.data_ptr(), w=w, h=h, apart=_apart(images)
    )
    native.run(lib.pyramid_runs, arguments, n)
    levels += [resize(images, camera) for camera in cameras[halved + 1 :]]
    return levels, 1.4826 * noise.clamp(min=LEAST_NOISE)


def pyramid_reference(
    images: Float[Tensor, "b 1 h w"], cameras: list[Camera]
) -> list[Float[Tensor, "b 1 _ _"]]:
    """The levels of `pyramid` in plain torch."""
    return [marked(resize(images, camera)) for camera in cameras]


def noise_reference(images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1"]:
    """The noise of `pyramid` in plain torch."""
    apart = _apart(images)
    bent = images[..., :-2:apart, :] - 2 * images[..., 1:-1:apart, :] + images[..., 2::apart, :]
    bent = bent[..., :-2:apart] - 2 * bent[..., 1:-1:apart] + bent[..., 2::apart]
    rough = bent.abs().flatten(1) / 6
    return 1.4826 * rough.nanmedian(1, keepdim=True).values.clamp(min=LEAST_NOISE)


def _apart(images: Float[Tensor, "b 1 h w"]) -> int:
    """Rows and columns from one pixel whose noise is measured to the next."""
    return max(1, math.isqrt(images[0].numel() // MEDIAN_SAMPLES))


def _halved(cameras: list[Camera]) -> int:
    """How often in a row the pictures' sides are exactly halved."""
    sizes = [(each.width, each.height) for each in cameras]
    exact = (large == (2 * w, 2 * h) for large, (w, h) in itertools.pairwise(sizes))
    return len(list(itertools.takewhile(bool, exact)))
