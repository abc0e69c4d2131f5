"""Test sets by name, and one measured run of a controller on them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.evaluation import metrics
from deepservo.evaluation.conditions import distinct
from deepservo.evaluation.poses import MOST
from deepservo.evaluation.sets import SETS
from deepservo.loop import Trajectory, World, servo
from deepservo.methods.base import Controller
from deepservo.methods.true_pose import TruePose
from deepservo.scene import PlanarScene
from deepservo.system import memory
from deepservo.worlds.simulator import Simulator

# Memory in grey pictures of float32, as measured: a run's own (what is seen, was seen, and the
# goal), and what a method works with.
A_RUN, FEW, WORKING = 3, 15, {"auto": 240, "sift": 100, "dfbvs": 80, "dct": 130, "pca": 1000}
SET_NAMES = ("lookat", "screw", "lookat-rz", "lookat-rz-perturbed", "gaussian")


@dataclass(frozen=True)
class Starts:
    """Where B runs start and end: poses (B, 4, 4), and goal pictures where they are not simply
    rendered at the goals.
    """

    name: str
    Ts_world_cam: Float[Tensor, "b 4 4"]
    Ts_world_goal: Float[Tensor, "b 4 4"] | None
    goal: Float[Tensor, "g 1 h w"]
    seed: int | None
    note: str = ""
    """What a person should know of them."""


def sampled(
    name: str, n: int, seed: int, scene: PlanarScene, camera: Camera, distance: float
) -> Starts:
    """n starts of a set that asks nothing of the views, scaled to `distance`; InputError names the
    sets there are.
    """
    if name not in SET_NAMES:
        raise unknown("set", name, SET_NAMES)
    check_starts(n)
    (part,) = SETS[name]
    Ts_cam, Ts_goal = part.draw(n, torch.Generator().manual_seed(seed), distance, camera)
    return Starts(
        name,
        Ts_cam,
        Ts_goal,
        part.condition.goals(scene, camera, Ts_goal, seed, torch.arange(n)),
        seed,
    )


def check_starts(n: int) -> None:
    """InputError where so many cannot be run at once."""
    if not 1 <= n <= MOST:
        raise InputError(f"{n} starts cannot be run at once; ask for 1 to {MOST}")


def check_memory(n: int, camera: Camera, method: str, remedy: str) -> None:
    """InputError, with the gigabytes, where n runs of a method at once would need more memory than
    there is.
    """
    working = next((pictures for name, pictures in WORKING.items() if method.startswith(name)), FEW)
    needed = 4 * camera.width * camera.height * (A_RUN * n + working)
    size = f"{camera.width} x {camera.height} pixels"
    memory.check(needed, f"{method} on {n} picture{'s' * (n > 1)} of {size} at once", remedy)


def goal_pictures(
    scene: PlanarScene, camera: Camera, Ts_world_goal: Float[Tensor, "b 4 4"]
) -> Float[Tensor, "g 1 h w"]:
    """The goals rendered: one picture where all runs share one goal, else one each."""
    return scene.render(camera, distinct(Ts_world_goal))


def measure(
    controller: Controller,
    method: str,
    scene: PlanarScene,
    scene_name: str,
    starts: Starts,
    max_steps: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    world: World | None = None,
    dt: float = 1.0,
) -> tuple[Trajectory, dict[str, Any]]:
    """Run a controller from the starts, in the simulator or in another `world` that stands there,
    and make its row of results.json.
    """
    metrics.reset_peak()
    begin = time.perf_counter()
    world = world or Simulator(scene, controller.camera, starts.Ts_world_cam)
    controller.scale_gain(dt)
    controller.set_goal(starts.goal)
    if isinstance(controller, TruePose):
        if starts.Ts_world_goal is None:
            raise InputError(
                "pbvs: the goal's pose is unknown; give T_world_goal in the poses file"
            )
        controller.follow(world, starts.Ts_world_goal)
    trajectory = servo(world, controller, starts.goal, max_steps, dt, progress)
    seconds = time.perf_counter() - begin
    row = metrics.row(
        trajectory, starts.Ts_world_goal, controller.camera, method=method, set=starts.name,
        scene=scene_name, gain=controller.gain, seed=starts.seed, seconds=seconds,
    )  # fmt: skip
    return trajectory, row
