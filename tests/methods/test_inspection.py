"""Methods that do not compare pictures themselves know their arrival too."""

import numpy as np
import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.geometry import se3
from deepservo.loop import Ending, servo
from deepservo.methods import build
from deepservo.methods.base import Controller, SingleController
from deepservo.methods.status import Phase, Tolerance
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator

TWIST = torch.tensor([[0.01, -0.008, 0.012, 0.02, 0.03, 0.1]], dtype=torch.float64)


def starts(n: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses of n cameras beside the goal's, and the goal's."""
    goal = sampling.fronto_parallel(0.6)
    scale = torch.linspace(1, 1.5, n, dtype=torch.float64)[:, None]
    return goal @ se3.exp(scale * TWIST), goal


@pytest.mark.parametrize("name", ["sift", "dvs", "dfbvs-sift"])
def test_classical_methods_arrive(name, scene):
    T_start, T_goal = starts(2)
    controller, goal = build(name, PAPER_CAMERA, 0.6), scene.render(PAPER_CAMERA, T_goal)
    controller.set_goal(goal)
    controller.tolerance = Tolerance()
    trajectory = servo(Simulator(scene, PAPER_CAMERA, T_start), controller, goal)
    metres, radians = se3.distance(trajectory.Ts_world_cam[-1], T_goal)
    assert (metres < 1e-3).all() and (radians.rad2deg() < 0.1).all()
    assert [end.ending for end in trajectory.ends] == [Ending.ARRIVED] * 2
    for end, mm in zip(trajectory.ends, 1e3 * metres, strict=True):
        assert end.status.most_mm < 2 and end.status.most_mm > 0.5 * mm


def test_orb_rests_beside_the_goal_and_it_is_known(scene):
    """Its keypoints lie on whole pixels, so that it holds still before it is there."""
    T_start, T_goal = starts(4)
    controller, goal = build("orb", PAPER_CAMERA, 0.6), scene.render(PAPER_CAMERA, T_goal)
    controller.set_goal(goal)
    trajectory = servo(Simulator(scene, PAPER_CAMERA, T_start), controller, goal)
    metres, _ = se3.distance(trajectory.Ts_world_cam[-1], T_goal)
    assert (metres > 1e-4).all()
    for end, mm in zip(trajectory.ends, 1e3 * metres, strict=True):
        assert end.status.mm == pytest.approx(float(mm), rel=0.2, abs=0.05)
        assert end.status.most_mm > 0.95 * mm
        assert mm < 1.05 or end.ending is not Ending.ARRIVED


class Blind(SingleController):
    """Believes that it is at the goal wherever it is."""

    def start(self, goal: np.ndarray) -> None: ...

    def step(self, image: np.ndarray) -> np.ndarray:
        return np.zeros(6)


@pytest.mark.parametrize(
    ("twist", "phase"),
    [((2e-4, 0, 0, 0, 0, 0), Phase.ARRIVED), ((0.004, 0, 0, 0, 0.003, 0), Phase.APPROACHING)],
)
def test_a_method_of_ones_own_that_is_wrong_is_told_how_far_off_it_is(twist, phase, scene):
    goal = sampling.fronto_parallel(0.6)
    T = goal @ se3.exp(torch.tensor([twist], dtype=torch.float64))
    controller = Blind(PAPER_CAMERA, 0.6)
    controller.set_goal(scene.render(PAPER_CAMERA, goal))
    for _ in range(30):
        controller.velocity(scene.render(PAPER_CAMERA, T))
    (status,) = controller.status
    assert status.phase is phase, status.sentence
    assert status.mm == pytest.approx(1e3 * float(se3.distance(T, goal)[0]), abs=0.3)


def test_another_scene_at_the_goal_is_no_arrival(scene):
    goal = sampling.fronto_parallel(0.6)
    generator = torch.Generator().manual_seed(0)
    other = PlanarScene(torch.rand(1, 64, 64, generator=generator), 0.8)
    controller = Blind(PAPER_CAMERA, 0.6)
    controller.set_goal(scene.render(PAPER_CAMERA, goal))
    for _ in range(30):
        controller.velocity(other.render(PAPER_CAMERA, goal))
    assert controller.status[0].phase is not Phase.ARRIVED


def test_views_that_show_nothing_of_the_goal_are_glanced_at(scene, monkeypatch):
    """Registration takes many times as long, and DVS moves as slowly far from the goal as near."""
    goal = sampling.fronto_parallel(0.6)
    controller = Blind(PAPER_CAMERA, 0.6)
    controller.set_goal(scene.render(PAPER_CAMERA, goal))
    turned = torch.tensor([[0.1, 0, 0, 0, 0, 1.5], [0, 0.15, 0, 0, 0, 3]], dtype=torch.float64)
    far = goal @ se3.exp(turned)

    def refuse(*_: object) -> None:
        raise AssertionError("registered, though the pictures have nothing in common")

    monkeypatch.setattr("deepservo.methods.inspection.estimate", refuse)
    for _ in range(6):
        controller.velocity(scene.render(PAPER_CAMERA, far))
    assert not any(status.phase is Phase.ARRIVED for status in controller.status)


def test_the_place_beside_a_tile_is_no_arrival():
    generator = torch.Generator().manual_seed(0)
    tile = torch.nn.functional.avg_pool2d(torch.rand(1, 160, 160, generator=generator), 5)
    scene = PlanarScene(tile.repeat(1, 16, 16), 1.6)
    goal = sampling.fronto_parallel(0.6)
    controller = Blind(PAPER_CAMERA, 0.6)
    controller.set_goal(scene.render(PAPER_CAMERA, goal))
    beside = goal @ se3.exp(torch.tensor([[0.1, 0, 0, 0, 0, 0]], dtype=torch.float64))
    for T in (beside, goal):
        for _ in range(30):
            controller.velocity(scene.render(PAPER_CAMERA, T))
        (status,) = controller.status
        assert status.phase is not Phase.ARRIVED
        assert "another place" in status.sentence


def test_runs_that_end_do_not_change_what_is_known_of_the_others(scene):
    """Of three goals, one each, and a method that tells no pose."""
    goals = sampling.fronto_parallel(0.6) @ se3.exp(
        0.02 * torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )
    controller: Controller = build("dvs", PAPER_CAMERA, 0.6)
    controller.set_goal(scene.render(PAPER_CAMERA, goals))
    runs = torch.arange(3)
    for step in range(40):
        if step == 12:
            runs = torch.tensor([0, 2])
            controller.select_runs(runs)
        controller.velocity(scene.render(PAPER_CAMERA, goals[runs]))
    assert [each.phase for each in controller.status] == [Phase.ARRIVED] * 2
