"""Photometric refinement starts, goes on and stops by the agreement and by the coarse method."""

from typing import Any

import pytest
import torch

from closed_loop import (
    CAMERA,
    LARGE_OFFSET,
    assert_converged,
    offset_from,
)
from deepservo import control
from deepservo.features.agreement import Comparison
from deepservo.features.registration import Registration
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods.coarse_to_fine import CoarseToFine
from deepservo.methods.refinement import MAX_MISSES
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator
from fixed_estimates import Fixed, Guide, Interrupted, agreeing, register


@pytest.mark.parametrize("what", ["another scene", "a blank wall"])
def test_a_refinement_that_loses_agreement_goes_back_and_recovers(what, scene, other_scene):
    begin, T_goal = 20, sampling.fronto_parallel(0.6)
    end = 35 if what == "another scene" else 28  # after ten pictures without anything a run ends
    other = (
        other_scene
        if what == "another scene"
        else PlanarScene(torch.full((1, 30, 40), 0.3), background=0.3)
    )
    world = Interrupted(scene, other, offset_from(T_goal.expand(2, 4, 4), LARGE_OFFSET), begin, end)
    guide = Guide(CAMERA, world, T_goal)
    controller = CoarseToFine(guide)
    goal = scene.render(CAMERA, T_goal)
    controller.set_goal(goal)
    trajectory = servo(world, controller, goal, 80)
    refining = trajectory.refining
    assert (refining[begin - 5 : begin] == 1).all(), "the photometric refinement steered before"
    assert (refining[begin + MAX_MISSES : end] == 0).all(), "it does not steer without agreement"
    assert (refining[end + 3 : 60] == 1).all(), "and steers again when it sees the goal's scene"
    lost = slice(begin + MAX_MISSES, end)
    for v_cam in trajectory.v_cam[lost]:
        said = any(torch.equal(v_cam, said) for said in guide.said)
        assert said if what == "another scene" else not v_cam.any(), (
            "the coarse method steers meanwhile, if there is anything to see"
        )
    assert_converged(trajectory, T_goal, 0.3)
    assert all("photometric refinement" in reason for reason in trajectory.reason)


def test_a_refinement_goes_on_after_a_short_interruption(scene, other_scene):
    begin, T_goal = 20, sampling.fronto_parallel(0.6)
    world = Interrupted(
        scene, other_scene, offset_from(T_goal, LARGE_OFFSET), begin, begin + MAX_MISSES - 1
    )
    controller = CoarseToFine(Guide(CAMERA, world, T_goal))
    goal = scene.render(CAMERA, T_goal)
    controller.set_goal(goal)
    trajectory = servo(world, controller, goal, 60)
    assert (trajectory.refining[10:40] == 1).all()
    assert_converged(trajectory, T_goal, 0.3)


@pytest.mark.parametrize(
    ("least", "holds"),
    [(0.46, True), (0.5, True), (0.54, True), (0.44, False), (0.2, False), (0.0, False)],
)
def test_a_refinement_goes_on_at_an_agreement_of_045_and_stops_at_the_third_miss(
    least, holds, monkeypatch
):
    steers = agreeing([0.9] + [least] * 12, monkeypatch)
    assert steers == ([True] * 13 if holds else [True] * 3 + [False] * 10)


@pytest.mark.parametrize(
    ("first", "takes"), [(0.56, True), (0.9, True), (0.54, False), (0.46, False)]
)
def test_a_refinement_starts_at_an_agreement_of_055(first, takes, monkeypatch):
    assert agreeing([first] * 3, monkeypatch) == [takes] * 3


@pytest.mark.parametrize(("least", "takes"), [(0.31, True), (0.29, False)])
def test_where_the_coarse_method_confirms_the_pose_an_agreement_of_03_is_enough(
    least, takes, monkeypatch
):
    assert agreeing([least] * 3, monkeypatch, consistency=1) == [takes] * 3
    assert agreeing([0.9] + [least] * 6, monkeypatch, consistency=1) == [True] * 3 + [takes] * 4


def test_only_misses_in_a_row_count(monkeypatch):
    assert all(agreeing([0.9, *[0.1, 0.1, 0.5] * 4], monkeypatch)), (
        "two misses, and then it agrees again"
    )
    assert agreeing([0.9, 0.1, 0.1, 0.1, 0.5, 0.9], monkeypatch)[-3:] == [False, False, True], (
        "a lost pose must agree as at the start"
    )


@pytest.mark.parametrize(
    ("now", "other", "goes_over"),
    [
        (0.79, 0.82, True),
        (0.6, 0.63, True),
        (0.6, 0.61, False),
        (0.81, 0.99, False),
        (0.5, 0.54, False),
    ],
)
def test_every_fifth_picture_a_weakly_agreeing_refinement_looks_for_a_pose_that_agrees_more(
    now, other, goes_over, monkeypatch
):
    """It looks under an agreement of 0.8, for a pose that agrees 0.02 more and enough without
    confirmation.
    """
    controller, goal = CoarseToFine(Fixed(CAMERA)), torch.zeros(1, 1, 128, 128)
    controller.set_goal(goal)
    coarse = control.pose_of_pbvs(
        torch.full((1, 6), 1e-3, dtype=torch.float64), controller.coarse.gain
    )
    first = [True]

    def agreement(
        self: Registration, views: object, T: torch.Tensor, runs: torch.Tensor
    ) -> Comparison:
        of_coarse = torch.equal(T, coarse) and not first[0]
        return Comparison(
            *torch.tensor(
                [[other if of_coarse else now if not first[0] else 0.9], [1.0], [1.0], [1.0]]
            )
        )

    register(monkeypatch, lambda self, views, T, *rest: T.clone())
    controller.looks = False  # the pictures stand for others
    monkeypatch.setattr(Registration, "compare", agreement)
    at_coarse = []
    for _ in range(6):
        controller.velocity(goal)
        first[0] = False
        at_coarse.append(torch.equal(controller.state["T_goal_cam"], coarse))
    assert controller.is_refining(1).item() == 1
    assert at_coarse == [True, False, False, False, goes_over, False], (
        "it starts from the coarse method's pose and goes on"
    )


def test_a_pose_that_the_coarse_method_refutes_is_dropped_and_must_agree_by_08_afterwards(
    monkeypatch,
):
    """The next pose must agree by 0.8, where 0.55 was enough at first."""
    controller, goal, now = CoarseToFine(Fixed(CAMERA)), torch.zeros(1, 1, 128, 128), [0.7]
    controller.set_goal(goal)
    register(monkeypatch, lambda self, views, T, *rest: T.clone())
    controller.looks = False  # the pictures stand for others
    monkeypatch.setattr(
        Registration,
        "compare",
        lambda *_: Comparison(*torch.tensor([[now[0]], [1.0], [1.0], [1.0]])),
    )

    def steers(pictures: int) -> list[bool]:
        return [
            bool(controller.velocity(goal).any() and controller.is_refining(1))
            for _ in range(pictures)
        ]

    assert steers(4) == [True] * 4
    controller.coarse.consistency = -1
    assert steers(3) == [False] * 3
    controller.coarse.consistency, now[0] = 0, 0.79
    assert steers(2) == [False] * 2
    now[0] = 0.81
    assert steers(2) == [True] * 2


def test_near_the_goal_the_refinement_registers_at_full_size_too(monkeypatch):
    """Near is under five thousandths of the depth, and rotation does not count. Light is estimated
    at a quarter of the size first.
    """
    controller, goal = CoarseToFine(Fixed(CAMERA), depth=0.6), torch.zeros(1, 1, 128, 128)
    controller.set_goal(goal)
    levels: dict[int, list[int]] = {}

    def refine(
        self: Registration, views: object, T: torch.Tensor, schedule: Any, runs: torch.Tensor
    ) -> torch.Tensor:
        levels.update(
            {run: [level for level, iterations in schedule if iterations] for run in runs.tolist()}
        )
        assert schedule[0][0] == 2
        return T.clone()

    monkeypatch.setattr(
        Registration, "compare", lambda self, views, T, runs: Comparison(*torch.ones(4, len(runs)))
    )
    controller.looks = False  # the pictures stand for others
    controller.velocity(goal.expand(4, -1, -1, -1))
    register(monkeypatch, refine)
    controller.v_last.zero_()
    off = torch.tensor([0.0029, -0.0029, 0.0031, 0.02], dtype=torch.float64)
    controller.state["T_goal_cam"] = se3.transform(
        se3.so3_exp(10 * off[:, None] * torch.ones(3)), off[:, None] * torch.eye(3)[0]
    )
    controller.velocity(goal.expand(4, -1, -1, -1))
    assert [levels[run] for run in range(4)] == [[1, 0], [1, 0], [2, 1], [2, 1]]


class Consistent(Guide):
    """Confirms right poses and refutes wrong ones."""

    def pose_consistency(self, T_goal_cam: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:
        metres, _ = se3.distance(
            se3.inverse(self.T_world_goal) @ self.world.T_world_cam[runs], T_goal_cam
        )
        return 2 * (metres < 0.01).long() - 1


@pytest.mark.parametrize("guide", [Guide, Consistent])
@pytest.mark.parametrize("registers", ["wrongly", "faintly"])
def test_a_refinement_follows_the_coarse_methods_pose_consistency(
    guide, registers, scene, monkeypatch
):
    """A wrong pose does not steer, however well the pictures agree. A right one does, even if they
    hardly agree.
    """
    T_goal = sampling.fronto_parallel(0.6)
    world = Simulator(scene, CAMERA, offset_from(T_goal.expand(2, 4, 4), LARGE_OFFSET))
    controller, goal = CoarseToFine(guide(CAMERA, world, T_goal)), scene.render(CAMERA, T_goal)
    controller.set_goal(goal)
    agreement, refine = 0.7 if registers == "wrongly" else 0.4, Registration.refine
    aside = se3.exp(torch.tensor([0.05, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    if registers == "wrongly":
        register(monkeypatch, lambda *args: refine(*args) @ aside)

    def same(self, views, T, runs, level=0):
        return Comparison(*(torch.full((len(runs),), each) for each in (agreement, 1.0, 1.0, 1.0)))

    monkeypatch.setattr(Registration, "compare", same)
    trajectory = servo(world, controller, goal, 60)
    believed = (guide is Guide) == (registers == "wrongly")
    assert (trajectory.refining[10:] == believed).all()
    converged = se3.distance(T_goal, trajectory.Ts_world_cam[-1])[0] < 0.01
    assert converged.all() if guide is Consistent else registers == "faintly" or not converged.any()
