"""The gantry's joints: where they must stand for a pose of the camera, and how fast they turn for a
velocity of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from deepservo.errors import InputError
from deepservo.worlds.views import AXES, mujoco, pose_here, pose_there

JOINTS = ("x", "y", "z", "rz", "ry", "rx")
DAMPING = 1e-3  # of the inverse near a singular pose: joints slow down there instead of racing


@dataclass(frozen=True)
class Limits:
    """Of each joint: speed [m/s, rad/s] and acceleration [m/s^2, rad/s^2]."""

    speed: tuple[float, ...] = (1.0, 1.0, 1.0, 3.0, 3.0, 3.0)
    acceleration: tuple[float, ...] = (8.0, 8.0, 8.0, 25.0, 25.0, 25.0)


class Arm:
    """The six axes of one model, for any of its states (`MjData`)."""

    def __init__(self, model: Any, limits: Limits = Limits()) -> None:
        self.model, self.limits = model, limits
        joints = [model.joint(name) for name in JOINTS]
        self.q = np.array([joint.qposadr[0] for joint in joints])
        self.dof = np.array([joint.dofadr[0] for joint in joints])
        self.motor = np.array([model.actuator(name).id for name in JOINTS])
        self.low, self.high = np.array([joint.range for joint in joints]).T
        self.eye = model.site("eye").id
        self.offset = np.array(model.site("eye").pos)

    def pose(self, data: Any) -> Float[np.ndarray, "4 4"]:
        """`T_world_cam` of a state whose kinematics are done."""
        return pose_here(data.site_xpos[self.eye], data.site_xmat[self.eye].reshape(3, 3))

    def jacobian(self, data: Any) -> Float[np.ndarray, "6 6"]:
        """J of `v_cam = J q_dot`, in the camera's own frame and axes."""
        linear, angular = np.zeros((3, self.model.nv)), np.zeros((3, self.model.nv))
        mujoco().mj_jacSite(self.model, data, linear, angular, self.eye)
        turn = AXES @ data.site_xmat[self.eye].reshape(3, 3).T
        return np.concatenate([turn @ linear[:, self.dof], turn @ angular[:, self.dof]])

    def joints_of(self, T_world_cam: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "6"]:
        """Joint positions [m, rad] with the camera there, whether or not a joint can go so far."""
        p, R = pose_there(T_world_cam)
        ry = np.arcsin(np.clip(-R[2, 0], -1, 1))
        rx, rz = np.arctan2(R[2, 1], R[2, 2]), np.arctan2(R[1, 0], R[0, 0])
        wrist = p - R @ self.offset
        return np.array([*wrist, rz, ry, rx])

    def joints_at(
        self, T_world_cam: Float[np.ndarray, "4 4"], what: str = "the pose"
    ) -> Float[np.ndarray, "6"]:
        """Joint positions [m, rad] that put the camera there; InputError where a joint cannot."""
        q = self.joints_of(T_world_cam)
        for name, value, low, high in zip(JOINTS, q, self.low, self.high, strict=True):
            if not low <= value <= high:
                unit, scale = ("m", 1.0) if name in ("x", "y", "z") else ("deg", 180 / np.pi)
                raise InputError(
                    f"{what} is out of the arm's reach: axis {name} would have to stand at "
                    f"{scale * value:.2f} {unit}, and goes from "
                    f"{scale * low:.2f} to {scale * high:.2f}; choose a pose nearer to the middle "
                    "of the table"
                )
        return q

    def steer(self, data: Any, v_cam: Float[np.ndarray, "6"]) -> None:
        """Tell the motors how fast to turn for the next instant of physics, for this velocity of
        the camera.
        """
        J = self.jacobian(data)
        self.turn(data, J.T @ np.linalg.solve(J @ J.T + DAMPING**2 * np.eye(6), v_cam))

    def turn(self, data: Any, wanted: Float[np.ndarray, "6"]) -> None:
        """Tell the motors to turn so fast [m/s, rad/s] for the next instant of physics, within all
        limits.

        Too fast, and all joints slow down alike, so that the camera keeps its direction; a joint
        that nears the end of its range brakes alone.
        """
        now = data.ctrl[self.motor].copy()
        speed, acceleration = np.array(self.limits.speed), np.array(self.limits.acceleration)
        wanted = wanted / max(1.0, float(np.abs(wanted / speed).max()))
        q = data.qpos[self.q]
        up, down = (
            np.sqrt(acceleration * np.maximum(way, 0)) for way in (self.high - q, q - self.low)
        )  # half of what brakes in time
        wanted = np.clip(wanted, -down, up)
        change = wanted - now
        change /= max(1.0, float(np.abs(change / (acceleration * self.model.opt.timestep)).max()))
        data.ctrl[self.motor] = now + change
