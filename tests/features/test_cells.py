"""Matched cells of two pictures, by the network that ships, and the method `auto` that uses
them.
"""

import math

import cv2
import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.cells import Cells
from deepservo.features.two_views import Candidates, homography, pose_of_matches
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.methods.auto import AutoServo
from deepservo.methods.cnn_pair import PairServo
from deepservo.models.any_scene_model import shipped
from deepservo.nets.pair import PairNet
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.textures import texture
from deepservo.worlds.simulator import Simulator

SQUARE = Camera(128, 128, 170.0, 170.0, 63.5, 63.5)


@pytest.fixture(scope="module")
def net() -> PairNet:
    return shipped()


@pytest.fixture(scope="module")
def scene() -> PlanarScene:
    return PlanarScene(texture((300, 400), torch.Generator().manual_seed(5)))


def rolled(degrees: float) -> torch.Tensor:
    return se3.exp(torch.tensor([[0.0, 0, 0, 0, 0, math.radians(degrees)]], dtype=torch.float64))


@pytest.mark.parametrize("degrees", [0, 30, -90, 150])
@pytest.mark.parametrize(
    "camera", [SQUARE, Camera(224, 168, 300.0, 300.0, 110.0, 80.0)], ids=["square", "wide"]
)
def test_matched_cells_are_where_the_pixels_are(net, scene, camera, degrees):
    cells, goal = Cells(net, camera), sampling.fronto_parallel(0.6)
    view = scene.render(camera, goal @ rolled(degrees))
    likely = cells.likely(cells.goal(scene.render(camera, goal)[0]), cells.describe(view)[0])
    found = cells.agreeing(likely, homography)
    assert len(found.goal_px) > 50
    rays = (
        torch.cat([torch.from_numpy(found.cam_px), torch.ones(len(found.cam_px), 1)], 1)
        @ camera.K_inv.mT
    )
    there = camera.project(rays @ rolled(degrees)[0, :3, :3].mT)
    assert (there - torch.from_numpy(found.goal_px)).norm(
        dim=1
    ).median() < 4 * camera.width / 128, "half a cell"


def test_each_run_has_its_own_goal_or_one_goal_serves_all(net, scene):
    Ts = torch.cat([sampling.fronto_parallel(0.6), sampling.fronto_parallel(0.6) @ rolled(30)])
    goals = scene.render(SQUARE, Ts)
    pair = PairServo(SQUARE, net)
    pair.set_goal(goals)
    assert pair.velocity(goals)[:, 5].abs().max() < 0.005, "at the goal"
    pair.set_goal(goals[:1])
    trajectory = servo(Simulator(scene, SQUARE, Ts), pair, goals[:1], max_steps=20)
    _, radians = se3.distance(Ts[:1], trajectory.Ts_world_cam[-1])
    assert radians.amax() < math.radians(9), "the direction is right to 9 deg"
    assert all(words.endswith("matches agree") for words in pair.words(2))


def test_the_velocity_is_zero_before_a_blank_wall(net, scene):
    pair = PairServo(SQUARE, net)
    pair.set_goal(scene.render(SQUARE, sampling.fronto_parallel(0.6)))
    v_cam = pair.velocity(torch.full((1, 1, 128, 128), 0.5))
    assert torch.equal(v_cam, torch.zeros(1, 6, dtype=torch.float64)) and pair.words(1) == [
        "too few matches agree"
    ]


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    size = 2 * int(3 * sigma) + 1
    return torch.stack(
        [
            torch.from_numpy(cv2.GaussianBlur(image[0].numpy(), (size, size), sigma))[None]
            for image in images
        ]
    )


class Blurred(Simulator):
    """A world out of focus: SIFT finds few matches."""

    def observe(self) -> torch.Tensor:
        return blurred(super().observe(), 5.0)


@pytest.fixture(scope="module")
def coffee() -> PlanarScene:
    return PlanarScene(bundled("coffee"), 0.8)


def test_matches_on_a_plane_give_the_pose(paper_camera):
    T_goal_cam = se3.exp(torch.tensor([0.1, -0.05, 0.08, 0.1, 0.2, 1.0], dtype=torch.float64))
    points = (
        torch.rand(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.4
        - 0.2
    )
    points = torch.cat([points, torch.full((30, 1), 0.7, dtype=torch.float64)], 1)
    there = (points - T_goal_cam[:3, 3]) @ T_goal_cam[:3, :3]
    px = paper_camera.project(points).numpy(), paper_camera.project(there).numpy()
    found = homography(Candidates.of(*px))
    assert np.allclose(pose_of_matches(found, paper_camera, 0.7), T_goal_cam, atol=1e-6)


def test_auto_takes_sift_where_it_can(paper_camera, coffee):
    auto, goal = (
        AutoServo(paper_camera, shipped()),
        coffee.render(paper_camera, sampling.fronto_parallel(0.6)),
    )
    auto.set_goal(goal)
    T_start = sampling.fronto_parallel(0.6) @ se3.exp(
        torch.tensor([[0.05, 0.05, 0.02, 0.05, -0.05, 0.5]], dtype=torch.float64)
    )
    v_cam = auto.velocity(coffee.render(paper_camera, T_start))
    assert auto.words(1)[0].startswith("by SIFT") and (v_cam != 0).all()


@pytest.mark.parametrize("guess", [0.4, 0.6, 0.9])
def test_auto_takes_the_network_where_sift_finds_little(paper_camera, coffee, guess):
    """The plane is 0.6 m away: a wrong guess of the depth scales the steps and does not change the
    end. Blur leaves an error there: it makes a step aside and a rotation look alike.
    """
    T_goal = sampling.fronto_parallel(0.6)
    T_start = T_goal @ se3.exp(
        torch.tensor([[0.12, -0.1, 0.03, 0.1, 0.15, 0.8]], dtype=torch.float64)
    )
    auto, goal = build("auto", paper_camera, guess), coffee.render(paper_camera, T_goal)
    auto.set_goal(goal)
    world = Blurred(coffee, paper_camera, T_start)
    auto.velocity(world.observe())
    assert "by the network" in auto.words(1)[0]
    trajectory = servo(world, auto, goal, max_steps=60)
    metres, radians = se3.distance(T_goal, trajectory.Ts_world_cam[-1])
    assert metres < 0.04 and radians < math.radians(4), trajectory.reason


def test_autos_velocity_is_zero_before_another_scene(paper_camera, coffee):
    method = build("auto", paper_camera)
    method.set_goal(coffee.render(paper_camera, sampling.fronto_parallel(0.6)))
    others = [
        PlanarScene(texture((300, 400), torch.Generator().manual_seed(seed))) for seed in range(4)
    ]
    views = torch.cat(
        [other.render(paper_camera, sampling.fronto_parallel(0.6)) for other in others]
    )
    assert torch.equal(method.velocity(views), torch.zeros(4, 6, dtype=torch.float64))
    assert all("nothing in common with the goal" in words for words in method.words(4))


def test_auto_goes_on_with_the_finer_sift_where_that_was_what_helped(
    paper_camera, coffee, monkeypatch
):
    auto, tried, T_goal = AutoServo(paper_camera, shipped()), [], sampling.fronto_parallel(0.6)
    auto.set_goal(coffee.render(paper_camera, T_goal))
    square = 50.0 + 30 * np.stack(np.meshgrid(range(4), range(4)), 2).reshape(16, 2)

    def cells(image: torch.Tensor, *_: object) -> tuple[bool, None, list[Candidates]]:
        tried.append(("cells", float(image.max())))
        return False, None, [Candidates.of(square[:0], square[:0])]

    def fine(image: torch.Tensor, *_: object) -> Candidates:
        tried.append(("fine", float(image.max())))
        return (
            Candidates.of(square, square) if image.max() > 0 else Candidates.of(*[square[:0]] * 2)
        )

    monkeypatch.setattr(auto, "_cells_beside", cells)
    monkeypatch.setattr(auto, "_fine_beside", fine)
    images = torch.tensor([0.0, 0.5])[:, None, None, None].expand(2, 1, 224, 224)
    auto.velocity(images)
    assert sorted(tried) == [("cells", 0.0), ("cells", 0.5), ("fine", 0.0), ("fine", 0.5)]
    tried.clear()
    auto.velocity(images)
    assert sorted(tried) == [("cells", 0.0), ("fine", 0.0), ("fine", 0.5)]
    assert auto.words(2)[1].startswith("by SIFT at twice the size: 16 matches agree")
    assert "nothing in common" in auto.words(2)[0]


def test_auto_refuses_a_goal_without_texture(paper_camera):
    noise = 0.5 + 0.005 * torch.randn(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="nearly no texture"):
        build("auto", paper_camera).set_goal(noise)
