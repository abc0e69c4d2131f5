"""A whole loop to copy: put your camera and your arm in the place of `Bench`. It ends when the
camera has arrived, is lost, or takes too long, and in any case stops the arm.
"""

import time

import numpy as np
import torch

import deepservo
from deepservo import control
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene.sampling import fronto_parallel

RATE, TIME_OUT = 30.0, 30.0  # pictures a second; s
FASTEST = (0.1, 0.5)  # m/s, rad/s of the tool
T_TOOL_CAM = se3.exp(torch.tensor([0.0, -0.05, 0.08, 0.0, 0.0, 1.57], dtype=torch.float64))
CAMERA = deepservo.Camera(width=224, height=224, fx=300, fy=300, cx=119, cy=109)
SCENE = deepservo.PlanarScene(bundled("astronaut"), width=0.8)


class Bench:  # a simulated camera on the tool of an arm
    def __init__(self, T_world_cam: torch.Tensor) -> None:
        self.T_world_cam = T_world_cam

    def grab(self) -> np.ndarray:  # (h, w) uint8, as a camera's driver gives it
        return (SCENE.render(CAMERA, self.T_world_cam)[0, 0] * 255).round().byte().numpy()

    def send(self, v_tool: np.ndarray) -> None:  # m/s, rad/s: held until the next one comes
        v_cam = se3.adjoint(se3.inverse(T_TOOL_CAM)) @ torch.from_numpy(v_tool)
        self.T_world_cam = self.T_world_cam @ se3.exp(v_cam[None] / RATE)


def go_home(bench: Bench, goal: np.ndarray) -> deepservo.Status:
    """Bring the camera to where the goal picture was taken, and say how that ended."""
    controller = deepservo.build("auto", CAMERA, depth=0.6)  # m to the scene, at the goal
    controller.scale_gain(1 / RATE)
    controller.dt, controller.tolerance = 1 / RATE, deepservo.Tolerance(mm=0.5, deg=0.05)
    controller.set_goal(goal)
    begin = due = time.monotonic()
    try:
        while True:
            v_cam, (status,) = controller.velocity(bench.grab())[0], controller.status
            over = status.phase in (deepservo.Phase.ARRIVED, deepservo.Phase.LOST)
            if over or time.monotonic() > begin + TIME_OUT:
                return status
            bench.send(control.saturate(se3.adjoint(T_TOOL_CAM) @ v_cam, *FASTEST).numpy())
            due += 1 / RATE
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        bench.send(np.zeros(6))


if __name__ == "__main__":
    T_goal = fronto_parallel(0.6)
    offset = torch.tensor([[0.03, -0.02, 0.04, 0.02, 0.05, 0.10]], dtype=torch.float64)
    bench = Bench(T_goal @ se3.exp(offset))
    print(go_home(bench, Bench(T_goal).grab()).sentence)
