"""Taking a part, blind, from where servoing has brought the camera: over it, down, close, up."""

import numpy as np
from jaxtyping import Float

from deepservo.worlds.gantry import Gantry
from deepservo.worlds.objects import Part
from deepservo.worlds.views import AXES

OVER, LIFT = 0.06, 0.12  # above the grasp on the way to it, and above the table after it [m]
OPEN, SHUT = 0.045, 0.0  # of each finger [m]
HELD = 0.5  # of LIFT: a part that was raised so far was taken


def grasp_pose(world: Gantry, part: Part) -> Float[np.ndarray, "4 4"]:
    """`T_object_cam` when the part's grip lies between the fingertips, the gripper upright over it
    and closing along its y.
    """
    arm = world.arm
    T = np.eye(4)
    T[:3, :3] = AXES
    T[:3, 3] = np.array(part.grip) + arm.offset - arm.model.site("grip").pos
    return T


def grasp(world: Gantry, run: int, name: str, T_cam_grasp: Float[np.ndarray, "4 4"]) -> float:
    """Take the part of that name from where the camera is believed to stand; by how much it was
    lifted [m].

    T_cam_grasp: where the camera shall be when the fingers close, in its frame of now.
    """
    data = world.runs[run].data
    T = world.arm.pose(data) @ T_cam_grasp
    low = data.body(name).xpos[2]
    for height, fingers, seconds in (
        (OVER, OPEN, 2.0),
        (0.0, OPEN, 1.5),
        (0.0, SHUT, 1.0),
        (LIFT, SHUT, 2.0),
    ):
        above = T.copy()
        above[2, 3] -= height  # our z points into the table
        world.drive(run, above, fingers, seconds)
    return float(data.body(name).xpos[2] - low)


def taken(lifted: float) -> bool:
    """Whether a part that was lifted so far [m] is in the gripper."""
    return lifted > HELD * LIFT
