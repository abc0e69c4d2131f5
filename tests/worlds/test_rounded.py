"""Rounded objects made by code: closed, smooth, textured, and drawn as MuJoCo draws them."""

from importlib.util import find_spec

import numpy as np
import pytest

from deepservo.camera import Camera
from deepservo.features.drawn import Drawing, Shape
from deepservo.worlds.meshes import Mesh
from deepservo.worlds.rounded import ROUNDED, _zero_level, rounded_mesh
from deepservo.worlds.winding import outward

CAMERA = Camera(160, 120, 260.0, 260.0, 80.0, 60.0)


def above(tilt: float = 0.3, distance: float = 0.27) -> np.ndarray:
    """`T_object_cam` that looks at a point 2 cm over the origin."""
    c, s = np.cos(tilt), np.sin(tilt)
    T = np.eye(4)
    T[:3, :3] = np.array([[1, 0, 0], [0, -c, s], [0, -s, -c]])
    T[:3, 3] = np.array([0, 0, 0.02]) - distance * T[:3, 2]
    return T


@pytest.mark.parametrize("name", ROUNDED)
def test_each_is_one_closed_surface_seen_from_outside_of_the_size_of_a_part(name):
    mesh = rounded_mesh(name)
    flip, is_open = outward(mesh.vertices, mesh.faces)
    assert not flip.any() and not is_open.any()
    assert mesh.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
    assert 0.08 < mesh.size < 0.12 and 0.03 < np.ptp(mesh.vertices[:, 2]) < 0.065
    corners = mesh.vertices[mesh.faces]
    sides = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2)
    assert sides.max() < 5e-3, "smooth to a camera"


@pytest.mark.parametrize("name", ROUNDED)
def test_vertices_are_on_the_field_s_zero_level_and_inside_is_negative(name):
    thing = ROUNDED[name]
    vertices, faces = _zero_level(thing.field, np.array(thing.low), np.array(thing.high))
    assert np.abs(thing.field(vertices)).max() < 1e-3
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    out = np.cross(b - a, c - a)
    large = np.linalg.norm(out, axis=1) > 0.1
    out = out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    middle = (a + b + c) / 3
    assert (thing.field(middle + 0.5 * out) > 0)[large].all()
    assert (thing.field(middle - 0.5 * out) < 0)[large].all()


@pytest.mark.parametrize("name", ROUNDED)
def test_textures_are_whole_and_the_same_each_time(name):
    mesh, again = rounded_mesh(name), ROUNDED[name].mesh()
    assert mesh.uv is not None and mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    assert np.array_equal(mesh.picture, again.picture)
    assert np.array_equal(mesh.vertices, again.vertices)


def contrast(mesh: Mesh) -> float:
    """Deviation of the paint that a camera sees."""
    drawing = Drawing.of(Shape.of(mesh, above()), CAMERA)
    return float(drawing.lit[..., 0][drawing.cover > 0.999].std())


def test_some_have_much_texture_and_one_is_nearly_plain():
    found = {name: contrast(rounded_mesh(name)) for name in ROUNDED}
    assert sum(each > 0.08 for each in found.values()) >= 2
    assert min(found.values()) < 0.02


@pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")
@pytest.mark.parametrize("name", ROUNDED)
def test_our_drawing_is_mujoco_s(name):
    """Its depth, and with the light of MuJoCo's picture that picture."""
    from deepservo.worlds.target import render_target

    mesh, T = rounded_mesh(name), above()
    target = render_target(mesh, CAMERA, T)
    drawing = Drawing.of(Shape.of(mesh, T), CAMERA)
    there = np.isfinite(drawing.depth)
    assert (there != target.mask).sum() <= 5
    both = there & target.mask
    assert np.abs(drawing.depth[both] - target.depth[both]).max() < 2e-3
    assert np.median(np.abs(drawing.depth[both] - target.depth[both])) < 1e-6
    seen = target.grey[0, 0].numpy()
    picture = drawing.under_the_light_of(seen)
    inner = drawing.cover > 0.999
    assert np.median(np.abs(picture - seen)[inner]) < 0.01
