"""Our own parts: closed surfaces that stand on the table and that the gripper can grasp."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from deepservo.camera import PAPER_CAMERA as CAMERA
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.gantry import Gantry, Sight, Standing, Workcell
from deepservo.worlds.grasp import grasp, grasp_pose, taken
from deepservo.worlds.objects import PARTS
from deepservo.worlds.views import AXES

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")
UPRIGHT = np.diag([1.0, -1.0, -1.0, 1.0])  # a part whose z points the other way


@pytest.mark.parametrize("name", PARTS)
def test_each_block_is_a_closed_surface_that_faces_outwards(name):
    """Every block's volume by the divergence theorem is that of the box or the cylinder."""
    for block in PARTS[name].blocks:
        vertices, faces = block.surface()
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        volume = (a * np.cross(b, c)).sum() / 6
        w, d, h = (1e-3 * side for side in block.size)
        sides = (
            32 / 2 * np.sin(2 * np.pi / 32) / 4 if block.round else 1.0
        )  # of a polygon of 32 corners
        assert volume == pytest.approx(w * d * h * sides, rel=1e-9)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_stays_where_it_is_put(name):
    """After a second of physics it has not moved, sunk or tilted by a millimetre."""
    T = UPRIGHT.copy()
    T[:2, 3] = 0.05, -0.03
    scene = PlanarScene(torch.full((1, 30, 40), 0.5))
    world = Gantry(
        scene,
        CAMERA,
        sampling.fronto_parallel(0.5),
        Workcell(sight=Sight(latency=0, noise=0), parts=[Standing(name, PARTS[name], T)]),
    )
    before = world.observe()
    world.apply(torch.zeros(1, 6, dtype=torch.float64), 1.0)
    body = world.runs[0].data.body(name)
    assert np.abs(body.xpos - [0.05, 0.03, 0.0]).max() < 1e-3
    assert np.abs(body.xmat.reshape(3, 3) - np.eye(3)).max() < 0.01
    assert before.std() > 0.01 and (world.observe() - before).abs().mean() < 0.02


@pytest.mark.parametrize("name", PARTS)
def test_the_gripper_fits_about_its_grip(name):
    """Between the open fingers, at the height of the grip, there is a part of the object, and
    nothing wider than the opening.
    """
    part = PARTS[name]
    x, y, z = part.grip
    here = [
        block
        for block in part.blocks
        if block.at[2] <= 1e3 * z <= block.at[2] + block.size[2]
        and abs(block.at[0] - 1e3 * x) < block.size[0] / 2 + 9
        and abs(block.at[1] - 1e3 * y) < block.size[1] / 2
    ]
    assert here and max(block.size[1] for block in here) < 80


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_grasped_from_the_goal_pose_and_not_from_six_centimetres_off(name):
    scene, T_world_object = PlanarScene(torch.full((1, 30, 40), 0.5)), UPRIGHT.copy()
    T_object_goal = np.eye(4)
    T_object_goal[:3, :3], T_object_goal[:3, 3] = AXES, (0.02, 0.01, 0.3)
    T_world_goal = torch.from_numpy(T_world_object @ T_object_goal)[None]
    off = T_world_goal.clone()
    off[:, 1, 3] += 0.06
    lifted = []
    for start in (T_world_goal, off):
        world = Gantry(
            scene, CAMERA, start, Workcell(parts=[Standing(name, PARTS[name], T_world_object)])
        )
        lifted.append(
            grasp(world, 0, name, np.linalg.inv(T_object_goal) @ grasp_pose(world, PARTS[name]))
        )
    assert taken(lifted[0]) and not taken(lifted[1]), lifted
