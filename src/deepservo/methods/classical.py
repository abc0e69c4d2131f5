"""The classical methods: photometric servoing (DVS), keypoints + homography, and the true-pose reference."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import keypoints
from deepservo.features.luminance import Luminance, NormalEquations, Where
from deepservo.features.registration import fronto
from deepservo.geometry import se3
from deepservo.methods.base import Controller


class PhotometricServo(Controller):
    """DVS: the grey levels are the features (Collewet & Marchand 2011), Gauss-Newton or Levenberg-Marquardt the law.

    depth: of the whole scene [m]. interaction: L at the current picture, at the goal's, or their mean (ESM). With
    Levenberg-Marquardt mu is held for `hold` steps and then multiplied by `decay` each step.
    """

    budget = 1500

    def __init__(
        self,
        camera: Camera,
        depth: float = 0.6,
        interaction: Where = "mean",
        law: Literal["gn", "lm"] = "lm",
        gain: float = 0.5,
        mu: float = 0.01,
        hold: int = 500,
        decay: float = 0.995,
        border: int = 10,
    ) -> None:
        super().__init__(camera)
        if not depth > 0:
            raise InputError(f"dvs: the depth must be a positive number of metres, not {depth}")
        self.normal_equations = NormalEquations(Luminance(camera, border), torch.full((1, 1, 1), float(depth)))
        self.interaction, self.law, self.gain = interaction, law, gain
        self.mu, self.hold, self.decay = mu, hold, decay

    def _set_goal(self, goal: Tensor) -> None:
        self.state = {"goal": goal}
        self.step = 0

    def _velocity(self, image: Tensor) -> Tensor:
        H, g = self.normal_equations(image, self.state["goal"], self.interaction)
        self.step += 1
        if self.law == "gn":
            return control.gauss_newton(H, g, self.gain)
        mu = self.mu * self.decay ** max(0, self.step - self.hold)
        return control.levenberg_marquardt(H, g, self.gain, mu)


class KeypointServo(Controller):
    """SIFT matches, a MAGSAC homography, the pose it gives for a plane of known depth, PBVS. It needs no training.

    Where too few matches agree it holds still: it has nothing to go by.
    """

    def __init__(self, camera: Camera, depth: float = 0.6, gain: float = 0.1) -> None:
        super().__init__(camera)
        if not depth > 0:
            raise InputError(f"sift: the depth must be a positive number of metres, not {depth}")
        self.plane, self.gain = fronto(depth), gain

    def _set_goal(self, goal: Tensor) -> None:
        self.goals = [keypoints.detect(picture[0]) for picture in goal]
        self.state = {"goal": torch.arange(len(goal)), "inliers": torch.zeros(len(goal), dtype=torch.int64)}

    def _velocity(self, image: Tensor) -> Tensor:
        index = self.state["goal"].expand(len(image))
        Hs, inliers = torch.eye(3, dtype=torch.float64).repeat(len(image), 1, 1), torch.zeros(len(image), dtype=torch.int64)
        for i, found in enumerate(keypoints.homographies(image, [self.goals[k] for k in index.tolist()])):
            if found is not None:
                Hs[i], inliers[i] = torch.from_numpy(found[0]), found[1]
        self.state["inliers"] = inliers
        T_goal_cam = keypoints.pose_of_homography(Hs, self.camera, self.plane)
        v_cam = control.pbvs(T_goal_cam, self.gain)
        return torch.where((inliers > 0)[:, None], v_cam, 0.0)

    def evidence(self, n: int) -> list[str]:
        """How many matches agreed at the last picture."""
        return [f"{k} matches agree" if k else "too few matches agree" for k in self.state["inliers"].expand(n).tolist()]


class TruePose(Controller):
    """PBVS on the true poses, which only a simulator knows: the reference that every trajectory is compared with."""

    def __init__(self, camera: Camera, gain: float = 0.1) -> None:
        super().__init__(camera)
        self.gain = gain

    def follow(self, world: object, T_world_goal: Float[Tensor, "b 4 4"]) -> None:
        """Read the true poses from this simulator (`world.T_world_cam`)."""
        self.world, self.state = world, {"T_world_goal": T_world_goal.double()}

    def _set_goal(self, goal: Tensor) -> None:
        self.state = {}

    def _velocity(self, image: Tensor) -> Tensor:
        if "T_world_goal" not in self.state:
            raise InputError("pbvs: the true poses are unknown; call follow(world, T_world_goal) after set_goal, with a simulator")
        return control.pbvs(se3.inverse(self.state["T_world_goal"]) @ self.world.T_world_cam, self.gain)  # type: ignore[attr-defined]
