"""Cameras fly before scenes that are not flat as they do before a plane."""

import math

import pytest
import torch

from deepservo import METHODS, Simulator, servo
from deepservo.camera import usual_camera
from deepservo.errors import InputError
from deepservo.evaluation.conditions import Condition
from deepservo.geometry import se3
from deepservo.report.run_data import RunSet
from deepservo.report.run_page import Report, write_report
from deepservo.report.thumbnails import render_scene
from deepservo.scene import PlanarScene, SolidScene, sampling, solid_kinds
from deepservo.scene.build import Setup
from deepservo.scene.solid import solid_view
from deepservo.scene.textures import texture

CAMERA, DISTANCE = usual_camera(96, 72), 0.6
PICTURE = texture((144, 192), torch.Generator().manual_seed(4))
PLANE = PlanarScene(PICTURE, 0.8)


def view() -> SolidScene:
    """An RGB-D picture of steps."""
    scene, T = solid_kinds.steps(PLANE, DISTANCE, 0), sampling.fronto_parallel(DISTANCE)
    return solid_view(scene.render(CAMERA, T)[0], scene.depth(CAMERA, T)[0], CAMERA, DISTANCE)


SCENES = {
    "steps": lambda: solid_kinds.steps(PLANE, DISTANCE, 0),
    "clutter": lambda: solid_kinds.clutter(PLANE, DISTANCE, 0),
    "tilt": lambda: solid_kinds.tilt(PLANE, DISTANCE, 0, 40.0),
    "view": view,
}


def grey(scene: SolidScene, T: torch.Tensor) -> torch.Tensor:
    return scene.render(CAMERA, T)[0, 0].double().flatten()


@pytest.mark.parametrize("name", SCENES)
def test_pictures_tell_how_the_camera_moved(name):
    """Steps by finite differences lead to the goal: not to a pixel, but to a hundredth of one."""
    scene, T_goal = SCENES[name](), sampling.fronto_parallel(DISTANCE)
    goal, f = grey(scene, T_goal), CAMERA.fx
    pixel = torch.tensor([DISTANCE / f] * 3 + [1 / f, 1 / f, 2 / f], dtype=torch.float64)
    twists = 0.3 * torch.diag(pixel)
    J = torch.stack(
        [grey(scene, T_goal @ se3.exp(v)) - grey(scene, T_goal @ se3.exp(-v)) for v in twists], 1
    )
    T = T_goal @ se3.exp(torch.tensor([[0.001, -0.001, 0.001, 0.002, 0.002, 0.006]]).double())
    for _ in range(40):
        difference = grey(scene, T) - goal
        seen = ~(difference.isnan() | J.isnan().any(1))
        moved = torch.linalg.lstsq(J[seen], difference[seen, None]).solution[:, 0]
        T = T @ se3.exp(-0.7 * (0.6 * pixel * moved)[None])
    metres, angle = se3.distance(T_goal, T)
    assert metres.item() < 0.01 * DISTANCE / f and angle.item() < 0.01 / f


def test_a_camera_comes_home_and_its_page_is_written(tmp_path):
    scene, T_goal = SCENES["tilt"](), sampling.fronto_parallel(DISTANCE)
    step = torch.tensor([[0.004, -0.003, 0.004, 0.005, 0.006, 0.02]], dtype=torch.float64)
    goal = scene.render(CAMERA, T_goal)
    controller = METHODS["dvs"](CAMERA, DISTANCE)
    controller.set_goal(goal)
    run = servo(Simulator(scene, CAMERA, T_goal @ se3.exp(step)), controller, goal)
    metres, angle = se3.distance(T_goal, run.Ts_world_cam[-1].double())
    assert metres.item() < 1e-4 and math.degrees(angle.item()) < 0.01
    drawn = RunSet("tilt", run, goal, T_goal, torch.tensor([True]))
    write_report(tmp_path / "report.html", Report("tilt", [], [drawn], scene, CAMERA))
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_camera_beyond_the_plane_z_0_still_sees_solids():
    scene, T = view(), sampling.fronto_parallel(DISTANCE)
    T[:, 2, 3] = 0.5
    T[:, :3, :3] = se3.so3_exp(torch.tensor([0.0, math.pi, 0.0]).double())  # from behind
    shown = render_scene(scene, CAMERA, T)
    assert shown.isfinite().any()
    assert torch.equal(shown.nan_to_num(-1), scene.render(CAMERA, T).nan_to_num(-1))


def test_what_needs_a_plane_says_so():
    setup = Setup(view(), CAMERA, DISTANCE, "box.png")
    with pytest.raises(InputError, match=r"box.png: this needs a flat scene"):
        setup.plane  # noqa: B018
    with pytest.raises(InputError, match="hills or solids on a plane"):
        Condition(relief=0.1).scene(setup.scene, DISTANCE, "box")
    assert Condition().scene(setup.scene, DISTANCE, "box") is setup.scene
    assert Setup(PLANE, CAMERA, DISTANCE, "flat.png").plane is PLANE


NUMBERS = {"true": 1.0, "x 0.7": 0.7, "x 1.4": 1.4, "none": None}


@pytest.mark.parametrize("multiple", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("name", ["steps", "clutter", "tilt"])
def test_dfbvs_comes_home_without_a_map(name, multiple):
    """Whatever number is given for all depths: the points' own are found on the way."""
    camera, T_goal = usual_camera(200, 150), sampling.fronto_parallel(DISTANCE)
    scene = SCENES[name]()
    steps = torch.tensor(
        [[0.06, -0.05, 0.04, 0.05, -0.08, 0.2], [-0.04, 0.03, -0.06, -0.1, 0.05, -0.2]],
        dtype=torch.float64,
    )
    starts, goal = T_goal @ se3.exp(steps), scene.render(camera, T_goal)
    Z = scene.depth(camera, T_goal)
    number = None if multiple is None else multiple * float(Z[Z.isfinite()].median())
    controller = METHODS["dfbvs-sift"](camera, number)
    controller.gain = 0.3
    controller.set_goal(goal)
    run = servo(Simulator(scene, camera, starts), controller, goal, max_steps=30)
    metres, _ = se3.distance(T_goal, run.Ts_world_cam[-1].double())
    assert metres.max().item() < 5e-4
    way = run.Ts_world_cam[:, :, :3, 3]
    length = way.diff(dim=0).norm(dim=2).sum(0)
    assert (length < 2 * (way[0] - T_goal[0, :3, 3]).norm(dim=1)).all()
