"""DFBVS (Adrian et al., 2022): keypoints of a target picture, matched to the view's in each cycle,
and image-based servoing on them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from deepservo import control, native
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.detectors import Detector
from deepservo.features.keypoints import Features, match
from deepservo.features.unseen_pixels import continued, has_unseen, reached
from deepservo.geometry import interaction
from deepservo.methods.base import Controller

FEWEST = 8  # matches that must agree
WITHIN = 2.0  # px: a match agrees with a pose when it is no farther off
# px of mean error under which matches are tracked: those of a cycle were among those of the cycle
# before
TRACKED = 4.0
WINDOW, MOVED = (
    15,
    3.0,
    # px: what is compared about a tracked point, and how far it may be from where the detector has
    # it
)
ABOUT, FAINT = (
    6.0,
    0.02,
)  # px over which light is evened out before that; grey level: less contrast is noise
BLURRED = WINDOW // 2 + round(
    ABOUT
)  # px: what is compared about a point is not as near as this to an unseen pixel
EDGE = 2  # pixels inside the object's outline: on it, a point's depth may be the background's


@dataclass(frozen=True)
class TargetPoints:
    """Keypoints of a target picture: (n, 2) [px], their descriptors, how deep they lie (n,) [m],
    and the picture, its light evened out.
    """

    px: np.ndarray
    descriptors: np.ndarray
    Z: np.ndarray
    picture: UInt8[np.ndarray, "h w"]


def depth_map(camera: Camera, depth: float | Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Z [m] of each pixel of the goal picture; InputError where it is no map of the camera's size,
    or nowhere a positive number.
    """
    try:
        Z = np.asarray(depth, float)
    except (TypeError, ValueError):
        raise InputError(
            f"the target's depth must be metres, one number or (h, w), not {type(depth).__name__}"
        ) from None
    Z = np.broadcast_to(Z, (camera.height, camera.width)) if Z.ndim == 0 else Z
    if Z.shape != (camera.height, camera.width):
        raise InputError(
            f"the target's depth is {Z.shape[::-1]} pixels, the camera's pictures are "
            f"{camera.width, camera.height}"
        )
    if not (np.isfinite(Z) & (Z > 0)).any():
        raise InputError("the target's depth is nowhere a positive number of metres")
    return Z


class FeatureServo(Controller):
    """`v = -gain L*^+ (s - s*)`, `L* = L(s*, Z*)` of the target (Eq. 4), on matches that one pose
    of the camera explains.

    depth: Z [m] of the target picture, one for all or (h, w), not finite where there is no object:
    only points on it are matched.
    robust: reject outliers. track: near the goal, matches must have been matches in the cycle
    before, as long as FEWEST are left, and are put where the view looks as the goal does about
    them, to a fraction of a pixel (Lucas & Kanade): a detector is not that exact.

    The paper rejects outliers by RANSAC, of what it does not say. Here: by MAGSAC, of the camera's
    pose. With the target's depth known that excludes more than an epipolar constraint would, and
    holds for flat objects too.
    """

    def __init__(
        self,
        camera: Camera,
        detector: Detector,
        depth: float | Float[np.ndarray, "h w"] = 0.6,
        gain: float = 0.1,
        robust: bool = True,
        track: bool = True,
    ) -> None:
        super().__init__(camera)
        self.detector, self.gain, self.robust, self.track = detector, gain, robust, track
        self.Z = depth_map(camera, depth)
        there = np.isfinite(self.Z) & (self.Z > 0)
        self.on_object = (
            cv2.erode(
                np.pad(there.astype(np.uint8), EDGE, mode="edge"), np.ones((2 * EDGE + 1,) * 2)
            )[EDGE:-EDGE, EDGE:-EDGE]
            > 0
        )

    def status(self, n: int) -> list[str]:
        """How many matches agreed at the last picture, and how far off they were."""
        counts, errors = (
            self.state["agree"].expand(n).tolist(),
            self.state["error_px"].expand(n).tolist(),
        )
        too_few = f"of the {FEWEST} needed; the camera holds still"
        return [
            f"{k} matches agree, {e:.2f} px off" if k >= FEWEST else f"{k} matches agree {too_few}"
            for k, e in zip(counts, errors, strict=True)
        ]

    def _set_goal(self, goal: Tensor) -> None:
        self.targets = [self._target(picture[0]) for picture in goal]
        most, n = max(len(target.px) for target in self.targets), len(goal)
        self.state = {
            "goal": torch.arange(n),
            "matched": torch.ones(
                n, most, dtype=torch.bool
            ),  # of the target's points, in the cycle before
            "tracking": torch.zeros(n, dtype=torch.bool),
            "agree": torch.zeros(n, dtype=torch.int64),
            "error_px": torch.full((n,), torch.nan),
        }

    def _target(self, picture: Float[Tensor, "h w"]) -> TargetPoints:
        px, descriptors = self._found(picture)
        u, v = px.round().astype(int).T if len(px) else np.zeros((2, 0), int)
        on = self.on_object[v, u]
        if on.sum() < FEWEST:
            raise InputError(
                f"the target picture has {on.sum()} keypoints on the object, and {FEWEST} are "
                "needed; light it, or go nearer"
            )
        return TargetPoints(
            px[on], descriptors[on], self.Z[v, u][on], even(_whole(picture).numpy())
        )

    def _velocity(self, image: Tensor) -> Tensor:
        n = len(image)
        self.state = {
            name: values.expand(n, *values.shape[1:]).clone() for name, values in self.state.items()
        }
        pool = native.pool(torch.get_num_threads())
        found = [pool.submit(self._found, picture[0]) for picture in image]
        return torch.stack(
            [self._steered(i, each.result(), image[i, 0]) for i, each in enumerate(found)]
        )

    def _found(self, picture: Float[Tensor, "h w"]) -> Features:
        """What the detector finds, without what it finds at unseen pixels."""
        px, descriptors = self.detector(_whole(picture))
        if not has_unseen(picture[None, None]) or not len(px):
            return px, descriptors
        u, v = px.round().astype(int).T
        seen = ~reached(picture[None, None], BLURRED)[0].numpy()[v, u]
        return px[seen], descriptors[seen]

    def _steered(self, i: int, view: Features, picture: Float[Tensor, "h w"]) -> Float[Tensor, "6"]:
        """The velocity of run i, which sees these points in this picture."""
        state, target = self.state, self.targets[int(self.state["goal"][i])]
        n = len(target.px)
        every, near = np.ones(n, bool), self.track and bool(state["tracking"][i])
        tracked = state["matched"][i, :n].numpy() if near else every
        a, px = self._matches(target, view, tracked, picture if near else None)
        if len(a) < FEWEST and not tracked.all():  # what was tracked is lost: look at all again
            a, px = self._matches(target, view, every, None)
        state["agree"][i] = len(a)
        if len(a) < FEWEST:
            state["error_px"][i], state["tracking"][i] = torch.nan, False
            return torch.zeros(6, dtype=torch.float64)
        state["matched"][i] = False
        state["matched"][i, a] = True
        off = float(np.linalg.norm(px - target.px[a], axis=1).mean())
        state["error_px"][i], state["tracking"][i] = off, off < TRACKED
        s, s_goal = self._normalised(px), self._normalised(target.px[a])
        L = interaction.point(s_goal[:, 0], s_goal[:, 1], torch.from_numpy(target.Z[a])).flatten(
            0, 1
        )
        return control.gauss_newton(*control.normal_equations(L, (s - s_goal).flatten()), self.gain)

    def _matches(
        self,
        target: TargetPoints,
        view: Features,
        allowed: Bool[np.ndarray, " n"],
        picture: Float[Tensor, "h w"] | None,
    ) -> tuple[np.ndarray, Float[np.ndarray, "k 2"]]:
        """Indices of the target's points that match and that one pose explains, and where the view
        has them; exactly, with a picture.
        """
        index = allowed.nonzero()[0]
        a, b = match(target.descriptors[index], view[1])
        a, px = index[a], view[0][b]
        if picture is not None and len(a):
            px, good = tracked_px(target.picture, even(_whole(picture).numpy()), target.px[a], px)
            a, px = a[good], px[good]
        if not self.robust or len(a) < FEWEST:
            return a, px
        agree = self.explained(target.px[a], target.Z[a], px)
        return a[agree], px[agree]

    def explained(
        self,
        goal_px: Float[np.ndarray, "n 2"],
        Z: Float[np.ndarray, " n"],
        px: Float[np.ndarray, "n 2"],
    ) -> np.ndarray:
        """Indices of the matches that one pose of the camera explains, by MAGSAC; none where no
        pose explains FEWEST of them.
        """
        K = self.camera.K.numpy()
        points = np.column_stack([goal_px, np.ones(len(goal_px))]) @ np.linalg.inv(K).T * Z[:, None]
        how = cv2.UsacParams()
        how.threshold, how.maxIterations, how.confidence, how.score = (
            WITHIN,
            2000,
            0.9999,
            cv2.SCORE_METHOD_MAGSAC,
        )
        how.randomGeneratorState = 0
        try:
            good, _, _, _, inliers = cv2.solvePnPRansac(points, px, K, np.zeros(4), params=how)
        except cv2.error:  # no sample gave a pose
            return np.zeros(0, int)
        return (
            inliers[:, 0]
            if good and inliers is not None and len(inliers) >= FEWEST
            else np.zeros(0, int)
        )

    def _normalised(self, px: Float[np.ndarray, "n 2"]) -> Float[Tensor, "n 2"]:
        camera = self.camera
        return torch.from_numpy((px - [camera.cx, camera.cy]) / [camera.fx, camera.fy])


def _whole(picture: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """With unseen pixels continued from those about them."""
    return continued(picture[None, None])[0, 0]


def even(picture: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """A picture whose local mean and contrast are the same everywhere: what is left when the light
    is.
    """
    mean, square = (cv2.GaussianBlur(each, (0, 0), ABOUT) for each in (picture, picture * picture))
    level = (picture - mean) / np.sqrt(np.maximum(square - mean * mean, 0) + FAINT**2)
    return (128 + 42 * level).clip(0, 255).round().astype(np.uint8)


def tracked_px(
    goal: UInt8[np.ndarray, "h w"],
    view: UInt8[np.ndarray, "h w"],
    goal_px: Float[np.ndarray, "n 2"],
    px: Float[np.ndarray, "n 2"],
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Where the view looks as the goal does about its points, from where they are about; and for
    which that is told.
    """
    first, second = (each.astype(np.float32).reshape(-1, 1, 2) for each in (goal_px, px))
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        goal, view, first, second, winSize=(WINDOW, WINDOW), maxLevel=0,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.003),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    there = found[:, 0].astype(float)
    return there, (status[:, 0] > 0) & (np.linalg.norm(there - px, axis=1) < MOVED)
