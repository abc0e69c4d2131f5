"""CNN-VS for scenes never seen (Bateux 2018, section IV): two pictures in, the pose between them
out; PBVS.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features import keypoints
from deepservo.features.cells import Cells
from deepservo.features.keypoints import Matched
from deepservo.methods.keypoint import HomographyServo
from deepservo.nets.pair import PairNet

SAME = 0.5 / 255  # mean difference in grey levels under which two pictures are one


class PairServo(HomographyServo):
    """A trained PairNet on any scene: cells that it matches take the place of SIFT's keypoints.

    depth: of the goal's plane [m], known or guessed. A guess makes the way as much too long or too
    short as it is wrong itself, and leaves its direction right; the loop makes up for that, step by
    step.
    """

    def __init__(self, camera: Camera, net: PairNet, depth: float = 0.6, gain: float = 0.1) -> None:
        super().__init__(camera, depth, gain)
        self.cells = Cells(net, camera)

    def _set_goal(self, goal: Tensor) -> None:
        self.cell_goals = [self.cells.goal(picture) for picture in goal]
        self.state, self.pictures = self._nothing_yet(len(goal)), goal

    def _velocity(self, image: Tensor) -> Tensor:
        """None where the picture is the goal's: cells are too coarse to tell that nothing is
        left.
        """
        v_cam = super()._velocity(image)
        goals = self.pictures[self.state["goal"].expand(len(image))]
        v_cam[(image - goals).abs().nanmean((1, 2, 3)) < SAME] = 0
        return v_cam

    def _match(self, image: Tensor) -> list[Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        found = self._match_cells(image, index)
        self.state["inliers"] = torch.tensor([0 if f is None else len(f.goal_px) for f in found])
        return found

    def _match_cells(self, images: Tensor, goals: list[int]) -> list[Matched | None]:
        """Each picture with the goal of that number."""
        views = zip(goals, self.cells.describe(images), self.cells.seen(images), strict=True)
        return [self.cells.match(self.cell_goals[k], d, seen) for k, d, seen in views]

    def _pose(self, found: Matched) -> Float[Tensor, "4 4"]:
        return keypoints.pose_of_matches(found, self.camera, self.depth)
