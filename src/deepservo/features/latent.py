"""A network's latent vector of a picture as features (AEVS Eq. 10, 11).

s = z(I) and L = (dz/dI) L_I are computed in one pass.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.luminance import DERIVATIVE_REACH, SHARP_DERIVATIVE, Luminance
from deepservo.nets.pose import shrink
from deepservo.nets.resnet import Encoder
from deepservo.nets.tangent import with_tangents

# Offsets (y, x) of the encoder's windows, in pixels of its input: the middle, the four sides, the
# four corners.
WINDOWS = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2), (0, 0), (0, 2), (2, 0), (2, 2))


def seen_by(camera: Camera, size: int) -> Camera:
    """The camera of an encoder's pictures of size x size.

    It is `camera` without DERIVATIVE_REACH pixels of its own and one of the encoder's on each side.
    """
    return camera.crop(DERIVATIVE_REACH).resize(size + 2, size + 2).crop(1)


class Latent:
    """The latent vector z of the picture inside a border, and L_z. encoder: `folded`.

    Of a `smooth` encoder z is the mean over the first `windows` of nine windows, a pixel of its
    input apart, which averages how z varies as the picture moves by parts of such a pixel.
    """

    def __init__(self, camera: Camera, encoder: Encoder, windows: int = 5) -> None:
        # A network uses detail that ViSP's derivative smooths away: with the sharp one L_z is
        # nearer to that of rendered motions.
        self.luminance = Luminance(camera, DERIVATIVE_REACH, SHARP_DERIVATIVE)
        self.encoder, self.size = encoder, encoder.shape.size
        self.windows = WINDOWS[: windows if encoder.shape.smooth else 1]

    def s(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """z alone."""
        return self._mean(
            self.encoder(self._input(self.luminance.inside(images)).flatten(0, 1)), len(images)
        )

    def L(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> Float[Tensor, "b k 6"]:
        """L_z alone."""
        return self.measure(images, depth)[1]

    def measure(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 6"]]:
        """z and L_z for the depth Z [m] of each pixel, or (1, 1, 1): one for all.

        The six columns of L_I are pictures, and are cropped and resized as the picture is: both
        steps are linear.
        """
        rows, columns = self.luminance.x.shape
        tangents = self.luminance.columns(images, depth).unflatten(2, (rows, columns))
        both = torch.cat([self.luminance.inside(images), tangents], 1)
        inputs = self._input(both).flatten(0, 1)[:, :, None]
        z, L = with_tangents(self.encoder, inputs[:, 0], inputs[:, 1:])
        return self._mean(z, len(images)), self._mean(L, len(images))

    def _input(self, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c s s"]:
        """The encoder's input of these pictures in each of the n windows."""
        small = shrink(pictures, self.size + 2)
        return torch.stack(
            [small[..., y : y + self.size, x : x + self.size] for y, x in self.windows], 1
        )

    def _mean(self, answers: Tensor, n: int) -> Tensor:
        return answers.unflatten(0, (n, -1)).mean(1)
