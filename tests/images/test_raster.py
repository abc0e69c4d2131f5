"""Triangles drawn with a camera: depth, hidden surfaces, and what corners carry."""

import numpy as np
import pytest

from deepservo import native
from deepservo.camera import Camera
from deepservo.images import raster as module
from deepservo.images.raster import raster

CAMERA = Camera(60, 40, 80.0, 70.0, 29.3, 20.6)


def triangles(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Triangles in all directions, some behind the camera or out of the picture."""
    g = np.random.default_rng(seed)
    middle = g.uniform([-0.5, -0.4, -0.2], [0.5, 0.4, 1.5], (n, 1, 3))
    return middle + g.normal(0, 0.1, (n, 3, 3)), g.uniform(-1, 1, (n, 3, 4))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_c_draws_what_the_plain_twin_draws(seed, monkeypatch):
    corners, given = triangles(200, seed)
    if native.library() is None:
        pytest.skip("there is no compiled C")
    depth, out = raster(CAMERA, corners, given)
    monkeypatch.setattr(module.native, "library", lambda: None)
    plain_depth, plain_out = raster(CAMERA, corners, given)
    assert 0.2 < np.isfinite(depth).mean() < 1
    assert np.array_equal(np.isfinite(depth), np.isfinite(plain_depth))
    there = np.isfinite(depth)
    assert np.allclose(depth[there], plain_depth[there], rtol=1e-5)
    assert np.abs(out - plain_out).max() < 1e-4


def tilted(z: float, slope: float, size: float = 2.0) -> np.ndarray:
    """Two triangles of the plane Z = z + slope X, that face the camera."""
    x, y = size * np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]], float)
    square = np.stack([x, y, z + slope * x], 1)
    return square[[[0, 2, 1], [0, 3, 2]]]


def test_a_tilted_plane_has_its_depth_and_carries_what_is_linear_on_it_exactly():
    """In perspective, so that the middle of a square is not in the middle of its picture."""
    corners = tilted(3.0, 0.6)
    depth, out = raster(CAMERA, corners, corners[..., :2])
    v, u = np.mgrid[:40, :60]
    x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    Z = 3.0 / (1 - 0.6 * x)
    assert np.allclose(depth, Z, rtol=1e-6)
    assert np.allclose(out, np.stack([x * Z, y * Z], -1), atol=1e-5)


def test_the_nearer_surface_hides_the_farther_one_in_any_order():
    near, far = tilted(1.0, 0.0, 0.1), tilted(2.0, 0.0)
    for corners in (np.concatenate([near, far]), np.concatenate([far, near])):
        depth, _ = raster(CAMERA, corners, np.zeros((4, 3, 1)))
        assert depth[20, 29] == 1 and depth[2, 2] == 2


def test_surfaces_from_inside_and_behind_the_camera_are_not_drawn():
    behind = tilted(-1.0, 0.0)
    for corners in (tilted(1.0, 0.0)[:, ::-1], behind, behind[:, ::-1], tilted(0.0, 0.0)):
        depth, out = raster(CAMERA, corners, np.ones((2, 3, 1)))
        assert not np.isfinite(depth).any() and not out.any()


def test_neighbours_leave_no_gap_between_them():
    """A fan of thin triangles covers all that its outline does."""
    angle = np.linspace(0, 2 * np.pi, 90)
    rim = np.stack([0.2 * np.cos(angle), 0.2 * np.sin(angle), np.ones(90)], 1)
    middle = np.tile([0.013, 0.021, 1.0], (89, 1))
    depth, _ = raster(CAMERA, np.stack([middle, rim[1:], rim[:-1]], 1), np.zeros((89, 3, 1)))
    v, u = np.mgrid[:40, :60]
    away = np.hypot((u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy)
    assert np.isfinite(depth[away < 0.199]).all() and not np.isfinite(depth[away > 0.2]).any()
