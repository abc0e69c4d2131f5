"""Free-flying cameras in front of a scene."""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.unseen_pixels import has_unseen
from deepservo.geometry import se3
from deepservo.images.pictures import MIN_SEEN_SHARE
from deepservo.images.undrawn import Undrawn
from deepservo.scene import PlanarScene, Scene


class Simulator:
    """B free-flying cameras in front of a scene: `T_world_cam <- T_world_cam exp(v_cam dt)`."""

    def __init__(self, scene: Scene, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]) -> None:
        self.scene, self.camera, self.T_world_cam = scene, camera, T_world_cam.double()

    def observe(self) -> Float[Tensor, "b c h w"]:
        """The scene rendered from the cameras' poses, in [0, 1]."""
        return without_lost(self.scene.render(self.camera, self.T_world_cam))

    def undrawn(self, goals: Float[Tensor, "#b c h w"]) -> Undrawn | None:
        """What `observe` would draw, for whom sums over it are enough; None where it has to be
        drawn. goals: as of `Undrawn`.
        """
        if type(self.scene) is not PlanarScene:  # others draw in ways of their own
            return None
        return self.scene.undrawn(self.camera, self.T_world_cam, goals)

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> None:
        """Move by these twists [m/s, rad/s], each in its camera's frame, for dt seconds."""
        self.T_world_cam = self.T_world_cam @ se3.exp(v_cam.double() * dt)

    def select_runs(self, index: Tensor) -> None:
        """Keep these cameras alone."""
        self.T_world_cam = self.T_world_cam[index]


def without_lost(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The pictures, with white where a camera that has lost an RGB-D picture sees nothing.

    As about a plane: its run ends in its own time, and not those beside it.
    """
    if not has_unseen(images):
        return images
    seen = 1 - images.isnan().any(1).float().mean((1, 2))
    lost = (seen < MIN_SEEN_SHARE)[:, None, None, None]
    return torch.where(lost, images.nan_to_num(1.0), images)
