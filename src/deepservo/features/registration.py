"""Photometric registration: from two pictures of a plane and a first guess, the pose between them,
and the evidence for it.

The guess `T_goal_cam` warps the current picture onto the goal's, where both are compared pixel by
pixel, lit alike by a gain and a bias:

    r = (I_warped - bias) / gain - I_goal,    r = L xi + what covers a part of either picture

Weighted least squares give the twist xi, `T_goal_cam <- exp(xi) T_goal_cam`, coarse to fine. L
comes from the gradients of both pictures, each counted as far as it can be trusted: alike where
both are clean (then the step is of second order, as in ESM, Benhimane & Malis 2004), the goal's
alone where the view is noisy, the view's alone where the goal is. (Noise in the gradient that one
solves with makes every step wrong, along the axis most of all.) Weights are Geman-McClure's, so
what covers a part of either picture has hardly any say.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.alignment import Goals, Pairs, align, homographies, marked, rows, warp
from deepservo.features.lighting import SUBSAMPLE

AGREE = 0.55  # agreement above which two pictures, at a quarter of their size, show the same thing
OVERLAP = 0.2  # share of the goal's pixels that must be seen for that
# the level at which they are compared: fine enough to tell places apart, and coarse enough for
# noise to average out
EVIDENCE = 2
WINDOW = 7  # pixels of that level that are compared with each other
FLAT = 0.01  # of a picture's variance, and
NOISY = 4  # of its noise's: what varies less is flat
LEVELS = 4  # full size, then halved each time
ACQUIRE = ((3, 12), (2, 6))  # (level, iterations) that refine a first guess
FLOOR = (
    0.05,
    0.1,
    0.2,
    0.3,
)  # least deviation of the residuals by level, in deviations of the goal's grey levels
DAMPING = (
    1e-9,
    1e-4,
    1e-3,
    1e-2,
)  # least by level: a turn and a shift that look alike at a coarse level are left to the finer ones


@dataclass(frozen=True)
class Views:
    """What the cameras see, at every level, and the deviation of its noise in grey levels (B,
    1).
    """

    levels: list[Float[Tensor, "b 1 _ _"]]
    noise: Float[Tensor, "b 1"]


class Evidence(NamedTuple):
    """How far a view and a goal show the same, 0 to 1; how far they could, for the view's noise;
    the share of the goal that is seen.
    """

    agreement: Float[Tensor, " r"]
    attainable: Float[Tensor, " r"]
    seen: Float[Tensor, " r"]


def resize(images: Float[Tensor, "b c h w"], camera: Camera) -> Float[Tensor, "b c h2 w2"]:
    """Area-resize images to the size of `camera`."""
    if images.shape[-2:] == (camera.height, camera.width):
        return images
    return torch.nn.functional.interpolate(images, (camera.height, camera.width), mode="area")


class Registration:
    """Registers pictures of one camera to G goals (1 for all, or one each).

    plane: (G, 4) [n, d] of the goal's plane in the goal's frame, `n . p = d` [m]; `fronto` gives
    one facing the camera.
    goal_camera: the camera of the goal pictures, where it is another than the one registered.
    """

    def __init__(
        self,
        camera: Camera,
        goal: Float[Tensor, "g 1 h w"],
        plane: Float[Tensor, "g 4"],
        goal_camera: Camera | None = None,
    ) -> None:
        goal_camera = goal_camera or camera
        self.plane, noise = plane.double(), _noise(goal)
        self.cameras = [_halved(camera, i) for i in range(LEVELS)]
        goal_cameras = [_halved(goal_camera, i) for i in range(LEVELS)]
        self.levels = [
            Goals.of(small, resize(goal, small), self.plane, noise / 2**i)
            for i, small in enumerate(goal_cameras)
        ]

    def select_runs(self, index: Tensor) -> None:
        """Go on with these goals alone (nothing to do where all runs share one)."""
        self.levels = [level.pick(index) for level in self.levels]
        if len(self.plane) > 1:
            self.plane = self.plane[index]

    def views(self, images: Float[Tensor, "b 1 h w"]) -> Views:
        """Pictures of the camera made ready for `refine` and `agreement`."""
        return Views([marked(resize(images, camera)) for camera in self.cameras], _noise(images))

    def refine(
        self,
        views: Views,
        T_goal_cam: Float[Tensor, "r 4 4"],
        schedule: tuple[tuple[int, int], ...],
        runs: Tensor,
    ) -> Float[Tensor, "r 4 4"]:
        """Refine poses by (level, iterations) after (level, iterations); `runs` (r,) names the
        view, and the goal, of each.

        Gain and bias are first judged at the first level named: where there is noise, (2, 0) before
        finer ones.
        """
        T, gain_bias = T_goal_cam.double(), None
        for level, iterations in schedule:
            T, gain_bias = self._align(views, T, level, iterations, runs, gain_bias)
            gain_bias = gain_bias[
                :, [0, 1, 0]
            ]  # by now the pictures are better aligned than when the gain was first judged
        return T

    def agreement(
        self, views: Views, T_goal_cam: Float[Tensor, "r 4 4"], runs: Tensor, level: int = EVIDENCE
    ) -> Evidence:
        """How far the view, warped by each pose, and the goal show the same."""
        goals = self.levels[level].pick(runs)
        Hs = homographies(T_goal_cam, self._planes(runs), self.cameras[level], goals.camera)
        warped, valid = warp(rows(views.levels[level], runs), Hs, goals)
        noises = (goals.noise, views.noise[runs] / 2**level)
        return Evidence(*_local_correlation(goals.image, warped, valid, noises), valid.mean((1, 2)))

    def _align(
        self,
        views: Views,
        T: Tensor,
        level: int,
        iterations: int,
        runs: Tensor,
        gain_bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """`align` at one level."""
        goals = self.levels[level].pick(runs)
        floor = (FLOOR[level] * goals.spread).expand(len(T), 1)
        pairs = Pairs.of(
            rows(views.levels[level], runs), views.noise[runs] / 2**level, goals, floor
        )
        return align(
            pairs, self.cameras[level], self._planes(runs), T, iterations, DAMPING[level], gain_bias
        )

    def _planes(self, runs: Tensor) -> Float[Tensor, "#r 4"]:
        return self.plane if len(self.plane) == 1 else self.plane[runs]


def fronto(depth: float) -> Float[Tensor, "1 4"]:
    """The plane that faces the camera at `depth` [m]."""
    return torch.tensor([[0.0, 0.0, 1.0, depth]], dtype=torch.float64)


def _halved(camera: Camera, times: int) -> Camera:
    return camera.resize(camera.width >> times, camera.height >> times)


def _noise(images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1"]:
    """Deviation of the noise, from what a plane through 3 x 3 pixels does not explain (after
    Immerkaer 1996), by its median.
    """
    apart = max(1, math.isqrt(images[0].numel() // SUBSAMPLE))
    bent = images[..., :-2:apart, :] - 2 * images[..., 1:-1:apart, :] + images[..., 2::apart, :]
    rough = (bent[..., :-2:apart] - 2 * bent[..., 1:-1:apart] + bent[..., 2::apart]).abs().flatten(
        1
    ) / 6
    return 1.4826 * rough.nanmedian(1, keepdim=True).values.clamp(min=1e-4)


def _local_correlation(
    goal: Tensor, warped: Tensor, valid: Tensor, noises: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean correlation of the pictures (b, h, w) over small windows, counted as far as one of the
    two is not flat there.

    And what it would be between the second and its own truth, without noise.

    `noises` (b, 1) are the deviations of theirs. What covers a part spoils its windows and no more.
    A correlation of the whole would believe any two pictures that are bright on the same side.
    """

    def flat(values: Tensor, noise: Tensor) -> Tensor:
        centre = values.sum((1, 2), keepdim=True) / total
        return (
            FLAT
            * (values.square().sum((1, 2), keepdim=True) / total - centre.square()).clamp(min=1e-9)
            + NOISY * noise.square()[:, :, None]
        )

    total = valid.sum((1, 2), keepdim=True).clamp(min=1)
    a, b = goal * valid, warped * valid
    share, *means = torch.nn.functional.avg_pool2d(
        torch.stack([valid, a, b, a * a, b * b, a * b]), WINDOW, WINDOW // 2
    )
    used, share = (share > 0.6).float(), share.clamp(min=1e-6)
    mean_a, mean_b, aa, bb, ab = (mean / share for mean in means)
    aa, bb, ab = aa - mean_a.square(), bb - mean_b.square(), ab - mean_a * mean_b
    flat_a, flat_b = flat(a, noises[0]), flat(b, noises[1])
    aa, bb = aa.clamp(min=0), bb.clamp(min=0)
    rho = ab / ((aa + flat_a) * (bb + flat_b)).sqrt()
    weight = used * torch.maximum(aa / (aa + flat_a), bb / (bb + flat_b))
    clean = ((bb - noises[1].square()[:, :, None]).clamp(min=0) / (bb + flat_b)).sqrt()
    counted = weight.sum((1, 2)).clamp(min=1)
    return (rho * used).sum((1, 2)) / counted, (clean * weight).sum((1, 2)) / counted
