"""Features of a picture that a network has learned: s = z(I), L = (dz/dI) L_I, in one pass (AEVS Eq. 10, 11)."""

from jaxtyping import Float
from torch import Tensor, nn

from deepservo.camera import Camera
from deepservo.features.luminance import SHARP, Luminance
from deepservo.nets.pose import shrink
from deepservo.nets.tangent import with_tangents

BORDER = 5  # pixels: there the derivative of the picture would reach beyond it


class Latent:
    """What an encoder makes of the picture inside a border of BORDER pixels. encoder: `folded`, for inputs of size x size."""

    def __init__(self, camera: Camera, encoder: nn.Module, size: int) -> None:
        # A network reads detail that ViSP's derivative smooths away: with the sharp one L_z is nearer to what rendered motion says.
        self.luminance = Luminance(camera, BORDER, SHARP)
        self.encoder, self.size = encoder, size

    def s(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """z alone."""
        return self.encoder(self._input(images))

    def L(self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]) -> Float[Tensor, "b k 6"]:
        """L_z alone."""
        return self.measure(images, depth)[1]

    def measure(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 6"]]:
        """z and L_z, for the depth [m] of each pixel (a map, or (1, 1, 1) for one depth).

        The six columns of L_I are pictures, and are made the network's input as the picture is: both steps are linear.
        """
        rows, columns = self.luminance.x.shape
        tangents = self.luminance.columns(images, depth).unflatten(2, (rows, columns))
        return with_tangents(self.encoder, self._input(images), shrink(tangents, self.size)[:, :, None])

    def _input(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 s s"]:
        """What the encoder sees: the picture without its border."""
        return shrink(self.luminance.inside(images), self.size)
