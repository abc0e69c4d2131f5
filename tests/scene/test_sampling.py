"""Start and goal poses are drawn as published."""

import math

import pytest
import torch

from deepservo.geometry import se3
from deepservo.scene import sampling

SIMPLE = ("lookat", "lookat-rz", "screw")


def drawn(
    name: str, n: int, generator: torch.Generator, distance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Starts and goals of a published set that needs no camera."""
    return getattr(sampling, name.replace("-", "_"))(n, generator, distance)


def offsets(
    name: str, n: int = 500, seed: int = 0, distance: float = 0.6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances to the goal [cm] and angles [deg]."""
    T, goal = drawn(name, n, torch.Generator().manual_seed(seed), distance)
    metres, radians = se3.distance(goal, T)
    return 100 * metres, torch.rad2deg(radians)


def test_lookat_rz_starts_are_as_far_as_published():
    cm, deg = offsets("lookat-rz")
    assert abs(cm.mean() - 46.7) < 2 and abs(cm.std() - 16.6) < 2
    assert abs(deg.mean() - 74.0) < 4 and abs(deg.std() - 27.7) < 4


def test_lookat_starts_are_as_far_as_published():
    cm, deg = offsets("lookat")
    assert abs(cm.mean() - 47) < 2 and abs(deg.mean() - 37) < 3


def test_lookat_looks_at_the_published_circles():
    T, _ = sampling.lookat(500, torch.Generator().manual_seed(0))
    reach = -T[:, 2, 3] / T[:, 2, 2]
    target = T[:, :2, 3] + reach[:, None] * T[:, :2, 2]
    radius = target.norm(dim=1)
    for circle in (0.02, 0.04, 0.06, 0.08, 0.10):
        assert ((radius - circle).abs() < 1e-9).sum() == 100


def test_screw_moves_along_and_about_the_optical_axis_alone():
    T, goal = sampling.screw(500, torch.Generator().manual_seed(0))
    relative = se3.log(se3.inverse(goal) @ T)
    assert relative[:, [0, 1, 3, 4]].abs().max() < 1e-9
    assert sorted({round(z, 6) for z in relative[:, 2].tolist()}) == [-0.3, -0.15, 0.0, 0.15, 0.3]
    degrees = sorted({round(math.degrees(r), 3) for r in relative[:, 5].tolist()})
    assert len(degrees) == 10 and degrees[0] == -70 and degrees[-1] == 70
    assert len({tuple(g.flatten().tolist()) for g in goal}) == 10


@pytest.mark.parametrize("n", [20, 50, 100, 500])
def test_a_smaller_screw_is_spread_over_goals_translations_and_rotations(n):
    T, goal = sampling.screw(n, torch.Generator().manual_seed(0))
    relative = se3.log(se3.inverse(goal) @ T)
    along, about = (relative[:, k].mul(1e6).round().unique(return_counts=True)[1] for k in (2, 5))
    each = goal.flatten(1).unique(dim=0, return_counts=True)[1]
    assert len(T) == n and len(each) == 10 and (each == n // 10).all()
    assert len(along) == 5 and len(about) >= 8
    if n >= 100:
        assert (along == n // 5).all() and (about == n // 10).all()


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize("n", [1, 7, 500])
def test_the_seed_gives_the_poses_and_all_are_before_the_plane(name, n):
    first, second, other = (
        drawn(name, n, torch.Generator().manual_seed(seed), 0.6) for seed in (3, 3, 4)
    )
    assert (
        torch.equal(first[0], second[0])
        and torch.equal(first[1], second[1])
        and not torch.equal(first[0], other[0])
    )
    for T in first:
        assert T.shape == (n, 4, 4) and T.dtype == torch.float64 and (T[:, 2, 3] < 0).all()
        assert (T[:, :3, :3] @ T[:, :3, :3].mT - torch.eye(3)).abs().max() < 1e-9


@pytest.mark.parametrize("name", [*SIMPLE, "workspace"])
def test_another_distance_scales_the_lengths_and_keeps_the_angles(name):
    def poses(distance: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return (
            sampling.workspace(50, generator, distance)
            if name == "workspace"
            else drawn(name, 50, generator, distance)[0]
        )

    near, far = poses(0.6), poses(1.5)
    assert (far[:, :3, :3] - near[:, :3, :3]).abs().max() < 1e-9
    assert (far[:, :3, 3] - 2.5 * near[:, :3, 3]).abs().max() < 1e-9


def test_the_workspace_holds_the_starts_and_lies_before_the_plane():
    T = sampling.workspace(5000, torch.Generator().manual_seed(0))
    assert (T[:, 2, 3] < -0.29).all() and (T[:, 2, 2] > 0).all()
    for name in SIMPLE:
        starts = drawn(name, 500, torch.Generator().manual_seed(0), 0.6)[0]
        apart = torch.stack([(T[:, :3, 3] - start).norm(dim=1).min() for start in starts[:, :3, 3]])
        assert apart.max() < 0.15, f"{name}: a start far from every pose to train on"


def test_an_orbit_goes_about_the_point_that_the_camera_looks_at(generator):
    n, depth = 20, 0.3 + torch.rand(20, generator=generator, dtype=torch.float64)
    orbit, nothing = (
        0.4 * torch.randn(n, 2, generator=generator, dtype=torch.float64),
        torch.zeros(n, dtype=torch.float64),
    )
    looked_at = torch.nn.functional.pad(depth[:, None], (2, 0))
    moved = sampling.about(depth, orbit, nothing, nothing[:, None].expand(n, 3))
    seen = torch.einsum("bji,bj->bi", moved[:, :3, :3], looked_at - moved[:, :3, 3])
    assert (seen - looked_at).abs().max() < 1e-12, "it stays where it is in the picture"
    angle = se3.so3_log(moved[:, :3, :3]).norm(dim=1)
    assert (angle - orbit.norm(dim=1)).abs().max() < 1e-9
    onward = sampling.about(
        depth, torch.zeros(n, 2, dtype=torch.float64), 0.1 + nothing, nothing[:, None].expand(n, 3)
    )
    assert (
        onward[:, :3, 3] - torch.tensor([0, 0, 0.1], dtype=torch.float64)
    ).abs().max() < 1e-12, "along its axis"
