"""The pose of one run's camera from its matches, by whatever is known of the goal's depth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int

from deepservo.camera import Camera
from deepservo.features import clustered, two_views
from deepservo.features.goal_depth import GoalDepth
from deepservo.features.structure import SURE_VIEWS, Structure, View, projected, resection
from deepservo.features.two_views import Candidates, Matched
from deepservo.geometry import se3

# Where the matches' median error by a plane that faces the camera is larger than this [px], and
# than so many times that by any plane, the scene is none that faces it.
FACING_ERROR, FACING_FACTOR = 1.5, 2.0
SURE_MATCHES = 50  # fewer may be those of a wrong plane
# Of the matches of any plane: where as many agree by the depths known so far, those are right.
KNOWN_SHARE = 0.95
# Where the camera's motion since the view before leads to a pose by which that median error is
# larger [px], and than so many times that of the view's own pose, it is none either. So many
# matches of either view are needed: the poses of fewer are that uncertain before planes too.
MOTION_ERROR, MOTION_FACTOR, MOTION_MATCHES = 3.0, 8.0, 70
PARTS_DONE = (1.0, 0.75, 0.5, 0.25, 0.0, 1.25, 1.5)  # of a motion, the commonest first
# Least F of a pose against a turn alone, for it to be no mere turn. Errors of neighbouring cells
# are alike, so it is far more than it would be for errors that are independent.
MIN_MOVE_F = 50.0
FAR_MOVE = 0.5  # of the assumed distance
# Share of the assumed distance that a camera must have moved to tell the true one or another scene,
# and the factor by which the distance may differ.
MIN_PLANE_MOVE, MAX_SCALE = 0.02, 100.0
MAX_WAIT = 16  # pictures in which no solid is looked for, where none was found so far
EXPECTED_ERROR = 3.0  # px, from a match's place by the structure, for it to agree


@dataclass(frozen=True)
class Measured:
    """The pose of a picture, and the matches that it is from; rho: of their points [1/m]. since:
    the camera's motion from there.
    """

    T_goal_cam: Float[np.ndarray, "4 4"]
    rho: Float[np.ndarray, " n"]
    view: View
    since: Float[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))

    @property
    def T_goal_now(self) -> Float[np.ndarray, "4 4"]:
        """The camera's pose now."""
        return self.T_goal_cam @ self.since

    def covariance(self, camera: Camera, alike_px: float) -> Float[np.ndarray, "6 6"]:
        """Of the twist xi to the true pose, `T_true = exp(xi) T_goal_cam`, translation [m] before
        rotation [rad]; not finite where the matches leave a direction free.

        alike_px: the error that all matches may have alike [px].
        """
        R, t = self.T_goal_cam[:3, :3], self.T_goal_cam[:3, 3]
        rays = np.column_stack([self.view.goal, np.ones(len(self.rho))])
        # Moved by xi the camera sees a point X of the goal at `R^T (X - t - v - w x X)`.
        X = rays / np.maximum(self.rho, 1e-6)[:, None]
        x, y, z = ((X - t) @ R).T
        z = np.maximum(z, 1e-6)
        down = np.stack([np.stack([1 / z, 0 * z, -x / z**2]), np.stack([0 * z, 1 / z, -y / z**2])])
        by_place = -down.transpose(2, 0, 1) @ R.T
        J = np.concatenate([by_place, np.cross(X[:, None], by_place)], 2)
        r = self.view.seen - np.column_stack([x / z, y / z])
        px = self.view.goal * [camera.fx, camera.fy] + [camera.cx, camera.cy]
        cell = clustered.cells(px, camera.width, camera.height)
        C = clustered.covariance(J, r, np.ones(len(r)), cell)
        inverse = clustered.inverse_of(J.reshape(-1, 6).T @ J.reshape(-1, 6))
        return C if inverse is None else C + (alike_px / camera.fx) ** 2 * len(r) * inverse


PlanePose = Callable[[Matched], Float[np.ndarray, "4 4"]]
"""`T_goal_cam` of matches of a plane that faces the goal's camera at the known distance."""


class MatchPose:
    """Explains the matches of one run, and finds its poses.

    Where the goal's map of depth is known, one pose explains the matches. Else a plane does, which
    faces the goal's camera at the depth given, or a solid, whose `Structure` is estimated from the
    camera's own motion; once it is, it serves to the end of the run. So it is where no depth is
    given, for its scale. n: of the goal's points. goal: its number among those of `depth`.
    """

    def __init__(
        self, camera: Camera, depth: GoalDepth, goal: int, n: int, plane_pose: PlanePose
    ) -> None:
        self.camera, self.n, self.plane_pose = camera, n, plane_pose
        self.number, self.known_number = depth.number, depth.metres is not None
        several = depth.Z is not None and len(depth.Z) > 1
        self.Z = None if depth.Z is None else depth.Z[goal if several else 0].numpy()
        self.structure: Structure | None = None
        self.T_start_cam, self.exact = np.eye(4), True
        self.failures = self.waits = 0  # to find any matches; looks at planes alone until the next
        # Of the distance to a plane of which nothing is known: over what is assumed, the first pose
        # and the motion at it, and sums of products of the motions since.
        self.scale, self.seen_seen, self.done_seen = 1.0, 0.0, 0.0
        self.first: tuple[np.ndarray, np.ndarray] | None = None
        self.last: tuple[Matched, View] | None = None  # view of a plane
        self.last_pose: np.ndarray | None = None  # the plane's there, where it was needed
        self.measured: Measured | None = None  # of the last picture; None where nothing matched

    def move_to(self, T_start_cam: Float[np.ndarray, "4 4"]) -> None:
        """The camera has moved so far since its start, and sees the next picture."""
        self.T_start_cam, self.measured = T_start_cam, None

    def explain(self, candidates: Candidates, max_error: float, min_inliers: int) -> Matched | None:
        """The matches that agree; see `two_views.Explain`."""
        if self.Z is not None:
            return two_views.posed(candidates, self.camera, self.Z, max_error, min_inliers)
        self.exact = max_error <= two_views.MAX_TELLING_ERROR
        found = self._plane_or_solid(candidates, max_error, min_inliers)
        if self.structure is None:
            return found
        expected = self._expected(candidates, max_error, min_inliers)
        known = np.isfinite(self.structure.deviation[expected.index]).sum()
        count = 0 if found is None else len(found.index)
        return expected if known >= min_inliers and len(expected.index) >= count else found

    def pose(self, found: Matched) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, " n"]]:
        """`T_goal_cam`, and the inverse depths of the matches' points in the goal [1/m]."""
        view = self._view(found)
        T, rho = self._pose(found, view)
        self.measured = Measured(T, rho, view)
        return T, rho

    def _pose(
        self, found: Matched, view: View
    ) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, " n"]]:
        """`pose` of matches that are seen so."""
        if self.Z is not None:
            rho, T = 1 / two_views.depth_at(self.Z, found.goal_px), found.T_goal_cam
            assert T is not None
            return resection(view, rho, np.zeros(len(rho)), T, self.camera.fx), rho
        if self.structure is None:
            plane = self._plane(found, view)
            if plane is not None and self._moved_so(found, plane, view):
                plane[:3, 3] *= self._plane_scale(plane)
                return plane, np.full(len(found.index), 1 / (self.number * self.scale))
            self.structure = Structure(self.n, self.camera.fx, 1 / self.number)
            if self.last is not None:
                self.structure.see(self.last[1], self._guesses(*self.last))
        T = self.structure.see(view, self._guesses(found, view))
        return T, self.structure.rho[found.index]

    def inverse_depth(self) -> Float[torch.Tensor, "h w"] | None:
        """1 / Z [1/m] of the goal's pixels, between its points; None before a known plane."""
        if self.structure is not None:
            return self.structure.dense(self.camera)
        if self.scale == 1:
            return None
        size = (self.camera.height, self.camera.width)
        return torch.full(size, 1 / (self.number * self.scale))

    def finds_depth(self) -> bool:
        """Whether a solid was seen in so few views that wrong depths may explain them."""
        return self.structure is not None and len(self.structure.views) < SURE_VIEWS

    def _plane_scale(self, T_goal_cam: Float[np.ndarray, "4 4"]) -> float:
        """How far the plane is over what is assumed, where nothing is known of it.

        It is least squares of the camera's own motion by the motion that its poses would have.
        """
        if self.known_number:
            return 1.0
        if self.first is None:
            self.first = T_goal_cam.copy(), self.T_start_cam
        T_first, T_start_first = self.first
        seen = T_goal_cam[:3, 3] - T_first[:3, 3]
        done = T_first[:3, :3] @ (np.linalg.inv(T_start_first) @ self.T_start_cam)[:3, 3]
        if np.linalg.norm(seen) > MIN_PLANE_MOVE * self.number:
            self.seen_seen += seen @ seen
            self.done_seen += done @ seen
            scale = self.done_seen / self.seen_seen
            self.scale = float(np.clip(scale, 1 / MAX_SCALE, MAX_SCALE))
        return self.scale

    def _plane(self, found: Matched, view: View) -> Float[np.ndarray, "4 4"] | None:
        """`T_goal_cam` of matches of a plane that faces the goal; None where they are of none."""
        if found.H is None or found.T_goal_cam is not None:
            return None
        n, error = len(found.index), float(np.median(two_views.plane_error(found, found)))
        T, rho = self.plane_pose(found), np.full(n, 1 / self.number)
        most = max(FACING_ERROR, FACING_FACTOR * error)
        if not self.exact:
            return self._turned(T, rho, view)
        if n < SURE_MATCHES or self._error(T, rho, view) < most:
            return T
        # The pose of a homography is that of least error only where the homography is exact.
        T = resection(view, rho, np.zeros(n), T, self.camera.fx)
        return T if self._error(T, rho, view) < most else None

    def _turned(
        self, T_goal_cam: Float[np.ndarray, "4 4"], rho: Float[np.ndarray, " n"], view: View
    ) -> Float[np.ndarray, "4 4"]:
        """The pose, or a turn alone where that is of a far move and the turn explains inexact
        matches about as well.

        Matches of a small part of the picture do not tell one from the other.
        """
        if np.linalg.norm(T_goal_cam[:3, 3]) < FAR_MOVE * self.number:
            return T_goal_cam
        turn = np.eye(4)
        turn[:3, :3] = two_views.rotation(view.goal, view.seen)
        plain, pose = (self._error(T, rho, view) ** 2 for T in (turn, T_goal_cam))
        F = (plain - pose) / 3 * (2 * len(rho) - 6) / max(pose, 1e-12)
        return turn if F < MIN_MOVE_F else T_goal_cam

    def _moved_so(self, found: Matched, T_goal_cam: Float[np.ndarray, "4 4"], view: View) -> bool:
        """Whether a plane's pose is where the camera has moved since an earlier view of it.

        The plane may be at any distance: the motion's length is the one that fits best.
        """
        if len(view.index) < MOTION_MATCHES or not self.exact:
            return True
        _, last = self.last = self.last or (found, view)
        motion = np.linalg.inv(last.T_start_cam) @ view.T_start_cam
        if np.linalg.norm(motion[:3, 3]) < MIN_PLANE_MOVE * self.number:
            return True
        rho = np.full(len(view.index), 1 / self.number)
        most = max(MOTION_ERROR, MOTION_FACTOR * self._error(T_goal_cam, rho, view))
        led = self._led(motion, T_goal_cam)
        agree = any(self._error(T, rho, view) < most for T in led)
        if agree:
            self.last, self.last_pose = (found, view), None
        return agree

    def _led(
        self, motion: Float[np.ndarray, "4 4"], T_goal_cam: np.ndarray
    ) -> Iterator[Float[np.ndarray, "4 4"]]:
        """Poses that the motion may lead to from that of the last view of the plane.

        The motion may have been done in part, or have gone on, as arms do that lag. Its length is
        the one that leads nearest to the pose seen.
        """
        if self.last_pose is None:
            assert self.last is not None
            self.last_pose = self.plane_pose(self.last[0])
        twist, first = se3.log(torch.from_numpy(motion)), self.last_pose
        for part in PARTS_DONE:
            T, done = first.copy(), se3.exp(part * twist).numpy()
            way, seen = T[:3, :3] @ done[:3, 3], T_goal_cam[:3, 3] - T[:3, 3]
            T[:3, 3] += max(0.0, way @ seen / max(way @ way, 1e-12)) * way
            T[:3, :3] = T[:3, :3] @ done[:3, :3]
            yield T

    def _guesses(self, found: Matched, view: View) -> list[Float[np.ndarray, "4 4"]]:
        """Poses that the matches may have: of the plane that faces the goal, of any, of a solid."""
        guesses, rays = [], np.column_stack([view.goal, np.ones(len(view.goal))])
        if found.H is not None:
            guesses.append(self.plane_pose(found))
            guesses += two_views.plane_poses(found.H, self.camera, rays, self.number)
        if found.T_goal_cam is not None:
            guesses.append(two_views.scaled(found.T_goal_cam, rays, view.seen, self.number))
        return guesses

    def _plane_or_solid(
        self, candidates: Candidates, max_error: float, min_inliers: int
    ) -> Matched | None:
        """`two_views.plane_or_solid`, in which solids are looked for the more rarely, the more
        often nothing was found.
        """
        look = self.waits == 0
        found = two_views.plane_or_solid(
            candidates, self.camera, max_error, min_inliers, always=look
        )
        if found is not None or look:
            self.looked(found)
        else:
            self.waits -= 1
        return found

    def looked(self, found: Matched | None) -> None:
        """A plane or a solid was looked for: where none was found, the next is the more rarely."""
        self.failures = self.failures + 1 if found is None else 0
        self.waits = min(2**self.failures, MAX_WAIT) if found is None else 0

    def _expected(self, candidates: Candidates, max_error: float, min_inliers: int) -> Matched:
        """The matches that are where the structure has them.

        They are near to where the motion leads, and agree with the pose of those that are.
        """
        structure = self.structure
        assert structure is not None and structure.T_start_goal is not None
        T = np.linalg.inv(structure.T_start_goal) @ self.T_start_cam
        near = self._agreeing(candidates, T, max(max_error, EXPECTED_ERROR))
        known = near.pick(np.isfinite(structure.deviation[near.index]))
        if len(known.index) >= min_inliers:
            view, rho = self._view(known), structure.rho[known.index]
            T = resection(view, rho, structure.deviation[known.index], T, self.camera.fx)
            near = self._agreeing(candidates, T, max_error)
        return Matched(near.goal_px, near.cam_px, near.index)

    def _agreeing(
        self, candidates: Candidates, T_goal_cam: Float[np.ndarray, "4 4"], max_error: float
    ) -> Candidates:
        """The matches that the structure has so near at a pose [px], as far as it is known."""
        structure, camera = self.structure, self.camera
        assert structure is not None
        rho, deviation = (each[candidates.index] for each in (structure.rho, structure.deviation))
        known = np.isfinite(deviation)
        view = self._view(candidates)
        place, other = (
            projected(T_goal_cam, view.goal, each)
            for each in (rho, rho + np.where(known, deviation, 0))
        )
        apart, free = (
            camera.fx * np.linalg.norm(each - place, axis=1) for each in (view.seen, other)
        )
        solid = Matched(
            candidates.goal_px, candidates.cam_px, candidates.index, T_goal_cam=T_goal_cam
        )
        apart = np.where(known, apart, two_views.epipolar_error(candidates, solid, camera))
        return candidates.pick(apart < max_error + free)

    def _view(self, found: Candidates) -> View:
        """Where the picture now shows these matches."""
        return View(
            self.T_start_cam,
            found.index,
            two_views.normalised(found.goal_px, self.camera),
            two_views.normalised(found.cam_px, self.camera),
        )

    def _error(self, T_goal_cam: np.ndarray, rho: Float[np.ndarray, " n"], view: View) -> float:
        """Median distance of the matches from their places by a pose [px]."""
        apart = projected(T_goal_cam, view.goal, rho) - view.seen
        return float(np.median(np.linalg.norm(apart, axis=1))) * self.camera.fx


class PointPose(MatchPose):
    """That of a law which needs the points' own depths, before a plane too.

    Where no map is known, SURE_MATCHES begin the structure, whatever they are of. Fewer could be
    explained by wrong models: of them those agree that one pose explains by the inverse depths
    known so far, which they do not change. So it is at first, where that explains them as well.
    """

    def explain(self, candidates: Candidates, max_error: float, min_inliers: int) -> Matched | None:
        """The matches that agree; see `two_views.Explain`."""
        found = super().explain(candidates, max_error, min_inliers)
        count = 0 if found is None else len(found.index)
        if self.Z is not None or (self.structure is not None and count >= SURE_MATCHES):
            return found
        rho, camera = self._known(candidates.index), self.camera
        rays = np.column_stack(
            [two_views.normalised(candidates.goal_px, camera), np.ones(len(rho))]
        )
        posed = two_views.pose_of_points(
            rays / rho[:, None], candidates.cam_px, camera, max_error, min_inliers
        )
        if posed is None or (count >= SURE_MATCHES and len(posed[1]) < KNOWN_SHARE * count):
            return found if count >= SURE_MATCHES else None
        agree = candidates.pick(posed[1])
        H = None if found is None else found.H
        return Matched(agree.goal_px, agree.cam_px, agree.index, H, T_goal_cam=posed[0])

    def _pose(
        self, found: Matched, view: View
    ) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, " n"]]:
        """`pose` of matches that are seen so."""
        if self.Z is not None or len(found.index) >= SURE_MATCHES:
            T, rho = super()._pose(found, view)
            if self.structure is None or len(self.structure.views) > 1:
                return T, rho
            # Of one view the matches' errors alone decide how the scene is tilted.
            return T, np.full(len(rho), 1 / self.number)
        assert found.T_goal_cam is not None
        return found.T_goal_cam, self._known(found.index)

    def _known(self, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Inverse depths of the goal's points so far; the median of those not seen yet."""
        if self.structure is None:
            return np.full(len(index), 1 / self.number)
        seen = np.isfinite(self.structure.deviation)
        rho = self.structure.rho
        return np.where(seen, rho, np.median(rho[seen]))[index]

    def _plane(self, found: Matched, view: View) -> None:
        """No plane is assumed."""
