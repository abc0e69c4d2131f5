"""Several methods that may know the way to a goal: who is asked, and who is believed."""

from dataclasses import replace

import pytest
import torch

from closed_loop import CAMERA, LARGE_OFFSET, NearTruth, assert_converged, offset_from
from deepservo import control
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.methods.base import Controller
from deepservo.methods.coarse_to_fine import CoarseToFine
from deepservo.methods.verdict import Belief
from deepservo.methods.witnesses import Witnesses
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator

T_GOAL = sampling.fronto_parallel(0.6)
FAR = (0.3, 1.0)  # so that the pictures agree at no pose


class Witness(Controller):
    """Knows the way, to within millimetres, in the runs that it is told, and is sure in some."""

    def __init__(self, world, knows=(), sure=(), *, camera=CAMERA, gain=0.1, name=""):
        super().__init__(camera)
        self.world, self.knows, self.sure, self.gain, self.name = world, knows, sure, gain, name
        self.asked, self.sizes = [], set()

    def velocity_of(self, image, index, n):
        self.asked.append(index.tolist())
        self.sizes.add(tuple(image.shape[1:]))
        T = se3.inverse(T_GOAL) @ self.world.T_world_cam @ se3.exp(NearTruth.ERROR)
        v_cam = control.pbvs(T, self.gain)
        return torch.stack([v_cam[i] * (i in self.knows) for i in index.tolist()])

    def belief(self, n):
        knows, sure = (
            torch.tensor([i in each for i in range(n)]) for each in (self.knows, self.sure)
        )
        return replace(Belief.nothing(n), recognised=knows, sure=sure)

    def words(self, n):
        return [f"{self.name} {i}" for i in range(n)]

    def _set_goal(self, goal):
        self.sizes.add(tuple(goal.shape[1:]))


def of_two(scene, n=2):
    world = Simulator(scene, CAMERA, offset_from(T_GOAL.expand(n, 4, 4), LARGE_OFFSET))
    return world, scene.render(CAMERA, T_GOAL)


def steered(world, goal, *witnesses, steps=80):
    controller = CoarseToFine(Witnesses(CAMERA, 0.6, witnesses))
    controller.set_goal(goal)
    return controller, servo(world, controller, goal, steps)


def test_each_run_goes_where_the_method_leads_that_knows(scene):
    world, goal = of_two(scene)
    world.T_world_cam = offset_from(T_GOAL.expand(2, 4, 4), FAR)
    one, other = Witness(world, {0}, name="one"), Witness(world, {1}, gain=0.5, name="other")
    controller, trajectory = steered(world, goal, one, other, steps=120)
    far = se3.inverse(T_GOAL) @ trajectory.Ts_world_cam[0] @ se3.exp(NearTruth.ERROR)
    assert torch.allclose(trajectory.v_cam[0], control.pbvs(far, 0.1)), "at the gain of all"
    assert_converged(trajectory, T_GOAL, 0.05)
    controller.set_goal(goal)
    world.T_world_cam = offset_from(T_GOAL.expand(2, 4, 4), FAR)
    controller.velocity(world.observe())
    assert [status.sentence[-7:] for status in controller.status] == [", one 0", "other 1"]


def test_who_is_sure_spares_the_others(scene):
    world, goal = of_two(scene)
    one, other = Witness(world, {0, 1}, {1}), Witness(world, {0, 1})
    controller = CoarseToFine(Witnesses(CAMERA, 0.6, (one, other)))
    controller.set_goal(goal)
    world.T_world_cam = offset_from(T_GOAL.expand(2, 4, 4), FAR)
    controller.velocity(world.observe())
    assert (one.asked, other.asked) == ([[0, 1]], [[0]])


def test_none_is_asked_where_the_pictures_agree(scene):
    world, goal = of_two(scene, 1)
    one, other = Witness(world, {0}), Witness(world, {0})
    _controller, trajectory = steered(world, goal, one, other)
    assert_converged(trajectory, T_GOAL, 0.05)
    assert not other.asked and len(one.asked) < 10


def test_pictures_are_reduced_for_whom_that_is_enough(scene):
    world, goal = of_two(scene, 1)
    small = CAMERA.resize(CAMERA.width // 2, CAMERA.height // 2)
    one, other = Witness(world, {0}, camera=small), Witness(world, {0})
    other.colour = True
    steered(world, goal, one, other, steps=3)
    controller = Witnesses(CAMERA, 0.6, (one, other))
    assert controller.colour and controller.goal_depth.metres == one.goal_depth.metres == 0.6
    assert one.goal_depth.camera == small
    assert one.sizes == {(1, small.height, small.width)}
    assert all(size[0] in (1, 3) and size[1:] == goal.shape[2:] for size in other.sizes)


def test_auto_looks_at_large_pictures_reduced(scene):
    """And refines at full size: the end is as exact as before."""
    large = CAMERA.resize(4 * CAMERA.width, 3 * CAMERA.height)
    goal = scene.render(large, T_GOAL)
    world = Simulator(scene, large, offset_from(T_GOAL, LARGE_OFFSET))
    controller = build("auto", large, 0.6)
    assert max(w.camera.width * w.camera.height for w in controller.coarse.witnesses) <= 130_000
    controller.set_goal(goal)
    trajectory = servo(world, controller, goal, 150)
    assert_converged(trajectory, T_GOAL, 0.02)


@pytest.mark.parametrize("name", ["dct+auto", "dfbvs-sift+auto"])
def test_any_method_is_a_witness_beside_those_of_auto(name, scene: PlanarScene):
    world, goal = of_two(scene, 1)
    controller = build(name, CAMERA, 0.6)
    assert len(controller.coarse.witnesses) == 2
    controller.set_goal(goal)
    assert_converged(servo(world, controller, goal, 150), T_GOAL, 0.02)
