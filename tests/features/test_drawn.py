"""A known object drawn from a pose, under the light of a view."""

import numpy as np
import pytest

from deepservo.camera import Camera
from deepservo.features.drawn import SHARP_COSINE, Drawing, Shape, harmonics
from round_things import box, egg, facing, patches

CAMERA = Camera(160, 120, 260.0, 250.0, 77.0, 61.5)
BALL = Shape.of(egg(), facing(0.3))


def lit_by(*lamps: tuple[float, float, float], ambient: float = 0.3) -> np.ndarray:
    """c of a light of the first order: its brightest sides are towards the lamps."""
    light = np.zeros(9)
    light[0], light[1:4] = ambient, np.sum(lamps, 0)
    return light


def test_a_ball_covers_what_its_outline_encloses_and_has_its_depth():
    """The outline of a ball at distance d is the cone of sine r / d."""
    drawing = Drawing.of(BALL, CAMERA)
    v, u = np.mgrid[:120, :160]
    x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    tangent = 0.05 / np.sqrt(0.3**2 - 0.05**2)
    area = np.pi * tangent**2 * CAMERA.fx * CAMERA.fy
    assert drawing.cover.sum() == pytest.approx(area, rel=1e-3)
    inside = np.hypot(x, y) < 0.97 * tangent
    ray2 = 1 + x**2 + y**2  # the nearer root of |Z ray - centre| = r
    Z = (0.3 - np.sqrt(np.maximum(0.3**2 - ray2 * (0.3**2 - 0.05**2), 0))) / ray2
    assert np.abs(drawing.depth - Z)[inside].max() < 5e-5
    assert not np.isfinite(drawing.depth[np.hypot(x, y) > 1.01 * tangent]).any()


def test_normals_are_smooth_on_round_surfaces_and_each_face_has_its_own_at_sharp_edges():
    shape = Shape.of(egg(), np.eye(4))
    radial = shape.corners / np.linalg.norm(shape.corners, axis=2, keepdims=True)
    a, b, c = shape.corners.transpose(1, 0, 2)
    whole = np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-9  # at the poles some have no area
    assert ((shape.normals * radial).sum(2)[whole] > 0.999).all()
    cube = Shape.of(box(), np.eye(4))
    axis = np.abs(cube.normals).max(2)
    assert np.allclose(axis, 1) and np.allclose(cube.normals[:, 0], cube.normals[:, 1])
    assert np.cos(np.radians(54.7)) < SHARP_COSINE  # between a cube's face and its corner


def test_a_texture_is_where_its_coordinates_put_it():
    """The picture's left half is dark, and so is the half of the egg at x < 0 behind the seam."""
    picture = np.full((64, 128, 3), 250, np.uint8)
    picture[:, :64] = 20
    drawing = Drawing.of(Shape.of(egg(picture=picture), facing()), CAMERA)
    albedo = drawing.lit[..., 0]
    # Longitudes of -180 to 0 degrees, y < 0, which is the picture's lower half from above.
    assert albedo[70:80, 70:85].max() < 0.1 and albedo[45:55, 70:85].min() > 0.95


def test_a_texture_far_finer_than_pixels_is_seen_as_its_mean():
    g = np.random.default_rng(0)
    picture = np.repeat(g.integers(0, 2, (1024, 2048, 1)) * 255, 3, 2).astype(np.uint8)
    drawing = Drawing.of(Shape.of(egg(picture=picture), facing()), CAMERA)
    inner = drawing.lit[45:75, 62:92, 0]
    assert inner.mean() == pytest.approx(0.5, abs=0.03) and inner.std() < 0.12


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_light_of_a_view_is_found_beside_shadows_and_reflections(seed):
    """A part of the object is in a shadow, and noise is on all of the view."""
    g = np.random.default_rng(seed)
    drawing = Drawing.of(Shape.of(egg(picture=patches()), facing()), CAMERA)
    light = lit_by(tuple(g.uniform(-0.2, 0.2, 3)), ambient=0.5)
    view = drawing.lit @ light + 0.4 * (1 - drawing.cover) + g.normal(0, 0.01, (120, 160))
    covered = view.copy()
    covered[:, 98:] *= 0.4
    found = drawing.light(covered.astype(np.float32))
    inner = drawing.cover > 0.999
    assert np.abs(drawing.lit @ found - drawing.lit @ light)[inner].max() < 0.08
    picture = drawing.under_the_light_of(view.astype(np.float32))
    assert np.abs(picture - view)[drawing.cover == 0].max() < 0.06
    assert np.sqrt(np.mean((picture - view)[inner] ** 2)) < 0.015


def test_little_or_nothing_in_view_is_drawn_without_failing():
    nothing = np.full((120, 160), np.nan, np.float32)
    drawing = Drawing.of(BALL, CAMERA)
    assert np.isfinite(drawing.light(nothing)).all()
    aside, behind = np.eye(4), np.eye(4)
    aside[0, 3], behind[2, 3] = 1.0, 1.0
    for T in (aside, behind):
        away = Drawing.of(BALL.seen_from(T), CAMERA)
        assert not away.cover.any() and not np.isfinite(away.depth).any()


def test_a_shape_of_many_pixels_is_drawn_too(monkeypatch):
    """Coarser, so that a step takes no seconds."""
    fine = Drawing.of(BALL, CAMERA)
    monkeypatch.setattr("deepservo.features.drawn.MANY_PIXELS", 100)
    coarse = Drawing.of(BALL, CAMERA)
    assert np.array_equal(fine.depth, coarse.depth)
    assert coarse.cover.sum() == pytest.approx(fine.cover.sum(), rel=0.01)


def test_harmonics_are_orthogonal_over_the_sphere():
    n = np.random.default_rng(0).normal(size=(200_000, 3))
    Y = harmonics(n / np.linalg.norm(n, axis=1, keepdims=True))
    G = Y.T @ Y / len(Y)
    scale = np.sqrt(np.diag(G))
    assert np.abs(G / np.outer(scale, scale) - np.eye(9)).max() < 0.02
