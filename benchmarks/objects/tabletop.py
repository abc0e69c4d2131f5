"""Parts on a table under the gantry: where they stand, the goals before them, and one servoing."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.cli.console import servo_bar
from deepservo.evaluation.objects import tabletop
from deepservo.features import detectors
from deepservo.features.detectors import Detector
from deepservo.images import pictures
from deepservo.loop import Trajectory, servo
from deepservo.methods import Controller
from deepservo.models.any_scene_model import KEYPOINTS, load_unseen, shipped
from deepservo.scene.sampling import look_at
from deepservo.worlds.gantry import RATE, Gantry, Light, Standing, Workcell
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import Target, render_target
from deepservo.worlds.views import AXES

CAMERA = Camera(320, 240, 520.0, 520.0, 160.0, 120.0)
# Of each goal's camera: its tilt, and the side from which it looks [deg].
GOALS = {
    "tilted": ((20.0, 15.0), (28.0, -140.0)),
    "above": ((0.0, 15.0), (0.0, -140.0)),
}
DISTANCE = 0.27  # of a goal's camera from the part [m]
TABLES = {"plain": "", "clutter": "coffee"}


@dataclass(frozen=True)
class Goal:
    """A goal before a part: its poses and its rendered target."""

    T_object_cam: Float[np.ndarray, "4 4"]
    T_world_cam: Float[Tensor, "1 4 4"]
    target: Target


def goal_of(part: str, k: int = 0, goals: str = "tilted") -> Goal:
    """Goal k before a part."""
    T_object_cam = goal_pose(k, goals)
    T_world_cam = torch.from_numpy(pose_of(part) @ T_object_cam)[None]
    return Goal(T_object_cam, T_world_cam, render_target(PARTS[part].mesh(), CAMERA, T_object_cam))


def goal_pose(k: int, goals: str = "tilted") -> Float[np.ndarray, "4 4"]:
    """`T_object_cam` of goal k, in the part's frame."""
    tilt, side = (math.radians(a) for a in GOALS[goals][k])
    aim = np.array([0.0, 0.0, 0.015])
    position = aim + DISTANCE * np.array(
        [math.sin(tilt) * math.cos(side), math.sin(tilt) * math.sin(side), math.cos(tilt)]
    )
    # `look_at` has the world's axes, z into the table: half a turn about x gives those of a part.
    T = look_at(
        torch.from_numpy(AXES @ position)[None],
        torch.from_numpy(AXES @ aim)[None],
        torch.tensor([0.2 + side], dtype=torch.float64),
    )
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = AXES @ T[0, :3, :3].numpy(), AXES @ T[0, :3, 3].numpy()
    return found


def pose_of(part: str) -> Float[np.ndarray, "4 4"]:
    """`T_world_object` of a part, which stands turned a little."""
    k = list(PARTS).index(part)
    c, s = math.cos(0.3 + k), math.sin(0.3 + k)
    T = np.eye(4)
    T[:3, :3] = AXES @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    T[:2, 3] = 0.03 * k - 0.03, 0.02 * k
    return T


def gantry(
    part: str, table: str, Ts_world_cam: Float[Tensor, "n 4 4"], seed: int, lights: bool = False
) -> Gantry:
    """A gantry over one of TABLES, the part on it, its cameras at these poses; with `lights` its
    lamps wander.
    """
    picture = pictures.bundled(TABLES[table]) if TABLES[table] else None
    part_there = Standing(part, PARTS[part], pose_of(part))
    cell = Workcell(Light(changing=lights), parts=[part_there])
    return Gantry(tabletop(picture), CAMERA, Ts_world_cam, cell, seed=seed)


def servo_to(
    target: Target, world: Gantry, controller: Controller, max_steps: int, title: str
) -> Trajectory:
    """The cameras of a gantry servoed to a target."""
    controller.scale_gain(1 / RATE)
    controller.set_goal(target.grey)
    with servo_bar(title, max_steps) as show:
        return servo(world, controller, target.grey, max_steps, dt=1 / RATE, progress=show)


def finders(model: Path | None = None) -> dict[str, Detector]:
    """The detectors that are compared; the learned one is that of a file, or the shipped one."""
    learned = detectors.Learned(load_unseen(model).net if model else shipped(KEYPOINTS))
    return {"sift": detectors.sift, "orb": detectors.orb, "keypoints": learned}
