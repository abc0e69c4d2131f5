"""Wrong use of methods and the loop from Python gives one sentence. Gains hold for coarse and fine,
and for every dt.
"""

import numpy as np
import pytest
import torch

from closed_loop import CAMERA, NAMES, model_of, offset_from
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.edges import Edges
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.methods.base import Controller
from deepservo.methods.coarse_to_fine import CoarseToFine
from deepservo.scene import sampling
from deepservo.worlds.simulator import Simulator

GOAL_POSE = sampling.fronto_parallel(0.6)
TRAINED = ("cnn", "mlvs", "siamese-se3", "siamese-SE3", "siamese-ibvs", "aevs")
WITH_DEPTH = [name for name in NAMES if not name.startswith((*TRAINED, "pbvs"))]


@pytest.mark.parametrize("name", NAMES)
def test_velocity_before_a_goal(name, scene):
    controller = build(name, CAMERA, 0.6, model_of(name, scene))
    with pytest.raises(InputError, match="after set_goal" if name == "pbvs" else "call set_goal"):
        controller.velocity(torch.zeros(1, 1, CAMERA.height, CAMERA.width))


@pytest.mark.parametrize("depth", [{"Z": 1}, b"far", -1.0, 0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", WITH_DEPTH)
def test_a_depth_that_is_no_distance_is_refused(name, depth, scene):
    with pytest.raises(InputError, match="depth must be a positive number of metres"):
        build(name, CAMERA, depth, model_of(name, scene))


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_every_method_takes_a_map_of_depth_or_none(name, scene):
    goal = scene.render(CAMERA, GOAL_POSE)
    Z = np.full((CAMERA.height, CAMERA.width), 0.6)
    Z[:9, :9] = 0
    wanted = build(name, CAMERA, 0.6, model_of(name, scene))
    wanted.set_goal(goal)
    view = scene.render(CAMERA, GOAL_POSE @ se3.exp(torch.full((1, 6), 0.01).double()))
    v_cam = wanted.velocity(view)
    for depth in (Z, torch.from_numpy(Z[None]), (1000 * Z).astype(np.uint16), None):
        controller = build(name, CAMERA, None, model_of(name, scene))
        controller.set_goal(goal, depth)
        found = controller.velocity(view)
        assert ((found - v_cam).norm() < 0.2 * v_cam.norm()).all(), (name, type(depth))


@pytest.mark.parametrize("depth", [np.full((3, 4), 0.6), np.zeros((96, 128)), np.full((9, 9), "a")])
@pytest.mark.parametrize("name", ["dvs", "auto", "dfbvs", "dfbvs-sift+edges"])
def test_a_map_that_is_none_of_the_goal_is_refused(name, depth, scene):
    controller = build(name, CAMERA, 0.6)
    with pytest.raises(InputError, match="the goal's depth"):
        controller.set_goal(scene.render(CAMERA, GOAL_POSE), depth)


def test_maps_for_another_number_of_goals_are_refused(scene):
    goals = scene.render(CAMERA, GOAL_POSE).expand(2, -1, -1, -1)
    maps = torch.full((3, CAMERA.height, CAMERA.width), 0.6)
    with pytest.raises(InputError, match="3 maps of depth for 2 goals"):
        build("dvs", CAMERA).set_goal(goals, maps)


def test_goals_and_pictures_of_different_shapes_are_refused(scene):
    for name in ("dvs", "sift", "auto"):
        controller = build(name, CAMERA)
        controller.set_goal(scene.render(CAMERA, GOAL_POSE.repeat(2, 1, 1)))
        with pytest.raises(
            InputError, match="2 goals for 3 pictures; give one goal for all of them, or one each"
        ):
            controller.velocity(scene.render(CAMERA, GOAL_POSE.repeat(3, 1, 1)))


def test_a_goal_of_many_edges(texture):
    """It has more edge points than OpenCV looks up at once."""
    camera = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)
    goal = (
        torch.nn.functional.interpolate(texture(3, 240, 320)[None], (480, 640))
        .add(0.2 * torch.rand(1, 1, 480, 640))
        .clamp(0, 1)
    )
    edges = Edges(camera, goal[0, 0].numpy(), np.full((480, 640), 0.6))
    assert np.isfinite(edges.px).all() and len(edges.px) > 100
    build("dfbvs-sift+edges", camera, np.full((480, 640), 0.6)).set_goal(goal)


class Bytes(Simulator):
    """Answers as a camera's driver does: (H, W, C) or (H, W) uint8, of one camera."""

    channels = 3

    def observe(self) -> np.ndarray:
        grey = (255 * super().observe()[0, 0]).round().byte().numpy()
        return np.repeat(grey[..., None], self.channels, 2) if self.channels else grey


@pytest.mark.parametrize("channels", [0, 1, 3])
@pytest.mark.parametrize("name", ["dvs", "auto"])
def test_a_world_of_bytes_is_servoed_in(name, channels, scene):
    world, goal = (
        Bytes(scene, CAMERA, offset_from(GOAL_POSE, (0.01, 0.02))),
        scene.render(CAMERA, GOAL_POSE),
    )
    world.channels = channels
    controller = build(name, CAMERA)
    controller.set_goal(goal)
    trajectory = servo(world, controller, goal, 60)
    assert float(se3.distance(trajectory.Ts_world_cam[-1], GOAL_POSE)[0]) < 2e-3


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (torch.zeros(2, 1, 128, 128, dtype=torch.uint8), "what the world observes"),
        (np.zeros((20, 30), np.uint8), "30 x 20 pixels"),
        (None, "got NoneType"),
        (torch.full((1, 1, 128, 128), 7.0), "must lie in"),
        (torch.zeros(1, 5, 128, 128), "expected"),
    ],
)
def test_a_world_without_a_picture_is_refused(seen, why, scene):
    class Odd(Simulator):
        def observe(self):
            return seen

    controller = build("dvs", CAMERA)
    controller.set_goal(scene.render(CAMERA, GOAL_POSE))
    with pytest.raises(InputError, match=why):
        servo(Odd(scene, CAMERA, GOAL_POSE.clone()), controller, scene.render(CAMERA, GOAL_POSE), 3)


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
def test_a_dt_of_zero_is_refused(dt, scene):
    controller = build("dvs", CAMERA)
    controller.set_goal(scene.render(CAMERA, GOAL_POSE))
    with pytest.raises(InputError, match="must be a positive number of seconds"):
        servo(
            Simulator(scene, CAMERA, GOAL_POSE.clone()),
            controller,
            scene.render(CAMERA, GOAL_POSE),
            3,
            dt=dt,
        )


@pytest.mark.parametrize("camera", [None, "camera.yaml", 5])
def test_an_invalid_camera_is_refused(camera):
    with pytest.raises(InputError, match="takes a Camera"):
        build("dvs", camera)


def test_goals_are_dropped_with_their_runs(scene):
    """When a run ends its goal is dropped everywhere, in the methods that a method is made
    of too.
    """
    goal = scene.render(CAMERA, GOAL_POSE.repeat(3, 1, 1))
    for name in ("dvs", "aevs", "aevs+dvs", "particle", "auto", "dfbvs-sift"):
        controller = build(name, CAMERA, 0.6, model_of(name, scene))
        controller.set_goal(goal)
        controller.velocity(goal)
        controller.select_runs(torch.tensor([0, 2]))
        assert controller.velocity(goal[:2]).shape == (2, 6)


# Gains


@pytest.mark.parametrize("gain", [0.0, -0.1, float("nan"), float("inf"), "fast", None])
@pytest.mark.parametrize("name", ["dvs", "sift", "auto", "particle"])
def test_an_invalid_gain_is_refused(name, gain, scene):
    controller, goal = build(name, CAMERA), scene.render(CAMERA, GOAL_POSE)
    controller.set_goal(goal)
    controller.gain = gain
    with pytest.raises(InputError, match="the gain must be a positive number per second"):
        controller.velocity(goal)


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), "slow"])
@pytest.mark.parametrize("name", ["dvs", "auto"])
def test_scaling_by_no_time_leaves_the_gain(name, dt):
    controller = build(name, CAMERA)
    usual = controller.gain
    with pytest.raises(InputError, match="dt must be a positive number of seconds"):
        controller.scale_gain(dt)
    assert controller.gain == usual


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in ("pbvs", "photometric") and not n.startswith("dfbvs")]
)
def test_a_gain_applies_to_coarse_and_fine(name, scene):
    """Twice the gain gives twice the first velocity, which is the coarse method's where there is
    one.
    """
    image, goal = (
        scene.render(CAMERA, offset_from(GOAL_POSE, (0.01, 0.02))),
        scene.render(CAMERA, GOAL_POSE),
    )
    found = []
    for factor in (1.0, 2.0):
        controller = build(name, CAMERA, 0.6, model_of(name, scene))
        usual = controller.gain
        controller.gain = factor * usual
        coarse = getattr(controller, "coarse", None)
        if coarse is not None:
            assert coarse.gain == controller.gain
        controller.set_goal(goal)
        found.append(controller.velocity(image))
    assert (
        found[0].abs().max() > 0
        and (found[1] - 2 * found[0]).abs().max() < 1e-6 + 1e-4 * found[1].abs().max()
    )


@pytest.mark.parametrize("name", ["sift", "dvs", "auto", "particle", "aevs", "cnn+dvs"])
def test_a_gain_is_scaled_for_dt_once(name, scene):
    """At any dt the camera moves by the same share of its way between two pictures, however often
    dt is set.
    """
    image, goal = (
        scene.render(CAMERA, offset_from(GOAL_POSE, (0.01, 0.02))),
        scene.render(CAMERA, GOAL_POSE),
    )
    moves = []
    for dts in ((1.0,), (1 / 30,), (1 / 30, 1 / 30), (0.5, 1 / 30, 1 / 30)):
        controller = build(name, CAMERA, 0.6, model_of(name, scene))
        for dt in dts:
            controller.scale_gain(dt)
        controller.dt = dts[-1]
        controller.set_goal(goal)
        moves.append(controller.velocity(image) * dts[-1])
    for move in moves[1:]:
        assert (move - moves[0]).abs().max() < 1e-6 + 1e-4 * moves[0].abs().max()


def test_coarse_and_fine_share_dt_and_keep_their_own_gains():
    class Fast(Controller):
        gain = 0.5

    both = CoarseToFine(Fast(CAMERA), gain=0.1)
    both.dt = 0.04
    assert both.coarse.dt == both.dt == 0.04
    both.scale_gain(0.5)
    assert (both.gain, both.coarse.gain) == (0.2, 1.0)
    both.gain = 0.3
    assert (both.gain, both.coarse.gain) == (0.3, 0.3)
