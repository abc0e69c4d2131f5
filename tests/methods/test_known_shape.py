"""Servoing by edges to an object whose mesh is known, and what keypoints say about that."""

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import detectors
from deepservo.features.drawn import Drawing, Shape
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.methods.base import Controller
from deepservo.methods.dfbvs import CONSISTENT_ERROR, RELIABLE_MATCHES, KeypointServo
from deepservo.methods.model_based import EdgeServo
from fixed_estimates import Fixed
from round_things import egg, facing, moved, patches, seen

CAMERA = Camera(240, 180, 390.0, 390.0, 118.0, 92.0)
THING = egg((0.035, 0.045, 0.05), picture=patches())
SHAPE = Shape.of(THING, facing(0.3))
DEPTH = Drawing.of(SHAPE, CAMERA).depth


class Flying:
    """A camera that flies freely before the shape, under a lamp that moves at each picture."""

    def __init__(self, *Ts: np.ndarray) -> None:
        self.T_world_cam, self.count = torch.from_numpy(np.stack(Ts)), 0

    def observe(self) -> torch.Tensor:
        self.count += 1
        pictures = [seen(SHAPE, CAMERA, T.numpy(), self.count // 5) for T in self.T_world_cam]
        return torch.from_numpy(np.stack(pictures))[:, None]

    def apply(self, v_cam: torch.Tensor, dt: float) -> None:
        self.T_world_cam = self.T_world_cam @ se3.exp(v_cam * dt)

    def select_runs(self, index: torch.Tensor) -> None:
        self.T_world_cam = self.T_world_cam[index]


class Blind(Controller):
    """Finds nothing, and says that each pose is `consistent`."""

    consistent = 0

    def _set_goal(self, goal: torch.Tensor) -> None: ...

    def _velocity(self, image: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(image), 6, dtype=torch.float64)

    def pose_consistency(self, T_goal_cam: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:
        return torch.full((len(runs),), self.consistent)


def goal() -> torch.Tensor:
    return torch.from_numpy(seen(SHAPE, CAMERA, np.eye(4), 99, 0.25))[None, None]


def test_it_goes_straight_home_where_the_coarse_method_finds_nothing():
    """Two runs, of which the first is home before the second."""
    world = Flying(
        moved(0.0, 0.0, -0.002, 0.0, 0.0, 0.0), moved(0.02, -0.01, -0.05, 0.1, -0.1, 0.1)
    )
    start = world.T_world_cam.clone()
    controller = EdgeServo(Blind(CAMERA), DEPTH, shape=SHAPE)
    controller.set_goal(goal())
    trajectory = servo(world, controller, goal(), max_steps=60)
    ends = trajectory.Ts_world_cam[-1]
    assert ends[:, :3, 3].norm(dim=1).max() < 5e-4
    assert se3.so3_log(ends[:, :3, :3]).norm(dim=1).max() < 2e-3
    length = trajectory.Ts_world_cam[:, 1, :3, 3].diff(dim=0).norm(dim=1).sum()
    assert length < 1.15 * start[1, :3, 3].norm()
    assert trajectory.refining[0].tolist() == [1, 1]
    assert "edge refinement" in controller.words(len(controller.state["tracking"]))[0]


def test_build_makes_it_of_a_name():
    controller = build("dfbvs-sift+edges", CAMERA, DEPTH, shape=SHAPE)
    controller.set_goal(goal())
    T = moved(0.004, 0.003, -0.01, 0.01, 0.01, 0.02)
    controller.velocity(torch.from_numpy(seen(SHAPE, CAMERA, T))[None, None])
    assert np.abs(controller.state["T_goal_cam"][0].numpy() - T).max() < 2e-3


def test_a_mesh_that_is_not_what_the_goal_shows_is_refused():
    other = Shape.of(egg((0.02, 0.06, 0.02)), facing(0.3))
    elsewhere = SHAPE.seen_from(moved(0.03, 0.0, 0.0, 0.0, 0.0, 0.0))
    for shape in (other, elsewhere, SHAPE.seen_from(moved(0.0, 0.0, 1.0, 0.0, 0.0, 0.0))):
        with pytest.raises(InputError, match="mesh is not where the goal's depth"):
            EdgeServo(Blind(CAMERA), DEPTH, shape=shape)


def test_a_lost_object_is_looked_for_again_and_the_camera_waits():
    controller = EdgeServo(Blind(CAMERA), DEPTH, shape=SHAPE)
    controller.set_goal(goal())
    blank, steers = torch.full((1, 1, 180, 240), 0.5), []
    there = torch.from_numpy(seen(SHAPE, CAMERA, moved(0.01, 0.0, -0.04, 0.0, 0.1, 0.0)))
    for k in range(17):
        v = controller.velocity(blank if k < 5 else there[None, None])
        steers.append(bool(controller.is_refining(1)))
        assert steers[-1] or not v.any()
    assert steers == [False] * 15 + [True] * 2, "at every fifteenth picture"


@pytest.mark.parametrize("consistent", [0, -1])
def test_keypoints_that_contradict_a_doubtful_pose_steer(consistent):
    """Of a pose that fewer edges agree with than 85 %, by matches of the same picture."""
    coarse = Fixed(CAMERA)
    coarse.consistency = consistent
    controller = EdgeServo(coarse, DEPTH)
    controller.set_goal(goal())
    (edges,) = controller.edges
    register = type(edges).register

    def doubtful(view: object, T: np.ndarray, reaches: tuple[float, ...]) -> object:
        fit = register(edges, view, T, reaches)
        return type(fit)(T, 0.7)

    edges.register = doubtful
    controller.velocity(goal())
    assert bool(controller.is_refining(1)) == (consistent == 0)


@pytest.mark.parametrize(
    ("matches", "off", "says"),
    [
        (RELIABLE_MATCHES, CONSISTENT_ERROR + 0.1, -1),
        (RELIABLE_MATCHES, CONSISTENT_ERROR - 0.1, 0),
        (RELIABLE_MATCHES - 1, CONSISTENT_ERROR + 5, 0),
    ],
)
def test_twenty_matches_reject_a_pose_that_is_four_pixels_off(matches, off, says):
    g = np.random.default_rng(0)
    px = g.uniform([80, 60], [160, 130], (matches, 2))
    names = np.eye(matches, dtype=np.float32)
    controller = KeypointServo(CAMERA, lambda image: (px, names), np.full((180, 240), 0.3))
    controller.set_goal(goal())
    controller.velocity(goal())
    aside = torch.eye(4, dtype=torch.float64)[None].clone()
    aside[0, 0, 3] = off * 0.3 / 390
    assert controller.pose_consistency(aside, torch.tensor([0])).tolist() == [says]


def test_keypoints_confirm_nothing_before_a_picture():
    controller = KeypointServo(CAMERA, detectors.sift, DEPTH)
    controller.set_goal(goal())
    T = torch.eye(4, dtype=torch.float64)[None]
    assert controller.pose_consistency(T, torch.tensor([0])).tolist() == [0]
