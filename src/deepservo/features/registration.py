"""Photometric registration: the pose between two pictures of a plane, from a first guess.

It also measures how well the pictures agree there.

The guess `T_goal_cam` warps the current picture onto the goal's, where both are compared pixel by
pixel, lit alike by a gain and a bias:

    r = (I_warped - bias) / gain - I_goal,    r = L xi + what covers a part of either picture

Weighted least squares give the twist xi, `T_goal_cam <- exp(xi) T_goal_cam`, coarse to fine. L
comes from the gradients of both pictures, each weighted by how little noise it has: alike where
both are clean (then the step is of second order, as in ESM, Benhimane & Malis 2004), the goal's
alone where the view is noisy, the view's alone where the goal is. (Noise in the gradient that one
solves with makes every step wrong, along the axis most of all.) Weights are Geman-McClure's, so
what covers a part of either picture has hardly any weight.
"""

from copy import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.agreement import Comparison, compare
from deepservo.features.alignment import align
from deepservo.features.pairs import Goals, Pairs, rows
from deepservo.features.pyramid import noise_reference, pyramid, resize
from deepservo.features.registration_step import Step
from deepservo.geometry import se3

# Two pictures show the same place where, at a quarter of their size, their agreement is above this
# and a share of the goal's pixels above the second number is seen.
SAME_PLACE_AGREEMENT = 0.55
MIN_OVERLAP = 0.2
# Pyramid level at which pictures are compared: fine enough to tell places apart, and coarse enough
# for noise to average out.
COMPARISON_LEVEL = 2
LEVELS = 4  # of the pyramid: full size, then halved each time
Schedule = tuple[tuple[int, int], ...]
"""Pairs of a pyramid level (0: full size) and how many iterations are done there, in order."""
FIRST_GUESS_SCHEDULE: Schedule = ((3, 12), (2, 6))  # refines the pose of a coarse method
# By level: least deviation of the residuals, in deviations of the goal's grey levels.
MIN_RESIDUAL_SCALE = (0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Views:
    """Pictures at every level of the pyramid, and the deviation of their noise in grey levels."""

    levels: list[Float[Tensor, "b 1 _ _"]]
    noise: Float[Tensor, "b 1"]

    def pick(self, runs: Int64[Tensor, " r"]) -> "Views":
        """Of these runs."""
        return Views([rows(level, runs) for level in self.levels], rows(self.noise, runs))


class Registration:
    """Registers pictures of one camera to G goals (1 for all runs, or one each).

    goal: grey levels in [0, 1], NaN where nothing is seen. plane: [n, d] of the goal's plane in the
    goal's frame, `n . p = d` [m]; `fronto` gives one facing the camera. goal_camera: the camera of
    the goal pictures, where it is another than the one registered. `set_depth` gives the goals a
    depth of their own for each pixel.
    """

    def __init__(
        self,
        camera: Camera,
        goal: Float[Tensor, "g 1 h w"],
        plane: Float[Tensor, "g 4"],
        goal_camera: Camera | None = None,
    ) -> None:
        plane, noise = plane.double(), noise_reference(goal)
        self.cameras = [_halved(camera, i) for i in range(LEVELS)]
        goal_cameras = [_halved(goal_camera or camera, i) for i in range(LEVELS)]
        self.levels = [
            Goals.of(small, resize(goal, small), plane, noise / 2**i)
            for i, small in enumerate(goal_cameras)
        ]

    @property
    def plane(self) -> Float[Tensor, "g 4"]:
        """[n, d] of each goal's plane in the goal's frame, float64."""
        return self.levels[0].plane

    def set_depth(self, inverse_depth: Float[Tensor, "m h w"]) -> None:
        """Give the goals' pixels these inverse depths [1/m], one map for all goals, or one each.

        They are positive, 0 where unknown.
        """
        for i, level in enumerate(self.levels):
            self.levels[i] = replace(level, map=_resized_depth(inverse_depth, level.camera))

    def set_depth_of(
        self, runs: Int64[Tensor, " r"], inverse_depth: Float[Tensor, "r h w"], n: int
    ) -> None:
        """`set_depth` of these among n runs; the others keep theirs, at first their planes'."""
        for i, level in enumerate(self.levels):
            maps = level.inverse_depth().clamp(min=0).expand(n, -1, -1).clone()
            maps[runs] = _resized_depth(inverse_depth, level.camera)
            self.levels[i] = replace(level, map=maps)

    def select_runs(self, index: Int64[Tensor, " r"]) -> None:
        """Keep the goals of these runs alone; one goal that serves all runs stays."""
        self.levels = [level.pick(index) for level in self.levels]

    def part(self, runs: Int64[Tensor, " r"]) -> "Registration":
        """A registration to the goals of these runs alone."""
        own = copy(self)
        own.levels = [level.pick(runs) for level in self.levels]
        return own

    def views(self, images: Float[Tensor, "b 1 h w"]) -> Views:
        """Pictures of the camera made ready for `refine` and `compare`."""
        return Views(*pyramid(images, self.cameras))

    def of_goal(self, goal: int, least_noise: float) -> tuple["Registration", Views]:
        """A registration to one of the goals, of pictures of its own camera, and the goal's own
        picture as its view. least_noise: deviation that its noise is taken to have at least.
        """
        own = self.part(torch.tensor([goal]))
        own.levels = [
            replace(level, noise=level.noise.clamp(min=least_noise / 2**i))
            for i, level in enumerate(own.levels)
        ]
        own.cameras = [level.camera for level in own.levels]
        return own, Views([level.image[:, None] for level in own.levels], own.levels[0].noise)

    def set_plane(self, plane: Float[Tensor, "g 4"]) -> None:
        """Put the goals on these planes, as those that they were made with."""
        self.levels = [level.on(plane) for level in self.levels]

    def refine(
        self,
        views: Views,
        T_goal_cam: Float[Tensor, "r 4 4"],
        schedule: Schedule,
        runs: Int64[Tensor, " r"],
    ) -> Float[Tensor, "r 4 4"]:
        """Poses refined at each level of the schedule in turn.

        runs: the number of each pose's view, and of its goal. Gain and bias are first estimated at
        the first level: where there is noise, let (2, 0) come before finer levels.
        """
        return self._refined(views, T_goal_cam, schedule, runs, blocks=False)[0]

    def registered(
        self,
        views: Views,
        T_goal_cam: Float[Tensor, "r 4 4"],
        schedule: Schedule,
        runs: Int64[Tensor, " r"],
    ) -> tuple[Float[Tensor, "r 4 4"], Step, Pairs]:
        """`refine`, and how the pictures differ at the last level."""
        return self._refined(views, T_goal_cam, schedule, runs, blocks=True)

    def _refined(
        self,
        views: Views,
        T_goal_cam: Float[Tensor, "r 4 4"],
        schedule: Schedule,
        runs: Int64[Tensor, " r"],
        *,
        blocks: bool,
    ) -> tuple[Float[Tensor, "r 4 4"], Step, Pairs]:
        T, gain_bias = T_goal_cam.double(), None
        for i, (level, iterations) in enumerate(schedule, 1):
            pairs, last = self._pairs(views, level, runs), blocks and i == len(schedule)
            T, found = align(pairs, T, iterations, level, gain_bias, blocks=last)
            # The gain found here takes the place of the first one: by now the pictures are better
            # aligned.
            gain_bias = found.gain_bias[:, [0, 1, 0]]
        return T, found, pairs

    def compare(
        self,
        views: Views,
        T_goal_cam: Float[Tensor, "r 4 4"],
        runs: Int64[Tensor, " r"],
        level: int = COMPARISON_LEVEL,
    ) -> Comparison:
        """How well the views, warped by these poses, agree with the goals."""
        return compare(self._pairs(views, level, runs), T_goal_cam)

    def roughly_apart(
        self,
        T_goal_cam: Float[Tensor, "r 4 4"],
        other: Float[Tensor, "#r 4 4"],
        runs: Int64[Tensor, " r"],
    ) -> Float[Tensor, " r"]:
        """The most that `apart` is of a point on the axis, without a look at any point.

        One beside the axis may be up to four times as far apart.
        """
        camera, difference = self.cameras[0], (T_goal_cam - other)[:, :3]
        depth = self.plane[:, 3] if len(self.plane) == 1 else self.plane[runs, 3]
        way = difference[:, :, 3].norm(dim=1) / depth
        return camera.fx / camera.width * (way + difference[:, :, :3].flatten(1).norm(dim=1))

    def apart(
        self,
        T_goal_cam: Float[Tensor, "r 4 4"],
        other: Float[Tensor, "r 4 4"],
        runs: Int64[Tensor, " r"],
    ) -> Float[Tensor, " r"]:
        """How far apart two poses see the goals' points, as a share of the picture's width.

        It is the median over the pixels of the smallest level, every third along x and y, that both
        see in front of them.
        """
        goals, camera = self.levels[-1].pick(runs), self.cameras[-1]
        some = (..., slice(None, None, 3), slice(None, None, 3))
        x, y = (each[some] for each in goals.camera.xy(torch.float64))
        rays = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)
        rho = goals.inverse_depth()[some].double().flatten(1)[..., None]
        seen = []
        for T in (se3.inverse(T_goal_cam), se3.inverse(other)):
            points = rays @ T[:, :3, :3].mT + rho * T[:, None, :3, 3]
            front = (points[..., 2] > 0) & (rho[..., 0] > 0)
            seen.append(torch.where(front[..., None], camera.project(points), torch.nan))
        return (seen[0] - seen[1]).norm(dim=2).nanmedian(1).values / camera.width

    def _pairs(self, views: Views, level: int, runs: Int64[Tensor, " r"]) -> Pairs:
        goals = self.levels[level].pick(runs)
        floor = (MIN_RESIDUAL_SCALE[level] * goals.spread).expand(len(runs), 1)
        images, noise = rows(views.levels[level], runs), views.noise[runs] / 2**level
        return Pairs.of(images, self.cameras[level], noise, goals, floor)


def _resized_depth(inverse_depth: Float[Tensor, "m h w"], camera: Camera) -> Float[Tensor, "m _ _"]:
    """The maps in the size of `camera`; 0 is where nothing is known, and has no part in a mean."""
    known = torch.where(inverse_depth > 0, inverse_depth.float(), torch.nan)
    return resize(known[:, None], camera)[:, 0].nan_to_num(0.0).contiguous()


def fronto(depth: float) -> Float[Tensor, "1 4"]:
    """The plane [n, d] that faces the camera at `depth` [m]."""
    return torch.tensor([[0.0, 0.0, 1.0, depth]], dtype=torch.float64)


def _halved(camera: Camera, times: int) -> Camera:
    return camera.resize(camera.width >> times, camera.height >> times)
