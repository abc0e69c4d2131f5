"""The agreement of two pictures separates the right pose from a wrong one."""

import math

import numpy as np
import pytest
import torch

from deepservo.features.agreement import compare, compare_reference, local_correlation
from deepservo.features.registration import (
    FIRST_GUESS_SCHEDULE,
    SAME_PLACE_AGREEMENT,
    Registration,
    fronto,
)
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene import PlanarScene, sampling
from tilted_planes import N


def agreement_slowly(
    goal: np.ndarray, seen: np.ndarray, valid: np.ndarray, noises: tuple[float, float]
) -> tuple[float, float]:
    """The mean correlation of windows of 7 x 7 pixels, every third of them, weighted by how little
    flat the less flat of the two is.

    A window counts of which more than 0.6 are seen. Flat is what varies less than a hundredth of
    the picture, or four times its noise.
    """

    def flat(image: np.ndarray, noise: float) -> float:
        return 0.01 * max(np.var(image[valid > 0]), 1e-9) + 4 * noise**2

    flats = flat(goal, noises[0]), flat(seen, noises[1])
    agreed, attainable, counted = 0.0, 0.0, 0.0
    for top in range(0, goal.shape[0] - 6, 3):
        for left in range(0, goal.shape[1] - 6, 3):
            window = slice(top, top + 7), slice(left, left + 7)
            mask = valid[window] > 0
            if mask.mean() > 0.6:
                a, b = goal[window][mask], seen[window][mask]
                (aa, ab), (_, bb) = np.cov(a, b, bias=True)
                weight = max(aa / (aa + flats[0]), bb / (bb + flats[1]))
                agreed += ab / math.sqrt((aa + flats[0]) * (bb + flats[1]))
                attainable += weight * math.sqrt(max(bb - noises[1] ** 2, 0) / (bb + flats[1]))
                counted += weight
    return agreed / max(counted, 1), attainable / max(counted, 1)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("hidden", ["nothing", "a third", "almost all"])
def test_the_agreement_is_that_of_its_plain_twin(noise, hidden):
    g = torch.Generator().manual_seed(1)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 1, 7, 9, generator=g), (26, 35), mode="bilinear"
    )[:, 0]
    goal, seen = (
        smooth + noise * torch.randn(1, 26, 35, generator=g),
        0.6 * smooth + noise * torch.randn(1, 26, 35, generator=g),
    )
    seen[:, :, 20:] = torch.rand(1, 26, 15, generator=g)
    valid = (torch.rand(1, 26, 35, generator=g) > 0.1).float()
    valid[:, {"nothing": 26, "a third": 17, "almost all": 7}[hidden] :] = 0
    noises = torch.tensor([[0.7 * noise]]), torch.tensor([[noise]])
    found = local_correlation(goal, seen, valid, noises)
    slowly = agreement_slowly(
        *(x[0].double().numpy() for x in (goal, seen, valid)), (0.7 * noise, noise)
    )
    assert [float(x) for x in found] == pytest.approx(slowly, abs=2e-4)


@pytest.mark.parametrize("depth", ["a plane", "a map"])
@pytest.mark.parametrize("goals", [1, 5])
def test_in_c_is_in_torch(paper_camera, depth, goals):
    """Also where a part of the goal or of the view is not seen, and where nothing is in common."""
    generator, scene = torch.Generator().manual_seed(3), PlanarScene(bundled("coffee"), 0.8)
    T = 0.05 * torch.randn(5, 6, generator=generator, dtype=torch.float64)
    T[4, :3] = torch.tensor([3.0, 0.0, 0.0])
    T, ref = se3.exp(T), sampling.fronto_parallel(0.6)
    goal = scene.render(paper_camera, ref).repeat(goals, 1, 1, 1)
    goal[..., :40, 30:90] = torch.nan
    views = scene.render(paper_camera, ref @ T) + 0.02 * torch.randn(
        5, 1, 1, 1, generator=generator
    )
    views[1, :, 100:, :70] = torch.nan
    found = Registration(paper_camera, goal, fronto(0.6).expand(goals, 4))
    if depth == "a map":
        shape = (goals, paper_camera.height, paper_camera.width)
        Z = 0.5 + 0.2 * torch.rand(shape, generator=generator)
        found.set_depth((1 / Z).masked_fill(Z > 0.68, 0))
    pairs = found._pairs(found.views(views), 2, torch.arange(5))
    for one, other in zip(compare(pairs, T), compare_reference(pairs, T), strict=True):
        assert torch.allclose(one, other, atol=2e-4), (one, other)


def test_two_different_scenes_do_not_agree(paper_camera, texture, T_goal_cam):
    ref = sampling.fronto_parallel(0.6)
    goals = torch.cat([PlanarScene(texture(10 + i)).render(paper_camera, ref) for i in range(N)])
    images = torch.cat(
        [
            PlanarScene(texture(20 + i)).render(paper_camera, ref @ T_goal_cam[i : i + 1])
            for i in range(N)
        ]
    )
    found = Registration(paper_camera, goals, fronto(0.6).expand(N, 4))
    views, T, runs = (
        found.views(images),
        torch.eye(4, dtype=torch.float64).repeat(N, 1, 1),
        torch.arange(N),
    )
    T = found.refine(
        views, T, FIRST_GUESS_SCHEDULE, runs
    )  # the test of a method before it accepts a pose
    agreement = found.compare(views, T, runs).agreement
    assert (agreement < SAME_PLACE_AGREEMENT).all(), agreement
    assert torch.isfinite(T).all()


WRONG = torch.tensor(
    [
        [0.03, -0.02, 0.04, 0.02, 0.05, 0.1],
        [0.05, 0.0, 0.02, 0.1, 0.0, 0.05],
        [0.0, 0.06, -0.05, 0.0, 0.1, -0.1],
    ]
)


@pytest.mark.parametrize("picture", ["astronaut", "coffee", "page", "moon", "chelsea"])
def test_a_grossly_wrong_pose_on_a_real_picture_does_not_agree(paper_camera, picture):
    """From a bad first guess registration ends at the right pose, or its agreement is low."""
    scene, ref = PlanarScene(bundled(picture), 0.8), sampling.fronto_parallel(0.6)
    T_goal_cam = se3.exp(WRONG.double())
    found = Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6))
    views, runs = (
        found.views(scene.render(paper_camera, ref @ T_goal_cam)),
        torch.arange(len(WRONG)),
    )
    guess = torch.eye(4, dtype=torch.float64).repeat(len(WRONG), 1, 1)
    T = found.refine(views, guess, FIRST_GUESS_SCHEDULE, runs)
    metres, _ = se3.distance(T, T_goal_cam)
    wrong = metres > 0.02
    assert (found.compare(views, T, runs)[0][wrong] < SAME_PLACE_AGREEMENT).all()
    assert (found.compare(views, guess, runs)[0] < SAME_PLACE_AGREEMENT).all()
