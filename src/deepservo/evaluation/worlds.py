"""Where runs take place: the simulator's free-flying cameras, or gantries in MuJoCo."""

from jaxtyping import Float
from torch import Tensor

from deepservo.errors import InputError, unknown
from deepservo.evaluation.conditions import Condition, Disturbance, HardSimulator, distinct
from deepservo.loop import World
from deepservo.scene.build import Setup
from deepservo.worlds.gantry import RATE, Gantry, Light, Workcell

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
    setup: Setup,
    Ts_world_cam: Float[Tensor, "n 4 4"],
    Ts_world_goal: Float[Tensor, "n 4 4"] | None,
    disturbance: Disturbance,
) -> tuple[World, Float[Tensor, "g 1 h w"] | None]:
    """The world of that name with n cameras at their starts, and the pictures of their goals where
    the goals' poses are known.

    Raises InputError where the gantry cannot reach a start or a goal, or where only the simulator
    can make the disturbance.
    """
    scene, camera = setup.scene, setup.camera
    condition, seed, runs = disturbance.condition, disturbance.seed, disturbance.runs
    if name == SIMULATOR:
        simulator = HardSimulator(scene, camera, Ts_world_cam, disturbance)
        if Ts_world_goal is None:
            return simulator, None
        return simulator, condition.goals(scene, camera, Ts_world_goal, seed, runs)
    check_condition(name, condition)
    gantry = Gantry(setup.plane, camera, Ts_world_cam, Workcell(LIGHTS[name]), seed=seed, runs=runs)
    if Ts_world_goal is None:
        return gantry, None
    return gantry, condition.as_goals(gantry.pictures_at(distinct(Ts_world_goal)), seed, runs)


def check_condition(name: str, condition: Condition) -> None:
    """InputError where the world cannot make it; any world can change the goal's picture alone."""
    if name != SIMULATOR and condition != Condition(goal=condition.goal):
        raise InputError(
            f"{name}: has its own light and its own camera, and cannot make this set's; choose "
            "another set, or the simulator"
        )
