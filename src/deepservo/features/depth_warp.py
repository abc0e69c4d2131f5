"""Views warped to the pixels of goals, each pixel by its own depth.

On a CPU the work is done by `depth_warp.c`; `warp_by_depth_reference` is the same arithmetic in
torch.
"""

from ctypes import Structure

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.images.sampler import build_pyramid, sample_at

# A point is hidden where another, nearer by more than this share, is seen at the same pixel: less
# is the slope of one surface.
OCCLUDER_MARGIN = 0.1


class WarpArguments(Structure):
    """What `depth_warp_runs` of depth_warp.c reads and writes."""

    _fields_ = native.fields(
        "* views rotations shifts inverse_depths", "i64 depth_step", "* out cover",
        "i32 view_w view_h w h",
    )  # fmt: skip


def warp_by_depth(
    views: Float[Tensor, "b 1 _ _"],
    rotation: Float[Tensor, "b 3 3"],
    shift: Float[Tensor, "b 3"],
    inverse_depth: Float[Tensor, "#b h w"],
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """The views on the goals' pixels, and the share of each of these that the view covers.

    A goal pixel p = (u, v, 1) of inverse depth z [1/m] is seen at the view pixel of `rotation p +
    shift z`. The share is 0 where z is not positive, and where the view sees something nearer in
    the place of the point. inverse_depth: one for all views, or one each.
    """
    lib = native.library() if views.device.type == "cpu" else None
    if lib is None:
        return warp_by_depth_reference(views, rotation, shift, inverse_depth)
    B, (h, w) = len(views), inverse_depth.shape[-2:]
    views, rotation, shift, inverse_depth = (
        each.float().contiguous() for each in (views, rotation, shift, inverse_depth)
    )
    out, cover = torch.empty(B, h, w), torch.empty(B, h, w)
    arguments = WarpArguments(
        views=views.data_ptr(), rotations=rotation.data_ptr(), shifts=shift.data_ptr(),
        inverse_depths=inverse_depth.data_ptr(),
        depth_step=h * w if len(inverse_depth) > 1 else 0, out=out.data_ptr(),
        cover=cover.data_ptr(), view_w=views.shape[3], view_h=views.shape[2], w=w, h=h,
    )  # fmt: skip
    native.run(lib.depth_warp_runs, arguments, B)
    return out, cover


def warp_by_depth_reference(
    views: Float[Tensor, "b 1 _ _"],
    rotation: Float[Tensor, "b 3 3"],
    shift: Float[Tensor, "b 3"],
    inverse_depth: Float[Tensor, "#b h w"],
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """`warp_by_depth` in plain torch, on any device."""
    h, w = inverse_depth.shape[-2:]
    (view_h, view_w), device = views.shape[-2:], views.device
    x = torch.arange(w, dtype=torch.float32, device=device)[None, None, :]
    y = torch.arange(h, dtype=torch.float32, device=device)[None, :, None]
    m, t = rotation.float()[..., None, None], shift.float()[..., None, None]
    u, v, down = (m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] + t[:, i] * inverse_depth
                  for i in range(3))  # fmt: skip
    in_front = (down > 0) & (inverse_depth > 0)
    inverse = 1 / torch.where(down == 0, 1.0, down)
    u, v = (u * inverse).clamp(-1e6, 1e6), (v * inverse).clamp(-1e6, 1e6)
    near = torch.where(in_front, inverse_depth * inverse, 0.0)
    image, cover = sample_at(build_pyramid(views, antialias=False), u, v)
    shown = _shown(u, v, near, (view_h, view_w))
    return image[:, 0], cover * in_front * shown


def _shown(
    u: Float[Tensor, "b h w"],
    v: Float[Tensor, "b h w"],
    near: Float[Tensor, "b h w"],
    size: tuple[int, int],
) -> Float[Tensor, "b h w"]:
    """1 where the view, of `size` (h, w), shows a goal pixel, 0 where something nearer hides it.

    u, v: where it is seen. near: its inverse depth in the view [1/m].
    """
    view_h, view_w = size
    x, y = (u + 0.5).floor().long(), (v + 0.5).floor().long()
    within = ((x >= 0) & (y >= 0) & (x < view_w) & (y < view_h)).flatten(1)
    at = torch.where(within, (y * view_w + x).flatten(1), 0)
    buffer = torch.zeros(len(u), view_h * view_w, device=u.device)
    buffer.scatter_reduce_(1, at, torch.where(within, near.flatten(1), 0.0), "amax")
    nearest = buffer.gather(1, at)
    shown = ~within | (nearest <= near.flatten(1) * (1 + OCCLUDER_MARGIN))
    return shown.view(u.shape).float()
