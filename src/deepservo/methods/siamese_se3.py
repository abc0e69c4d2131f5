"""Siame-se(3) (Felton 2021): the velocity from the features of both pictures.

One network computes them, and the velocity follows from their difference.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.unseen_pixels import completed, continued, has_unseen
from deepservo.geometry import se3
from deepservo.methods.base import Controller
from deepservo.nets.pose import shrink
from deepservo.nets.resnet import folded
from deepservo.nets.siamese import SiameseNet


class SiameseServo(Controller):
    """A trained SiameseNet's output is the velocity; the goal's features are computed once.

    distance: the scene's unit of length [m]. pose: the output is t and theta u of `T_goal_cam`
    instead (Eq. 5), and PBVS steers (Eq. 3).
    """

    def __init__(
        self,
        camera: Camera,
        net: SiameseNet,
        distance: float,
        pose: bool = False,
        gain: float = 0.1,
    ) -> None:
        super().__init__(camera, distance)
        self.net, self.colour = folded(net), net.colour
        self.distance, self.pose, self.gain = distance, pose, gain

    def _features(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n"]:
        return self.net.features(shrink(images, self.net.size))

    def _set_goal(self, goal: Tensor) -> None:
        self.state = {"goal": goal, "s_goal": self._features(continued(goal))}
        self.goal_has_unseen = has_unseen(goal)

    def _velocity(self, image: Tensor) -> Tensor:
        if self.goal_has_unseen or has_unseen(image):
            image, goal = completed(image, self.state["goal"])
            self.state["s_goal"] = self._features(goal)
        answer = self.net.answer(self._features(image), self.state["s_goal"]).double()
        linear, angular = self.distance * answer[:, :3], answer[:, 3:]
        if self.pose:
            return control.pbvs(se3.transform(se3.so3_exp(angular), linear), self.gain)
        return self.gain * torch.cat([linear, angular], 1)
