"""Solids made by code are closed, stand on the plane, and are textured without stretching."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.scene import PlanarScene, sampling, solid_kinds
from deepservo.scene.solid import SolidScene
from deepservo.scene.textures import texture

DISTANCE = 0.6
PLANE = PlanarScene(
    texture((120, 160), torch.Generator().manual_seed(0)), 0.8, background=0.25, centre=(0.02, 0.01)
)
KINDS = (solid_kinds.steps, solid_kinds.clutter, solid_kinds.tilt)
GROUND = 2  # the first triangles are the plane's


@pytest.fixture(params=[solid_kinds.steps, solid_kinds.clutter])
def solids(request):
    return request.param(PLANE, DISTANCE, 3)


def corners(scene: SolidScene) -> np.ndarray:
    """(F, 3, 3) [m]"""
    return scene.vertices[scene.triangles.long()].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_makes_one_scene(kind):
    one, same, other = (kind(PLANE, DISTANCE, seed) for seed in (1, 1, 2))
    assert torch.equal(one.vertices, same.vertices) and torch.equal(one.texels, same.texels)
    assert not torch.equal(one.vertices, other.vertices)
    assert (one.width, one.height) == (PLANE.width, PLANE.height) and one.centre == PLANE.centre
    assert one.background == PLANE.background and torch.equal(one.texture, PLANE.texture)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_goals_camera_sees_the_scene_alone(kind, seed):
    scene = kind(PLANE, DISTANCE, seed)
    T = sampling.fronto_parallel(DISTANCE)
    assert (scene.render_covered(PAPER_CAMERA, T)[1] == 1).all()
    Z = scene.depth(PAPER_CAMERA, T)
    if kind is not solid_kinds.tilt:
        assert Z.max() == pytest.approx(DISTANCE) and Z.min() < 0.7 * DISTANCE
        assert Z.min() > 0.45 * DISTANCE
        assert 0.3 < (Z < 0.999 * DISTANCE).float().mean() < 0.95


def test_the_plane_is_between_solids_as_without_them(solids):
    T = torch.cat([sampling.fronto_parallel(DISTANCE), sampling.lookat(4, torch.Generator())[0]])
    bare = (solids.depth(PAPER_CAMERA, T) / PLANE.depth(PAPER_CAMERA, T) - 1).abs() < 1e-6
    bare &= PLANE.render_covered(PAPER_CAMERA, T)[1] == 1
    bare = -torch.nn.functional.max_pool2d(-bare.float(), 3, 1, 1) == 1
    image, plane = solids.render(PAPER_CAMERA, T)[:, 0], PLANE.render(PAPER_CAMERA, T)[:, 0]
    same = (image - plane).abs()[bare] < 1e-3  # but where a tip is less than a pixel wide
    assert bare.float().mean() > 0.05 and same.float().mean() > 0.999


def test_solids_are_closed(solids):
    at = np.round(corners(solids)[GROUND:] * 1e6).astype(int)
    edges = Counter(
        frozenset((tuple(each[k - 1]), tuple(each[k]))) for each in at for k in range(3)
    )
    assert set(edges.values()) == {2}


def test_solids_stand_on_the_plane_and_are_no_higher_than_half_the_distance(solids):
    z = corners(solids)[GROUND:, :, 2]
    assert -0.55 * DISTANCE < z.min() < -0.3 * DISTANCE and z.max() < 0.2 * DISTANCE


def test_boxes_are_apart():
    for seed in range(5):
        at = corners(solid_kinds.steps(PLANE, DISTANCE, seed))[GROUND:].reshape(12, -1, 3)
        low, high = at.min(1)[:, :2], at.max(1)[:, :2]
        for i in range(12):
            for k in range(i):
                assert (low[i] > high[k]).any() or (low[k] > high[i]).any()
        assert (at[..., 2].max(1) == 0).all()


def test_texture_is_laid_on_solids_without_stretching(solids):
    at, texels = corners(solids)[GROUND:], solids.texels.double().numpy()[GROUND:]
    across, over = at[:, 1:] - at[:, :1], texels[:, 1:] - texels[:, :1]
    gram, seen = (each @ each.transpose(0, 2, 1) for each in (across, over))
    stretch = np.sqrt(np.linalg.eigvals(np.linalg.solve(gram, seen)).real)
    per_metre = 160 / PLANE.width
    assert (stretch.max(1) / stretch.min(1)).max() < 1.25, "a ball cannot be laid flat"
    assert np.median(stretch) == pytest.approx(per_metre, rel=0.01)
    assert (stretch < 1.2 * per_metre).all() and (stretch > 0.3 * per_metre).all()
    assert texels.min() >= 0 and (texels.reshape(-1, 2).max(0) <= (159, 119)).all()


@pytest.mark.parametrize("angle", [0.0, 30.0, 60.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_tilted_plane_fills_the_view_at_its_angle(angle, seed):
    scene = solid_kinds.tilt(PLANE, DISTANCE, seed, angle)
    T = sampling.fronto_parallel(DISTANCE)
    image, coverage = scene.render_covered(PAPER_CAMERA, T)
    Z = scene.depth(PAPER_CAMERA, T)[0]
    assert (coverage == 1).all()
    x, y = PAPER_CAMERA.xy(torch.float64)
    points = torch.stack([x * Z, y * Z, Z], -1)
    normal = torch.linalg.cross(points[0, -1] - points[0, 0], points[-1, 0] - points[0, 0])
    normal = normal / normal.norm()
    assert math.degrees(math.acos(min(1.0, abs(float(normal[2]))))) == pytest.approx(angle, abs=0.1)
    assert abs(float((points[100, 100] - torch.tensor([0, 0, DISTANCE])) @ normal)) < 1e-6
    if angle == 0:
        inside = PLANE.render_covered(PAPER_CAMERA, T)[1] == 1
        assert ((image - PLANE.render(PAPER_CAMERA, T))[:, 0].abs() * inside).max() < 1e-3


def test_a_tilted_plane_is_drawn_at_up_to_sixty_degrees():
    steepest = []
    for seed in range(20):
        scene = solid_kinds.tilt(PLANE, DISTANCE, seed)
        corner = corners(scene)[0]
        normal = np.cross(corner[1] - corner[0], corner[2] - corner[0])
        steepest.append(math.degrees(math.acos(abs(normal[2]) / np.linalg.norm(normal))))
    assert max(steepest) <= 60 and max(steepest) > 45 and min(steepest) < 15


@pytest.mark.parametrize("shape", solid_kinds.SHAPES)
def test_surfaces_are_laid_flat_as_they_are_seen_and_reflected_on_the_picture(shape):
    solid = shape(0.2, 0.15)
    middle = np.concatenate([each.points for each in solid]).mean(0)
    rng = np.random.default_rng(0)
    seen = [each for each in solid if each.points[:, 2].min() < 0]  # not the foot
    for each in seen:
        p = each.points[each.triangles]
        normal = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        outward = np.sign((normal * (p.mean(1) - middle)).sum(1))
        # x right and y down turn into the surface, as the camera's axes do.
        assert (side(each.flat[each.triangles]) == -outward).all()
        laid = solid_kinds._laid(PLANE, each.flat, rng)
        assert (side(laid[each.triangles]) == outward).all()


def side(corners: np.ndarray) -> np.ndarray:
    """On which side of the first edge the third corner is."""
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return np.sign(ax * by - ay * bx)
