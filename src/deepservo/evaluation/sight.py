"""What cameras see before a scene that is not flat: room to move, and how much of their goals."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.geometry import se3
from deepservo.scene import Scene, SolidScene, sampling
from deepservo.scene.build import Setup

START_ROOM, GOAL_ROOM = 0.15, 0.2  # of the distance: from a camera to the nearest that it sees
LEAST_SHARE = 0.1  # of the goal's pixels that a start sees
HIDDEN = 1.03  # a point is hidden by what is so many times nearer, or more
STRIDE = 4  # pixels, along x and along y, from one of the goal's that is looked for to the next
SKY = 50.0  # distances above a camera, from where it must be seen
TOGETHER = 25  # pictures
LEAST_FILLED = 0.4  # share of a start's picture that an RGB-D picture shows
COUNTED = 96  # pixels across, that this is counted in


def clear(
    setup: Setup, Ts_cam: Float[Tensor, "n 4 4"], Ts_goal: Float[Tensor, "n 4 4"]
) -> Bool[Tensor, " n"]:
    """Whether start and goal have room before the scene, none is in or behind it, and the start
    sees enough of its goal.
    """
    return (
        (room(setup, Ts_cam) >= START_ROOM * setup.distance)
        & (room(setup, Ts_goal) >= GOAL_ROOM * setup.distance)
        & (share_seen(setup.scene, setup.camera, Ts_goal, Ts_cam) >= LEAST_SHARE)
    )


def is_view(scene: Scene) -> bool:
    """Whether nothing is seen beside the scene, as beside one RGB-D picture."""
    return isinstance(scene, SolidScene) and math.isnan(scene.background)


def filled(setup: Setup, Ts_cam: Float[Tensor, "n 4 4"]) -> Float[Tensor, " n"]:
    """The share of a camera's picture that the scene fills at each pose."""
    small = setup.camera.within(COUNTED)
    return setup.scene.render_covered(small, Ts_cam)[1].mean((1, 2))


def show_enough(
    setup: Setup, Ts_cam: Float[Tensor, "n 4 4"], Ts_goal: Float[Tensor, "n 4 4"]
) -> Bool[Tensor, " n"]:
    """Whether start and goal both see LEAST_FILLED of their pictures filled."""
    return torch.minimum(filled(setup, Ts_cam), filled(setup, Ts_goal)) >= LEAST_FILLED


def room(setup: Setup, Ts_cam: Float[Tensor, "n 4 4"]) -> Float[Tensor, " n"]:
    """Least depth [m] in each camera's picture; 0 where the camera is in or behind something."""
    sky = sampling.fronto_parallel(0.0, len(Ts_cam))
    height = SKY * setup.distance
    sky[:, :3, 3] = Ts_cam[:, :3, 3] - torch.tensor([0, 0, height], dtype=torch.float64)
    straight_down = Camera(1, 1, 1.0, 1.0, 0.0, 0.0)
    free = setup.scene.depth(straight_down, sky)[:, 0, 0] > height
    nearest = [setup.scene.depth(setup.camera, Ts) for Ts in Ts_cam.split(TOGETHER)]
    return torch.where(free, torch.cat([Z.flatten(1).amin(1) for Z in nearest]), 0.0)


def share_seen(
    scene: Scene,
    camera: Camera,
    Ts_goal: Float[Tensor, "n 4 4"],
    Ts_cam: Float[Tensor, "n 4 4"],
) -> Float[Tensor, " n"]:
    """Share of the goal's pixels whose point is in the start's picture, and not hidden there."""
    pairs = zip(Ts_goal.split(TOGETHER), Ts_cam.split(TOGETHER), strict=True)
    return torch.cat([_share_seen(scene, camera, *each) for each in pairs])


def _share_seen(
    scene: Scene,
    camera: Camera,
    Ts_goal: Float[Tensor, "n 4 4"],
    Ts_cam: Float[Tensor, "n 4 4"],
) -> Float[Tensor, " n"]:
    """`share_seen` of a few."""
    n, some = (
        len(Ts_goal),
        (..., slice(STRIDE // 2, None, STRIDE), slice(STRIDE // 2, None, STRIDE)),
    )
    x, y = (each[some].flatten() for each in camera.xy(torch.float64))
    Z = scene.depth(camera, Ts_goal)[some].reshape(n, -1, 1)
    there = Z.isfinite() & (Z > 0)
    points = torch.stack([x, y, torch.ones_like(x)], -1) * torch.where(there, Z, 1.0)
    T = se3.inverse(Ts_cam) @ Ts_goal
    seen = points @ T[:, :3, :3].mT + T[:, None, :3, 3]
    u, v = camera.project(seen).round().unbind(-1)
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height) & (seen[..., 2] > 0)
    pixel = torch.where(inside, v * camera.width + u, 0).long()
    nearest = scene.depth(camera, Ts_cam).flatten(1).gather(1, pixel)
    return (there[..., 0] & inside & (seen[..., 2] < HIDDEN * nearest)).double().mean(1)
