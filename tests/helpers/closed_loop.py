"""Closed loops for the tests: small cameras, goals and starts, and stand-ins for trained
networks.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from deepservo.camera import Camera
from deepservo.evaluation import metrics
from deepservo.geometry import se3
from deepservo.loop import Trajectory, servo
from deepservo.methods import METHODS, Controller, build, trained_as
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.mlvs import MetricServo
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.methods.true_pose import TruePose
from deepservo.nets.metric import MetricNet
from deepservo.nets.pose import PoseNet
from deepservo.nets.resnet import Encoder, Shape
from deepservo.nets.siamese import SiameseNet
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.reference import to_reference
from deepservo.training.tasks.siamese import LAWS, scaled
from deepservo.worlds.simulator import Simulator

NAMES = (
    *METHODS, "sift+dvs", "cnn-pair+dvs", "cnn+dvs", "aevs+dvs", "mlvs+dvs", "siamese-se3+dvs",
    "siamese-SE3+dvs", "siamese-ibvs+dvs", "dfbvs+edges", "dfbvs-sift+edges",
)  # fmt: skip
"""Of methods: each alone, and those that are usually refined."""
CAMERA = Camera(128, 128, 170.0, 170.0, 66.0, 62.0)


SMALL_OFFSET = (0.015, 0.03)  # offsets [m, rad] from which a photometric method alone converges


LARGE_OFFSET = (0.06, 0.15)


LARGER_OFFSET = (0.22, 0.5)


def offset_from(
    T_world_goal: torch.Tensor, sizes: tuple[float, float], seed: int = 0
) -> torch.Tensor:
    """A start for each run, this far [m] and rotated this much [rad] from its goal."""
    v, w = torch.randn(
        2, len(T_world_goal), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    twist = torch.cat(
        [
            sizes[0] * torch.nn.functional.normalize(v, dim=1),
            sizes[1] * torch.nn.functional.normalize(w, dim=1),
        ],
        1,
    )
    return T_world_goal @ se3.exp(twist)


def goals(n: int) -> torch.Tensor:
    """n goals that face the plane, each with its own place and roll."""
    T = sampling.fronto_parallel(0.6, n)
    T[:, :2, 3] = 0.1 * (
        torch.rand(n, 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64) - 0.5
    )
    turn = torch.zeros(n, 3, dtype=torch.float64)
    turn[:, 2] = torch.linspace(0, 2, n, dtype=torch.float64)
    T[:, :3, :3] = se3.so3_exp(turn)
    return T


class NearTruth:
    """Stands in for a trained network: answers the true pose with a fixed error of a few
    millimetres.
    """

    ERROR = torch.tensor([0.002, -0.001, 0.002, 0.003, -0.002, 0.001], dtype=torch.float64)

    def __init__(self, world: Simulator, T_world_goal: torch.Tensor) -> None:
        self.world, self.T_world_goal = world, T_world_goal

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        T = (
            self.T_world_goal
            if self.T_world_goal is not None
            else self.world.T_world_cam[self.rows(images)]
        )
        sign = 1 if self.T_world_goal is not None else -1
        self.T_world_goal = None  # the goal is predicted first, and once
        return T @ se3.exp(sign * self.ERROR)

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        """Which of the world's cameras took each picture. `CoarseToFine` passes only the runs that
        it doubts.
        """
        return (images[:, None] - self.world.observe()).square().flatten(2).mean(2).argmin(1)


def model_of(name: str, scene: PlanarScene, camera: Camera = CAMERA) -> SimpleNamespace:
    """A model with an untrained network of the kind that the method uses."""
    torch.manual_seed(0)
    shape = Shape(18, 8, 16, 64)
    nets = {"aevs": lambda: Encoder(shape), "mlvs": lambda: MetricNet(shape, "silu")}
    method = trained_as(name) or "cnn"
    if method.startswith("siamese"):
        nets[method] = lambda: SiameseNet("compact")
    return SimpleNamespace(
        method=method,
        camera=camera,
        net=nets.get(method, lambda: PoseNet(16))(),
        distance=0.6,
        scene=scene,
    )


def controller_of(
    name: str, scene: PlanarScene, world: Simulator, T_world_goal: torch.Tensor
) -> Controller:
    """The method of that name with its goal set. NearTruth stands in for a trained network."""
    controller = build(name, CAMERA, 0.6, model_of(name, scene))
    coarse = getattr(controller, "coarse", controller)
    if isinstance(coarse, PoseServo):
        coarse.predict = NearTruth(world, T_world_goal)
    if isinstance(coarse, MetricServo):
        where = NearTruth(world, T_world_goal)
        coarse.predict = lambda images: T_world_goal  # of the goal alone
        coarse.pose_search = lambda z: z.view(-1, 4, 4)
        coarse.features.s = lambda images: to_reference(where(images), 0.6).flatten(1)
        coarse.phi.measure = lambda T: (None, straight(T))
    if isinstance(coarse, SiameseServo):
        where, law = NearTruth(world, T_world_goal), LAWS[trained_as(name).removeprefix("siamese-")]
        coarse._features = lambda images: scaled(where(images), 1 / 0.6).flatten(1)
        coarse.net.answer = lambda s, s_goal: law(s_goal.view(-1, 4, 4), s.view(-1, 4, 4))
    controller.set_goal(scene.render(CAMERA, T_world_goal))
    if isinstance(controller, TruePose):
        controller.follow(world, T_world_goal)
    return controller


def in_double(*args: Any) -> Controller:
    """`controller_of` for aevs with the encoder in double precision: rounding in single precision
    moves an untrained encoder by a micron.
    """
    controller = controller_of(*args)
    coarse = getattr(controller, "coarse", controller)
    coarse.features.encoder.double()
    coarse.features._input = lambda pictures, inputs=coarse.features._input: inputs(
        pictures.double()
    )
    coarse.gallery.embedded, coarse.gallery.usual = (
        coarse.gallery.embedded.double(),
        coarse.gallery.usual.double(),
    )
    return controller


def run(
    name: str,
    scene: PlanarScene,
    poses: tuple[torch.Tensor, torch.Tensor],
    max_steps: int,
    make: Callable[..., Controller] = controller_of,
) -> Trajectory:
    """Runs of the method of that name; `poses` are those of the starts and of the goals."""
    T_start, T_goal = poses
    world = Simulator(scene, CAMERA, T_start)
    return servo(world, make(name, scene, world, T_goal), scene.render(CAMERA, T_goal), max_steps)


def has_poses(name: str) -> bool:
    """Whether NearTruth stands in for a network that answers poses."""
    return trained_as(name) not in (None, "aevs")


def assert_converged(trajectory: Trajectory, T_goal: torch.Tensor, mm: float) -> None:
    metres, radians = metrics.errors(trajectory.Ts_world_cam[-1], T_goal)
    assert 1e3 * metres.max() < mm and radians.max() < mm / 200, (
        f"{1e3 * metres} mm, {radians} rad; {trajectory.reason}"
    )


def straight(T: torch.Tensor) -> torch.Tensor:
    """The interaction matrix of a pose's sixteen numbers."""
    axes = torch.zeros(6, 4, 4, dtype=torch.float64)
    axes[:3, :3, 3] = torch.eye(3)
    axes[3:, :3, :3] = se3.hat(torch.eye(3, dtype=torch.float64))
    return (T[:, None] @ axes).flatten(2).mT


DIRECT = ("dvs", "dct", "pca", "photometric", "aevs", "aevs+dvs")


STEPS = {"aevs": 200, "dct": 200, "pca": 200, "particle": 150}


END_MM = {
    "cnn": 8.0,
    "cnn-pair": 25.0,  # it was not trained on the scene, and its cells are coarser than a pixel
    "aevs": 5.0,
    "mlvs": 8.0,
    **dict.fromkeys(("siamese-se3", "siamese-SE3", "siamese-ibvs"), 8.0),
    **dict.fromkeys(("sift", "dfbvs-sift"), 1.0),
    **dict.fromkeys(
        ("dfbvs+edges", "dfbvs-sift+edges"), 0.5
    ),  # made for objects in larger pictures
    "dfbvs": 10.0,  # its keypoints are right to a pixel or so
    "orb": 5.0,
    "dvs": 2.0,
    "pca": 2.0,
    "particle": 2.0,
}  # the others end with photometric refinement or use the true pose
