"""Rigid motions: every batch shape, both precisions, and the angles where formulas break down (0
and pi).
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepservo.geometry import se3

SHAPES = ((), (3,), (2, 3))
EDGES = (
    0.0,
    1e-8,
    1e-4,
    0.0316,
    0.0317,
    0.1,
    0.3162,
    0.3163,
    math.pi - 1e-4,
    math.pi - 1e-6,
    math.pi,
)
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-9}

seeds = st.integers(0, 10_000)
shapes = st.sampled_from(SHAPES)
dtypes = st.sampled_from(tuple(TOLERANCE))
angles = st.one_of(st.sampled_from(EDGES), st.floats(0, math.pi))


def random_twist(
    shape: tuple[int, ...], angle: float, seed: int, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Twists whose rotations have exactly this angle."""
    generator = torch.Generator().manual_seed(seed)
    v, u = torch.randn(2, *shape, 3, generator=generator, dtype=torch.float64)
    return torch.cat([v, angle * torch.nn.functional.normalize(u, dim=-1)], -1).to(dtype)


def hat4(twist: torch.Tensor) -> torch.Tensor:
    """The 4 x 4 generator of a twist."""
    top = torch.cat([se3.hat(twist[..., 3:]), twist[..., :3, None]], -1)
    return torch.cat([top, torch.zeros_like(top[..., :1, :])], -2)


@given(shapes, angles, seeds, dtypes)
def test_log_undoes_exp(shape, angle, seed, dtype):
    twist, tolerance = random_twist(shape, angle, seed, dtype), TOLERANCE[dtype]
    T = se3.exp(twist)
    back = se3.log(T)
    assert (
        T.dtype == back.dtype == dtype and T.shape == (*shape, 4, 4) and back.shape == (*shape, 6)
    )
    assert (se3.exp(back) - T).abs().max() < tolerance
    if angle < math.pi - (
        1e-2 if dtype == torch.float32 else 5e-7
    ):  # at pi the axis has either sign
        assert (back - twist).abs().max() < 10 * tolerance
        turn = (back - twist)[..., 3:].norm(dim=-1)
        assert (turn <= 50 * tolerance * angle).all(), "small angles keep their relative accuracy"


@pytest.mark.parametrize("angle", [1e-4, 0.01, 0.0316, 0.0317, 0.1, 0.3162, 0.3163, 1.0, 3.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 3e-15)])
def test_exp_is_exact_to_rounding_on_both_sides_of_where_its_series_end(angle, dtype, tolerance):
    twist = random_twist((20,), angle, 3, dtype)
    twist[:, :3] /= twist[:, :3].norm(dim=1, keepdim=True)
    assert (se3.exp(twist) - torch.linalg.matrix_exp(hat4(twist.double()))).abs().max() < tolerance


@given(shapes, angles, seeds)
def test_motions_in_c_are_those_in_torch(shape, angle, seed):
    twist = random_twist(shape, angle, seed)
    T, slow = se3.exp(twist), se3.exp_reference(twist)
    assert T.shape == slow.shape and (T - slow).abs().max() < 1e-14
    w, slow_w = se3.so3_log(T[..., :3, :3]), se3.so3_log_reference(T[..., :3, :3])
    assert w.shape == slow_w.shape
    turn = (w - slow_w).norm(dim=-1)
    if angle < math.pi - 5e-7:  # at pi the axis has either sign
        assert (turn <= 1e-14 * (1 + angle)).all()


def test_motions_of_many_runs_have_gradients_where_wanted_and_may_be_none():
    twists = random_twist((5000,), 0.7, 1)
    assert (se3.exp(twists) - se3.exp_reference(twists)).abs().max() < 1e-14
    assert se3.exp(twists[:0]).shape == (0, 4, 4)
    wanted = twists[:3].clone().requires_grad_()
    se3.so3_log(se3.exp(wanted)[:, :3, :3]).sum().backward()
    assert wanted.grad is not None and wanted.grad[:, 3:].abs().min() > 0


@given(shapes, angles, seeds, dtypes)
def test_so3_exp_is_a_rotation_by_the_angle_about_the_axis(shape, angle, seed, dtype):
    w, tolerance = random_twist(shape, angle, seed, dtype)[..., 3:], TOLERANCE[dtype]
    R = se3.so3_exp(w)
    assert R.dtype == dtype and (R @ R.mT - torch.eye(3, dtype=dtype)).abs().max() < tolerance
    assert (torch.linalg.det(R) - 1).abs().max() < tolerance
    assert ((R @ w[..., None])[..., 0] - w).abs().max() < tolerance
    assert (R - torch.linalg.matrix_exp(se3.hat(w.double()))).abs().max() < tolerance
    assert (se3.so3_log(R).norm(dim=-1) - angle).abs().max() < (
        2e-3 if dtype == torch.float32 else 1e-7
    )


@given(shapes, angles, seeds, dtypes)
def test_exp_is_the_matrix_exponential_and_inverse_inverts(shape, angle, seed, dtype):
    twist, tolerance = random_twist(shape, angle, seed, dtype), TOLERANCE[dtype]
    T = se3.exp(twist)
    assert (T - torch.linalg.matrix_exp(hat4(twist.double()))).abs().max() < tolerance
    inverse = se3.inverse(T)
    assert inverse.dtype == dtype and inverse.shape == T.shape
    assert (inverse @ T - torch.eye(4, dtype=dtype)).abs().max() < tolerance
    assert (inverse - se3.exp(-twist)).abs().max() < tolerance


@given(shapes, angles, seeds)
def test_adjoint_is_the_derivative_of_T_exp(shape, angle, seed):
    """A twist v_b turns T_a_b into T_a_b exp(v_b t), which is the same motion as exp(v_a t)
    T_a_b.
    """
    T, v_b, h = se3.exp(random_twist(shape, angle, seed)), random_twist(shape, 1.3, seed + 1), 1e-5
    v_a = (se3.adjoint(T) @ v_b[..., None])[..., 0]
    numeric = (T @ se3.exp(h * v_b) - T @ se3.exp(-h * v_b)) / (2 * h)
    assert (hat4(v_a) @ T - numeric).abs().max() < 1e-7
    assert (se3.exp(v_a) @ T - T @ se3.exp(v_b)).abs().max() < 1e-9


def _near(w: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """The rotation vector of the same rotation on the side of `to`: beyond pi the logarithm
    flips.
    """
    flipped = w - 2 * math.pi * torch.nn.functional.normalize(w, dim=-1)
    return torch.where((w * to).sum(-1, keepdim=True) < 0, flipped, w)


def numeric_thetau_jacobian(w: torch.Tensor, h: float = 1e-5) -> torch.Tensor:
    R = se3.so3_exp(w)
    steps = [h * axis for axis in torch.eye(3, dtype=torch.float64)]
    columns = [
        _near(se3.so3_log(R @ se3.so3_exp(s)), w) - _near(se3.so3_log(R @ se3.so3_exp(-s)), w)
        for s in steps
    ]
    return torch.stack(columns, -1) / (2 * h)


@given(shapes, angles.filter(lambda a: a > 1e-3), seeds)
def test_thetau_jacobian_against_finite_differences(shape, angle, seed):
    w = random_twist(shape, angle, seed)[..., 3:]
    assert (se3.thetau_jacobian(w) - numeric_thetau_jacobian(w)).abs().max() < 1e-6


@pytest.mark.parametrize("degrees", [10, 90])
def test_thetau_jacobian_has_the_right_sign(degrees):
    """Its transpose differs in the sign of (theta/2)[u]x alone, which is an easy mistake."""
    w = random_twist((), math.radians(degrees), 3)[3:]
    numeric, J = numeric_thetau_jacobian(w), se3.thetau_jacobian(w)
    assert (J - numeric).abs().max() < 1e-7
    assert (J.mT - numeric).abs().max() > 0.5 * math.radians(degrees)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, math.pi - 1e-6, math.pi])
def test_gradients_are_finite_at_zero_and_pi(angle, dtype):
    for name, function in {
        "exp": se3.exp,
        "log of exp": lambda x: se3.log(se3.exp(x)),
        "thetau_jacobian": lambda x: se3.thetau_jacobian(x[..., 3:]),
        "distance": lambda x: torch.stack(
            se3.distance(torch.eye(4, dtype=dtype).expand(2, 4, 4), se3.exp(x))
        ),
        "adjoint": lambda x: se3.adjoint(se3.inverse(se3.exp(x))),
    }.items():
        x = random_twist((2,), angle, 5, dtype).requires_grad_()
        function(x).sum().backward()
        assert torch.isfinite(x.grad).all(), name
    R = se3.so3_exp(random_twist((2,), angle, 6, dtype)[..., 3:]).requires_grad_()
    se3.so3_log(R).sum().backward()
    assert torch.isfinite(R.grad).all()


def test_gradients_are_right_at_zero_and_elsewhere():
    at_zero = torch.autograd.functional.jacobian(se3.exp, torch.zeros(6, dtype=torch.float64))
    for k, axis in enumerate(torch.eye(6, dtype=torch.float64)):
        assert (at_zero[..., k] - hat4(axis)).abs().max() < 1e-12
    for angle in (0.0, 1e-4, 0.5, 3.0):
        jacobian = torch.autograd.functional.jacobian(
            lambda x: se3.log(se3.exp(x)), random_twist((), angle, 7)
        )
        assert (jacobian - torch.eye(6, dtype=torch.float64)).abs().max() < 1e-6


@given(shapes, angles, seeds)
def test_distance_is_how_far_and_how_much_a_camera_moved(shape, angle, seed):
    T, moved = (
        se3.exp(random_twist(shape, 1.0, seed + 1)),
        se3.exp(random_twist(shape, angle, seed)),
    )
    metres, radians = se3.distance(T, T @ moved)
    assert (metres - moved[..., :3, 3].norm(dim=-1)).abs().max() < 1e-9
    assert (radians - angle).abs().max() < 1e-7
    assert (
        torch.stack(se3.distance(T @ moved, T)) - torch.stack([metres, radians])
    ).abs().max() < 1e-9


def test_transform_broadcasts_one_rotation_over_many_places():
    R, t = (
        se3.so3_exp(torch.tensor([0.1, 0.2, 0.3])),
        torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
    )
    T = se3.transform(R, t)
    assert T.shape == (5, 4, 4) and torch.equal(T[:, :3, 3], t) and torch.equal(T[2, :3, :3], R)
    assert torch.equal(T[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(5, 4))
