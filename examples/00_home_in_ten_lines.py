"""A camera comes home to one picture of where it should be. Nothing is trained."""

import torch

import deepservo
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene.sampling import fronto_parallel

camera = deepservo.Camera(width=224, height=224, fx=300, fy=300, cx=119, cy=109)
scene = deepservo.PlanarScene(bundled("coffee"), width=0.8)
T_world_goal = fronto_parallel(0.6)
T_world_cam = T_world_goal @ se3.exp(
    torch.tensor([[0.15, -0.10, 0.08, 0.10, 0.20, 1.20]], dtype=torch.float64)
)
goal = scene.render(camera, T_world_goal)
controller = deepservo.build("sift+dvs", camera, depth=0.6)
controller.set_goal(goal)
trajectory = deepservo.servo(deepservo.Simulator(scene, camera, T_world_cam), controller, goal)
metres, radians = se3.distance(T_world_goal, trajectory.Ts_world_cam[:, 0])
print(
    f"from {1e3 * metres[0]:.0f} mm and {radians[0].rad2deg():.0f} deg to {1e3 * metres[-1]:.4f} "
    f"mm and {radians[-1].rad2deg():.5f} deg"
)
