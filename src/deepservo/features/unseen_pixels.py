"""Unseen pixels, which are NaN in a picture.

Undoing a lens's distortion leaves some, and the robot itself may cover some. Methods that compare
pixel by pixel leave them out. Those that use the picture as a whole take them from the other of
their two pictures, goal or view: both then show the same there, so that the error is still zero at
the goal's pose.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def has_unseen(images: Float[Tensor, "b c h w"]) -> bool:
    """Whether some pixel is unseen."""
    return bool(images.sum().isnan())


def continued(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The pictures with unseen pixels filled smoothly from those about them.

    It is the same tensor where there are none.
    """
    if not has_unseen(images):
        return images
    seen = (~images.isnan()).to(images.dtype)
    return _filled(images.nan_to_num(0.0), seen)


def completed(
    images: Float[Tensor, "b c h w"], goals: Float[Tensor, "#b c h w"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """Images and goals, the unseen pixels of either taken from the other.

    Pixels that neither sees are filled as in `continued`, alike in both.
    """
    goals = goals.expand_as(images)
    shown = torch.where(goals.isnan(), images, goals)
    shown = torch.where(shown.isnan(), continued(shown), shown)
    return torch.where(images.isnan(), shown, images), torch.where(goals.isnan(), shown, goals)


def reached(images: Float[Tensor, "b c h w"], reach: int) -> Bool[Tensor, "b h w"]:
    """Pixels that are unseen, or have an unseen one within `reach` pixels along x and y."""
    unseen = images.isnan().any(1, keepdim=True).float()
    return torch.nn.functional.max_pool2d(unseen, 2 * reach + 1, 1, reach)[:, 0] > 0


def _filled(
    values: Float[Tensor, "b c h w"], seen: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """The mean of the seen part of each pixel, or that of the picture of half the size.

    The latter is taken where no part is seen. values: sums over the seen part. seen: its share.
    """
    mean = values / seen.clamp(min=1e-6)
    if (seen > 0).all() or max(values.shape[-2:]) == 1:
        return mean
    half = (torch.nn.functional.avg_pool2d(each, 2, ceil_mode=True) for each in (values, seen))
    coarse = torch.nn.functional.interpolate(_filled(*half), values.shape[-2:], mode="bilinear")
    return torch.where(seen > 0, mean, coarse)
