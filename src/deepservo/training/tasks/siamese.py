"""What Siame-se(3) and CNN-VS learn.

Siame-se(3) learns a control law's velocity from two pictures, CNN-VS the pose of a picture from a
reference.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.geometry import interaction, se3
from deepservo.nets.precision import half_precision
from deepservo.nets.siamese import Balanced, Loss, RegressionNet, metres_and_degrees
from deepservo.scene import PlanarScene, Scene, SolidScene, perturb, sampling, taught
from deepservo.scene.reference import to_world
from deepservo.scene.textures import texture
from deepservo.training.tasks.pair import corresponding_pixels
from deepservo.training.tasks.task import PERTURBED, SceneTask, generator, perturbed

Law = Literal["se3", "SE3", "ibvs"]
# Share of the goal's picture that its view must show: the paper filters, and gives no number.
MIN_OVERLAP = 0.05
MIN_HEIGHT = 0.1  # of the distance: a view this near to the plane is drawn again
SHORTEST_PART, LONGEST_PART = 1 / 8, 1.5  # of the motion from a published start to its goal
SCENES_PER_BATCH = 8  # at most
OVERLAP_SIDE_PX = 128  # a side of the picture of 16 x 16 cells by which the overlap is counted
# Of the goal's picture, normalised, that the law `ibvs` is computed from.
IBVS_POINTS = ((-0.2, -0.2), (0.2, -0.2), (0.2, 0.2), (-0.2, 0.2))
MIN_DEPTH = 0.05  # of such a point, in distances
# CNN-VS III-A: deviations at a depth of 20 cm, here divided by it; how many poses, and how many
# more at a hundredth of the deviations.
DEVIATIONS = (0.05, 0.05, 0.05, math.radians(10), math.radians(10), math.radians(20))
POSES, FINE_POSES, FINE_SCALE = 10_000, 1_000, 0.01
OCCLUDER_PICTURES = 24  # made by code, whose superpixels cover others


def poses_on_runs(n: int, g: torch.Generator) -> Float[Tensor, "n 4 4"]:
    """`T_goal_cam` on runs from the published starts (V-B), for a goal 1 before the plane.

    At constant gain a run takes as many steps for each halving of the error: so the part of the
    motion that is left is drawn evenly in its logarithm, from SHORTEST_PART to LONGEST_PART.
    """
    T = sampling.gaussian_starts(torch.eye(4, dtype=torch.float64).repeat(n, 1, 1), g, 1.0)
    part = SHORTEST_PART * (LONGEST_PART / SHORTEST_PART) ** torch.rand(
        n, 1, generator=g, dtype=torch.float64
    )
    return se3.transform(se3.so3_exp(part * se3.so3_log(T[:, :3, :3])), part * T[:, :3, 3])


def overlap(
    camera: Camera, goals: Float[Tensor, "n 4 4"], views: Float[Tensor, "n 4 4"]
) -> Float[Tensor, " n"]:
    """Share of the cells of the goal's picture whose place on the plane the view shows."""
    K = camera.resize(OVERLAP_SIDE_PX, OVERLAP_SIDE_PX).K.to(goals.device).expand(len(goals), 3, 3)
    px, seen = corresponding_pixels(K, views, goals, OVERLAP_SIDE_PX)
    return (seen & (px > -0.5).all(-1) & (px < OVERLAP_SIDE_PX - 0.5).all(-1)).double().mean(1)


def pairs(
    n: int,
    g: torch.Generator,
    camera: Camera,
    room: Callable[[Float[Tensor, "n 4 4"]], Bool[Tensor, " n"]] | None = None,
) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"]]:
    """Goals about 1 before the plane, and views that show enough of what they show.

    The goals are drawn as those of the published runs. room: whether cameras have room before a
    solid, whose plane is at the distance of the reference pose.
    """
    goals = sampling.gaussian_goals(n, g, 1.0)
    while room is not None and (blocked := ~room(goals)).any():
        goals[blocked] = sampling.gaussian_goals(int(blocked.sum()), g, 1.0)
    views = goals @ poses_on_runs(n, g)
    while (
        poor := (overlap(camera, goals, views) < MIN_OVERLAP)
        | (views[:, 2, 3] > -MIN_HEIGHT if room is None else ~room(views))
    ).any():
        views[poor] = goals[poor] @ poses_on_runs(int(poor.sum()), g)
    return goals, views


def pose_difference(
    goals: Float[Tensor, "n 4 4"], views: Float[Tensor, "n 4 4"]
) -> Float[Tensor, "n 6"]:
    """t and theta u of `T_goal_cam` (Siame-se(3) Eq. 5)."""
    T = se3.inverse(goals) @ views
    return torch.cat([T[:, :3, 3], se3.so3_log(T[:, :3, :3])], -1)


def pbvs_velocity(
    goals: Float[Tensor, "n 4 4"], views: Float[Tensor, "n 4 4"]
) -> Float[Tensor, "n 6"]:
    """The published label (Eq. 3), at gain 1."""
    return control.pbvs(se3.inverse(goals) @ views, 1.0)


def ibvs_velocity(
    goals: Float[Tensor, "n 4 4"], views: Float[Tensor, "n 4 4"]
) -> Float[Tensor, "n 6"]:
    """`-L^+ (s - s_goal)` at gain 1 (Eq. 2).

    s is where four points of the plane are seen, and L that of the view.
    """
    s_goal = torch.tensor(IBVS_POINTS, dtype=torch.float64)
    rays = torch.cat([s_goal, torch.ones(len(s_goal), 1, dtype=torch.float64)], 1)
    along = -goals[:, None, 2, 3] / (goals[:, None, 2, :3] * rays).sum(-1)
    T = se3.inverse(views) @ goals
    points = (along[..., None] * rays) @ T[:, :3, :3].mT + T[:, None, :3, 3]
    Z = points[..., 2].clamp(min=MIN_DEPTH)
    s = points[..., :2] / Z[..., None]
    L = interaction.point(s[..., 0], s[..., 1], Z).flatten(1, 2)
    return control.gauss_newton(*control.normal_equations(L, (s - s_goal).flatten(1)), 1.0)


LAWS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"se3": pbvs_velocity, "SE3": pose_difference, "ibvs": ibvs_velocity}
)
"""What a pair of pictures is labelled with, from `T_world_goal` and `T_world_cam` in units of the
scene's distance.

In these units and not in metres: two pictures do not show how large the scene is.
"""


@dataclass(frozen=True)
class SiameseTask(SceneTask):
    """A SiameseNet learns what a law gives for two views of a scene, or of several flat ones.

    The two pictures of a pair are perturbed separately. ramp: over so many first steps the share of
    perturbed pictures grows from nothing (the curriculum of V-C).
    goals: how many of the batch's goals each view is paired with. Almost all of a step is spent on
    pictures, almost nothing on their pairs; and with one goal alone a translation parallel to the
    picture and a rotation, which move the picture alike, are hard to tell apart.
    """

    law: Law = "se3"
    loss_of: Loss = "four"
    others: tuple[PlanarScene, ...] = ()
    batch: int = 64
    goals: int = 8
    rate: float = 2e-3
    ramp: int = 0

    def loss(self, net: Balanced, seed: int, step: int) -> Tensor:
        """Of one batch (Eq. 6)."""
        g = generator(seed, step)
        goals, views = pairs(self.batch, g, self.camera, self._room())
        images = perturbed(
            self.pictures(net.net.size, torch.cat([goals, views]), g),
            g,
            PERTURBED * self.perturbation(step),
        )
        with half_precision():
            s_goal, s = net.net.features(images).chunk(2)
            view, goal = self.paired(goals, views)
            # The gradient of s[view] adds float numbers in whatever order threads come; that of
            # index_select always in the same.
            found = net.net.answer(s.index_select(0, view), s_goal.index_select(0, goal))
        return net.loss(
            found.float() - LAWS[self.law](goals[goal], views[view]).float(), self.distance
        )

    def _room(self) -> Callable[[Float[Tensor, "n 4 4"]], Bool[Tensor, " n"]] | None:
        """Whether poses, in units of the distance, have room before a solid; None of a plane."""
        if not isinstance(self.scene, SolidScene):
            return None
        room = taught.Room(self.scene, self.distance)
        return lambda T: room(scaled(T, self.distance))

    def perturbation(self, step: int) -> float:
        """Share of the perturbations at this step, up to 1."""
        return min(1.0, step / self.ramp) if self.ramp else 1.0

    def paired(
        self, goals: Float[Tensor, "n 4 4"], views: Float[Tensor, "n 4 4"]
    ) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
        """Numbers of the view and of the goal of each pair.

        Each view is paired with its own goal, and with others of its scene that it overlaps enough.
        """
        own = torch.arange(len(views))
        view, goal = (
            own.repeat(self.goals),
            torch.cat([own.roll(k * len(own) // self.goals) for k in range(self.goals)]),
        )
        enough = overlap(self.camera, goals[goal], views[view]) >= MIN_OVERLAP
        good = enough & (self._scene_of(view) == self._scene_of(goal))
        return view[good], goal[good]

    def _scene_of(self, pair: Int[Tensor, " p"]) -> Int[Tensor, " p"]:
        """Which of the scenes in the batch each pair of pictures shows."""
        return pair % min(SCENES_PER_BATCH, 1 + len(self.others))

    def pictures(
        self, size: int, T: Float[Tensor, "n 4 4"], g: torch.Generator
    ) -> Float[Tensor, "n c s s"]:
        """The pictures of the goals, then of the views.

        Each pair shows one scene, before the scene's background or any grey.
        """
        scenes = (self.scene, *self.others)
        shown = [
            scenes[k] for k in torch.randperm(len(scenes), generator=g)[:SCENES_PER_BATCH].tolist()
        ]
        camera, channels = self.camera.resize(size, size), len(self.scene.texture)
        T, which = scaled(T, self.distance), self._scene_of(torch.arange(len(T)) % (len(T) // 2))
        drawn = torch.rand(len(T), 2, generator=g)
        images = torch.empty(len(T), channels, size, size)
        for k, scene in enumerate(shown):
            mine = which == k
            images[mine] = taught.shown(scene, camera, T[mine], surround(scene, drawn[mine]))
        return images


@dataclass(frozen=True)
class RegressionTask(SceneTask):
    """A RegressionNet learns one scene as CNN-VS does (III).

    The poses of a data set come in a new order each epoch, their pictures perturbed anew each time.
    """

    batch: int = 50
    rate: float = 1e-4

    def loss(self, net: RegressionNet, seed: int, step: int) -> Tensor:
        """Of one batch (Eq. 7)."""
        g, poses = generator(seed, step), published_poses(seed)
        epoch, first = divmod(step * self.batch, len(poses))
        order = torch.randperm(len(poses), generator=generator(seed, -1 - epoch))
        r = poses[order[(first + torch.arange(self.batch)) % len(poses)]]
        T = self._of(r)
        if isinstance(self.scene, SolidScene):
            # In the place of a pose without room comes one of those that are near the reference.
            near = poses[POSES + torch.arange(self.batch) % FINE_POSES]
            has_room = taught.Room(self.scene, self.distance)(T)[:, None]
            r = torch.where(has_room, r, near)
            T = self._of(r)
        images = taught.shown(
            self.scene,
            self.camera.resize(net.size, net.size),
            T,
            surround(self.scene, torch.rand(self.batch, 2, generator=g)),
        )
        with half_precision():
            found = net(lit_and_covered(images, g))
        return metres_and_degrees(found.float() - r.float(), self.distance)

    def _of(self, r: Float[Tensor, "b 6"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` [m] of t [the scene's distance] and theta u [rad] of `T_ref_cam`."""
        return to_world(se3.transform(se3.so3_exp(r[:, 3:]), r[:, :3]), self.distance)


def published_poses(seed: int) -> Float[Tensor, "n 6"]:
    """CNN-VS's data set: t [the scene's distance] and theta u [rad] of `T_ref_cam`.

    They are Gaussian; the last FINE_POSES at FINE_SCALE of the deviations.
    """
    return _published_poses(seed, torch.get_default_device())


@cache
def _published_poses(seed: int, device: torch.device) -> Float[Tensor, "n 6"]:
    """One result for each device, as tensors are kept on it."""
    normal = torch.randn(
        POSES + FINE_POSES, 6, generator=generator(seed, 0), dtype=torch.float64
    ) * torch.tensor(DEVIATIONS, dtype=torch.float64)
    normal[POSES:] *= FINE_SCALE
    return normal


def lit_and_covered(
    images: Float[Tensor, "b c s s"], g: torch.Generator
) -> Float[Tensor, "b c s s"]:
    """A share of the images perturbed as in CNN-VS (III-B), the others unchanged.

    They have other brightness and contrast, Gaussian lights and superpixels of other pictures.
    """
    worse = perturb.lights(perturb.contrast(perturb.brightness(images, g), g), g)
    worse = perturb.cover(worse, g, occluders(images.shape[-1]))
    return torch.where(torch.rand(len(images), 1, 1, 1, generator=g) < PERTURBED, worse, images)


def occluders(size: int) -> list[perturb.Patch]:
    """Superpixels of pictures made by code, of size x size pixels."""
    return _occluders(size, torch.get_default_device())


@cache
def _occluders(size: int, device: torch.device) -> list[perturb.Patch]:
    """One result for each device, as tensors are kept on it."""
    with torch.device("cpu"):
        g = torch.Generator().manual_seed(0)
        patches = [
            patch
            for _ in range(OCCLUDER_PICTURES)
            for patch in perturb.superpixels(texture((size, size), g))
        ]
    return [perturb.Patch(patch.pixels.to(device), patch.mask.to(device)) for patch in patches]


def scaled(T: Float[Tensor, "n 4 4"], distance: float) -> Float[Tensor, "n 4 4"]:
    """Poses in metres, from those in units of the distance."""
    return se3.transform(T[:, :3, :3], distance * T[:, :3, 3])


def surround(scene: Scene, drawn: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """What is seen beside a picture: the scene's background, NaN of a solid, or any grey.

    drawn: two numbers from [0, 1] for each picture.
    """
    return torch.where(drawn[:, :1] < 0.5, scene.background, drawn[:, 1:]).expand(
        -1, len(scene.texture)
    )
