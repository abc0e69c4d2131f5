"""Pictures that are drawn where they are read are the pictures that would have been drawn."""

import pytest
import torch

from deepservo import native
from deepservo.camera import Camera
from deepservo.evaluation.conditions import PLAIN, Condition, Disturbance, HardSimulator
from deepservo.features.luminance import Luminance, NormalEquations
from deepservo.images.undrawn import some_pixels
from deepservo.loop import servo
from deepservo.methods.direct import PhotometricServo
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator

CAMERA = Camera(90, 61, 120.0, 110.0, 43.0, 31.0)
needs_c = pytest.mark.skipif(native.library() is None, reason="pictures are drawn where there is C")


class Drawing(Simulator):
    """Observes in a way of its own, which is that of a `Simulator`."""

    def observe(self) -> torch.Tensor:
        return super().observe()


@pytest.fixture
def views(generator, scene):
    return sampling.lookat(5, generator)[0]


@needs_c
@pytest.mark.parametrize("where", ["current", "goal", "mean"])
@pytest.mark.parametrize(("antialias", "goals"), [(True, 1), (True, 5), (False, 1)])
def test_sums_over_undrawn_pictures_are_those_of_drawn_ones(antialias, goals, where, views, scene):
    scene = PlanarScene(scene.texture[:1], antialias=antialias)
    goal = torch.rand(goals, 1, 61, 90, generator=torch.Generator().manual_seed(0))
    undrawn, drawn = scene.undrawn(CAMERA, views, goal), scene.render(CAMERA, views)
    equations = NormalEquations(Luminance(CAMERA), 0.6)
    for one, other in zip(
        equations(undrawn, goal, where), equations(drawn, goal, where), strict=True
    ):
        assert one.equal(other)
    assert undrawn.some.equal(some_pixels(drawn))
    torch.testing.assert_close(undrawn.error, (drawn - goal).square().mean((1, 2, 3)).sqrt())
    runs = torch.tensor([3, 1])
    assert undrawn[runs].equal(drawn[runs]) and len(undrawn) == 5


@needs_c
def test_a_loop_without_pictures_takes_the_steps_of_one_with_them(scene, views):
    """Runs that end before others, and a world that draws since it observes in its own way."""
    scene = PlanarScene(scene.texture[:1])
    T_goal = sampling.fronto_parallel(0.6)
    goal = scene.render(CAMERA, T_goal)
    Ts = torch.cat([T_goal, views])
    found = []
    for kind in (Simulator, Drawing):
        controller = PhotometricServo(CAMERA, 0.6)
        controller.set_goal(goal)
        found.append((servo(kind(scene, CAMERA, Ts), controller, goal, 40), controller.status))
    (one, status), (other, status_drawn) = found
    assert one.Ts_world_cam.equal(other.Ts_world_cam) and one.steps.equal(other.steps)
    torch.testing.assert_close(one.image_error, other.image_error, equal_nan=True)
    assert [each.sentence for each in status] == [each.sentence for each in status_drawn]


@needs_c
@pytest.mark.parametrize(
    ("condition", "waits"),
    [(PLAIN, True), (Condition(size=40), False), (Condition(motion=0.5), False)],
)
def test_pictures_that_are_disturbed_are_drawn(condition, waits, scene, views):
    scene = PlanarScene(scene.texture[:1])
    disturbance = Disturbance(condition, 0, torch.arange(5))
    world = HardSimulator(scene, CAMERA, views, disturbance)
    goal = scene.render(CAMERA, views[:1])
    assert (world.undrawn(goal) is not None) == waits
    assert scene.undrawn(CAMERA, views, goal.expand(1, 3, -1, -1)) is None
