"""The loop by hand, as on a robot: NumPy uint8 pictures in, a velocity out. Replace `grab` and
`move` by your own.
"""

import numpy as np
import torch

import deepservo
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene.sampling import fronto_parallel

DT = 1.0  # seconds between two pictures

camera = deepservo.Camera(width=224, height=224, fx=300, fy=300, cx=119, cy=109)
scene = deepservo.PlanarScene(bundled("astronaut"), width=0.8)
T_world_goal = fronto_parallel(0.6)
T_world_cam = T_world_goal @ se3.exp(
    torch.tensor([[0.03, -0.02, 0.04, 0.02, 0.05, 0.10]], dtype=torch.float64)
)


def grab(T: torch.Tensor) -> np.ndarray:
    """What a real camera's driver gives: (H, W) uint8."""
    return (scene.render(camera, T)[0, 0] * 255).round().byte().numpy()


def move(T: torch.Tensor, v_cam: torch.Tensor) -> torch.Tensor:
    """What a robot does with a velocity in the camera's frame held for DT seconds."""
    return T @ se3.exp(v_cam * DT)


controller = deepservo.build("photometric", camera, depth=0.6)
controller.dt = DT
controller.set_goal(grab(T_world_goal))
steps = 0
for _ in range(300):
    v_cam = controller.velocity(grab(T_world_cam))  # (1, 6) [m/s, rad/s]
    T_world_cam = move(T_world_cam, v_cam)
    steps += 1
    if v_cam[:, :3].norm() < 1e-5 and v_cam[:, 3:].norm() < 1e-5:
        break
metres, radians = se3.distance(T_world_goal, T_world_cam)
print(
    f"stopped after {steps} steps, {1e3 * metres.item():.3f} mm and "
    f"{radians.rad2deg().item():.4f} deg from the goal"
)
