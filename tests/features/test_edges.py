"""Registration by edges, and the refinement that uses it."""

import cv2
import numpy as np
import pytest
import torch

from deepservo import control
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import detectors
from deepservo.features.edges import (
    FIRST_GUESS_REACHES,
    MIN_SLOPE,
    SAMPLE_SPACING,
    Edges,
    Fit,
    Slopes,
    edge_points,
    nearest_edges,
)
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods.base import Controller
from deepservo.methods.dfbvs import KeypointServo
from deepservo.methods.model_based import EdgeServo
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator

CAMERA = Camera(200, 150, 260.0, 260.0, 98.0, 77.0)
GOAL_POSE = sampling.fronto_parallel(0.5)
DEPTH = np.full((150, 200), 0.5)


def shapes(seed: int, light: int, painted: int | None = None) -> torch.Tensor:
    """Polygons on paper. `seed` gives their places, `light` a shadow, and either of them or
    `painted` their grey levels.
    """
    place, lit = np.random.default_rng(seed), np.random.default_rng(light)
    paint = np.random.default_rng(light if painted is None else painted)
    paper = np.full((600, 800), 0.6, np.float32)
    for _ in range(26):
        corners = place.uniform([60, 60], [740, 540]) + place.uniform(20, 70, (5, 1)) * np.array(
            [[np.cos(a), np.sin(a)] for a in np.sort(place.uniform(0, 2 * np.pi, 5))]
        )
        cv2.fillPoly(
            paper,
            [(16 * corners).round().astype(np.int32)],
            float(paint.uniform(0.1, 1.0)),
            cv2.LINE_AA,
            4,
        )
    shadow = np.ones_like(paper)
    cv2.fillPoly(shadow, [lit.uniform([0, 0], [800, 600], (4, 2)).astype(np.int32)], 0.7)
    return torch.from_numpy(cv2.GaussianBlur(paper * shadow, (0, 0), 1.0))[None].clamp(0, 1)


def seen(Ts: torch.Tensor, light: int = 0, seed: int = 0) -> torch.Tensor:
    return PlanarScene(shapes(seed, light), 0.6, 0.6).render(CAMERA, Ts)


def away(*twist: float) -> torch.Tensor:
    return GOAL_POSE @ se3.exp(torch.tensor([twist], dtype=torch.float64))


@pytest.fixture(scope="module")
def edges() -> Edges:
    return Edges(CAMERA, seen(GOAL_POSE)[0, 0].numpy(), DEPTH)


def test_the_jacobian_is_that_of_finite_differences(edges):
    T, step = (
        se3.exp(torch.tensor([0.02, -0.01, 0.03, 0.05, -0.04, 0.1], dtype=torch.float64)),
        1e-6,
    )
    px, Z, n = edges.seen_from(T.numpy())
    J = edges.jacobian(px, Z, n)
    for k in range(6):
        twist = torch.zeros(6, dtype=torch.float64)
        twist[k] = step
        moved = [edges.seen_from((T @ se3.exp(way * twist)).numpy())[0] for way in (1, -1)]
        assert np.allclose(
            ((moved[0] - moved[1]) / (2 * step) * n).sum(1), J[:, k], atol=1e-4 * np.abs(J).max()
        )


def test_the_nearest_edge_is_what_a_walk_along_the_normal_finds(edges):
    """The plain twin takes one point at a time and one step at a time."""
    view = Slopes.of(seen(away(0.004, 0.003, 0.0, 0.0, 0.0, 0.01))[0, 0].numpy())
    px, _, n = edges.seen_from(np.eye(4))
    d, found, _ = nearest_edges(view, px, n, 4.0)

    def slope(at, along):
        gx, gy = (
            cv2.remap(each, *np.float32(at).reshape(2, 1, 1), cv2.INTER_CUBIC)[0, 0]
            for each in (view.gx, view.gy)
        )
        return abs(gx * along[0] + gy * along[1])

    for k in range(0, len(px), 40):
        ways = {}
        for place in SAMPLE_SPACING * np.arange(-8, 9):
            before, middle, after = (
                slope(px[k] + (place + s * SAMPLE_SPACING) * n[k], n[k]) for s in (-1, 0, 1)
            )
            if middle >= before and middle > after and middle > MIN_SLOPE:
                ways[place] = place + SAMPLE_SPACING * 0.5 * (before - after) / (
                    before - 2 * middle + after
                )
        assert found[k] == bool(ways)
        assert not ways or d[k] == pytest.approx(ways[min(ways, key=abs)], abs=1e-3)


def test_edge_points_lie_where_the_shapes_end():
    """On a disc all points are one radius away from its centre."""
    y, x = np.mgrid[:150, :200]
    disc = np.clip(40.3 - np.hypot(x - 101.7, y - 73.2) + 0.5, 0, 1) * 0.5 + 0.2
    px, n = edge_points(Slopes.of(disc), np.ones((150, 200), bool))
    away_px = px - [101.7, 73.2]
    assert len(px) > 150
    assert np.abs(np.hypot(*away_px.T) - 40.3).max() < 0.12
    assert np.abs((away_px * n).sum(1) / np.hypot(*away_px.T)).min() > 0.99


@pytest.mark.parametrize("light", [0, 1, 2, 3])
def test_other_light_does_not_move_the_pose(edges, light):
    """Every shape has another grey level, many contrasts have changed their sign, and the shadow is
    elsewhere.
    """
    T = away(0.003, -0.002, 0.004, 0.004, 0.006, 0.02)
    fit = edges.register(Slopes.of(seen(T, light)[0, 0].numpy()), np.eye(4))
    right = edges.seen_from((torch.linalg.inv(GOAL_POSE) @ T)[0].numpy())[0]
    assert np.linalg.norm(edges.seen_from(fit.T_goal_cam)[0] - right, axis=1).max() < 0.25
    assert fit.agreement > 0.6


def test_a_picture_of_something_else_does_not_agree(edges):
    assert (
        edges.register(Slopes.of(seen(GOAL_POSE, 0, seed=5)[0, 0].numpy()), np.eye(4)).agreement
        < 0.45
    )
    assert edges.register(Slopes.of(np.full((150, 200), 0.5)), np.eye(4)).agreement == 0
    beside = se3.exp(torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)).numpy()
    assert edges.register(Slopes.of(seen(GOAL_POSE)[0, 0].numpy()), beside).agreement == 0


def test_an_object_without_edges_is_refused():
    with pytest.raises(InputError, match="0 points on clear edges"):
        Edges(CAMERA, np.full((150, 200), 0.5), DEPTH)


class Fixed(Controller):
    """Answers the same pose at every picture."""

    def _set_goal(self, goal: torch.Tensor) -> None: ...

    def _velocity(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full((len(image), 6), 1e-3, dtype=torch.float64)


def steered(followed: list[float], looked_for: list[float]) -> list[str]:
    """Where each picture's pose is from: `edges` that were followed, `coarse` where it was found
    anew, `none` where neither agrees.

    followed, looked_for: at each picture, the share of edges in their places at the pose that is
    followed, and at the coarse method's.
    """
    controller = EdgeServo(Fixed(CAMERA), DEPTH)
    controller.set_goal(seen(GOAL_POSE))
    controller.looks = False  # one picture stands for many
    coarse = control.pose_of_pbvs(
        torch.full((1, 6), 1e-3, dtype=torch.float64), controller.coarse.gain
    )[0].numpy()
    (edges,), phases = controller.edges, []
    for follow, look in zip(followed, looked_for, strict=True):
        edges.register = lambda view, T, reaches, a=follow, b=look: Fit(
            T.copy(), b if reaches == FIRST_GUESS_REACHES else a
        )
        controller.velocity(seen(GOAL_POSE))
        found = np.array_equal(controller.state["T_goal_cam"][0], coarse)
        phases.append("none" if not controller.is_refining(1) else "coarse" if found else "edges")
    return phases


@pytest.mark.parametrize(
    ("share", "takes"), [(0.61, True), (0.9, True), (0.59, False), (0.51, False)]
)
def test_refinement_by_edges_starts_where_six_tenths_are_in_their_places(share, takes):
    assert steered([0.0], [share]) == ["coarse" if takes else "none"]


@pytest.mark.parametrize(
    ("share", "holds"), [(0.51, True), (0.59, True), (0.49, False), (0.0, False)]
)
def test_refinement_by_edges_goes_on_while_half_are_in_place_and_stops_at_the_third_miss(
    share, holds
):
    phases = steered([0.9] + [share] * 5, [0.9] + [0.0] * 5)
    assert phases == ["coarse", *(["edges"] * 5 if holds else ["edges"] * 2 + ["none"] * 3)]
    assert (
        steered([0.9, 0.1, 0.1, 0.6, 0.1, 0.1, 0.6], [0.9] + [0.0] * 6)
        == ["coarse"] + ["edges"] * 6
    ), "misses in a row count"


@pytest.mark.parametrize(
    ("now", "other", "goes_over"),
    [(0.84, 0.87, True), (0.62, 0.65, True), (0.62, 0.63, False), (0.86, 0.99, False)],
)
def test_every_fifth_picture_weakly_agreeing_edges_look_for_a_pose_that_agrees_more(
    now, other, goes_over
):
    """It looks under an agreement of 0.85, for 0.02 more."""
    assert steered([0.9] + [now] * 5, [0.9] + [other] * 5) == [
        "coarse",
        *["edges"] * 3,
        "coarse" if goes_over else "edges",
        "edges",
    ]


def test_keypoints_converge_coarsely_and_edges_exactly():
    """Under another light than the goal's. Where nothing agrees, the coarse method steers alone."""
    starts = torch.cat(
        [away(0.03, -0.02, -0.05, 0.03, -0.04, 0.2), away(-0.02, 0.03, 0.04, -0.05, 0.03, -0.1)]
    )
    world = Simulator(PlanarScene(shapes(0, 4, painted=0), 0.6, 0.6), CAMERA, starts)
    controller = EdgeServo(KeypointServo(CAMERA, detectors.sift, 0.5), DEPTH)
    controller.set_goal(seen(GOAL_POSE))
    trajectory = servo(world, controller, seen(GOAL_POSE), max_steps=150)
    metres, radians = se3.distance(trajectory.Ts_world_cam[-1], GOAL_POSE)
    assert metres.max() < 5e-4 and radians.max() < 1e-3
    assert (trajectory.refining[trajectory.steps - 1, [0, 1]] == 1).all()
    controller.set_goal(seen(GOAL_POSE))
    assert (
        not controller.velocity(seen(GOAL_POSE, 0, seed=5)).any()
        and "coarse method" in controller.words(1)[0]
    )


@pytest.mark.parametrize("light", [0, 3])
def test_the_covariance_is_that_of_the_errors(light):
    """Under the goal's light with noise, and under other lights and paints, pose after pose."""
    edges, rng = Edges(CAMERA, seen(GOAL_POSE)[0, 0].numpy(), DEPTH), np.random.default_rng(0)
    twist, ratio = np.array([0.004, -0.003, 0.005, 0.01, -0.008, 0.02]), []
    for k in range(24):
        T = se3.exp(torch.from_numpy(twist * rng.uniform(-1, 1, 6)))
        view = seen(GOAL_POSE @ T, light + k if light else 0)[0, 0].numpy()
        view = view + rng.normal(0, 0.02, view.shape).astype(np.float32)
        fit = edges.register(Slopes.of(view), T.numpy(), FIRST_GUESS_REACHES)
        error = se3.log(se3.inverse(torch.from_numpy(fit.T_goal_cam)) @ T).numpy()
        ratio.append(error @ np.linalg.solve(fit.covariance, error) / 6)
    assert 0.3 < np.median(ratio) < 3.0, np.median(ratio)
