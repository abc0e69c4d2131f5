"""CNN-VS for scenes that it was not trained on (Bateux 2018, section IV).

The pose between two pictures is found, and PBVS steers.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features import two_views
from deepservo.features.cells import Cells
from deepservo.features.goal_depth import Known
from deepservo.features.two_views import Candidates, Matched
from deepservo.methods.keypoint import HomographyServo
from deepservo.nets.pair import PairNet

SAME_PICTURE = 0.5 / 255  # mean difference in grey levels under which two pictures are the same


class Described:
    """What is matched of each goal's picture, found where it is needed first: it takes time."""

    def __init__(self, pictures: Float[Tensor, "g 1 h w"], describe: Callable[..., Any]) -> None:
        self.pictures, self.describe, self.found = pictures, describe, dict[int, Any]()
        self.lock = threading.Lock()  # several ways may need it at once

    def __getitem__(self, goal: int) -> Any:
        with self.lock:
            if goal not in self.found:
                self.found[goal] = self.describe(self.pictures[goal])
            return self.found[goal]


class PairServo(HomographyServo):
    """Servoing on cells matched by a trained PairNet, in the place of SIFT's keypoints.

    depth: of the goal's plane [m]. A wrong depth scales the translation by as much as it is wrong,
    and leaves its direction right, so that the loop still converges.
    """

    def __init__(
        self, camera: Camera, net: PairNet, depth: Known = None, gain: float = 0.1
    ) -> None:
        super().__init__(camera, depth, gain)
        self.cells = Cells(net, camera)

    def _set_goal(self, goal: Tensor) -> None:
        self.cell_goals = Described(goal, self.cells.goal)
        self.state, self.pictures, self.poses = self._first_state(len(goal)), goal, []

    def _agreeing_matches(self, n: int) -> Tensor:
        return self.state["inliers"].expand(n).clamp(max=1)

    def _points_of_goal(self, goal: int) -> int:
        return self.cells.count

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = super()._velocity(image)
        goals = self.pictures[self.state["goal"].expand(len(image))]
        # Cells are too coarse to answer zero at the goal's pose itself.
        v_cam[(image - goals).abs().nanmean((1, 2, 3)) < SAME_PICTURE] = 0
        return v_cam

    def _match(self, image: Tensor) -> list[Matched | None]:
        likely = self._likely(image, self.state["goal"].expand(len(image)).tolist())
        found = [
            self.cells.agreeing(each, pose.explain)
            for each, pose in zip(likely, self.poses, strict=True)
        ]
        self.state["inliers"] = torch.tensor([0 if f is None else len(f.goal_px) for f in found])
        return found

    def _likely(self, images: Tensor, goals: list[int]) -> list[list[Candidates]]:
        """The likely matches of each picture with the goal of that number."""
        if not len(images):
            return []
        described, seen = self.cells.describe(images), self.cells.seen(images)
        return [
            self.cells.likely(self.cell_goals[k], d, shown)
            for k, d, shown in zip(goals, described, seen, strict=True)
        ]

    def _plane_pose(self, found: Matched) -> Float[np.ndarray, "4 4"]:
        return two_views.pose_of_matches(found, self.camera, self.goal_depth.number)
