"""One measured trial: a method's runs from given starts, in one world."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import InputError
from deepservo.evaluation import metrics, results_file
from deepservo.evaluation.conditions import PLAIN, Disturbance
from deepservo.evaluation.sets import SETS
from deepservo.evaluation.starts import Starts
from deepservo.evaluation.worlds import SIMULATOR, opened, period
from deepservo.loop import Trajectory, World, servo
from deepservo.methods.base import Controller
from deepservo.methods.true_pose import TruePose
from deepservo.scene.build import Setup
from deepservo.worlds.gantry import Gantry
from deepservo.worlds.simulator import Simulator


@dataclass(frozen=True)
class Trial:
    """All that a row of results.json depends on, but for the controller."""

    method: str
    """The name that the results give it."""
    setup: Setup
    """What is really before the camera."""
    starts: Starts
    world: World | None = None
    """With its cameras at the starts; None for the simulator."""
    dt: float = 1.0
    """From one picture to the next [s]."""
    max_steps: int | None = None
    """Of each run; None for the controller's own."""

    @property
    def look(self) -> Callable[[Float[Tensor, "n 4 4"]], Tensor] | None:
        """Renders what the world's cameras see from poses; None where the flat scene is all."""
        return self.world.pictures_from if isinstance(self.world, Gantry) else None

    @property
    def title(self) -> str:
        """A heading for its results."""
        return f"{self.method} on {self.setup.picture}"


def placed(method: str, setup: Setup, starts: Starts, world: str = SIMULATOR) -> Trial:
    """The trial in the world of that name. A goal that is not a given picture is rendered by the
    world's own camera.

    Raises InputError where the world cannot bring a camera to a start or a goal.
    """
    if world == SIMULATOR:
        return Trial(method, setup, starts)
    condition = SETS[starts.name][0].condition if starts.name in SETS else PLAIN
    numbers = torch.arange(len(starts.Ts_world_cam))
    disturbance = Disturbance(condition, starts.seed or 0, numbers)
    there, goal = opened(world, setup, starts.Ts_world_cam, starts.Ts_world_goal, disturbance)
    if goal is not None and not starts.given:
        starts = replace(starts, goal=goal)
    return Trial(method, setup, starts, there, period(world))


def measure(
    controller: Controller, trial: Trial, progress: Callable[[int, int], None] | None = None
) -> tuple[Trajectory, dict[str, Any]]:
    """Carry out the trial, and make its row of results.json. `progress` as in `loop.servo`.

    Raises InputError for a method that needs the goal's true pose where that is unknown.
    """
    starts, dt = trial.starts, trial.dt
    results_file.reset_peak()
    begin = time.perf_counter()
    world = trial.world or Simulator(trial.setup.scene, controller.camera, starts.Ts_world_cam)
    controller.scale_gain(dt)
    controller.set_goal(starts.goal, starts.depth)
    if isinstance(controller, TruePose):
        if starts.Ts_world_goal is None:
            raise InputError(
                "pbvs: needs the goal's true pose, which a picture does not tell; give "
                "T_world_goal in the poses file"
            )
        controller.follow(world, starts.Ts_world_goal)
    trajectory = servo(world, controller, starts.goal, trial.max_steps, dt=dt, progress=progress)
    return trajectory, row(trial, controller, trajectory, time.perf_counter() - begin)


def row(
    trial: Trial, controller: Controller, trajectory: Trajectory, seconds: float
) -> dict[str, Any]:
    """One row of results.json. Rates are fractions, end errors mm and deg; figures of poses are
    None where no goal pose is known.
    """
    starts, gain, n = trial.starts, controller.gain, trajectory.v_cam.shape[1]
    ms = trajectory.step_ms.numpy()
    runs = None
    if starts.Ts_world_goal is not None and bool(torch.isfinite(trajectory.Ts_world_cam).all()):
        runs = metrics.judge(trajectory, starts.Ts_world_goal, gain)
    last = trajectory.image_error[trajectory.steps - 1, torch.arange(n)]
    return {
        "method": trial.method,
        "set": starts.name,
        "scene": trial.setup.picture,
        "n": n,
        **metrics.figures(runs),
        **metrics.endings(np.array([end.ending.value for end in trajectory.ends])),
        "ape_at": None if runs is None else metrics.ape_at(gain, trajectory.dt),
        "time_s": seconds,
        "ms_per_step_p50": float(np.median(ms)),
        "ms_per_step_p99": float(np.quantile(ms, 0.99)),
        "steps_per_s": float(trajectory.steps.sum()) / max(seconds, 1e-9),
        "peak_mb": results_file.peak_mb(),
        "image_error_median": float(last.median()),
        "camera": asdict(controller.camera),
        "gain": gain,
        "dt": trajectory.dt,
        "max_steps": trajectory.max_steps,
        "seed": starts.seed,
    }
