"""The textured plane z = 0: x right, y down, z away from the camera."""

import math
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.images.sampler import Pyramid, build_pyramid, sample, sample_covered
from deepservo.images.undrawn import Undrawn, can_wait


@dataclass(frozen=True)
class PlanarScene:
    """A picture, `width` metres wide, on the plane z = 0; its height follows from its aspect.

    texture: (C, H, W) float32 in [0, 1]. background: the grey level around it, white by default.
    antialias: without, the texture is sampled bilinearly at full resolution, as by most published
    simulators. texel_aspect: a texel's height on the plane over its width. centre: of the picture,
    on the plane [m]. Raises InputError where one of them is no such value.
    """

    texture: Float[Tensor, "c h w"]
    width: float = 0.8
    background: float = 1.0
    antialias: bool = True
    texel_aspect: float = 1.0
    centre: tuple[float, float] = (0.0, 0.0)
    pyramid: Pyramid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.texture.ndim != 3 or min(self.texture.shape[1:]) < 2:
            raise InputError(
                "scene: the texture must be (C, H, W), at least 2 x 2, not "
                f"{tuple(self.texture.shape)}"
            )
        if not torch.isfinite(self.texture).all():
            raise InputError("scene: the texture holds NaN or infinite values")
        if not 0 < self.width < float("inf"):
            raise InputError(
                f"scene: the width must be a positive number of metres, not {self.width}"
            )
        if not (
            0 < self.texel_aspect < float("inf")
            and len(self.centre) == 2
            and all(map(math.isfinite, self.centre))
        ):
            raise InputError(
                f"scene: texels {self.texel_aspect} times as high as wide about {self.centre} are "
                "none; give finite numbers"
            )
        object.__setattr__(
            self, "pyramid", build_pyramid(self.texture[None].float(), self.antialias)
        )

    @property
    def height(self) -> float:
        """Height of the picture [m]."""
        return self.texel_aspect * self.width * self.texture.shape[1] / self.texture.shape[2]

    def to(self, device: torch.device) -> "PlanarScene":
        """The scene with its tensors on that device."""
        return (
            self
            if self.texture.device == device
            else replace(self, texture=self.texture.to(device))
        )

    def homography(
        self, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]
    ) -> Float[Tensor, "b 3 3"]:
        """From camera pixels to texture pixels, float64.

        The third homogeneous coordinate of a pixel is 1 / Z, positive in front of the camera.
        """
        T = se3.inverse(T_world_cam.double())
        # Takes (X, Y, 1) on the plane to the camera frame.
        plane = torch.stack([T[:, :3, 0], T[:, :3, 1], T[:, :3, 3]], -1)
        h, w = self.texture.shape[1:]
        across = w / self.width
        down, (x, y) = across / self.texel_aspect, self.centre
        to_texels = [
            [across, 0, w / 2 - 0.5 - across * x],
            [0, down, h / 2 - 0.5 - down * y],
            [0, 0, 1],
        ]
        texel = torch.tensor(to_texels, dtype=torch.float64, device=T.device)
        return texel @ torch.linalg.inv(plane) @ camera.K_inv.to(T.device)

    def render(
        self,
        camera: Camera,
        T_world_cam: Float[Tensor, "b 4 4"],
        background: Float[Tensor, "b c"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Pictures of the camera at these poses, in [0, 1].

        The camera's centre must be at z < 0. background: one colour a picture, in the place of the
        scene's own.
        """
        return sample(
            self.pyramid,
            self.homography(camera, T_world_cam),
            (camera.height, camera.width),
            self._around(background),
        )

    def render_covered(
        self,
        camera: Camera,
        T_world_cam: Float[Tensor, "b 4 4"],
        background: Float[Tensor, "b c"] | None = None,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
        """`render`, and the share of each pixel that the picture, not the background, fills."""
        return sample_covered(
            self.pyramid,
            self.homography(camera, T_world_cam),
            (camera.height, camera.width),
            self._around(background),
        )

    def undrawn(
        self, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"], goals: Float[Tensor, "#b c h w"]
    ) -> Undrawn | None:
        """What `render` would draw, for whom sums over it are enough; None where it has to be
        drawn. goals: as of `Undrawn`.
        """
        if not can_wait(self.pyramid, goals):
            return None
        Hs, size = self.homography(camera, T_world_cam), (camera.height, camera.width)
        return Undrawn(self.pyramid, Hs, size, self._around(None), goals)

    def _around(self, background: Tensor | None) -> Float[Tensor, "b c"]:
        """The colours beside the picture."""
        if background is not None:
            return background
        return torch.full((1, self.texture.shape[0]), self.background, device=self.texture.device)

    def depth(self, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b h w"]:
        """Depth Z [m] of the plane at each pixel's centre; infinite above the horizon."""
        x, y = camera.xy(torch.float64)
        R = T_world_cam[:, 2, :3].double()[:, :, None, None]
        t = T_world_cam[:, 2, 3].double()[:, None, None]
        slope = R[:, 0] * x.to(R.device) + R[:, 1] * y.to(R.device) + R[:, 2]
        return torch.where(slope > 0, -t / slope, torch.inf)
