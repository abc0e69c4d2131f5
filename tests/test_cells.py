"""Cells of two pictures matched, with a network that has learned for a moment."""

import math

import pytest
import torch

from deepservo.camera import Camera
from deepservo.data_pair import PairTask
from deepservo.features.cells import Cells
from deepservo.geometry import se3
from deepservo.loop import Simulator, servo
from deepservo.methods.cnn_pair import PairServo
from deepservo.nets.pair import PairNet
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.textures import texture

STEPS = 120
SQUARE = Camera(128, 128, 170.0, 170.0, 63.5, 63.5)


@pytest.fixture(scope="module")
def net() -> PairNet:
    torch.manual_seed(1)
    net, task = PairNet(width=8, numbers=32).train(), PairTask(batch=16)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for step in range(STEPS):
        loss = task.loss(net, 0, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def scene() -> PlanarScene:
    return PlanarScene(texture((300, 400), torch.Generator().manual_seed(5)))


def rolled(degrees: float) -> torch.Tensor:
    return se3.exp(torch.tensor([[0.0, 0, 0, 0, 0, math.radians(degrees)]], dtype=torch.float64))


@pytest.mark.parametrize("degrees", [0, 30, -90, 150])
@pytest.mark.parametrize("camera", [SQUARE, Camera(224, 168, 300.0, 300.0, 110.0, 80.0)], ids=["square", "wide"])
def test_matched_cells_are_where_the_pixels_are(net, scene, camera, degrees):
    cells, goal = Cells(net, camera), sampling.fronto_parallel(0.6)
    view = scene.render(camera, goal @ rolled(degrees))
    found = cells.match(cells.goal(scene.render(camera, goal)[0]), cells.describe(view)[0])
    assert len(found.goal_px) > 50
    rays = torch.cat([torch.from_numpy(found.cam_px), torch.ones(len(found.cam_px), 1)], 1) @ camera.K_inv.mT
    there = camera.project(rays @ rolled(degrees)[0, :3, :3].mT)
    assert (there - torch.from_numpy(found.goal_px)).norm(dim=1).median() < 4 * camera.width / 128, "half a cell"


def test_each_run_has_its_own_goal_or_one_goal_serves_all(net, scene):
    Ts = torch.cat([sampling.fronto_parallel(0.6), sampling.fronto_parallel(0.6) @ rolled(30)])
    goals = scene.render(SQUARE, Ts)
    pair = PairServo(SQUARE, net)
    pair.set_goal(goals)
    assert pair.velocity(goals)[:, 5].abs().max() < 0.005, "at home"
    pair.set_goal(goals[:1])
    trajectory = servo(Simulator(scene, SQUARE, Ts), pair, goals[:1], budget=20)
    _, radians = se3.distance(Ts[:1], trajectory.Ts_world_cam[-1])
    assert radians.amax() < math.radians(9), "on the way home"
    assert all(words.endswith("matches agree") for words in pair.evidence(2))


def test_it_holds_still_before_a_blank_wall(net, scene):
    pair = PairServo(SQUARE, net)
    pair.set_goal(scene.render(SQUARE, sampling.fronto_parallel(0.6)))
    v_cam = pair.velocity(torch.full((1, 1, 128, 128), 0.5))
    assert torch.equal(v_cam, torch.zeros(1, 6, dtype=torch.float64)) and pair.evidence(1) == ["too few matches agree"]
