"""CNN-VS (Bateux 2018): a network predicts the camera's pose in one learned scene.

From the goal's and the current one follow `T_goal_cam` and PBVS.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.unseen_pixels import completed, continued, has_unseen
from deepservo.geometry import pnp, se3
from deepservo.methods.located import Located
from deepservo.nets.pose import PoseNet, cell_rays, shrink
from deepservo.nets.resnet import folded
from deepservo.nets.siamese import RegressionNet
from deepservo.scene import Scene
from deepservo.scene.reference import to_world


class PoseServo(Located):
    """A trained PoseNet or RegressionNet in its scene.

    The goal's pose is predicted once, the camera's at every step. distance: the scene's unit of
    length [m]. With `scene`, each predicted pose is registered to the learned picture, and replaced
    by the registered one where the two pictures agree.
    """

    def __init__(
        self,
        camera: Camera,
        net: PoseNet | RegressionNet,
        distance: float,
        scene: Scene | None = None,
        gain: float = 0.1,
    ) -> None:
        super().__init__(camera, distance, scene)
        self.net, self.gain = folded(net), gain
        self.rays = cell_rays(camera)

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """The network's `T_world_cam` of each picture."""
        out = self.net(shrink(continued(images), self.net.size)).double()
        if isinstance(self.net, RegressionNet):
            return to_world(se3.transform(se3.so3_exp(out[:, 3:]), out[:, :3]), self.distance)
        out = out.flatten(2)
        weights = torch.exp(-out[:, 2]).clamp(max=1e3)
        return pnp.pose_from_plane_points(self.rays, out[:, :2].mT * self.distance, weights)[0]

    def _set_goal(self, goal: Tensor) -> None:
        super()._set_goal(goal)
        self.state["goal"], self.goal_has_unseen = goal, has_unseen(goal)

    def _velocity(self, image: Tensor) -> Tensor:
        if self.map is None and (self.goal_has_unseen or has_unseen(image)):
            image, goal = completed(image, self.state["goal"])
            self.state["T_world_goal"] = self.predict_goal(goal)
        return control.pbvs(se3.inverse(self.state["T_world_goal"]) @ self.locate(image), self.gain)
