"""A scene that is not flat: smooth hills on the plane, textured with the picture."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.scene.planar import PlanarScene

HILLS = 5  # across the picture
BISECTIONS = 12  # of the search for the point where a ray meets the ground


@dataclass(frozen=True)
class ReliefScene(PlanarScene):
    """Random hills, up to `relief` [m] high, towards the camera; cameras must be above them."""

    relief: float = 0.1
    seed: int = 0
    heights: Float[Tensor, "1 1 h w"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = max(2, round(HILLS * self.texture.shape[1] / self.texture.shape[2]))
        coarse = torch.rand(
            1, 1, rows + 2, HILLS + 2, generator=torch.Generator().manual_seed(self.seed)
        )
        fine = torch.nn.functional.interpolate(
            coarse, (16 * rows, 16 * HILLS), mode="bicubic", align_corners=False
        ).clamp(0, 1)
        object.__setattr__(self, "heights", fine * self.relief)

    def height_at(
        self, x: Float[Tensor, "b h w"], y: Float[Tensor, "b h w"]
    ) -> Float[Tensor, "b h w"]:
        """Height of the ground [m] at plane coordinates [m]; beside the picture its edge's."""
        grid = self._grid(x, y).float()
        hills = self.heights.expand(len(grid), -1, -1, -1)
        return torch.nn.functional.grid_sample(
            hills, grid, padding_mode="border", align_corners=False
        )[:, 0]

    def _grid(
        self, x: Float[Tensor, "b h w"], y: Float[Tensor, "b h w"]
    ) -> Float[Tensor, "b h w 2"]:
        """Plane coordinates [m] as coordinates in the picture, whose sides are at -1 and 1."""
        return torch.stack(
            [(x - self.centre[0]) / (self.width / 2), (y - self.centre[1]) / (self.height / 2)], -1
        )

    def render(
        self,
        camera: Camera,
        T_world_cam: Float[Tensor, "b 4 4"],
        background: Float[Tensor, "b c"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """`render_covered` without the coverage."""
        return self.render_covered(camera, T_world_cam, background)[0]

    def render_covered(
        self,
        camera: Camera,
        T_world_cam: Float[Tensor, "b 4 4"],
        background: Float[Tensor, "b c"] | None = None,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
        """As of the plane, without antialiasing.

        The point where each ray meets the ground is found by bisection.
        """
        background = self._around(background)
        p, rays, _ = self._met(camera, T_world_cam)
        grid = self._grid(p[..., 0], p[..., 1])
        inside = ((grid.abs() <= 1).all(-1) & (rays[..., 2] > 0)).float()
        texture = self.texture[None].expand(len(grid), -1, -1, -1)
        image = torch.nn.functional.grid_sample(
            texture, grid, padding_mode="border", align_corners=False
        )
        beside = background[:, :, None, None] * (1 - inside[:, None])
        return image * inside[:, None] + beside, inside

    def depth(self, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b h w"]:
        """Depth Z [m] of the ground at each pixel's centre; infinite above the horizon."""
        _, rays, Z = self._met(camera, T_world_cam)
        return torch.where(rays[..., 2] > 0, Z.double(), torch.inf)

    def _met(
        self, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]
    ) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"], Float[Tensor, "b h w"]]:
        """Where the pixels' rays meet the ground [m], the rays in the world frame, and Z [m]."""
        x, y = camera.xy()
        rays = torch.stack([x, y, torch.ones_like(x)], -1) @ T_world_cam[:, None, :3, :3].mT.float()
        centre = T_world_cam[:, None, None, :3, 3].float()
        down = rays[..., 2].clamp(min=1e-6)
        # Where the ray enters the layer of the hills, and where it leaves it.
        near, far = (-self.relief - centre[..., 2]) / down, -centre[..., 2] / down
        near = near.clamp(min=0)
        for _ in range(BISECTIONS):
            middle = (near + far) / 2
            p = centre + middle[..., None] * rays
            above = -p[..., 2] > self.height_at(p[..., 0], p[..., 1])
            near, far = torch.where(above, middle, near), torch.where(above, far, middle)
        Z = (near + far) / 2
        return centre + Z[..., None] * rays, rays, Z
