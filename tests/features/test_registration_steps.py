"""A step of registration is the same in C and in PyTorch, and follows the slope of the cost."""

from itertools import product

import pytest
import torch

from deepservo.features import alignment, registration_step
from deepservo.features.alignment import align, align_reference
from deepservo.features.pairs import Pairs, projections, warp
from deepservo.features.registration import MIN_RESIDUAL_SCALE, Registration, fronto
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene import PlanarScene, perturb, sampling
from tilted_planes import N, lamp, tilted_goals


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize(
    "case", product(["one for all", "one each"], ["clean", "perturbed", "lit"]), ids="-".join
)
def test_a_step_in_c_is_the_step_in_torch(scene, paper_camera, T_goal_cam, level, case):
    goals, perturbed = case
    ref = sampling.fronto_parallel(0.6)
    goal = scene.render(paper_camera, ref).expand(1 if goals == "one for all" else N, -1, -1, -1)
    images = scene.render(paper_camera, ref @ T_goal_cam)
    if perturbed != "clean":
        images = (
            perturb.as_mlvs(images, torch.Generator().manual_seed(2))
            if perturbed == "perturbed"
            else lamp(images)
        )
    found, runs = (
        Registration(paper_camera, goal, fronto(0.6).expand(len(goal), 4)),
        torch.arange(N),
    )
    views, picked = found.views(images), found.levels[level].pick(runs)
    floor = MIN_RESIDUAL_SCALE[level] * picked.spread
    T = se3.exp(0.5 * se3.log(T_goal_cam))
    seen = projections(T, picked, found.cameras[level])
    pairs = Pairs.of(
        views.levels[level],
        found.cameras[level],
        views.noise / 2**level,
        picked,
        floor.expand(N, 1),
    )
    args = (pairs, seen, T[:, :3, 3], 2 * floor.expand(N, 1))
    gain_bias = None
    for _ in range(2):  # the first step estimates the gain, the second begins with it
        fast, slow = (
            registration_step.step(*args, gain_bias, blocks=True),
            registration_step.step_reference(*args, gain_bias, blocks=True),
        )
        for name in ("gain_bias", "cost", "scale", "next_cost", "H", "g"):
            a, b = (
                getattr(fast, name).double().view(N, -1),
                getattr(slow, name).double().view(N, -1),
            )
            assert ((a - b).abs() < 1e-2 * b.abs().amax(1, keepdim=True)).all(), (
                f"{name}: {a} is not {b}"
            )
        for a, b in zip(fast.blocks, slow.blocks, strict=True):
            assert torch.allclose(a, b, rtol=0.02, atol=0.01 * float(b.abs().amax()))
        gain_bias = fast.gain_bias


@pytest.mark.parametrize("goals", ["one for all", "one each"])
@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("perturbed", [False, True], ids=["clean", "perturbed"])
def test_steps_in_c_are_the_steps_in_torch(paper_camera, T_goal_cam, level, goals, perturbed):
    """The goals see the plane from the side, each its own way, from so far that some steps raise
    the cost and are taken back.
    """
    scene, T_goals = PlanarScene(bundled("coffee"), 0.8), tilted_goals()
    T_goals = T_goals[:1] if goals == "one for all" else T_goals
    plane = torch.cat([T_goals[:, 2, :3], -T_goals[:, 2, 3:]], 1)
    images = scene.render(paper_camera, T_goals @ T_goal_cam)
    if perturbed:
        images = perturb.as_mlvs(images, torch.Generator().manual_seed(2))
    found, runs = (
        Registration(paper_camera, scene.render(paper_camera, T_goals), plane),
        torch.arange(N),
    )
    views, picked = found.views(images), found.levels[level].pick(runs)
    pairs = Pairs.of(
        views.levels[level],
        found.cameras[level],
        views.noise / 2**level,
        picked,
        (MIN_RESIDUAL_SCALE[level] * picked.spread).expand(N, 1),
    )
    T = se3.exp(0.3 * se3.log(T_goal_cam))
    for iterations, goes_on in ((0, False), (3, False), (4, True)):
        gain_bias = fast[1].gain_bias if goes_on else None
        fast, slow = (
            aligned(pairs, T, iterations, level, gain_bias) for aligned in (align, align_reference)
        )
        assert (
            se3.distance(fast[0], slow[0])[0].max() < 1e-5
            and (fast[1].gain_bias - slow[1].gain_bias).abs().max() < 1e-3
        )
        T = fast[0]


def test_a_tiny_step_is_the_last(paper_camera, monkeypatch):
    """Runs that begin within TINY_STEP of a pixel are done after one look; the others go on."""
    scene, ref = PlanarScene(bundled("coffee"), 0.8), sampling.fronto_parallel(0.6)
    px = torch.tensor([0.02, 0.04, 0.5, 3.0])[:, None] * 0.6 / paper_camera.fx
    T = se3.exp(px.double() * torch.tensor([1.0, 0, 0, 0, 0, 0], dtype=torch.float64))
    found, runs = Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6)), len(T)
    views = found.views(scene.render(paper_camera, ref @ T))
    pairs, here = found._pairs(views, 0, torch.arange(runs)), torch.eye(4).repeat(runs, 1, 1)
    fast, slow = (
        aligned(pairs, here.double(), 6, 0, None, blocks=True)
        for aligned in (align, align_reference)
    )
    assert se3.distance(fast[0], slow[0])[0].max() < 1e-6
    for name in ("H", "g", "gain_bias", "next_cost"):
        one, other = getattr(fast[1], name), getattr(slow[1], name)
        assert (one - other).abs().max() <= 2e-3 * other.abs().max(), name
    for one, other in zip(fast[1].blocks, slow[1].blocks, strict=True):
        assert torch.allclose(one, other, rtol=0.02, atol=0.01 * float(other.abs().amax()))
    assert (fast[1].g == 0).all(1).tolist() == [True] * runs
    monkeypatch.setattr(alignment, "TINY_STEP", 0.0)
    end, _ = align(pairs, here.double(), 12, 0, None)
    assert se3.distance(fast[0], end)[0].max() < 0.01 * 0.6 / paper_camera.fx
    _, first = align(pairs, here.double(), 0, 0, None, blocks=True)
    same = [torch.equal(one, other) for one, other in zip(fast[1].H, first.H, strict=True)]
    assert same == [True, True, False, False], "what the first look found, of the near ones"


def test_a_step_that_raises_the_cost_is_taken_back(paper_camera):
    """The start is too far for this size of the picture: the end must cost no more than the
    start.
    """
    scene = PlanarScene(bundled("coffee"), 0.8)
    ref = sampling.fronto_parallel(0.6)
    found, runs = (
        Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6)),
        torch.arange(1),
    )
    far = se3.exp(torch.tensor([[0.2, 0.1, 0.05, 0.1, -0.1, 0.9]], dtype=torch.float64))
    views, goals = found.views(scene.render(paper_camera, ref @ far)), found.levels[0]
    pairs = Pairs.of(
        views.levels[0],
        paper_camera,
        views.noise,
        goals,
        (MIN_RESIDUAL_SCALE[0] * goals.spread).expand(1, 1),
    )
    fast, slow = (
        aligned(pairs, torch.eye(4, dtype=torch.float64)[None], 8, 0, None)
        for aligned in (align, align_reference)
    )
    assert se3.distance(fast[0], slow[0])[0].max() < 1e-4
    before, after = (
        found.compare(views, T, runs).agreement
        for T in (torch.eye(4, dtype=torch.float64)[None], fast[0])
    )
    assert after > before - 0.05


def test_the_normal_equations_are_the_slope_of_the_residual(paper_camera, T_goal_cam):
    """J by finite differences of the warped picture: `J^T r` is the gradient of half the squared
    residual (all weights 1).
    """
    smooth = 0.3 + 0.4 * torch.rand(1, 1, 9, 12, generator=torch.Generator().manual_seed(3))
    scene = PlanarScene(torch.nn.functional.interpolate(smooth, (300, 400), mode="bicubic")[0])
    ref = sampling.fronto_parallel(0.6)
    found = Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6))
    view, goals = (
        found.views(scene.render(paper_camera, ref @ T_goal_cam)).levels[1],
        found.levels[1],
    )
    T = T_goal_cam @ se3.exp(torch.full((6,), 1e-3, dtype=torch.float64))
    assert T[:, :3, 3].norm(dim=1).min() > 0.01, "the view's centre is not the goal's"

    def residual(twist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = projections(se3.exp(twist) @ T, goals, found.cameras[1])
        warped, valid = warp(view, seen, goals)
        return (warped - goals.image).double(), valid

    r, valid = residual(torch.zeros(6, dtype=torch.float64))
    warped, r = r.float() + goals.image, r * valid
    gain_bias, one = torch.tensor([[1.0, 0.0, 1.0]]).expand(N, 3), torch.ones(N, 1)
    J = registration_step._jacobian(goals, warped, T[:, :3, 3], gain_bias, 0 * one)
    H, g = registration_step._normal_equations(J, r.flatten(1).float(), valid.flatten(1))
    for k in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[k] = 2e-3
        slope = (residual(-step)[0] - residual(step)[0]) / 4e-3 * valid
        assert ((slope * r).sum((1, 2)) - g[:, k]).abs().max() < 0.02 * (
            slope.square().sum((1, 2)) * r.square().sum((1, 2))
        ).sqrt().min()
        assert (slope.square().sum((1, 2)) / H[:, k, k] - 1).abs().max() < 0.05
