"""Matched keypoints: SIFT, a homography and pose-based servoing; ORB and image-based servoing.
Neither needs training.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features import keypoints
from deepservo.features.plane_pairs import homographies
from deepservo.features.registration import fronto
from deepservo.geometry import interaction
from deepservo.methods.base import Controller
from deepservo.methods.direct import one_depth

ENOUGH = 25  # matches agree: wrong homographies had fewer
SHARP = 1.0  # pixel: matches that are off by less tell a right pose from a wrong one
WITNESSES = 32  # of them are remembered


class MatchServo(Controller):
    """What both do: the goal's keypoints are found once, matched to the view's at every step,
    outliers dropped.

    Where too few matches agree it holds still: it has nothing to go by.
    """

    detector = "sift"

    def __init__(self, camera: Camera, depth: float = 0.6, gain: float = 0.1) -> None:
        super().__init__(camera)
        self.depth, self.gain = one_depth(depth), gain

    def status(self, n: int) -> list[str]:
        """How many matches agreed at the last picture."""
        return [
            f"{k} matches agree" if k else "too few matches agree"
            for k in self.state["inliers"].expand(n).tolist()
        ]

    def _set_goal(self, goal: Tensor) -> None:
        self.goals = [keypoints.detect(picture[0], self.detector) for picture in goal]
        self.state = self._nothing_yet(len(goal))

    def _nothing_yet(self, goals: int) -> dict[str, Tensor]:
        """What is remembered of a run, before the first picture."""
        return {"goal": torch.arange(goals), "inliers": torch.zeros(goals, dtype=torch.int64)}

    def _match(self, image: Tensor) -> list[keypoints.Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        found = keypoints.homographies(image, [self.goals[k] for k in index], self.detector)
        self.state["inliers"] = torch.tensor([0 if f is None else len(f.goal_px) for f in found])
        return found


class HomographyServo(MatchServo):
    """SIFT matches, a MAGSAC homography, the pose it gives for a plane of known depth, PBVS."""

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam, seen = (
            torch.zeros(len(image), 6, dtype=torch.float64),
            self._nothing_yet(1)["seen"].repeat(len(image), 1, 1),
        )
        for i, found in enumerate(self._match(image)):
            if found is not None:
                T_goal_cam = self._pose(found)
                v_cam[i] = control.pbvs(T_goal_cam, self.gain)
                goal_px, cam_px = (
                    torch.from_numpy(found.goal_px).double(),
                    torch.from_numpy(found.cam_px).double(),
                )
                at = self._seen_at(T_goal_cam[None], goal_px[None])[0]
                if len(at) >= ENOUGH and float((at - cam_px).norm(dim=1).median()) < SHARP:
                    some = torch.linspace(0, len(at) - 1, WITNESSES).long()
                    seen[i] = torch.cat([goal_px[some], at[some]], 1)
        self.state["seen"] = seen
        return v_cam

    def _nothing_yet(self, goals: int) -> dict[str, Tensor]:
        return super()._nothing_yet(goals) | {
            "seen": torch.full((goals, WITNESSES, 4), torch.nan, dtype=torch.float64)
        }

    def pose_consistency(self, T_goal_cam: Tensor, runs: Tensor) -> Tensor:
        """By the matches that it saw last, where many agreed well: whether the poses have them
        where its own has.
        """
        goal_px, cam_px = self.state["seen"][runs].split(2, -1)
        apart = (
            (self._seen_at(T_goal_cam, goal_px) - cam_px).norm(dim=2).median(1).values
        )  # NaN where there are none
        return (apart < SHARP).long() - (apart >= SHARP).long()

    def _seen_at(
        self, T_goal_cam: Float[Tensor, "r 4 4"], goal_px: Float[Tensor, "r k 2"]
    ) -> Float[Tensor, "r k 2"]:
        """Where the camera at these poses sees points of the goal [px]."""
        H = homographies(T_goal_cam, fronto(self.depth), self.camera, self.camera)
        at = torch.cat([goal_px, torch.ones_like(goal_px[..., :1])], -1) @ H.mT
        return at[..., :2] / at[..., 2:]

    def _pose(self, found: keypoints.Matched) -> Float[Tensor, "4 4"]:
        """`T_goal_cam`."""
        return keypoints.pose_of_homography(
            torch.from_numpy(found.H), self.camera, fronto(self.depth)[0]
        )


class PointServo(MatchServo):
    """ORB matches that agree with a homography, IBVS on the points: L the mean of the views' and
    the goal's, at one depth.
    """

    detector = "orb"

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = torch.zeros(len(image), 6, dtype=torch.float64)
        for i, found in enumerate(self._match(image)):
            if found is not None:
                s, s_goal = self._normalised(found.cam_px), self._normalised(found.goal_px)
                depth = torch.tensor(self.depth, dtype=torch.float64)
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
