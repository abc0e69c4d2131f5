"""Coarse methods and registrations whose estimates are set by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from closed_loop import (
    CAMERA,
    NearTruth,
)
from deepservo import control
from deepservo.camera import Camera
from deepservo.features import near_goal
from deepservo.features.agreement import Comparison
from deepservo.features.evidence import Evidence
from deepservo.features.registration import Registration
from deepservo.geometry import se3
from deepservo.methods import Controller, coarse_to_fine
from deepservo.methods.coarse_to_fine import CoarseToFine
from deepservo.scene import PlanarScene
from deepservo.worlds.simulator import Simulator


class Guide(Controller):
    """A coarse method that steers by the true pose with an error of a few millimetres, and records
    its velocities.
    """

    def __init__(self, camera: Camera, world: Simulator, T_world_goal: torch.Tensor) -> None:
        super().__init__(camera)
        self.world, self.T_world_goal, self.said = world, T_world_goal, []

    def _set_goal(self, goal: torch.Tensor) -> None: ...

    def _velocity(self, image: torch.Tensor) -> torch.Tensor:
        v_cam = control.pbvs(
            se3.inverse(self.T_world_goal) @ self.world.T_world_cam @ se3.exp(NearTruth.ERROR),
            self.gain,
        )
        self.said.append(v_cam)
        return v_cam


class Interrupted(Simulator):
    """From step `begin` until step `end` another scene is before the camera."""

    def __init__(
        self,
        scene: PlanarScene,
        other: PlanarScene,
        T_world_cam: torch.Tensor,
        begin: int,
        end: int,
    ) -> None:
        super().__init__(scene, CAMERA, T_world_cam)
        self.other, self.begin, self.end, self.step = other, begin, end, 0

    def observe(self) -> torch.Tensor:
        self.step += 1
        seen = self.other if self.begin <= self.step - 1 < self.end else self.scene
        return seen.render(self.camera, self.T_world_cam)


def register(monkeypatch: pytest.MonkeyPatch, refine: Callable[..., torch.Tensor]) -> None:
    """Let all registrations answer so, and know nothing of how sure they are."""

    def estimate(*args: Any) -> tuple[torch.Tensor, Evidence]:
        T = refine(*args)
        unknown = torch.full((len(T),), torch.nan)
        covariance = torch.full((len(T), 6, 6), torch.nan).double()
        alike = torch.zeros(len(T), 256, dtype=torch.int8)
        return T, Evidence(covariance, unknown, unknown, unknown, alike)

    monkeypatch.setattr(Registration, "refine", refine)
    for module in (coarse_to_fine, near_goal):
        monkeypatch.setattr(module, "estimate", estimate)


def agreeing(
    agreements: list[float], monkeypatch: pytest.MonkeyPatch, consistency: int = 0
) -> list[bool]:
    """Whether the photometric refinement steers, step by step, at these agreements. The
    registration changes no pose.

    consistency: what the coarse method answers for every pose.
    """
    controller = CoarseToFine(Fixed(CAMERA))
    controller.coarse.consistency = consistency
    goal = torch.zeros(1, 1, 128, 128)
    controller.set_goal(goal)
    controller.looks = False  # the pictures stand for others
    register(monkeypatch, lambda self, views, T, *rest: T.clone())
    steers = []
    for agreement in agreements:
        found = Comparison(*torch.tensor([[agreement], [1.0], [1.0], [1.0]]))
        monkeypatch.setattr(Registration, "compare", lambda *_, found=found: found)
        controller.velocity(goal)
        steers.append(bool(controller.is_refining(1)))
    return steers


class Fixed(Controller):
    """Answers the same velocity and the same consistency at every step."""

    consistency = 0

    def _set_goal(self, goal: torch.Tensor) -> None: ...

    def _velocity(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full((len(image), 6), 1e-3, dtype=torch.float64)

    def pose_consistency(self, T_goal_cam: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:
        return torch.full((len(runs),), self.consistency)
