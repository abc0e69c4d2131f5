"""Pixels that show nothing, NaN in a picture: what a lens leaves empty when its distortion is
undone, or what the robot itself covers.

Methods that compare pixel by pixel leave them out. Those that look at the picture as a whole get
them from the other picture: where one of the two shows nothing, both then show the same, so that at
the goal's pose nothing is left of the error.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def has_unseen(images: Float[Tensor, "b c h w"]) -> bool:
    """Whether some pixel shows nothing."""
    return bool(images.sum().isnan())


def continued(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Unseen pixels smoothly continued from the seen ones about them; the very same tensor where
    there are none.
    """
    if not has_unseen(images):
        return images
    seen = (~images.isnan()).to(images.dtype)
    return _filled(images.nan_to_num(0.0), seen)


def completed(
    images: Float[Tensor, "b c h w"], goals: Float[Tensor, "#b c h w"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """Both with what one alone does not see taken from the other, and what neither sees continued,
    alike in both.
    """
    goals = goals.expand_as(images)
    shown = torch.where(goals.isnan(), images, goals)
    shown = torch.where(shown.isnan(), continued(shown), shown)
    return torch.where(images.isnan(), shown, images), torch.where(goals.isnan(), shown, goals)


def reached(images: Float[Tensor, "b c h w"], reach: int) -> Bool[Tensor, "b h w"]:
    """Pixels that are unseen themselves or have an unseen one within `reach` pixels along x and
    y.
    """
    unseen = images.isnan().any(1, keepdim=True).float()
    return torch.nn.functional.max_pool2d(unseen, 2 * reach + 1, 1, reach)[:, 0] > 0


def _filled(
    values: Float[Tensor, "b c h w"], seen: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """Mean values where something of a pixel is seen, else those of the picture of half the size;
    `values` count as far as `seen`.
    """
    known = values / seen.clamp(min=1e-6)
    if (seen > 0).all() or max(values.shape[-2:]) == 1:
        return known
    half = (torch.nn.functional.avg_pool2d(each, 2, ceil_mode=True) for each in (values, seen))
    coarse = torch.nn.functional.interpolate(_filled(*half), values.shape[-2:], mode="bilinear")
    return torch.where(seen > 0, known, coarse)
