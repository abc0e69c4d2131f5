"""The control laws are pure functions with known answers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from deepservo import control
from deepservo.geometry import se3

seeds = st.integers(0, 10_000)
shapes = st.sampled_from([(), (3,), (2, 3)])


def random_pose(shape: tuple[int, ...], seed: int, size: float = 0.8) -> torch.Tensor:
    return se3.exp(
        size
        * torch.randn(*shape, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )


@given(shapes, seeds)
def test_pbvs_moves_along_the_straight_line_and_the_geodesic(shape, seed):
    T, gain, h = random_pose(shape, seed), 0.3, 1e-6
    v = control.pbvs(T, gain)
    assert v.shape == (*shape, 6)
    moved = T @ se3.exp(h * v)
    assert ((moved - T)[..., :3, 3] / h + gain * T[..., :3, 3]).abs().max() < 1e-5, (
        "the goal's straight line, at speed gain * distance"
    )
    w = se3.so3_log(T[..., :3, :3])
    assert (se3.so3_log(moved[..., :3, :3]) - (1 - gain * h) * w).abs().max() < 1e-9, (
        "about one fixed axis"
    )


def test_pbvs_converges():
    T, dt = random_pose((5,), 3), 0.02
    start, path = T[:, :3, 3], []
    axis = torch.nn.functional.normalize(se3.so3_log(T[:, :3, :3]), dim=-1)
    angle = se3.so3_log(T[:, :3, :3]).norm(dim=-1)
    for _ in range(400):
        T = T @ se3.exp(dt * control.pbvs(T, 1.0))
        path.append(T)
        w = se3.so3_log(T[:, :3, :3])
        assert (w.norm(dim=-1) < angle).all()
        angle = w.norm(dim=-1)
        assert ((w * axis).sum(-1) - angle).abs().max() < 1e-8
    along = torch.nn.functional.normalize(start, dim=-1)
    places = torch.stack(path)[..., :3, 3]
    aside = places - (places * along).sum(-1, keepdim=True) * along
    assert aside.norm(dim=-1).max() < 0.02 * start.norm(dim=-1).max()
    assert places[-1].norm(dim=-1).max() < 1e-3 and angle.max() < 1e-3


@given(shapes, seeds, st.floats(0.05, 2))
def test_pose_of_pbvs_undoes_pbvs(shape, seed, gain):
    T = random_pose(shape, seed)
    assert (control.pose_of_pbvs(control.pbvs(T, gain), gain) - T).abs().max() < 1e-9
    v = (
        torch.randn(*shape, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        * 0.4
        * gain
    )
    assert (control.pbvs(control.pose_of_pbvs(v, gain), gain) - v).abs().max() < 1e-9


@given(shapes, seeds)
def test_gauss_newton_is_the_least_squares_step(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    L, e = (
        torch.randn(*shape, 40, 6, generator=generator).double(),
        torch.randn(*shape, 40, 1, generator=generator).double(),
    )
    v = control.gauss_newton(L.mT @ L, (L.mT @ e)[..., 0], 0.5)
    assert (v + 0.5 * (torch.linalg.pinv(L) @ e)[..., 0]).abs().max() < 1e-9


@given(seeds, st.sampled_from([torch.float32, torch.float64]))
def test_gauss_newton_stays_still_where_nothing_is_seen(seed, dtype):
    """Where features do not change along a direction, the camera must not move along it."""
    generator = torch.Generator().manual_seed(seed)
    L = torch.randn(4, 200, 6, generator=generator).double()
    unseen = torch.nn.functional.normalize(
        torch.randn(4, 6, 1, generator=generator).double(), dim=1
    )
    L = (L - L @ unseen @ unseen.mT).double()
    e = torch.randn(4, 200, 1, generator=generator).double()
    v = control.gauss_newton((L.mT @ L), (L.mT @ e)[..., 0], 1.0)
    assert ((v[:, None] @ unseen).abs() < 1e-9).all()
    assert (v + (torch.linalg.pinv(L, rtol=1e-9) @ e)[..., 0]).abs().max() < 1e-8
    still = control.gauss_newton(torch.zeros(6, 6, dtype=dtype), torch.zeros(6, dtype=dtype), 1.0)
    assert (still == 0).all(), "a blank picture moves nothing"


@given(shapes, seeds, st.floats(1e-4, 1))
def test_levenberg_marquardt_is_its_formula(shape, seed, mu):
    generator = torch.Generator().manual_seed(seed)
    L, g = (
        torch.randn(*shape, 40, 6, generator=generator).double(),
        torch.randn(*shape, 6, generator=generator).double(),
    )
    H = L.mT @ L
    damped = H + mu * H * torch.eye(6)
    expected = -0.5 * torch.linalg.solve(damped, g[..., None])[..., 0]
    assert (control.levenberg_marquardt(H, g, 0.5, mu) - expected).abs().max() < 1e-9


@given(shapes, seeds, st.floats(0.01, 2), st.floats(0.01, 2))
def test_saturate_slows_down_and_keeps_the_direction(shape, seed, linear, angular):
    v = torch.randn(*shape, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    slow = control.saturate(v, linear, angular)
    assert (slow[..., :3].norm(dim=-1) <= linear * (1 + 1e-9)).all() and (
        slow[..., 3:].norm(dim=-1) <= angular * (1 + 1e-9)
    ).all()
    factor = slow.norm(dim=-1, keepdim=True) / v.norm(dim=-1, keepdim=True)
    assert (factor <= 1 + 1e-9).all() and (slow - factor * v).abs().max() < 1e-9
    tight = torch.maximum(slow[..., :3].norm(dim=-1) / linear, slow[..., 3:].norm(dim=-1) / angular)
    assert ((tight - 1).abs() < 1e-9).logical_or((slow == v).all(-1)).all(), (
        "no slower than necessary"
    )
    assert (control.saturate(0 * v, linear, angular) == 0).all()
