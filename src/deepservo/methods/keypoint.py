"""Servoing on matched keypoints, without training.

SIFT, a homography and pose-based servoing; ORB and image-based servoing.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features import keypoints
from deepservo.features.pairs import homographies
from deepservo.features.registration import fronto
from deepservo.geometry import interaction
from deepservo.images.depth import Depth
from deepservo.methods.base import Controller

RELIABLE_MATCHES = 25  # that agree: wrong homographies had fewer
CONSISTENT_ERROR = 1.0  # px: median error of matches under which a pose is consistent with them
KEPT_MATCHES = 32  # matches of each run that poses are checked with


class MatchServo(Controller):
    """Base of both: the goal's keypoints are detected once and matched to the view's at every step.

    depth: of the goal's plane [m]; InputError where it is no positive number. The velocity is zero
    where too few matches agree with a homography.
    """

    detector = "sift"

    def __init__(self, camera: Camera, depth: Depth = None, gain: float = 0.1) -> None:
        super().__init__(camera, depth)
        self.gain = gain

    def status(self, n: int) -> list[str]:
        """How many matches agreed in the last picture."""
        return [
            f"{k} matches agree" if k else "too few matches agree"
            for k in self.state["inliers"].expand(n).tolist()
        ]

    def _set_goal(self, goal: Tensor) -> None:
        self.goals = [keypoints.detect(picture[0], self.detector) for picture in goal]
        self.state = self._first_state(len(goal))

    def _first_state(self, goals: int) -> dict[str, Tensor]:
        """The state before the first picture, one row a goal."""
        return {"goal": torch.arange(goals), "inliers": torch.zeros(goals, dtype=torch.int64)}

    def _match(self, image: Tensor) -> list[keypoints.Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        found = keypoints.homographies(image, [self.goals[k] for k in index], self.detector)
        self.state["inliers"] = torch.tensor([0 if f is None else len(f.goal_px) for f in found])
        return found


class HomographyServo(MatchServo):
    """SIFT matches, a MAGSAC homography, the pose of it on a plane that faces the goal, PBVS."""

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = torch.zeros(len(image), 6, dtype=torch.float64)
        kept = self._first_state(1)["kept"].repeat(len(image), 1, 1)
        for i, found in enumerate(self._match(image)):
            if found is None:
                continue
            T_goal_cam = self._pose(found)
            v_cam[i] = control.pbvs(T_goal_cam, self.gain)
            goal_px = torch.from_numpy(found.goal_px).double()
            cam_px = torch.from_numpy(found.cam_px).double()
            at = self._seen_at(T_goal_cam[None], goal_px[None])[0]
            error = float((at - cam_px).norm(dim=1).median())
            if len(at) >= RELIABLE_MATCHES and error < CONSISTENT_ERROR:
                some = torch.linspace(0, len(at) - 1, KEPT_MATCHES).long()
                kept[i] = torch.cat([goal_px[some], at[some]], 1)
        self.state["kept"] = kept
        return v_cam

    def _first_state(self, goals: int) -> dict[str, Tensor]:
        return super()._first_state(goals) | {
            "kept": torch.full((goals, KEPT_MATCHES, 4), torch.nan, dtype=torch.float64)
        }

    def pose_consistency(self, T_goal_cam: Tensor, runs: Tensor) -> Tensor:
        """1 where the poses agree with the last picture's matches, -1 where not.

        They agree when they project the matches to within CONSISTENT_ERROR of their places. 0: that
        picture had too few reliable matches.
        """
        goal_px, cam_px = self.state["kept"][runs].split(2, -1)
        # NaN where no matches are kept.
        apart = (self._seen_at(T_goal_cam, goal_px) - cam_px).norm(dim=2).median(1).values
        return (apart < CONSISTENT_ERROR).long() - (apart >= CONSISTENT_ERROR).long()

    def _seen_at(
        self, T_goal_cam: Float[Tensor, "r 4 4"], goal_px: Float[Tensor, "r k 2"]
    ) -> Float[Tensor, "r k 2"]:
        """Pixels where the camera at these poses sees points of the goal picture [px]."""
        H = homographies(T_goal_cam, fronto(self.goal_depth.number), self.camera, self.camera)
        at = torch.cat([goal_px, torch.ones_like(goal_px[..., :1])], -1) @ H.mT
        return at[..., :2] / at[..., 2:]

    def _pose(self, found: keypoints.Matched) -> Float[Tensor, "4 4"]:
        """`T_goal_cam`."""
        return keypoints.pose_of_homography(
            torch.from_numpy(found.H), self.camera, fronto(self.goal_depth.number)[0]
        )


class PointServo(MatchServo):
    """ORB matches that agree with a homography, and IBVS on them.

    L is the mean of the view's and the goal's, at one depth.
    """

    detector = "orb"

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = torch.zeros(len(image), 6, dtype=torch.float64)
        for i, found in enumerate(self._match(image)):
            if found is not None:
                s, s_goal = self._normalised(found.cam_px), self._normalised(found.goal_px)
                depth = torch.tensor(self.goal_depth.number, dtype=torch.float64)
                L = (
                    interaction.point(s[:, 0], s[:, 1], depth)
                    + interaction.point(s_goal[:, 0], s_goal[:, 1], depth)
                ).flatten(0, 1) / 2
                v_cam[i] = control.gauss_newton(
                    *control.normal_equations(L, (s - s_goal).flatten()), self.gain
                )
        return v_cam

    def _normalised(self, points: object) -> Tensor:
        px = torch.as_tensor(points, dtype=torch.float64)
        camera = self.camera
        return torch.stack(
            [(px[:, 0] - camera.cx) / camera.fx, (px[:, 1] - camera.cy) / camera.fy], 1
        )
