"""A camera comes home to one picture of where it should be. Nothing is trained."""

import torch

import deepservo
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene.sampling import fronto_parallel

camera = deepservo.Camera(width=224, height=224, fx=300, fy=300, cx=119, cy=109)
scene = deepservo.PlanarScene(bundled("coffee"), width=0.8)
T_world_goal = fronto_parallel(0.6)
T_world_cam = T_world_goal @ se3.exp(torch.tensor([[0.15, -0.1, 0.08, 0.1, 0.2, 1.2]]).double())
goal = scene.render(camera, T_world_goal)
controller = deepservo.build("sift+dvs", camera, depth=0.6)
controller.set_goal(goal)
trajectory = deepservo.servo(deepservo.Simulator(scene, camera, T_world_cam), controller, goal)
m, angle = se3.distance(T_world_goal, trajectory.Ts_world_cam[:, 0])
mm, deg = 1e3 * m, angle.rad2deg()
print(f"from {mm[0]:.0f} mm and {deg[0]:.0f} deg to {mm[-1]:.4f} mm and {deg[-1]:.5f} deg")
