"""Features of a picture that a network has learned: s = z(I), L = (dz/dI) L_I, in one pass (AEVS
Eq. 10, 11).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.luminance import DERIVATIVE_REACH, SHARP_DERIVATIVE, Luminance
from deepservo.nets.pose import shrink
from deepservo.nets.resnet import Encoder
from deepservo.nets.tangent import with_tangents

# In pixels of the network's input: the middle, one to each side, and to each corner.
WINDOWS = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2), (0, 0), (0, 2), (2, 0), (2, 2))


def seen_by(camera: Camera, size: int) -> Camera:
    """What of the camera's view an encoder for pictures of size x size sees: that without
    DERIVATIVE_REACH pixels and one of its own all around.
    """
    return camera.crop(DERIVATIVE_REACH).resize(size + 2, size + 2).crop(1)


class Latent:
    """What an encoder makes of the picture inside a border. encoder: `folded`.

    What a `smooth` one answers is the mean over the first `windows` of nine, a pixel of its input
    apart: each trembles in its own way.
    """

    def __init__(self, camera: Camera, encoder: Encoder, windows: int = 5) -> None:
        # A network reads detail that ViSP's derivative smooths away: with the sharp one L_z is
        # nearer to what rendered motion says.
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
        """z and L_z, for the depth [m] of each pixel (a map, or (1, 1, 1) for one depth).

        The six columns of L_I are pictures, and are made the network's input as the picture is:
        both steps are linear.
        """
        rows, columns = self.luminance.x.shape
        tangents = self.luminance.columns(images, depth).unflatten(2, (rows, columns))
        both = torch.cat([self.luminance.inside(images), tangents], 1)
        inputs = self._input(both).flatten(0, 1)[:, :, None]
        z, L = with_tangents(self.encoder, inputs[:, 0], inputs[:, 1:])
        return self._mean(z, len(images)), self._mean(L, len(images))

    def _input(self, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c s s"]:
        """What the encoder sees of these, through each of the windows."""
        small = shrink(pictures, self.size + 2)
        return torch.stack(
            [small[..., y : y + self.size, x : x + self.size] for y, x in self.windows], 1
        )

    def _mean(self, answers: Tensor, n: int) -> Tensor:
        return answers.unflatten(0, (n, -1)).mean(1)
