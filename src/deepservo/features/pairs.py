"""Views and goals at one picture size, and the warp between them, of a plane or by depth.

They are what photometric registration compares.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.depth_warp import warp_by_depth
from deepservo.features.luminance import gradient
from deepservo.features.robust import picture_spread
from deepservo.features.unseen_pixels import continued, has_unseen, reached
from deepservo.geometry import se3
from deepservo.images.sampler import build_pyramid, sample_covered

GRADIENT_MARGIN = 3  # px: nearer to the border the gradient's taps reach over it
HOLE_MARGIN = 1  # px: nearer to an unseen pixel its filling is felt too much
# The C code has no NaN: this grey level marks an unseen pixel. A warped pixel that mixes in a
# share of it is recognised by a grey level below the second number.
UNSEEN = -1e4
MIN_SHOWN = -0.01
MIN_COVERAGE = 0.999  # of a warped pixel that the view shows wholly


@dataclass(frozen=True)
class Goals:
    """G goal pictures of one size, made ready for registration: one for all runs, or one each.

    image: grey levels in [0, 1], UNSEEN where nothing is seen. gx, gy: their derivatives per
    normalised unit. plane: [n, d] in each goal's frame, `n . p = d` [m], float64. depth: n / d
    [1/m], float32, so that `1 / Z = a x + b y + c`. noise: deviation of the picture's noise.
    spread: robust deviation of its grey levels. map: inverse depths [1/m] of the pixels of goals
    that are no planes, not positive where unknown, one for all or one for each goal or run; then
    `plane` is near to them, and only steers how a point moves over its surface.
    """

    camera: Camera
    image: Float[Tensor, "g h w"]
    gx: Float[Tensor, "g h w"]
    gy: Float[Tensor, "g h w"]
    plane: Float[Tensor, "g 4"]
    depth: Float[Tensor, "g 3"]
    noise: Float[Tensor, "g 1"]
    spread: Float[Tensor, "g 1"]
    map: Float[Tensor, "m h w"] | None = None

    @classmethod
    def of(
        cls,
        camera: Camera,
        image: Float[Tensor, "g 1 h w"],
        plane: Float[Tensor, "g 4"],
        noise: Float[Tensor, "g 1"],
    ) -> "Goals":
        """From pictures of `camera` (NaN: unseen), their planes, and their noise's deviation."""
        inside = _inside(camera) > 0
        unseen = reached(image, HOLE_MARGIN) if has_unseen(image) else None
        image = continued(image)
        gx, gy = gradient(image)
        if unseen is not None:
            inside, image = inside & ~unseen, image.masked_fill(unseen[:, None], UNSEEN)
        return cls(
            camera=camera,
            image=image[:, 0].contiguous(),
            gx=(gx * camera.fx).contiguous(),
            gy=(gy * camera.fy).contiguous(),
            plane=plane,
            depth=(plane[:, :3] / plane[:, 3:]).float(),
            noise=noise,
            spread=picture_spread(image.flatten(1), inside.flatten(-2)),
        )

    def pick(self, index: Int64[Tensor, " r"]) -> "Goals":
        """The goals of these runs; what serves all runs stays one."""
        names = ("image", "gx", "gy", "plane", "depth", "noise", "spread", "map")
        parts: dict[str, Any] = {
            name: rows(value, index)
            for name in names
            if (value := getattr(self, name)) is not None and len(value) > 1
        }
        return replace(self, **parts) if parts else self

    def on(self, plane: Float[Tensor, "g 4"]) -> "Goals":
        """The same pictures of these planes."""
        return replace(self, plane=plane, depth=(plane[:, :3] / plane[:, 3:]).float())

    def shown(self) -> Bool[Tensor, "g h w"]:
        """Which pixels show something, in front of the camera."""
        return (self.inverse_depth() > 0) & (self.image >= MIN_SHOWN)

    def inverse_depth(self) -> Float[Tensor, "g h w"]:
        """1 / Z [1/m] of every pixel."""
        if self.map is not None:
            return self.map
        x, y = self.camera.xy()
        a, b, c = self.depth[:, :, None, None].unbind(1)
        return a * x + b * y + c


@dataclass(frozen=True)
class Pairs:
    """B views and their goals at one size: what stays the same from step to step.

    Tensors are contiguous and float32, as the C code reads them. camera: of the views. depth: as in
    `Goals`. noise, goal_noise: deviations of the pictures' noise. floor: least deviation of the
    residuals. intrinsics: fx, fy, cx, cy of the goals.
    """

    goals: Goals
    views: Float[Tensor, "b 1 _ _"]
    camera: Camera
    depth: Float[Tensor, "b 3"]
    noise: Float[Tensor, "b 1"]
    goal_noise: Float[Tensor, "b 1"]
    floor: Float[Tensor, "b 1"]
    intrinsics: Float[Tensor, "4"]

    @classmethod
    def of(
        cls,
        views: Float[Tensor, "b 1 _ _"],
        camera: Camera,
        noise: Float[Tensor, "b 1"],
        goals: Goals,
        floor: Float[Tensor, "b 1"],
    ) -> "Pairs":
        """Views of `camera`, UNSEEN where nothing is seen, with one goal for all or one each."""
        depth, noise, goal_noise, floor = (
            values.float().expand(len(views), -1).contiguous()
            for values in (goals.depth, noise, goals.noise, floor)
        )
        return cls(
            goals=goals,
            views=views.float().contiguous(),
            camera=camera,
            depth=depth,
            noise=noise,
            goal_noise=goal_noise,
            floor=floor,
            intrinsics=goals.camera.intrinsics,
        )


def marked(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The pictures with UNSEEN in the place of NaN; the same tensor where no pixel is NaN."""
    return images.nan_to_num(UNSEEN) if has_unseen(images) else images


def rows(values: Float[Tensor, "n *_"], index: Int64[Tensor, " r"]) -> Float[Tensor, "r *_"]:
    """`values[index]`, without a copy where the index is 0, 1, .. n - 1."""
    every = len(index) == len(values) and torch.equal(index, torch.arange(len(values)))
    return values if every else values[index]


class Projection(NamedTuple):
    """Where views see goal pixels p = (u, v, 1): at the pixels of `matrix p`, or by depth Z.

    By depth they are seen at those of `matrix p + shift / Z`. Both are float64.
    """

    matrix: Float[Tensor, "b 3 3"]
    shift: Float[Tensor, "b 3"] | None = None


def projections(T_goal_cam: Float[Tensor, "b 4 4"], goals: Goals, camera: Camera) -> Projection:
    """Where views of `camera` at these poses see the goals' pixels."""
    if goals.map is None:
        return Projection(homographies(T_goal_cam, goals.plane, camera, goals.camera))
    T = se3.inverse(T_goal_cam)
    K = camera.K
    return Projection(K @ T[:, :3, :3] @ goals.camera.K_inv, T[:, :3, 3] @ K.mT)


def homographies(
    T_goal_cam: Float[Tensor, "b 4 4"],
    plane: Float[Tensor, "#b 4"],
    camera: Camera,
    goal_camera: Camera,
) -> Float[Tensor, "b 3 3"]:
    """From goal pixels to view pixels: `K (R + t n^T / d) K_goal^-1` with (R, t) = T_cam_goal.

    plane: [n, d] in the goal's frame, `n . p = d` [m]. camera: of the views.
    """
    T = se3.inverse(T_goal_cam)
    H = T[:, :3, :3] + T[:, :3, 3:] * (plane[:, None, :3] / plane[:, 3, None, None])
    return camera.K @ H @ goal_camera.K_inv


def warp(
    views: Float[Tensor, "b 1 _ _"],
    seen: Projection,
    goals: Goals,
    shown: Bool[Tensor, "g h w"] | None = None,
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """The views on the goals' pixels, and 1 where a pixel counts, 0 elsewhere.

    A pixel counts where it and its neighbours are seen, in front of both cameras, and not at the
    border. Where the view sees nothing the goal's grey level is put: the gradient beside it is then
    as right as the two pictures are alike. shown: of the goals, where it is there already.
    """
    if seen.shift is None:
        size = (goals.camera.height, goals.camera.width)
        pyramid = build_pyramid(views, antialias=False)
        sampled, coverage = sample_covered(pyramid, seen.matrix, size, None)
        warped = sampled[:, 0]
    else:
        warped, coverage = warp_by_depth(views, seen.matrix, seen.shift, goals.inverse_depth())
    unseen = warped < MIN_SHOWN
    lacking = ((coverage < MIN_COVERAGE) | unseen).float()[:, None]
    whole = 1 - torch.nn.functional.max_pool2d(lacking, 3, 1, 1)[:, 0]
    return (
        torch.where(unseen, goals.image.clamp(min=0), warped),
        whole * _inside(goals.camera) * (goals.shown() if shown is None else shown),
    )


def _inside(camera: Camera) -> Float[Tensor, "h w"]:
    """1 where the gradient does not reach over the border."""
    m = GRADIENT_MARGIN
    inside = torch.zeros(camera.height, camera.width)
    inside[m:-m, m:-m] = 1
    return inside
