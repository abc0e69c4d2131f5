"""The gantry's joints: positions for a pose of the camera, speeds for its velocity."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from deepservo.errors import InputError
from deepservo.worlds.views import AXES, mujoco, pose_here, pose_there

JOINTS = ("x", "y", "z", "rz", "ry", "rx")
DAMPING = 1e-3  # of the inverse Jacobian, which bounds the joints' speeds near a singular pose


@dataclass(frozen=True)
class Limits:
    """The joints' largest speeds [m/s, rad/s] and accelerations [m/s^2, rad/s^2]."""

    speed: tuple[float, ...] = (1.0, 1.0, 1.0, 3.0, 3.0, 3.0)
    acceleration: tuple[float, ...] = (8.0, 8.0, 8.0, 25.0, 25.0, 25.0)


class Arm:
    """The six axes of a MuJoCo model, for any of its states (`MjData`)."""

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
        """`T_world_cam` of a state whose kinematics are computed."""
        return pose_here(data.site_xpos[self.eye], data.site_xmat[self.eye].reshape(3, 3))

    def jacobian(self, data: Any) -> Float[np.ndarray, "6 6"]:
        """J of `v_cam = J q_dot`, in the camera's frame."""
        linear, angular = np.zeros((3, self.model.nv)), np.zeros((3, self.model.nv))
        mujoco().mj_jacSite(self.model, data, linear, angular, self.eye)
        turn = AXES @ data.site_xmat[self.eye].reshape(3, 3).T
        return np.concatenate([turn @ linear[:, self.dof], turn @ angular[:, self.dof]])

    def joints_of(self, T_world_cam: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "6"]:
        """Joint positions [m, rad] for a pose of the camera, whether or not they are in range."""
        p, R = pose_there(T_world_cam)
        ry = np.arcsin(np.clip(-R[2, 0], -1, 1))
        rx, rz = np.arctan2(R[2, 1], R[2, 2]), np.arctan2(R[1, 0], R[0, 0])
        wrist = p - R @ self.offset
        return np.array([*wrist, rz, ry, rx])

    def joints_at(
        self, T_world_cam: Float[np.ndarray, "4 4"], what: str = "the pose"
    ) -> Float[np.ndarray, "6"]:
        """`joints_of`; InputError, with `what` for the pose, where a joint is out of range."""
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
        """Set the motors' speeds for the next time step, for this velocity of the camera.

        v_cam: [m/s, rad/s] in the camera frame.
        """
        J = self.jacobian(data)
        self.turn(data, J.T @ np.linalg.solve(J @ J.T + DAMPING**2 * np.eye(6), v_cam))

    def turn(self, data: Any, wanted: Float[np.ndarray, "6"]) -> None:
        """Set the motors' speeds [m/s, rad/s] for the next time step, within all limits.

        Where they are too fast all joints slow down alike, so that the camera keeps its direction;
        a joint that nears the end of its range brakes alone.
        """
        now = data.ctrl[self.motor].copy()
        speed, acceleration = np.array(self.limits.speed), np.array(self.limits.acceleration)
        wanted = wanted / max(1.0, float(np.abs(wanted / speed).max()))
        q = data.qpos[self.q]
        # 1 / sqrt(2) of the speed from which a joint brakes in time.
        up, down = (
            np.sqrt(acceleration * np.maximum(way, 0)) for way in (self.high - q, q - self.low)
        )
        wanted = np.clip(wanted, -down, up)
        change = wanted - now
        change /= max(1.0, float(np.abs(change / (acceleration * self.model.opt.timestep)).max()))
        data.ctrl[self.motor] = now + change
