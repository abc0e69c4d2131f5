"""Pictures of a textured plane that nobody has drawn yet.

What needs sums over them alone draws each where it is read, in the processor's cache: written to
memory and read again it takes about as long as being drawn.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepservo import native
from deepservo.images.sampler import Pyramid, sample

STRIDE = 8  # px, from one pixel of `Undrawn.some` to the next


@dataclass
class Undrawn:
    """Pictures (B, 1, h, w) through homographies, as `sample` draws them.

    size: (h, w). goals: of which their error is told. Whoever draws them one after the other fills
    `some` and `error`.
    """

    pyramid: Pyramid
    Hs: Float[Tensor, "b 3 3"]
    size: tuple[int, int]
    background: Float[Tensor, "1 1"]
    goals: Float[Tensor, "#b 1 h w"]
    some: Float[Tensor, "b n"] = field(init=False)
    """Every STRIDE-th pixel of every STRIDE-th row, row by row."""
    error: Float[Tensor, " b"] = field(init=False)
    """Root mean square difference to the goals."""

    def __len__(self) -> int:
        """B."""
        return len(self.Hs)

    def __getitem__(self, runs: Int64[Tensor, " r"]) -> Float[Tensor, "r 1 h w"]:
        """These pictures, drawn."""
        return sample(self.pyramid, self.Hs[runs], self.size, self.background)


def some_pixels(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n"]:
    """`Undrawn.some` of pictures; of all channels."""
    return images[..., ::STRIDE, ::STRIDE].flatten(1)


def can_wait(pyramid: Pyramid, goals: Float[Tensor, "g c h w"]) -> bool:
    """Whether pictures need not be drawn: grey ones, where there is C to draw them later."""
    alike = pyramid.flat.shape[1] == goals.shape[1] == 1 and goals.dtype == torch.float32
    here = pyramid.flat.device.type == goals.device.type == "cpu"
    return alike and here and native.library() is not None
