"""How sure a registered pose is, and where the two pictures agree."""

import pytest
import torch

from deepservo.features.estimation import estimate
from deepservo.features.evidence import (
    AGREES,
    DIFFERS,
    FLAT,
    UNKNOWN,
    evidence,
    evidence_reference,
)
from deepservo.features.registration import Registration, fronto
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.methods.status import bounds
from deepservo.scene import PlanarScene, perturb, sampling

N, SCHEDULE = 24, ((1, 4), (0, 6))
RUNS = torch.arange(N)


def small_offsets(metres: float) -> torch.Tensor:
    twist = torch.randn(N, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return se3.exp(metres * twist * torch.tensor([1, 1, 1, 2, 2, 2], dtype=torch.float64))


def estimated(camera, scene, T, noise):
    """Poses and evidence of views at T, from the goal's own pose."""
    ref = sampling.fronto_parallel(0.6)
    generator = torch.Generator().manual_seed(5)
    goal = perturb.noise(scene.render(camera, ref), generator, noise)
    views = perturb.noise(scene.render(camera, ref @ T), generator, noise)
    found = Registration(camera, goal, fronto(0.6))
    start = torch.eye(4, dtype=torch.float64).repeat(len(T), 1, 1)
    return estimate(found, found.views(views), start, SCHEDULE, RUNS[: len(T)])


@pytest.mark.parametrize("noise", [0.01, 0.04])
def test_the_bounds_hold_the_truth_and_are_not_far_from_it(paper_camera, noise):
    T = small_offsets(1e-3)
    found, sure = estimated(paper_camera, PlanarScene(bundled("coffee"), 0.8), T, noise)
    error = se3.log(found @ se3.inverse(T))[:, :3].norm(dim=1)
    # The bound of the error alone, as if the estimate were at the goal.
    here = torch.eye(4, dtype=torch.float64).expand(N, 4, 4)
    most, _ = bounds(here, sure.covariance)
    assert (error <= most).double().mean() > 0.8
    assert most.median() < 8 * error.median()
    assert (sure.agree > 0.9).all() and (sure.blocks > 100).all()


def test_more_noise_makes_the_covariance_larger(paper_camera):
    T, scene = small_offsets(3e-4), PlanarScene(bundled("coffee"), 0.8)
    sizes = [
        torch.diagonal(estimated(paper_camera, scene, T, noise)[1].covariance, 0, 1, 2).sum(1)
        for noise in (0.01, 0.05)
    ]
    assert (sizes[1] > 2 * sizes[0]).double().mean() > 0.9


def test_along_a_stripe_nothing_is_known(paper_camera):
    """Grey levels that change along x alone say nothing of a motion along y."""
    row = torch.rand(1, 1, 400, generator=torch.Generator().manual_seed(2))
    scene = PlanarScene(row.expand(1, 300, 400).contiguous(), 0.8)
    _, sure = estimated(paper_camera, scene, small_offsets(1e-4)[:4], 0.02)
    C = sure.covariance
    assert (~C.isfinite().flatten(1).all(1) | (C[:, 1, 1] > 100 * C[:, 0, 0])).all()


def test_a_cover_takes_its_blocks_and_another_place_takes_all(paper_camera):
    scene, ref = PlanarScene(bundled("coffee"), 0.8), sampling.fronto_parallel(0.6)
    goal = scene.render(paper_camera, ref)
    found, start = Registration(paper_camera, goal, fronto(0.6)), torch.eye(4).double()[None]
    covered = goal.clone()
    covered[..., :, :80] = torch.rand(80, generator=torch.Generator().manual_seed(3))
    other = PlanarScene(bundled("chelsea"), 0.8).render(paper_camera, ref)
    seen = [
        estimate(found, found.views(view), start, ((0, 0),), RUNS[:1])[1]
        for view in (goal, 0.5 * goal + 0.2, covered, other)
    ]
    shares = [float(each.agree) for each in seen]
    assert shares[0] == shares[1] == 1
    assert 0.5 < shares[2] < 0.75 and shares[3] < 0.15
    columns = seen[2].alike.view(16, 16).T
    assert not (columns[:5] == AGREES).any() and not (columns[6:] == DIFFERS).any()
    for each in seen:
        assert ((each.alike == AGREES) | (each.alike == DIFFERS)).sum() == each.blocks


def test_blocks_are_flat_where_both_are_and_unknown_where_either_sees_nothing(paper_camera):
    goal = PlanarScene(bundled("coffee"), 0.8).render(paper_camera, sampling.fronto_parallel(0.6))
    goal[..., :112] = 0.5
    view = goal.clone()
    view[..., 112:, :] = torch.nan
    found, start = Registration(paper_camera, goal, fronto(0.6)), torch.eye(4).double()[None]
    _, sure = estimate(found, found.views(view), start, ((0, 0),), RUNS[:1])
    alike = sure.alike.view(16, 16)
    assert (alike[:7, :7] == FLAT).all() and (alike[:7, 9:] == AGREES).all()
    assert (alike[8:] == UNKNOWN).all()


def test_without_texture_no_pose_is_known(paper_camera):
    scene = PlanarScene(torch.full((1, 300, 400), 0.5), 0.8)
    _, sure = estimated(paper_camera, scene, small_offsets(1e-4)[:2], 0.0)
    assert (
        not sure.covariance.isfinite().flatten(1).all(1).any()
        or (bounds(torch.eye(4).double().expand(2, 4, 4), sure.covariance)[0] > 1e-2).all()
    )
    assert (sure.blocks < 20).all()


@pytest.mark.parametrize("by_depth", [False, True])
def test_the_evidence_in_c_is_that_in_torch(paper_camera, by_depth):
    scene, T = PlanarScene(bundled("coffee"), 0.8), small_offsets(5e-3)[:6]
    ref, generator = sampling.fronto_parallel(0.6), torch.Generator().manual_seed(2)
    goal = perturb.noise(scene.render(paper_camera, ref), generator, 0.02)
    found = Registration(paper_camera, goal, fronto(0.6))
    if by_depth:
        found.set_depth(torch.full((1, 224, 224), 1 / 0.55))
    views = found.views(perturb.noise(scene.render(paper_camera, ref @ T), generator, 0.03))
    T_found, step, pairs = found._refined(views, T, ((1, 3), (0, 1)), RUNS[:6], blocks=True)
    fast = evidence(T_found, step, pairs)
    slow = evidence_reference(T_found, step, pairs)
    for a, b in zip(fast, slow, strict=True):
        if a.dtype == torch.int8:
            assert torch.equal(a, b)
        else:
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().amax()))
