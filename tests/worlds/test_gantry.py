"""The gantry: its axes, the camera's pose and motion, its pictures, and their delay."""

import dataclasses
import json
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from conftest import noise_texture

from deepservo.bench.runs import Bench, Prepared, jobs, row
from deepservo.camera import PAPER_CAMERA as CAMERA
from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.images.camera_file import CalibratedCamera
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.build import make_scene
from deepservo.worlds.arm import JOINTS, Limits
from deepservo.worlds.gantry import RATE, SUPERSAMPLING, Gantry, Light, Sight, Workcell
from deepservo.worlds.views import Eye, mujoco

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")
FREE = Limits((1e3,) * 6, (1e5,) * 6)
STILL = Sight(latency=0.0, noise=0.0)


@cache
def scene() -> PlanarScene:
    return PlanarScene(noise_texture(3))


def starts(n: int) -> torch.Tensor:
    return sampling.lookat_rz(n, torch.Generator().manual_seed(0))[0]


def gantry(n: int = 3, seen: PlanarScene | None = None, camera: Camera = CAMERA, **cell) -> Gantry:
    try:
        return Gantry(seen or scene(), camera, starts(n), Workcell(**{"sight": STILL, **cell}))
    except InputError as error:
        if "cannot draw here" in str(error):
            pytest.skip(str(error))
        raise


def test_the_axes_put_the_camera_at_its_start_pose():
    assert torch.allclose(gantry(20).T_world_cam, starts(20), atol=1e-9)


def test_a_pixel_is_the_mean_of_what_is_drawn_finer():
    world, (w, h), k = gantry(1), (CAMERA.width, CAMERA.height), SUPERSAMPLING
    picture = world.eye.picture(world.runs[0].data).astype(float)
    finer = Camera(
        k * w,
        k * h,
        k * CAMERA.fx,
        k * CAMERA.fy,
        k * CAMERA.cx + (k - 1) / 2,
        k * CAMERA.cy + (k - 1) / 2,
    )
    drawn = Eye(world.model, "eye", finer).picture(world.runs[0].data)
    assert np.abs(drawn.reshape(h, k, w, k, 3).mean((1, 3)) - picture).max() <= 0.51
    assert picture.std() > 10


def test_a_cameras_own_view_lies_where_that_camera_saw_it():
    camera, T = (
        dataclasses.replace(CAMERA, fy=250.0, cx=100.25, cy=80.0),
        sampling.fronto_parallel(0.6),
    )
    seen = make_scene(noise_texture(3, 224, 224), CalibratedCamera(camera), "view.png", view=True)
    world = gantry(1, seen, camera, light=Light(ambient=0.7, diffuse=0.0, specular=0.0))
    assert (
        torch.corrcoef(torch.stack([world.pictures_at(T).flatten(), seen.texture.flatten()]))[0, 1]
        > 0.99
    )


def test_the_jacobian_by_finite_differences():
    world, step = gantry(3), 1e-6
    for run in world.runs:
        data, J = run.data, world.arm.jacobian(run.data)
        T = world.arm.pose(data)
        for k, q in enumerate(world.arm.q):
            data.qpos[q] += step
            moved = gantry_pose(world, data)
            data.qpos[q] -= step
            twist = se3.log(torch.from_numpy(np.linalg.inv(T) @ moved)).numpy() / step
            assert np.allclose(J[:, k], twist, atol=1e-5), JOINTS[k]


def gantry_pose(world, data):
    mujoco().mj_kinematics(world.model, data)
    return world.arm.pose(data)


def test_the_camera_moves_along_the_exponential_of_its_velocity():
    world = gantry(3, limits=FREE)
    v_cam = torch.tensor([[0.05, -0.03, 0.04, 0.1, -0.1, 0.3]], dtype=torch.float64).expand(3, 6)
    want = world.T_world_cam @ se3.exp(v_cam)
    world.apply(v_cam, 1.0)
    metres, radians = se3.distance(world.T_world_cam, want)
    assert (
        metres.max() < 2e-3 and radians.max() < 4e-3
    )  # the motors lag by some hundredths of a second


def test_no_joint_exceeds_its_limits():
    limits = Limits((0.2, 0.2, 0.2, 0.5, 0.5, 0.5), (1.0, 1.0, 1.0, 2.0, 2.0, 2.0))
    world = gantry(1, limits=limits)
    data, before = world.runs[0].data, np.zeros(6)
    for v in torch.randn(40, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)):
        for _ in range(16):
            world.apply(v, world.model.opt.timestep)
            command = data.ctrl[world.arm.motor].copy()
            assert (np.abs(command) <= np.array(limits.speed) + 1e-9).all()
            assert (
                np.abs(command - before)
                <= np.array(limits.acceleration) * world.model.opt.timestep + 1e-9
            ).all()
            before = command
        q = data.qpos[world.arm.q]
        assert (q >= world.arm.low - 1e-3).all() and (q <= world.arm.high + 1e-3).all()


def test_a_joint_brakes_before_the_end_of_its_range():
    world = gantry(1)
    data = world.runs[0].data
    to_the_right = torch.from_numpy(world.arm.jacobian(data)[:, :1].T.copy())  # x alone
    world.apply(to_the_right, 8.0)
    q, high = data.qpos[world.arm.q], world.arm.high
    assert high[0] - 0.02 < q[0] < high[0] + 1e-3


def test_a_pose_out_of_reach_is_refused_before_anything_moves():
    far = starts(1)
    far[:, 0, 3] = 5.0
    with pytest.raises(InputError, match="start 0 is out of the arm's reach: axis x"):
        Gantry(scene(), CAMERA, far)
    world = gantry(1)
    with pytest.raises(InputError, match="goal 0 is out of the arm's reach"):
        world.pictures_at(far)
    assert world.pictures_from(far).shape == (1, 1, CAMERA.height, CAMERA.width), (
        "the view of a joint beyond its range"
    )
    assert torch.equal(world.pictures_from(starts(1)), world.pictures_at(starts(1)))


def test_mujocos_camera_and_ours_agree_to_half_a_pixel():
    """Dots on a textured plane: where the pinhole camera projects them, and where our renderer and
    MuJoCo draw them.
    """
    y, x = torch.meshgrid(torch.arange(300.0), torch.arange(400.0), indexing="ij")
    near = ((x % 25 - 12) ** 2 + (y % 25 - 12) ** 2) / (2 * 1.5**2)
    dotted = PlanarScene(1 - torch.exp(-near)[None])
    u, v = torch.meshgrid(torch.arange(12, 400, 25), torch.arange(12, 300, 25), indexing="xy")
    dots = (
        torch.stack([(u - 199.5) * 0.002, (v - 149.5) * 0.002, 0 * u, 0 * u + 1], -1)
        .double()
        .reshape(-1, 4)
    )
    Ts = sampling.gaussian_starts(
        sampling.fronto_parallel(0.5, 7), torch.Generator().manual_seed(0)
    )
    world = Gantry(
        dotted, CAMERA, Ts[:1], Workcell(Light(ambient=1.0, diffuse=0.0, specular=0.0), STILL)
    )
    theirs, ours, checked = world.pictures_at(Ts), dotted.render(CAMERA, Ts), 0
    for T, a, b in zip(Ts, theirs[:, 0], ours[:, 0], strict=True):
        for px in CAMERA.project((dots @ torch.linalg.inv(T).T)[:, :3]):
            if 9 < px[0] < CAMERA.width - 9 and 9 < px[1] < CAMERA.height - 9:
                there, here = centroid(a, px), centroid(b, px)
                assert (there - px).norm() < 0.5 and (there - here).norm() < 0.5
                checked += 1
    assert checked > 300


def centroid(image: torch.Tensor, px: torch.Tensor, half: int = 6) -> torch.Tensor:
    """Of the pixels darker than the paper near a place."""
    u, v = px.round().long().tolist()
    window = image[v - half : v + half + 1, u - half : u + half + 1].double()
    dark = window.max() - window
    d = torch.arange(-half, half + 1, dtype=torch.float64)
    return torch.stack(
        [u + (dark.sum(0) * d).sum() / dark.sum(), v + (dark.sum(1) * d).sum() / dark.sum()]
    )


def test_a_picture_arrives_late():
    """After a step of one period the camera shows the picture from before it."""
    late = gantry(1, sight=Sight(latency=1 / RATE, noise=0.0))
    first = late.observe()
    v_cam = torch.tensor([[0.3, 0.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    late.apply(v_cam, 1 / RATE)
    assert torch.equal(late.observe(), first)
    late.apply(v_cam, 1 / RATE)
    assert not torch.equal(late.observe(), first)


def test_the_same_seed_gives_the_same_pictures_whoever_runs_beside():
    cell = Workcell(Light(changing=True))
    together, alone = (
        Gantry(scene(), CAMERA, starts(3), cell, seed=7),
        Gantry(scene(), CAMERA, starts(3)[2:], cell, seed=7, runs=torch.tensor([2])),
    )
    for _ in range(3):
        assert torch.equal(together.observe()[2:], alone.observe())
        for world in (together, alone):
            world.apply(torch.full((len(world.runs), 6), 0.1, dtype=torch.float64), 1 / RATE)
    together.select_runs(torch.tensor([2]))
    assert torch.equal(together.observe(), alone.observe()) and torch.equal(
        together.T_world_cam, alone.T_world_cam
    )


def test_a_changing_lamp_changes_the_picture():
    world = gantry(1, light=Light(changing=True))
    early, later = (world.pictures_at(starts(1), t) for t in (0.0, 1.0))
    assert (early - later).abs().mean() > 0.01


def test_a_controller_of_the_simulator_converges_on_the_gantry():
    Ts_goal = sampling.fronto_parallel(0.6)
    offset = se3.exp(torch.tensor([[0.06, -0.04, 0.03, 0.05, 0.04, 0.2]], dtype=torch.float64))
    world = Gantry(scene(), CAMERA, Ts_goal @ offset, Workcell(sight=Sight(noise=0.005)))
    goal = world.pictures_at(Ts_goal)
    controller = build("sift+dvs", CAMERA, 0.6)
    controller.scale_gain(1 / RATE)
    controller.set_goal(goal)
    end = servo(world, controller, goal, max_steps=90, dt=1 / RATE).Ts_world_cam[-1]
    metres, radians = se3.distance(end, Ts_goal)
    assert metres < 1e-3 and radians.rad2deg() < 0.1


def test_a_benchmark_runs_on_the_gantry():
    """It has the same starts as in the simulator. A set with light or camera effects of the
    simulator is refused.
    """
    bench = Bench(CAMERA, 0.6, {"dots": scene()}, {}, seed=1, max_steps=40, world="gantry")
    (job,) = jobs(("pbvs",), ("gaussian",), bench, 2)
    chunk = Prepared(job, bench).run(range(2))
    found = row(job, [chunk], bench)
    assert (found["converged"], found["dt"], found["gain"], found["world"]) == (
        1.0,
        1 / RATE,
        pytest.approx(3.0),
        "gantry",
    )
    free = Prepared(job, dataclasses.replace(bench, world="simulator")).run(range(2))
    assert np.allclose(chunk.runs.start_mm, free.runs.start_mm)
    with pytest.raises(InputError, match="gantry: has its own light"):
        jobs(("sift",), ("hard-light",), bench, 1)


def test_servo_goes_on_the_gantry(files, tmp_path):
    """A perturbed goal is perturbed on the gantry too."""
    gantry(1)
    args = [
        "servo",
        "--image",
        str(files / "picture.png"),
        "--method",
        "pbvs",
        "--world",
        "gantry",
        "--starts",
        "1",
    ]
    assert main([*args, "--set", "lookat-rz-perturbed", "--out", str(tmp_path)]) == 0
    (found,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert found["converged"] == 1.0 and found["dt"] == pytest.approx(1 / RATE)


def test_an_unknown_world_is_refused(files, refused):
    refused(
        ["servo", "--image", files / "picture.png", "--world", "gantri"],
        "no world 'gantri'",
        "did you mean gantry",
    )
    refused(["bench", "--world", "moon"], "no world 'moon'", "simulator, gantry, gantry-lights")
