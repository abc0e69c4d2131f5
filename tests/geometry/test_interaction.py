"""Every interaction matrix against finite differences, with one checker."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepservo.camera import Camera
from deepservo.features.luminance import Luminance, NormalEquations, gradient
from deepservo.geometry import interaction, pnp, se3
from deepservo.scene import PlanarScene, sampling
from tiny import waves

Features = Callable[[torch.Tensor], torch.Tensor]
AXES = torch.eye(6, dtype=torch.float64)
seeds = st.integers(0, 10_000)


class Bound(NamedTuple):
    """In each column the quantile of the errors (1: the largest) is at most `share` of the same
    quantile of |L|.
    """

    share: float
    quantile: float = 1.0


def check(
    L: torch.Tensor, s: Features, T_f_cam: torch.Tensor, *, step: float, bound: Bound
) -> None:
    """`ds/dt = L v` for the camera's motion along each of the six axes of its own frame."""
    numeric = torch.stack(
        [
            (s(T_f_cam @ se3.exp(step * a)) - s(T_f_cam @ se3.exp(-step * a))) / (2 * step)
            for a in AXES
        ],
        -1,
    )
    assert numeric.shape == L.shape
    error, size = (numeric - L).abs().flatten(0, -2).double(), L.abs().flatten(0, -2).double()
    allowed = bound.share * size.quantile(bound.quantile, dim=0).clamp(min=1e-3)
    off = error.quantile(bound.quantile, dim=0)
    assert (off <= allowed).all(), f"errors {off.tolist()} above {allowed.tolist()}"


def random_pose(seed: int, angle: float | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    twist = torch.randn(6, generator=generator, dtype=torch.float64)
    if angle is not None:
        twist[3:] *= angle / twist[3:].norm()
    return se3.exp(twist)


@given(seeds)
def test_point(seed):
    T = random_pose(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    p_cam = (
        torch.rand(2, 5, 3, generator=generator, dtype=torch.float64)
        - 0.5
        + torch.tensor([0.0, 0.0, 1.2])
    )
    p_world = p_cam @ T[:3, :3].mT + T[:3, 3]

    def project(T_world_cam: torch.Tensor) -> torch.Tensor:
        inverse = se3.inverse(T_world_cam)
        p = p_world @ inverse[:3, :3].mT + inverse[:3, 3]
        return p[..., :2] / p[..., 2:]

    x, y = project(T).unbind(-1)
    check(interaction.point(x, y, p_cam[..., 2]), project, T, step=1e-5, bound=Bound(1e-7))


@given(seeds, st.floats(0.01, 3.1))
def test_pose(seed, angle):
    def r(T_f_cam: torch.Tensor) -> torch.Tensor:
        return torch.cat([T_f_cam[:3, 3], se3.so3_log(T_f_cam[:3, :3])])

    T = random_pose(seed, angle)
    check(interaction.pose(T), r, T, step=1e-6, bound=Bound(1e-6))


def test_poses_of_any_batch():
    T = torch.stack([random_pose(seed) for seed in range(6)])
    each = torch.stack([interaction.pose(one) for one in T])
    torch.testing.assert_close(interaction.pose(T), each)
    torch.testing.assert_close(interaction.pose(T.view(2, 3, 4, 4)), each.view(2, 3, 6, 6))


def test_luminance_against_the_rendered_picture(paper_camera):
    """The camera moves and renders: from straight ahead, and from the side, rotated and tilted."""
    scene, features = PlanarScene(waves(), antialias=False), Luminance(paper_camera, border=10)
    ahead = sampling.fronto_parallel(0.6)[0]
    aside = sampling.look_at(
        torch.tensor([0.15, -0.1, -0.5], dtype=torch.float64),
        torch.zeros(3, dtype=torch.float64),
        torch.tensor(0.6, dtype=torch.float64),
    )

    def grey_levels(T_world_cam: torch.Tensor) -> torch.Tensor:
        return features.s(scene.render(paper_camera, T_world_cam[None]))[0]

    for T in (ahead, aside):
        L = features.L(scene.render(paper_camera, T[None]), scene.depth(paper_camera, T[None]))[0]
        check(
            L,
            lambda T_world_cam: features.s(scene.render(paper_camera, T_world_cam[None]))[0],
            T,
            step=2e-3,
            bound=Bound(0.01, quantile=0.5),
        )


def test_luminance_is_minus_the_gradient_times_the_points_matrix(generator):
    gx, gy, x, y = torch.randn(4, 3, 7, generator=generator, dtype=torch.float64)
    Z = 0.3 + torch.rand(3, 7, generator=generator, dtype=torch.float64)
    product = -(torch.stack([gx, gy], -1)[..., None, :] @ interaction.point(x, y, Z))[..., 0, :]
    assert (interaction.luminance(gx, gy, x, y, Z) - product).abs().max() < 1e-12


@pytest.mark.parametrize("size", [(224, 224), (41, 57)])
@pytest.mark.parametrize("goals", [1, 3])
@pytest.mark.parametrize("where", ["current", "goal", "mean"])
def test_normal_equations_of_the_luminance_against_its_rows(generator, where, goals, size):
    """The plain twin forms L, of each picture or the mean of two, and multiplies."""
    images, goal = (
        torch.rand(3, 1, *size, generator=generator),
        torch.rand(goals, 1, *size, generator=generator),
    )
    depth = torch.full((1, 1, 1), 0.45)
    features = Luminance(Camera(size[1], size[0], 210.0, 330.0, 20.3, 31.7))
    equations, e = NormalEquations(features, 0.45), features.s(images) - features.s(goal)
    L, L_goal = features.L(images, depth).double(), features.L(goal, depth).double()
    rows = {"current": L, "goal": L_goal.expand_as(L), "mean": (L + L_goal) / 2}[where]
    for H, g in (
        equations(images, goal, where),
        equations._equations(equations.moments(images, goal, where)),
    ):
        torch.testing.assert_close(
            H, rows.mT @ rows, rtol=1e-5, atol=1e-6 * float((rows.mT @ rows).abs().max())
        )
        torch.testing.assert_close(
            g,
            (rows.mT @ e.double()[..., None])[..., 0],
            rtol=1e-5,
            atol=1e-6 * float(rows.abs().sum(1).max()),
        )


def test_gradient_of_a_ramp_is_its_slope():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    gx, gy = gradient((0.02 * x - 0.01 * y)[None, None])
    assert (gx[0, 3:-3, 3:-3] - 0.02).abs().max() < 1e-5
    assert (gy[0, 3:-3, 3:-3] + 0.01).abs().max() < 1e-5


@given(seeds)
def test_points_met_on_the_plane(seed):
    """The derivative that the pose solver uses, at poses in the whole workspace. Some rays are
    above the horizon.
    """
    T = sampling.workspace(1, torch.Generator().manual_seed(seed))
    x, y = torch.meshgrid(*[torch.linspace(-0.6, 0.6, 5, dtype=torch.float64)] * 2, indexing="ij")
    rays = torch.stack([x.flatten(), y.flatten(), torch.ones(25, dtype=torch.float64)], -1)
    from_points = torch.zeros(1, 25, 2, dtype=torch.float64)
    smooth = (
        (rays @ T[0, :3, :3].mT)[:, 2] - pnp.MIN_SLOPE
    ).abs() > 1e-3  # the clamp has no derivative there
    J = pnp._residual(rays, T, from_points)[1][0]
    check(
        J[smooth],
        lambda T_world_cam: pnp._residual(rays, T_world_cam[None], from_points)[0][0][smooth],
        T[0],
        step=1e-6,
        bound=Bound(1e-5),
    )
