"""CNN-VS (Bateux 2018): a network answers the camera's pose in one known scene; two answers give `T_goal_cam`; PBVS."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.registration import ACQUIRE, AGREE, Registration, fronto
from deepservo.geometry import pnp, se3
from deepservo.methods.base import Controller
from deepservo.nets.pose import PoseNet, cell_rays, shrink
from deepservo.scene import PlanarScene
from deepservo.scene.sampling import fronto_parallel

HYPOTHESES = 32  # poses tried around the network's for a goal, which is asked once and steers every step
MAP_WIDTH = 512  # pixels of the map's long side at most


class PoseServo(Controller):
    """A trained PoseNet in its scene. The goal's pose is asked once, the camera's at every step.

    distance: the scene's unit of length [m], as it was trained. With `scene`, each answer is registered to the learned
    picture before it is used, and kept as it was where the two do not agree.
    """

    def __init__(self, camera: Camera, net: PoseNet, distance: float, scene: PlanarScene | None = None, gain: float = 0.1) -> None:
        super().__init__(camera)
        self.net, self.distance, self.gain = net.eval(), distance, gain
        self.rays = cell_rays(camera)
        self.map = None
        if scene is not None:
            view = _map_camera(camera, scene, distance)
            picture, _ = scene.render(view, fronto_parallel(distance))
            self.map = Registration(camera, picture, fronto(distance), view)

    def locate(self, images: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, " b"]]:
        """`T_world_cam` of each picture, and its agreement with the learned picture there (0 without a scene)."""
        out = self.net(shrink(images, self.net.size)).flatten(2).double()
        weights = torch.exp(-out[:, 2]).clamp(max=1e3)
        T, _ = pnp.pose_from_plane_points(self.rays, out[:, :2].mT * self.distance, weights)
        if self.map is None:
            return T, torch.zeros(len(T))
        T_world_ref, runs = fronto_parallel(self.distance), torch.arange(len(T))
        views = self.map.views(images)
        T_ref_cam = self.map.refine(views, se3.inverse(T_world_ref) @ T, ACQUIRE, runs)
        agreement, _ = self.map.agreement(views, T_ref_cam, runs)
        return torch.where((agreement > AGREE)[:, None, None], T_world_ref @ T_ref_cam, T), agreement

    def goal_plane(self) -> Float[Tensor, "g 4"] | None:
        """The scene's plane [n, d] in each goal's frame, where all goals agree with the learned picture; else None."""
        if not bool((self.state["agreement"] > AGREE).all()):
            return None
        T = self.state["T_world_goal"]
        return torch.cat([T[:, 2, :3], -T[:, 2, 3:]], 1)

    def _set_goal(self, goal: Tensor) -> None:
        T, agreement = self.locate(goal)
        if self.map is not None:
            T, agreement = self._search(goal, T, agreement)
        self.state = {"T_world_goal": T, "agreement": agreement}

    def _search(self, goal: Tensor, T_world_goal: Tensor, agreement: Tensor) -> tuple[Tensor, Tensor]:
        """The pose around the network's that agrees best with the learned picture, for goals that were lit or covered."""
        assert self.map is not None
        T_world_ref = fronto_parallel(self.distance)
        views, goals = self.map.views(goal), torch.arange(len(goal))
        runs = goals.repeat_interleave(HYPOTHESES)
        T = se3.inverse(T_world_ref) @ T_world_goal[runs] @ _nearby(len(runs), self.distance)
        T = self.map.refine(views, T, ((3, 8),), runs)
        found, _ = self.map.agreement(views, T, runs)
        best = found.view(len(goal), HYPOTHESES).argmax(1) + HYPOTHESES * goals
        T_best = self.map.refine(views, T[best], ((3, 12), (2, 12)), goals)
        found, _ = self.map.agreement(views, T_best, goals)
        better = found > agreement
        return torch.where(better[:, None, None], T_world_ref @ T_best, T_world_goal), torch.where(better, found, agreement)

    def _velocity(self, image: Tensor) -> Tensor:
        T_world_cam, _ = self.locate(image)
        return control.pbvs(se3.inverse(self.state["T_world_goal"]) @ T_world_cam, self.gain)


def _nearby(n: int, distance: float) -> Float[Tensor, "n 4 4"]:
    """Small motions of a camera, mostly those that hardly move its picture and are therefore the least certain.

    An orbit about the point it looks at (6 deg), then a turn (2 deg, 4 deg about the axis) and a step along it (5 %).
    """
    normal = torch.randn(n, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    there, orbit, turn = (
        torch.zeros(n, 6, dtype=torch.float64),
        torch.zeros(n, 6, dtype=torch.float64),
        torch.zeros(n, 6, dtype=torch.float64),
    )
    there[:, 2] = distance
    orbit[:, 3:5] = normal[:, :2] * math.radians(6)
    turn[:, 2] = normal[:, 2] * 0.05 * distance
    turn[:, 3:] = normal[:, 3:] * torch.tensor([2.0, 2.0, 4.0], dtype=torch.float64).deg2rad()
    return se3.exp(there) @ se3.exp(orbit) @ se3.exp(-there) @ se3.exp(turn)


def _map_camera(camera: Camera, scene: PlanarScene, distance: float) -> Camera:
    """A camera that sees the whole picture from `distance`, its pixels as large on the plane as the camera's."""
    pitch = max(distance / camera.fx, max(scene.width, scene.height) / MAP_WIDTH)
    w, h = max(64, 8 * round(scene.width / pitch / 8)), max(64, 8 * round(scene.height / pitch / 8))
    return Camera(w, h, w * distance / scene.width, h * distance / scene.height, (w - 1) / 2, (h - 1) / 2)
