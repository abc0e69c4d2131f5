"""Matched keypoints: SIFT, a homography and pose-based servoing; ORB and image-based servoing. Neither needs training."""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features import keypoints
from deepservo.features.registration import fronto
from deepservo.geometry import interaction
from deepservo.methods.base import Controller
from deepservo.methods.direct import depth_map


class MatchServo(Controller):
    """What both do: the goal's keypoints are found once, matched to the view's at every step, outliers dropped.

    Where too few matches agree it holds still: it has nothing to go by.
    """

    detector = "sift"

    def __init__(self, camera: Camera, depth: float = 0.6, gain: float = 0.1) -> None:
        super().__init__(camera)
        self.depth, self.gain = float(depth_map(depth)), gain

    def evidence(self, n: int) -> list[str]:
        """How many matches agreed at the last picture."""
        return [f"{k} matches agree" if k else "too few matches agree" for k in self.state["inliers"].expand(n).tolist()]

    def _set_goal(self, goal: Tensor) -> None:
        self.goals = [keypoints.detect(picture[0], self.detector) for picture in goal]
        self.state = {"goal": torch.arange(len(goal)), "inliers": torch.zeros(len(goal), dtype=torch.int64)}

    def _match(self, image: Tensor) -> list[keypoints.Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        found = keypoints.homographies(image, [self.goals[k] for k in index], self.detector)
        self.state["inliers"] = torch.tensor([0 if f is None else len(f.goal_px) for f in found])
        return found


class HomographyServo(MatchServo):
    """SIFT matches, a MAGSAC homography, the pose it gives for a plane of known depth, PBVS."""

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = torch.zeros(len(image), 6, dtype=torch.float64)
        for i, found in enumerate(self._match(image)):
            if found is not None:
                v_cam[i] = control.pbvs(self._pose(found), self.gain)
        return v_cam

    def _pose(self, found: keypoints.Matched) -> Float[Tensor, "4 4"]:
        """`T_goal_cam`."""
        return keypoints.pose_of_homography(torch.from_numpy(found.H), self.camera, fronto(self.depth)[0])


class PointServo(MatchServo):
    """ORB matches that agree with a homography, IBVS on the points: L the mean of the views' and the goal's, at one depth."""

    detector = "orb"

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = torch.zeros(len(image), 6, dtype=torch.float64)
        for i, found in enumerate(self._match(image)):
            if found is not None:
                s, s_goal = self._normalised(found.cam_px), self._normalised(found.goal_px)
                depth = torch.tensor(self.depth, dtype=torch.float64)
                L = (interaction.point(s[:, 0], s[:, 1], depth) + interaction.point(s_goal[:, 0], s_goal[:, 1], depth)).flatten(0, 1) / 2
                v_cam[i] = control.gauss_newton(*control.normal_equations(L, (s - s_goal).flatten()), self.gain)
        return v_cam

    def _normalised(self, points: object) -> Tensor:
        px = torch.as_tensor(points, dtype=torch.float64)
        camera = self.camera
        return torch.stack([(px[:, 0] - camera.cx) / camera.fx, (px[:, 1] - camera.cy) / camera.fy], 1)
