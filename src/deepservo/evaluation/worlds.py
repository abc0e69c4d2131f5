"""Where runs take place: the simulator's free-flying cameras, or gantries in MuJoCo."""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.evaluation.conditions import PLAIN, Condition, HardSimulator, distinct
from deepservo.loop import World
from deepservo.scene import PlanarScene
from deepservo.worlds.gantry import RATE, Gantry, Light

SIMULATOR = "simulator"
LIGHTS = {"gantry": Light(), "gantry-lights": Light(changing=True)}
WORLDS = (SIMULATOR, *LIGHTS)


def check_world(name: str) -> None:
    """InputError, with the nearest names, where there is no world of that name."""
    if name not in WORLDS:
        raise unknown("world", name, WORLDS)


def period(name: str) -> float:
    """Seconds from one picture to the next."""
    return 1.0 if name == SIMULATOR else 1 / RATE


def opened(
    name: str,
    scene: PlanarScene,
    camera: Camera,
    Ts_world_cam: Float[Tensor, "n 4 4"],
    Ts_world_goal: Float[Tensor, "n 4 4"] | None,
    condition: Condition = PLAIN,
    seed: int = 0,
    runs: Tensor | None = None,
) -> tuple[World, Float[Tensor, "g 1 h w"] | None]:
    """The world with all cameras at their starts, and what they would see from their goals where
    those are known.

    Raises InputError where the gantry cannot reach a start or a goal, or the condition is one that
    only the simulator has.
    """
    runs = torch.arange(len(Ts_world_cam)) if runs is None else runs
    if name == SIMULATOR:
        goals = (
            None
            if Ts_world_goal is None
            else condition.goals(scene, camera, Ts_world_goal, seed, runs)
        )
        return HardSimulator(scene, camera, Ts_world_cam, condition, seed, runs), goals
    check_condition(name, condition)
    world = Gantry(scene, camera, Ts_world_cam, LIGHTS[name], seed=seed, runs=runs)
    if Ts_world_goal is None:
        return world, None
    return world, condition.as_goals(world.pictures_at(distinct(Ts_world_goal)), seed, runs)


def check_condition(name: str, condition: Condition) -> None:
    """InputError where the world cannot make it; what is done to the goal's picture alone, any
    can.
    """
    if name != SIMULATOR and condition != Condition(goal=condition.goal):
        raise InputError(
            f"{name}: has its own light and its own camera, and cannot make this set's; choose "
            "another set, or the simulator"
        )
