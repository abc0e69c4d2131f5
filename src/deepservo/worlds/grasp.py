"""Grasping a part from the pose that servoing has reached, without further pictures.

The gripper goes over it, down, closes, and goes up.
"""

import numpy as np
from jaxtyping import Float

from deepservo.worlds.gantry import Gantry
from deepservo.worlds.objects import Part
from deepservo.worlds.views import AXES

APPROACH_HEIGHT = 0.06  # m above the grasp before it
LIFT_HEIGHT = 0.12  # m above the grasp after it
FINGER_OPEN, FINGER_CLOSED = 0.045, 0.0  # m, each finger
LIFTED_SHARE = 0.5  # of LIFT_HEIGHT: a part that was lifted this far is in the gripper


def grasp_pose(world: Gantry, part: Part) -> Float[np.ndarray, "4 4"]:
    """`T_object_cam` with the part's grip between the fingertips.

    The gripper is upright over the part and closes along its y axis.
    """
    arm = world.arm
    T = np.eye(4)
    T[:3, :3] = AXES
    T[:3, 3] = np.array(part.grip) + arm.offset - arm.model.site("grip").pos
    return T


def grasp(world: Gantry, run: int, name: str, T_cam_grasp: Float[np.ndarray, "4 4"]) -> float:
    """Grasp the part of that name with the gantry of one run, and return how far it was lifted [m].

    T_cam_grasp: the camera's pose when the fingers close, in its present frame. Raises InputError
    where the arm cannot reach it.
    """
    data = world.runs[run].data
    T = world.arm.pose(data) @ T_cam_grasp
    low = data.body(name).xpos[2]
    for height, fingers, seconds in (
        (APPROACH_HEIGHT, FINGER_OPEN, 2.0),
        (0.0, FINGER_OPEN, 1.5),
        (0.0, FINGER_CLOSED, 1.0),
        (LIFT_HEIGHT, FINGER_CLOSED, 2.0),
    ):
        above = T.copy()
        above[2, 3] -= height  # the world's z axis points into the table
        world.drive(run, above, fingers, seconds)
    return float(data.body(name).xpos[2] - low)


def taken(lifted: float) -> bool:
    """Whether a part that was lifted this far [m] is in the gripper."""
    return lifted > LIFTED_SHARE * LIFT_HEIGHT
