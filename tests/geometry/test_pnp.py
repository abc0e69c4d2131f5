"""The pose from the points where rays meet the plane."""

import math

import torch

from deepservo.camera import Camera
from deepservo.geometry import pnp, se3
from deepservo.scene import sampling

CELLS = Camera(
    8, 8, 300 / 28, 300 / 28, 119.5 / 28 - 0.5, 109.5 / 28 - 0.5
)  # the published camera's picture in 8 x 8 cells


def rays() -> torch.Tensor:
    x, y = CELLS.xy(torch.float64)
    return torch.stack([x.flatten(), y.flatten(), torch.ones(64, dtype=torch.float64)], -1)


def errors(T: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    """The largest distance [m] and angle [deg]."""
    metres, radians = se3.distance(T, true)
    return float(metres.max()), math.degrees(radians.max())


def test_plane_points_project_back_onto_their_rays(generator):
    T = sampling.workspace(20, generator)
    points, slope = pnp.plane_points(rays(), T)
    p_world = torch.cat([points, torch.zeros_like(points[..., :1])], -1)
    inverse = se3.inverse(T)
    p_cam = p_world @ inverse[:, :3, :3].mT + inverse[:, None, :3, 3]
    xy = p_cam[..., :2] / p_cam[..., 2:]
    apart = (xy - rays()[:, :2]).abs().amax(-1)
    assert apart[slope > 0.06].max() < 1e-9 and torch.isfinite(points).all()


def test_exact_points_give_the_exact_pose(generator):
    true = sampling.workspace(100, generator)
    points, slope = pnp.plane_points(rays(), true)
    T, cost = pnp.pose_from_plane_points(rays(), points, (slope > 0.15).double())
    metres, degrees = errors(T, true)
    assert metres < 1e-6 and degrees < 1e-4 and cost.max() < 1e-6


def test_a_fifth_of_the_points_grossly_wrong(generator):
    true = sampling.workspace(50, generator)
    points, slope = pnp.plane_points(rays(), true)
    wrong = torch.rand(50, 64, generator=generator).argsort(1) < 13
    points = torch.where(
        wrong[..., None],
        2 * torch.rand(50, 64, 2, generator=generator, dtype=torch.float64) - 1,
        points,
    )
    T, _ = pnp.pose_from_plane_points(rays(), points, (slope > 0.15).double())
    metres, radians = se3.distance(T, true)
    assert metres.max() < 5e-3 and math.degrees(radians.max()) < 0.5


def test_noise_and_a_tenth_grossly_wrong(generator):
    """Like a network's answer: centimetres of noise everywhere, and some covered cells."""
    true = sampling.workspace(200, generator)
    points, slope = pnp.plane_points(rays(), true)
    points = points + 0.03 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    wrong = torch.rand(200, 64, generator=generator) < 0.1
    points = torch.where(
        wrong[..., None],
        2 * torch.rand(200, 64, 2, generator=generator, dtype=torch.float64) - 1,
        points,
    )
    T, _ = pnp.pose_from_plane_points(rays(), points, (slope > 0.15).double())
    metres, _ = se3.distance(T, true)
    assert metres.median() < 0.06 and (metres < 0.25).double().mean() > 0.96


def test_grazing_views(generator):
    """The optical axis is 60 to 75 deg from the plane's normal: rays above the horizon do
    not count.
    """
    n = 30
    tilt = torch.deg2rad(60 + 15 * torch.rand(n, generator=generator, dtype=torch.float64))
    turn = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    position = torch.stack([tilt.sin() * turn.cos(), tilt.sin() * turn.sin(), -tilt.cos()], -1)
    true = sampling.look_at(position, torch.zeros(n, 3, dtype=torch.float64), turn)
    points, slope = pnp.plane_points(rays(), true)
    assert (slope < 0).any(), "this test needs views of the horizon"
    T, _ = pnp.pose_from_plane_points(rays(), points, (slope > 0.15).double())
    metres, degrees = errors(T, true)
    assert metres < 1e-6 and degrees < 1e-4


def test_nonsense_gives_a_finite_rigid_pose(generator):
    points = torch.randn(10, 64, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(10, 64, generator=generator, dtype=torch.float64)
    weights[0] = 0
    points[1] = 0
    T, _ = pnp.pose_from_plane_points(rays(), points, weights)
    assert torch.isfinite(T).all()
    assert (T[:, :3, :3] @ T[:, :3, :3].mT - torch.eye(3)).abs().max() < 1e-9


def test_a_batch_is_its_runs(generator):
    true = sampling.workspace(4, generator)
    points, slope = pnp.plane_points(rays(), true)
    points = points + 0.01 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    weights = (slope > 0.15).double()
    together, _ = pnp.pose_from_plane_points(rays(), points, weights)
    alone = torch.cat(
        [
            pnp.pose_from_plane_points(rays(), points[i : i + 1], weights[i : i + 1])[0]
            for i in range(4)
        ]
    )
    assert (together - alone).abs().max() < 1e-9


def test_the_c_is_its_plain_twin(generator, monkeypatch):
    """Exact points, noisy ones, wrong ones, none that count, and all the same point."""
    true = sampling.workspace(60, generator)
    points, slope = pnp.plane_points(rays(), true)
    points[20:] += 0.02 * torch.randn(40, 64, 2, generator=generator, dtype=torch.float64)
    wrong = torch.rand(60, 64, generator=generator) < 0.2
    wrong[:40] = False
    points = torch.where(
        wrong[..., None],
        2 * torch.rand(60, 64, 2, generator=generator, dtype=torch.float64) - 1,
        points,
    )
    weights = (slope > 0.15).double()
    weights[0], points[1] = 0, 0
    fast, fast_cost = pnp.pose_from_plane_points(rays(), points, weights)
    monkeypatch.setattr(pnp.native, "library", lambda: None)
    plain, plain_cost = pnp.pose_from_plane_points(rays(), points, weights)
    assert (fast - plain).abs().max() < 1e-7
    assert torch.allclose(fast_cost[1:], plain_cost[1:], atol=1e-9)
