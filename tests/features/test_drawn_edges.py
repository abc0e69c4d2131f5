"""Poses before a known shape, by edges that are drawn anew: rims of rounded objects."""

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.features.drawn import Drawing, Shape
from deepservo.features.drawn_edges import NEAR, TRACKING, View, register_drawn, search_drawn
from deepservo.features.edges import (
    TRACKING_REACHES,
    Edges,
    Slopes,
    edge_points,
    nearest_edges,
)
from round_things import egg, facing, moved, patches, seen

CAMERA = Camera(240, 180, 390.0, 390.0, 118.0, 92.0)
# A tall egg that the camera sees from the side of its end: most of it is rim.
EGG = Shape.of(egg((0.035, 0.045, 0.05), picture=patches()), facing(0.3))
PLAIN = Shape.of(egg((0.035, 0.045, 0.05)), facing(0.3))


def goal_edges(shape: Shape) -> Edges:
    """The edges of a goal picture that a lamp beside the camera lights."""
    drawing, light = Drawing.of(shape, CAMERA), np.zeros(9)
    light[0], light[3] = 0.4, -0.5
    return Edges(CAMERA, (drawing.lit @ light + (1 - drawing.cover) * 0.25), drawing.depth)


def off_px(shape: Shape, T: np.ndarray, found: np.ndarray) -> float:
    """How far off points in view are by another pose, on average [px]."""
    points = shape.corners[shape.corners[..., 2].max(1) < 0.3].reshape(-1, 3)
    px = [
        CAMERA.project(torch.from_numpy((points - each[:3, 3]) @ each[:3, :3]))
        for each in (T, found)
    ]
    return float((px[0] - px[1]).norm(dim=1).mean())


@pytest.mark.parametrize("seed", range(6))
def test_light_and_the_rim_of_a_rounded_object_leave_no_bias(seed):
    """The goal's edges do: its light makes the rim seem to be elsewhere."""
    T = moved(0.004, -0.003, -0.02, 0.03, -0.04, 0.02)
    view = View.of(seen(EGG, CAMERA, T, seed))
    drawn = register_drawn(EGG, CAMERA, view, T, TRACKING * 3)
    of_goal = goal_edges(EGG).register(view.slopes, T, TRACKING_REACHES)
    assert off_px(EGG, T, drawn.T_goal_cam) < 0.05
    assert off_px(EGG, T, drawn.T_goal_cam) < 0.5 * off_px(EGG, T, of_goal.T_goal_cam)
    assert drawn.agreement > max(0.9, of_goal.agreement)


@pytest.mark.parametrize("seed", range(3))
def test_it_converges_from_some_pixels_off(seed):
    T = moved(0.01, 0.005, -0.03, 0.02, 0.05, -0.04)
    guess = T @ moved(0.001, -0.001, 0.004, 0.003, 0.004, 0.01)
    assert off_px(EGG, T, guess) > 2.5
    fit = register_drawn(EGG, CAMERA, View.of(seen(EGG, CAMERA, T, seed)), guess, NEAR)
    assert off_px(EGG, T, fit.T_goal_cam) < 0.1 and fit.agreement > 0.9


def test_a_rim_moves_as_its_jacobian_says_by_finite_differences():
    """It slides over the surface as the camera moves, but along its normal it is a point there."""
    base = Drawing.of(PLAIN, CAMERA)
    edges = Edges(CAMERA, base.cover * 0.5, base.depth)
    for k, step in enumerate((1e-3, 1e-3, 6e-3, 4e-3, 4e-3, 1.5e-2)):  # of one to two pixels
        twist = np.zeros(6)
        twist[k] = step
        ways = []
        for way in (1, -1):
            cover = Drawing.of(PLAIN.seen_from(moved(*(way * twist))), CAMERA).cover
            ways.append(nearest_edges(Slopes.of(cover * 0.5), edges.px, edges.n, 4.0)[0])
        measured = (ways[0] - ways[1]) / (2 * step)
        predicted = edges.jacobian(edges.px, edges.Z, edges.n)[:, k]
        scale = max(60.0, np.abs(predicted).max())
        assert np.sqrt(np.mean((measured - predicted) ** 2)) < 0.05 * scale


@pytest.mark.parametrize("seed", range(4))
def test_a_search_finds_the_object_from_nothing(seed):
    """As far away as the starts of Table I."""
    g = np.random.default_rng(seed)
    T = moved(*g.normal(0, 0.01, 2), -0.05, *g.uniform(-0.12, 0.12, 2), g.uniform(-0.1, 0.1))
    fit = search_drawn(EGG, CAMERA, View.of(seen(EGG, CAMERA, T, seed)))
    assert off_px(EGG, T, fit.T_goal_cam) < 0.3 and fit.agreement > 0.85


def test_another_object_or_none_does_not_agree():
    blank = View.of(np.full((180, 240), 0.5, np.float32))
    assert search_drawn(EGG, CAMERA, blank).agreement == 0
    other = Shape.of(egg((0.02, 0.06, 0.02), picture=patches(7)), facing(0.3))
    assert search_drawn(EGG, CAMERA, View.of(seen(other, CAMERA, np.eye(4)))).agreement < 0.6
    away = moved(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    view = View.of(seen(EGG, CAMERA, np.eye(4)))
    assert register_drawn(EGG, CAMERA, view, away, NEAR).agreement == 0


def test_unseen_pixels_are_left_out():
    T = moved(0.004, -0.003, -0.02, 0.03, -0.04, 0.02)
    picture = seen(EGG, CAMERA, T)
    picture[:, :90] = np.nan
    fit = register_drawn(EGG, CAMERA, View.of(picture), T, TRACKING * 2)
    assert np.isfinite(fit.T_goal_cam).all() and off_px(EGG, T, fit.T_goal_cam) < 0.3
    assert np.isfinite(search_drawn(EGG, CAMERA, View.of(picture)).T_goal_cam).all()


def test_few_points_of_many_edges_are_taken_alike_all_over():
    drawing = Drawing.of(EGG, CAMERA)
    picture = drawing.lit[..., 0] + (1 - drawing.cover) * 0.25
    every = Edges(CAMERA, picture, drawing.depth)
    some = Edges(CAMERA, picture, drawing.depth, 200)
    assert 100 < len(some.px) <= 200 < len(every.px)
    assert np.abs(some.px.mean(0) - every.px.mean(0)).max() < 5
    assert len(edge_points(Slopes.of(picture), np.isfinite(drawing.depth))[0]) > 200


def test_grey_levels_change_no_pose():
    """A darker camera sees the same edges."""
    T = moved(0.002, 0.001, -0.01, 0.01, -0.01, 0.01)
    picture = seen(EGG, CAMERA, T)
    fits = [
        register_drawn(EGG, CAMERA, View.of((gain * picture).astype(np.float32)), T, TRACKING * 2)
        for gain in (1.0, 0.7)
    ]
    assert off_px(EGG, fits[0].T_goal_cam, fits[1].T_goal_cam) < 0.05
