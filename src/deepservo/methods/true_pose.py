"""PBVS on the true poses, which only a simulator has: the reference of all trajectories."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.methods.base import Controller
from deepservo.methods.verdict import Belief


class TruePose(Controller):
    """PBVS on the true pose of a simulator, which is set by `follow`.

    `velocity` raises InputError before that.
    """

    looks = False

    def __init__(self, camera: Camera, gain: float = 0.1) -> None:
        super().__init__(camera)
        self.gain = gain

    def follow(self, world: object, T_world_goal: Float[Tensor, "b 4 4"]) -> None:
        """Read the true poses from this simulator (`T_world_cam`); call it after `set_goal`."""
        self.world, self.state = world, {"T_world_goal": T_world_goal.double()}

    def belief(self, n: int) -> Belief:
        """The true pose, which is certain."""
        return replace(
            Belief.nothing(n),
            by_pose=torch.ones(n, dtype=torch.bool),
            T_goal_cam=self.T_goal_cam,
            covariance=torch.zeros(n, 6, 6, dtype=torch.float64),
            agree=torch.ones(n),
            blocks=torch.full((n,), torch.inf),
        )

    def _set_goal(self, goal: Tensor) -> None:
        self.state = {}

    def _velocity(self, image: Tensor) -> Tensor:
        if "T_world_goal" not in self.state:
            raise InputError(
                "pbvs: the true poses are unknown; call follow(world, T_world_goal) after "
                "set_goal, with a simulator"
            )
        T_world_cam = self.world.T_world_cam  # type: ignore[attr-defined]
        self.T_goal_cam = se3.inverse(self.state["T_world_goal"]) @ T_world_cam
        return control.pbvs(self.T_goal_cam, self.gain)
