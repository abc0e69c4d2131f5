"""Poses of several pictures along a known motion."""

import math

import pytest
import torch

from deepservo.features.fusion import Fused, fuse, fuse_reference
from deepservo.geometry import se3

DEVIATION = torch.tensor([1e-3, 1e-3, 4e-4, 2e-3, 2e-3, 1e-3], dtype=torch.float64)
STILL = torch.eye(4, dtype=torch.float64)[None]


def random_covariances(n: int, generator: torch.Generator) -> torch.Tensor:
    A = torch.randn(n, 6, 9, generator=generator, dtype=torch.float64) * DEVIATION[:, None]
    return A @ A.mT


def unknown(n: int) -> Fused:
    return Fused.nothing(torch.eye(4, dtype=torch.float64).repeat(n, 1, 1))


def after(pictures: list[torch.Tensor], C: torch.Tensor) -> Fused:
    """A camera that stands still, and the poses of its pictures, each (n, 4, 4)."""
    n = len(pictures[0])
    found = unknown(n)
    for T in pictures:
        found = fuse(found, STILL.expand(n, 4, 4), T, C.expand(n, 6, 6))
    return found


def test_in_c_is_in_torch():
    generator = torch.Generator().manual_seed(0)
    n = 40
    found = reference = unknown(n)
    for step in range(12):
        C = random_covariances(n, generator)
        C[3] = torch.inf if step % 4 == 0 else C[3]
        C[4] = 0.0
        size = 0.5 * torch.ones(n, 1, dtype=torch.float64)
        size[5] = 40.0  # a surprise
        xi = size * torch.randn(n, 6, generator=generator, dtype=torch.float64) * DEVIATION
        motion = se3.exp(torch.randn(n, 6, generator=generator, dtype=torch.float64) * 1e-2)
        T = se3.exp(xi) @ reference.T_goal_cam @ motion
        found = fuse(found, motion, T, C)
        reference = fuse_reference(reference, motion, T, C)
        for one, other in zip(found, reference, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-13, equal_nan=True)
        assert not found.covariance[3].isfinite().any() if step % 4 == 0 else True


def test_errors_that_differ_from_picture_to_picture_average_out_and_are_told_so():
    generator = torch.Generator().manual_seed(1)
    n, C = 200, torch.diag(DEVIATION.square())
    pictures = [
        se3.exp(torch.randn(n, 6, generator=generator, dtype=torch.float64) * DEVIATION)
        for _ in range(60)
    ]
    found = after(pictures, C)
    error = se3.log(found.T_goal_cam).square().mean(0).sqrt()
    assert (error < 0.45 * DEVIATION).all()
    told = torch.diagonal(found.covariance, 0, 1, 2).mean(0).sqrt()
    assert (told < 0.75 * DEVIATION).all() and (told > error).all()
    assert found.share.median() == pytest.approx(1, abs=0.3)


def test_errors_that_pictures_have_in_common_stay():
    generator = torch.Generator().manual_seed(2)
    n, C = 200, torch.diag(DEVIATION.square())
    same = se3.exp(torch.randn(n, 6, generator=generator, dtype=torch.float64) * DEVIATION)
    found = after([same] * 60, C)
    told = torch.diagonal(found.covariance, 0, 1, 2).mean(0).sqrt()
    assert (told > 0.95 * DEVIATION).all() and (told < 1.1 * DEVIATION).all()


def test_a_camera_that_does_not_do_what_is_known_of_it_is_believed_by_its_pictures():
    """An arm that stands still while it is said to come nearer by a tenth in each picture."""
    C = torch.diag((0.02 * DEVIATION).square())[None]
    there = se3.exp(torch.tensor([[2e-3, 0, 0, 0, 0, 0]], dtype=torch.float64))
    found = unknown(1)
    for _ in range(40):
        step = -0.1 * se3.log(found.T_goal_cam)
        found = fuse(found, se3.exp(step), there, C)
    assert float(se3.distance(found.T_goal_cam, there)[0]) < 0.25e-3


def test_a_jump_is_believed_at_once():
    C = torch.diag(DEVIATION.square())[None]
    jump = se3.exp(torch.tensor([[0.02, 0, 0, 0, 0, math.radians(3)]], dtype=torch.float64))
    assert torch.equal(after([STILL] * 20 + [jump], C).T_goal_cam, jump)


def test_a_registration_that_comes_a_part_of_the_way_is_not_taken_for_sure():
    """Each picture's pose is a quarter of the way from where it was looked for to the true one."""
    C, far = torch.diag(DEVIATION.square())[None], 4 * DEVIATION[None]
    found = fuse(unknown(1), STILL, STILL, C)
    for picture in range(1, 10):
        way = se3.log(se3.exp(far) @ se3.inverse(found.T_goal_cam))
        found = fuse(found, STILL, se3.exp(0.25 * way) @ found.T_goal_cam, C)
        left = far - se3.log(found.T_goal_cam)
        deviations = float((left @ torch.linalg.pinv(found.covariance[0]) @ left.mT) / 6) ** 0.5
        assert picture < 3 or deviations < 2.5, f"{deviations} after {picture} pictures"


def test_a_picture_that_shows_little_takes_nothing_from_those_before():
    """Every second picture is covered for the most part."""
    generator = torch.Generator().manual_seed(3)
    n, C = 200, torch.diag(DEVIATION.square())[None]
    found = unknown(n)
    for picture in range(20):
        times = 20.0 if picture % 2 else 1.0
        xi = times * DEVIATION * torch.randn(n, 6, generator=generator, dtype=torch.float64)
        found = fuse(found, STILL.expand(n, 4, 4), se3.exp(xi), times**2 * C.expand(n, 6, 6))
    error = se3.log(found.T_goal_cam).square().mean(0).sqrt()
    told = torch.diagonal(found.covariance, 0, 1, 2).mean(0).sqrt()
    assert (error < DEVIATION).all()
    assert (told > error).all() and (told < 2 * DEVIATION).all()


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_pictures_that_show_a_share_of_the_motion_may_show_a_share_of_the_way(share):
    """As before a solid that is taken for a plane: a turn and a shift are confused."""
    generator = torch.Generator().manual_seed(4)
    C = torch.diag((0.2 * DEVIATION).square())[None]
    way = torch.tensor([[10e-3, 0, 0, 0, 0.02, 0]], dtype=torch.float64)
    T_true, motion, found = se3.exp(way), STILL, unknown(1)
    for picture in range(60):
        noise = 0.1 * DEVIATION * torch.randn(1, 6, generator=generator, dtype=torch.float64)
        seen = se3.exp(share * se3.log(T_true) + noise)
        found = fuse(found, motion, seen, C)
        motion = se3.exp(-0.05 * se3.log(found.T_goal_cam))
        told, true = (float(se3.log(T)[0, :3].norm()) for T in (found.T_goal_cam, T_true))
        deviation = float(torch.diagonal(found.covariance[0])[:3].sum().sqrt())
        assert picture < 50 or true < told + 2 * deviation, f"{true} of {told}, {deviation}"
        T_true = T_true @ motion
    assert (float(found.unseen) == 0) == (share == 1)
    assert share < 1 or deviation < 0.3e-3


@pytest.mark.parametrize("fuse", [fuse, fuse_reference])
def test_no_variance_is_negative(fuse):
    """Also where pictures tell ten thousand times more than those before."""
    generator, n = torch.Generator().manual_seed(0), 4000
    found = unknown(n)
    for picture in range(12):
        V = torch.linalg.qr(torch.randn(n, 6, 6, generator=generator, dtype=torch.float64)).Q
        exponent = 8 * torch.rand(n, 1, 6, generator=generator, dtype=torch.float64) - 7
        deviation = 10 ** (exponent - 4 * (picture > 3))
        T = se3.exp(1e-6 * torch.randn(n, 6, generator=generator, dtype=torch.float64))
        found = fuse(found, STILL.expand(n, 4, 4), T, V * deviation.square() @ V.mT)
        assert torch.diagonal(found.covariance, 0, 1, 2).min() > 0


@pytest.mark.parametrize("held", [1, 3])
@pytest.mark.parametrize("size", [1.0, 1.5])
def test_errors_that_hold_for_a_few_pictures_hide_no_motion(held, size):
    """As of covers and lamps: errors as large as they are told, or half as large again."""
    generator, n = torch.Generator().manual_seed(4), 200
    C = torch.diag((0.2 * DEVIATION).square()).expand(n, 6, 6)
    way = torch.tensor([10e-3, 0, 0, 0, 0.02, 0], dtype=torch.float64)
    T_true, motion, found = se3.exp(way.expand(n, 6)), STILL.expand(n, 4, 4), unknown(n)
    hidden = torch.zeros(n, dtype=torch.bool)
    for picture in range(120):
        if picture % held == 0:
            noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
        found = fuse(found, motion, se3.exp(0.2 * size * DEVIATION * noise) @ T_true, C)
        hidden |= found.unseen > 0
        motion = se3.exp(-0.05 * se3.log(found.T_goal_cam))
        T_true = T_true @ motion
    assert hidden.float().mean() < 0.01
