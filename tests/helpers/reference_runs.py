"""Runs made by code along the reference trajectory, and the row of figures that reports them."""

import math

import torch

from deepservo import METHODS
from deepservo.camera import Camera
from deepservo.evaluation import metrics, trial
from deepservo.evaluation.starts import Starts
from deepservo.evaluation.trial import Trial
from deepservo.geometry import se3
from deepservo.loop import Trajectory
from deepservo.methods.status import Tolerance
from deepservo.scene import PlanarScene
from deepservo.scene.build import Setup
from ended_runs import rested

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def trajectory_to(T_goal: torch.Tensor, end: torch.Tensor, steps: int = 40) -> Trajectory:
    """Straight reference runs from 30 cm and 30 deg off; then, in the last step, to `end` (twists
    from the goal).
    """
    B = len(end)
    start = T_goal @ se3.exp(
        torch.tensor([[0.3, 0, 0, 0, 0, math.radians(30)]], dtype=torch.float64)
    ).expand(B, 4, 4)
    Ts = metrics.reference(start, T_goal, steps)
    Ts[-1] = T_goal @ se3.exp(end)
    v = se3.log(se3.inverse(Ts[:-1]) @ Ts[1:])
    counts = torch.full((B,), steps)
    return Trajectory(
        Ts, v, torch.linspace(0.2, 0.01, steps)[:, None].expand(steps, B),
        torch.zeros(steps, B, dtype=torch.int8), counts, [rested("max_steps")] * B,
        torch.linspace(1, 2, steps), 1.0, steps, Tolerance(),
    )  # fmt: skip


def row(trajectory: Trajectory, T_goal: torch.Tensor | None, gain: float = 0.1) -> dict:
    setup = Setup(PlanarScene(torch.zeros(1, 2, 2)), CAMERA, 0.6, "p")
    starts = Starts("s", trajectory.Ts_world_cam[0], T_goal, torch.zeros(1, 1, 2, 2), 3)
    controller = METHODS["pbvs"](CAMERA)
    controller.gain = gain
    return trial.row(Trial("m", setup, starts), controller, trajectory, seconds=2.0)


END = torch.tensor(
    [[0.0005, 0, 0, 0, 0, 0], [0, 0.002, 0, 0, 0, 0.001], [0, 0, 0.2, 0, 0, 0.5]],
    dtype=torch.float64,
)
