"""DFBVS (Adrian et al., 2022): image-based servoing on keypoints of the goal picture.

They are matched to the view's at every step.
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
from deepservo.features.goal_depth import Known
from deepservo.features.keypoints import Features
from deepservo.features.match_pose import PointPose
from deepservo.features.neighbours import match
from deepservo.features.two_views import Candidates, Matched
from deepservo.features.unseen_pixels import continued, has_unseen, reached
from deepservo.geometry import interaction
from deepservo.methods.keypoint import MatchServo

MIN_MATCHES = 8  # matches that must agree with one another
INLIER_DISTANCE = 2.0  # px: a match agrees when it is no farther from its place
TRACKING_ERROR = 4.0  # px of mean error under which matches are tracked from step to step
TRACKING_WINDOW = 15  # px: side of the window that is compared about a tracked point
MAX_TRACKING_MOVE = 3.0  # px: a tracked point is dropped that is farther from the detector's place
LIGHT_DEVIATION = 6.0  # px: deviation of the Gaussian over which light is evened out before that
# Another method's pose is judged by so many matches at least, and rejected where their median error
# there is larger [px]: light moves a match by less.
RELIABLE_MATCHES = 20
CONSISTENT_ERROR = 4.0
KEPT_MATCHES = 32  # of a picture, for that
MIN_CONTRAST = 0.02  # grey level: less contrast is noise
# px: no point is taken so near to an unseen pixel, whose surroundings are compared with the goal's.
UNSEEN_MARGIN = TRACKING_WINDOW // 2 + round(LIGHT_DEVIATION)
OUTLINE_MARGIN = 2  # px inside the object's outline, where a point's depth may be the background's


@dataclass(frozen=True)
class TargetPoints:
    """Keypoints of a goal picture [px], their descriptors and depths [m].

    picture: the goal picture, its light evened out.
    """

    px: Float[np.ndarray, "n 2"]
    descriptors: np.ndarray
    Z: Float[np.ndarray, " n"]
    picture: UInt8[np.ndarray, "h w"]


class KeypointServo(MatchServo):
    """`v = -gain L*^+ (s - s*)` on matches that one pose of the camera explains (Eq. 4).

    `L* = L(s*, Z*)` is that of the goal. depth: of the goal picture, unknown where there is no
    object: only points on it are matched. Where there is no map, each point's depth and the scale
    of all are found from the camera's own motion, beginning with one number for all. robust: reject
    outliers; without it that number stays. track: near the goal only those points are matched that
    were matched at the step before, as long as MIN_MATCHES are left, and each is moved to where the
    view looks most like the goal, to a fraction of a pixel (Lucas & Kanade): a detector is not that
    exact. `set_goal` raises InputError where too few keypoints are on the object.

    The paper rejects outliers by RANSAC, and does not say of which model. Here it is MAGSAC of the
    camera's pose where a map of depth is given, which excludes more than an epipolar constraint
    would, and works with flat objects too.
    """

    pose_type = PointPose

    def __init__(
        self,
        camera: Camera,
        detector: Detector,
        depth: Known = None,
        gain: float = 0.1,
        *,
        robust: bool = True,
        track: bool = True,
    ) -> None:
        super().__init__(camera, depth, gain)
        self.detector, self.robust, self.track = detector, robust, track

    def words(self, n: int) -> list[str]:
        """How many matches agreed in the last picture, and their mean error."""
        counts = self.state["agree"].expand(n).tolist()
        errors = self.state["error_px"].expand(n).tolist()
        return [
            f"{k} matches agree, {error:.2f} px off"
            if k >= MIN_MATCHES
            else f"{k} matches agree of the {MIN_MATCHES} needed; the camera holds still"
            for k, error in zip(counts, errors, strict=True)
        ]

    def _agreeing_matches(self, n: int) -> Tensor:
        agree = self.state["agree"].expand(n)
        return torch.where(agree >= MIN_MATCHES, agree, 0)

    def _set_goal(self, goal: Tensor) -> None:
        maps = self.goal_depth.maps(len(goal)).numpy()
        self.targets = [self._target(picture[0], Z) for picture, Z in zip(goal, maps, strict=True)]
        self.poses = []
        most, n = max(len(target.px) for target in self.targets), len(goal)
        self.state = {
            "goal": torch.arange(n),
            "matched": torch.ones(n, most, dtype=torch.bool),  # which of the goal's points
            "tracking": torch.zeros(n, dtype=torch.bool),
            "agree": torch.zeros(n, dtype=torch.int64),
            "error_px": torch.full((n,), torch.nan),
            # Of matches that agree: the pixels of goal and view, and the inverse depth in the goal.
            "kept": torch.full((n, KEPT_MATCHES, 5), torch.nan, dtype=torch.float64),
        }

    def _points_of_goal(self, goal: int) -> int:
        return len(self.targets[goal].px)

    def _target(self, picture: Float[Tensor, "h w"], Z: Float[np.ndarray, "h w"]) -> TargetPoints:
        px, descriptors = self._found(picture)
        u, v = px.round().astype(int).T if len(px) else np.zeros((2, 0), int)
        on = inside_outline(Z)[v, u]
        if on.sum() < MIN_MATCHES:
            raise InputError(
                f"the target picture has {on.sum()} keypoints on the object, and {MIN_MATCHES} are "
                "needed; light it, or go nearer"
            )
        evened = even_light(_whole(picture).numpy())
        return TargetPoints(px[on], descriptors[on], Z[v, u][on], evened)

    def _velocity(self, image: Tensor) -> Tensor:
        n = len(image)
        self._begin(n)
        self.state = {
            name: values.expand(n, *values.shape[1:]).clone() for name, values in self.state.items()
        }
        v_cam = torch.zeros(n, 6, dtype=torch.float64)
        for i, found in enumerate(self._match(image)):
            self.state["kept"][i] = torch.nan
            if found is not None:
                v_cam[i] = self._velocity_of_run(i, found)
        return v_cam

    def _match(self, image: Tensor) -> list[Matched | None]:
        pool = native.pool(torch.get_num_threads())
        found = [pool.submit(self._found, picture[0]) for picture in image]
        return [self._matched(i, view.result(), image[i, 0]) for i, view in enumerate(found)]

    def _found(self, picture: Float[Tensor, "h w"]) -> Features:
        """The detector's keypoints, without those near unseen pixels."""
        px, descriptors = self.detector(_whole(picture))
        if not has_unseen(picture[None, None]) or not len(px):
            return px, descriptors
        u, v = px.round().astype(int).T
        seen = ~reached(picture[None, None], UNSEEN_MARGIN)[0].numpy()[v, u]
        return px[seen], descriptors[seen]

    def _matched(self, i: int, view: Features, picture: Float[Tensor, "h w"]) -> Matched | None:
        """The matches of run i that agree; None where they are too few."""
        state, target = self.state, self.targets[int(self.state["goal"][i])]
        n = len(target.px)
        every, near = np.ones(n, bool), self.track and bool(state["tracking"][i])
        tracked = state["matched"][i, :n].numpy() if near else every
        found = self._agreeing(
            i, self._candidates(target, view, tracked, picture if near else None)
        )
        if len(found.index) < MIN_MATCHES and not tracked.all():  # tracking is lost: match all
            found = self._agreeing(i, self._candidates(target, view, every, None))
        state["agree"][i] = len(found.index)
        if len(found.index) < MIN_MATCHES:
            state["error_px"][i], state["tracking"][i] = torch.nan, False
            return None
        state["matched"][i] = False
        state["matched"][i, found.index] = True
        error = float(np.linalg.norm(found.cam_px - found.goal_px, axis=1).mean())
        state["error_px"][i], state["tracking"][i] = error, error < TRACKING_ERROR
        return found

    def _velocity_of_run(self, i: int, found: Matched) -> Float[Tensor, "6"]:
        """`v_cam` of run i from its matches."""
        Z = torch.from_numpy(self._depths(i, found))
        if len(found.index) >= RELIABLE_MATCHES:
            some = np.linspace(0, len(found.index) - 1, KEPT_MATCHES).astype(int)
            px = np.column_stack([found.goal_px, found.cam_px])[some]
            self.state["kept"][i] = torch.cat([torch.from_numpy(px), 1 / Z[some, None]], 1)
        s, s_goal = self._normalised(found.cam_px), self._normalised(found.goal_px)
        L = interaction.point(s_goal[:, 0], s_goal[:, 1], Z)
        H, g = control.normal_equations(L.flatten(0, 1), (s - s_goal).flatten())
        return control.gauss_newton(H, g, self.gain)

    def _depths(self, i: int, found: Matched) -> Float[np.ndarray, " n"]:
        """Z [m] of the matches' points in the goal of run i."""
        if self.robust:
            rho = self.poses[i].pose(found)[1]
            if self.goal_depth.Z is None:
                return 1 / rho
        return self.targets[int(self.state["goal"][i])].Z[found.index]

    def pose_consistency(self, T_goal_cam: Tensor, runs: Tensor) -> Tensor:
        """-1 where the last picture's matches reject the poses, by CONSISTENT_ERROR; else 0.

        They reject none where fewer than RELIABLE_MATCHES agree.
        """
        goal_px, px, rho = self.state["kept"][runs].split([2, 2, 1], -1)
        at = self._seen_at(T_goal_cam, goal_px, rho[..., 0])
        return -((at - px).norm(dim=2).median(1).values >= CONSISTENT_ERROR).long()

    def _candidates(
        self,
        target: TargetPoints,
        view: Features,
        allowed: Bool[np.ndarray, " n"],
        picture: Float[Tensor, "h w"] | None,
    ) -> Candidates:
        """Matches of the goal's points with the view's keypoints, wrong ones too.

        allowed: which of the points may match. With a picture, the view's pixels are refined by
        tracking.
        """
        index = allowed.nonzero()[0]
        a, b = match(target.descriptors[index], view[1])
        a, px = index[a], view[0][b]
        if picture is not None and len(a):
            evened = even_light(_whole(picture).numpy())
            px, good = tracked_px(target.picture, evened, target.px[a], px)
            a, px = a[good], px[good]
        return Candidates(target.px[a], px, a)

    def _agreeing(self, i: int, candidates: Candidates) -> Matched:
        """Those that agree in run i; all where there are too few to tell, or without `robust`."""
        if self.robust and len(candidates.index) >= MIN_MATCHES:
            found = self.poses[i].explain(candidates, INLIER_DISTANCE, MIN_MATCHES)
            if found is not None:
                return found
            candidates = candidates.pick(np.zeros(0, int))
        return Matched(candidates.goal_px, candidates.cam_px, candidates.index)


def inside_outline(Z: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Which pixels have a known depth, with all those about them."""
    m = OUTLINE_MARGIN
    known = np.pad(np.isfinite(Z).astype(np.uint8), m, mode="edge")
    return cv2.erode(known, np.ones((2 * m + 1,) * 2))[m:-m, m:-m] > 0


def _whole(picture: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The picture with unseen pixels continued from those about them."""
    return continued(picture[None, None])[0, 0]


def even_light(picture: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The picture with the same local mean and contrast everywhere, so that light hardly shows."""
    mean, square = (
        cv2.GaussianBlur(each, (0, 0), LIGHT_DEVIATION) for each in (picture, picture * picture)
    )
    level = (picture - mean) / np.sqrt(np.maximum(square - mean * mean, 0) + MIN_CONTRAST**2)
    return (128 + 42 * level).clip(0, 255).round().astype(np.uint8)


def tracked_px(
    goal: UInt8[np.ndarray, "h w"],
    view: UInt8[np.ndarray, "h w"],
    goal_px: Float[np.ndarray, "n 2"],
    px: Float[np.ndarray, "n 2"],
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Pixels of the view where it looks most like the goal about its points.

    The second answer is which points were tracked. goal, view: pictures of `even_light`. px: where
    the points are about in the view.
    """
    first, second = (each.astype(np.float32).reshape(-1, 1, 2) for each in (goal_px, px))
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        goal, view, first, second, winSize=(TRACKING_WINDOW,) * 2, maxLevel=0,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.003),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    tracked = found[:, 0].astype(float)
    near = np.linalg.norm(tracked - px, axis=1) < MAX_TRACKING_MOVE
    return tracked, (status[:, 0] > 0) & near
