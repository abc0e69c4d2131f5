"""What networks are taught of a scene that one picture and its depth show.

It is drawn of few triangles, from poses that have room before it, and where it shows nothing the
picture is continued, as methods continue what they see. A plane is as it is.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.unseen_pixels import continued
from deepservo.scene import Scene, sampling
from deepservo.scene.solid import SolidScene, solid_view

# Cells of the longer side that a simplified scene is made of: the networks see 64 pixels, and from
# half the distance those of half the scene.
CELLS = 128
ROOM = 0.15  # of the distance: least way from a camera to the nearest point
SKY = 1000.0  # distances above the scene, from where it is seen what is over a camera
# What lies over cameras is looked up in a map of so many pixels, which reaches so many distances.
MAP_SIDE, REACH = 256, 2.0
POINTS = 4096  # of the scene, to which ways are measured
TOGETHER = 256  # poses
TRIED, LEAST_FREE = 500, 0.1  # poses of the workspace, and the share that must have room

Poses = Float[Tensor, "n 4 4"]


def simplified(scene: Scene, camera: Camera, distance: float) -> Scene:
    """A scene of `solid_view` with fewer triangles, and as fine a texture; a plane as it is.

    Drawing takes as long as there are triangles, two for each pixel of an RGB-D picture. camera: of
    that picture. distance: of the reference pose to the world's plane z = 0 [m].
    """
    small = camera.within(CELLS)
    if not isinstance(scene, SolidScene) or small == camera:
        return scene
    with torch.device("cpu") as cpu:
        scene = scene.to(cpu)
        Z = scene.depth(small, sampling.fronto_parallel(distance))[0]
        blank = torch.zeros(1, small.height, small.width)
        coarse = solid_view(blank, Z, small, distance)
        h, w = scene.texture.shape[1:]
        finer = torch.tensor([w / small.width, h / small.height])
        texels = (coarse.texels + 0.5) * finer - 0.5
        return replace(coarse, texture=scene.texture, texels=texels)


def shown(
    scene: Scene,
    camera: Camera,
    Ts_world_cam: Poses,
    background: Float[Tensor, "n c"] | None = None,
) -> Float[Tensor, "n c h w"]:
    """`shown_covered` without the share that the scene fills."""
    if not isinstance(scene, SolidScene):
        return scene.render(camera, Ts_world_cam, background)
    return shown_covered(scene, camera, Ts_world_cam, background)[0]


def shown_covered(
    scene: Scene,
    camera: Camera,
    Ts_world_cam: Poses,
    background: Float[Tensor, "n c"] | None = None,
) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n h w"]]:
    """Pictures of the scene without an empty pixel, and the share of each that the scene fills.

    background: one colour a picture, in the place of the scene's own. Where it is NaN, what is seen
    is continued smoothly. Solids are drawn by the processor wherever the poses are.
    """
    if not isinstance(scene, SolidScene):
        return scene.render_covered(camera, Ts_world_cam, background)
    device = Ts_world_cam.device
    with torch.device("cpu") as cpu:
        around = None if background is None else background.cpu()
        images, coverage = scene.to(cpu).render_covered(camera, Ts_world_cam.cpu(), around)
        return continued(images).to(device), coverage.to(device)


class Room:
    """Whether cameras are before a scene of `solid_view`, and nothing is near them.

    A camera is in or behind something where that is between it and the sky, from where the picture
    was taken. distance: of the reference pose to the world's plane z = 0 [m].
    """

    def __init__(self, scene: SolidScene, distance: float) -> None:
        height, middle = SKY * distance, (MAP_SIDE - 1) / 2
        focal = MAP_SIDE / 2 * SKY / REACH
        self.least, self.pitch = ROOM * distance, 2 * REACH * distance / MAP_SIDE
        with torch.device("cpu") as cpu:
            scene = scene.to(cpu)
            above = Camera(MAP_SIDE, MAP_SIDE, focal, focal, middle, middle)
            self.top = scene.depth(above, sampling.fronto_parallel(height))[0] - height
            self.points = scene.vertices[:: max(1, len(scene.vertices) // POINTS)]

    def __call__(self, Ts_world_cam: Poses) -> Bool[Tensor, " n"]:
        """True where a camera has room."""
        with torch.device("cpu"):
            parts = Ts_world_cam[:, :3, 3].cpu().split(TOGETHER)
            return torch.cat([self._free(part) for part in parts]).to(Ts_world_cam.device)

    def _free(self, p: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
        at = (p[:, :2] / self.pitch + (MAP_SIDE - 1) / 2).round().long()
        known = ((at >= 0) & (at < MAP_SIDE)).all(1)
        x, y = at.clamp(0, MAP_SIDE - 1).unbind(1)
        under = known & (self.top[y, x] < p[:, 2])
        return ~under & (torch.cdist(p, self.points).amin(1) >= self.least)


def with_room(scene: Scene, distance: float, poses: Poses, draw: Callable[[int], Poses]) -> Poses:
    """The poses, and in the place of those without room as many others that `draw` gives.

    Before a plane they are as they are.
    """
    if not isinstance(scene, SolidScene):
        return poses
    room, poses = Room(scene, distance), poses.clone()
    while (blocked := ~room(poses)).any():
        poses[blocked] = draw(int(blocked.sum()))
    return poses


def workspace(scene: Scene, n: int, generator: torch.Generator, distance: float) -> Poses:
    """`sampling.workspace`, of cameras that have room before the scene."""

    def draw(count: int) -> Poses:
        return sampling.workspace(count, generator, distance)

    return with_room(scene, distance, draw(n), draw)


def check_room(scene: Scene, distance: float, what: str) -> None:
    """InputError where a camera has no room at the reference pose, or hardly any near it.

    `what` begins the message.
    """
    if not isinstance(scene, SolidScene):
        return
    room, generator = Room(scene, distance), torch.Generator().manual_seed(0)
    with torch.device("cpu"):
        free = room(sampling.workspace(TRIED, generator, distance)).double().mean()
        here = room(sampling.fronto_parallel(distance)).all()
    if not here or free < LEAST_FREE:
        raise InputError(
            f"{what}: cameras about this picture's have hardly any room, as something is nearer "
            f"than {ROOM:.0%} of its median depth, {distance:.3g} m; take the picture from farther "
            "away"
        )
