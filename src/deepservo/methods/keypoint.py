"""Servoing on matched keypoints, without training.

SIFT and pose-based servoing; ORB and image-based servoing.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features import keypoints, two_views
from deepservo.features.goal_depth import Known
from deepservo.features.match_pose import MatchPose
from deepservo.features.two_views import Explain, Matched
from deepservo.geometry import interaction, se3
from deepservo.methods.base import Controller
from deepservo.methods.verdict import Belief

RELIABLE_MATCHES = 25  # that agree: wrong homographies had fewer
CONSISTENT_ERROR = 1.0  # px: median error of matches under which a pose is consistent with them
CELLS_ALIKE_PX = 0.3
KEPT_MATCHES = 32  # matches of each run that poses are checked with


class MatchServo(Controller):
    """Base of all: the goal's keypoints are detected once and matched to the view's at every step.

    depth: of the goal's scene. By a map, one pose explains the matches. By one number, the scene is
    a plane that faces the goal at that distance unless the matches are not those of a plane; then,
    and where no depth is given, each point's depth and the scale of all are found from the camera's
    own motion. The velocity is zero where too few matches agree.
    """

    detector_name = "sift"
    by_pose = False  # whether the law is that of the pose
    alike_px = 0.02  # the error that all matches may have alike
    pose_type = MatchPose
    uses_motion = True

    def __init__(self, camera: Camera, depth: Known = None, gain: float = 0.1) -> None:
        super().__init__(camera, depth)
        self.gain = gain
        self.poses: list[MatchPose] = []

    def belief(self, n: int) -> Belief:
        """Whether enough matches agree, and their pose."""
        agree, belief = self._agreeing_matches(n), Belief.nothing(n)
        for i, pose in enumerate(self.poses):
            if pose.measured is not None:
                belief.T_goal_cam[i] = torch.from_numpy(pose.measured.T_goal_now)
                alike_px = self.alike_px if pose.exact else CELLS_ALIKE_PX
                C = pose.measured.covariance(self.camera, alike_px)
                belief.covariance[i] = torch.from_numpy(C)
        by_pose = torch.full((n,), self.by_pose)
        sure = agree >= RELIABLE_MATCHES
        return replace(belief, recognised=agree > 0, sure=sure, by_pose=by_pose)

    def _agreeing_matches(self, n: int) -> Int[Tensor, " n"]:
        """How many exact matches agreed in each run's last picture; 1 where others did."""
        return self.state["inliers"].expand(n)

    def words(self, n: int) -> list[str]:
        """How many matches agreed in the last picture."""
        return [
            f"{k} matches agree" if k else "too few matches agree"
            for k in self.state["inliers"].expand(n).tolist()
        ]

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone, and what is known of their scenes."""
        super().select_runs(index)
        self.poses = [self.poses[i] for i in index.tolist()] if self.poses else []

    def velocity_of(self, image: Tensor, index: Tensor, n: int) -> Float[Tensor, "k 6"]:
        """`velocity` of the runs `index` among n; the others' scenes are not touched."""
        self._begin(n)
        return super().velocity_of(image, index, n)

    def _set_goal(self, goal: Tensor) -> None:
        self.goals = [keypoints.detect(picture[0], self.detector_name) for picture in goal]
        self.state, self.poses = self._first_state(len(goal)), []

    def depth_found(self, run: int) -> Float[Tensor, "h w"] | None:
        """Inverse depth between the matched points, by their own; None before a plane."""
        return self.poses[run].inverse_depth() if self.poses else None

    def finds_depth(self, n: int) -> Bool[Tensor, " n"]:
        """In which runs a solid was seen in few pictures so far."""
        return torch.tensor([pose.finds_depth() for pose in self.poses] or [False] * n)

    def _points_of_goal(self, goal: int) -> int:
        """How many points of the goal of this number may be matched."""
        return len(self.goals[goal][0])

    def _begin(self, n: int) -> None:
        """Tell what finds the poses of each of n runs, made at the first picture, how it moved."""
        if not self.poses:
            self.poses = [
                self.pose_type(
                    self.camera, self.goal_depth, k, self._points_of_goal(k), self._plane_pose
                )
                for k in self.state["goal"].expand(n).tolist()
            ]
        if self.T_start_cam is not None:
            for pose, T_start_cam in zip(self.poses, self.T_start_cam, strict=True):
                pose.move_to(T_start_cam.numpy())

    def _first_state(self, goals: int) -> dict[str, Tensor]:
        """The state before the first picture, one row a goal."""
        return {"goal": torch.arange(goals), "inliers": torch.zeros(goals, dtype=torch.int64)}

    def _match(self, image: Tensor) -> list[Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        goals = [self.goals[k] for k in index]
        jobs = keypoints.start_matches(image, goals, self._explain(), self.detector_name)
        found = [job.result() for job in jobs]
        self.state["inliers"] = torch.tensor([0 if f is None else len(f.goal_px) for f in found])
        return found

    def _explain(self) -> list[Explain]:
        """What decides which matches of each run agree in the next picture."""
        return [pose.explain for pose in self.poses]

    def _pose(self, i: int, found: Matched) -> tuple[Float[Tensor, "4 4"], Float[Tensor, " n"]]:
        """`T_goal_cam` of run i, and the inverse depths of its matches' points [1/m]."""
        T, rho = self.poses[i].pose(found)
        return torch.from_numpy(T), torch.from_numpy(rho)

    def _plane_pose(self, found: Matched) -> Float[np.ndarray, "4 4"]:
        """`T_goal_cam` of matches of a plane that faces the goal."""
        assert found.H is not None
        return two_views.pose_of_homography(found.H, self.camera, self.goal_depth.number)

    def _normalised(self, points: Float[np.ndarray, "n 2"]) -> Float[Tensor, "n 2"]:
        return torch.from_numpy(two_views.normalised(points, self.camera)).double()

    def _seen_at(
        self,
        T_goal_cam: Float[Tensor, "r 4 4"],
        goal_px: Float[Tensor, "r k 2"],
        rho: Float[Tensor, "r k"],
    ) -> Float[Tensor, "r k 2"]:
        """Pixels where the camera at these poses sees points of the goal picture [px].

        rho: inverse depths of the points in the goal [1/m].
        """
        T, camera = se3.inverse(T_goal_cam), self.camera
        m = torch.cat([goal_px, torch.ones_like(goal_px[..., :1])], -1) @ camera.K_inv.mT
        return camera.project(m @ T[:, :3, :3].mT + rho[..., None] * T[:, None, :3, 3])


class HomographyServo(MatchServo):
    """SIFT matches, the pose that explains them, and PBVS."""

    by_pose = True

    def _velocity(self, image: Tensor) -> Tensor:
        self._begin(len(image))
        T = torch.eye(4, dtype=torch.float64).repeat(len(image), 1, 1)
        kept = self._first_state(1)["kept"].repeat(len(image), 1, 1)
        for i, found in enumerate(self._match(image)):
            if found is None:
                continue
            T_goal_cam, rho = self._pose(i, found)
            T[i] = T_goal_cam @ self._motion_since(i)
            goal_px = torch.from_numpy(found.goal_px).double()
            cam_px = torch.from_numpy(found.cam_px).double()
            poses = torch.stack([T_goal_cam, T[i]])
            then, at = self._seen_at(poses, goal_px.expand(2, -1, -1), rho.expand(2, -1))
            error = float((then - cam_px).norm(dim=1).median())
            if len(at) >= RELIABLE_MATCHES and error < CONSISTENT_ERROR:
                some = torch.linspace(0, len(at) - 1, KEPT_MATCHES).long()
                kept[i] = torch.cat([goal_px[some], at[some], rho[some, None]], 1)
        self.state["kept"] = kept
        return control.pbvs(T, self.gain)

    def _motion_since(self, i: int) -> Float[Tensor, "4 4"]:
        """Of the camera of run i since the picture that its matches are of: none."""
        return torch.eye(4, dtype=torch.float64)

    def _first_state(self, goals: int) -> dict[str, Tensor]:
        return super()._first_state(goals) | {
            "kept": torch.full((goals, KEPT_MATCHES, 5), torch.nan, dtype=torch.float64)
        }

    def pose_consistency(self, T_goal_cam: Tensor, runs: Tensor) -> Tensor:
        """1 where the poses agree with the last picture's matches, -1 where not.

        They agree when they project the matches to within CONSISTENT_ERROR of their places. 0: that
        picture had too few reliable matches.
        """
        goal_px, cam_px, rho = self.state["kept"][runs].split([2, 2, 1], -1)
        # NaN where no matches are kept.
        at = self._seen_at(T_goal_cam, goal_px, rho[..., 0])
        apart = (at - cam_px).norm(dim=2).median(1).values
        return (apart < CONSISTENT_ERROR).long() - (apart >= CONSISTENT_ERROR).long()


class PointServo(MatchServo):
    """ORB matches that one scene explains, and IBVS on them.

    L is the mean of the view's and the goal's.
    """

    detector_name = "orb"
    # Its keypoints lie on whole pixels: a view that is nearer to the goal looks like it.
    alike_px = 0.7

    def _velocity(self, image: Tensor) -> Tensor:
        self._begin(len(image))
        v_cam = torch.zeros(len(image), 6, dtype=torch.float64)
        for i, found in enumerate(self._match(image)):
            if found is not None:
                T_goal_cam, rho = self._pose(i, found)
                s, s_goal = self._normalised(found.cam_px), self._normalised(found.goal_px)
                Z = self._depths(T_goal_cam, s_goal, rho) if found.H is None else 1 / rho
                L = (
                    interaction.point(s[:, 0], s[:, 1], Z)
                    + interaction.point(s_goal[:, 0], s_goal[:, 1], 1 / rho)
                ).flatten(0, 1) / 2
                v_cam[i] = control.gauss_newton(
                    *control.normal_equations(L, (s - s_goal).flatten()), self.gain
                )
        return v_cam

    def _depths(
        self,
        T_goal_cam: Float[Tensor, "4 4"],
        s_goal: Float[Tensor, "n 2"],
        rho: Float[Tensor, " n"],
    ) -> Float[Tensor, " n"]:
        """Depths in the view [m] of points of the goal."""
        T = se3.inverse(T_goal_cam)
        points = torch.cat([s_goal, torch.ones_like(s_goal[:, :1])], 1) / rho[:, None]
        least = 0.1 / rho.median()
        return (points @ T[2, :3] + T[2, 3]).clamp(min=float(least))
