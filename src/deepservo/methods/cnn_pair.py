"""CNN-VS for scenes that it was not trained on (Bateux 2018, section IV).

The pose between two pictures is found, and PBVS steers.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features import keypoints
from deepservo.features.cells import Cells
from deepservo.features.keypoints import Matched
from deepservo.images.depth import Depth
from deepservo.methods.keypoint import HomographyServo
from deepservo.nets.pair import PairNet

SAME_PICTURE = 0.5 / 255  # mean difference in grey levels under which two pictures are the same


class PairServo(HomographyServo):
    """Servoing on cells matched by a trained PairNet, in the place of SIFT's keypoints.

    depth: of the goal's plane [m]. A wrong depth scales the translation by as much as it is wrong,
    and leaves its direction right, so that the loop still converges.
    """

    def __init__(
        self, camera: Camera, net: PairNet, depth: Depth = None, gain: float = 0.1
    ) -> None:
        super().__init__(camera, depth, gain)
        self.cells = Cells(net, camera)

    def _set_goal(self, goal: Tensor) -> None:
        self.cell_goals = [self.cells.goal(picture) for picture in goal]
        self.state, self.pictures = self._first_state(len(goal)), goal

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = super()._velocity(image)
        goals = self.pictures[self.state["goal"].expand(len(image))]
        # Cells are too coarse to answer zero at the goal's pose itself.
        v_cam[(image - goals).abs().nanmean((1, 2, 3)) < SAME_PICTURE] = 0
        return v_cam

    def _match(self, image: Tensor) -> list[Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        found = self._match_cells(image, index)
        self.state["inliers"] = torch.tensor([0 if f is None else len(f.goal_px) for f in found])
        return found

    def _match_cells(self, images: Tensor, goals: list[int]) -> list[Matched | None]:
        """Match each picture with the goal of that number."""
        views = zip(goals, self.cells.describe(images), self.cells.seen(images), strict=True)
        return [self.cells.match(self.cell_goals[k], d, seen) for k, d, seen in views]

    def _pose(self, found: Matched) -> Float[Tensor, "4 4"]:
        return keypoints.pose_of_matches(found, self.camera, self.goal_depth.number)
