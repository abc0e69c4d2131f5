"""What controllers are told of their goals' depth."""

import pytest
import torch

from deepservo.bench.runs import Job, Prepared
from deepservo.evaluation.conditions import MODEL, SOLIDS
from deepservo.features.goal_depth import GoalDepth
from deepservo.scene import sampling
from small_bench import CAMERA, small

CONDITIONS = dict(SOLIDS["solid-tilt"])
RUNS = torch.arange(3)
GOALS = sampling.gaussian_goals(3, torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def scene():
    return CONDITIONS["depth map"].scene(small().scenes["coffee"], 0.6, "coffee")


def told(scene, part: str, seed: int = 0, runs: torch.Tensor = RUNS):
    return CONDITIONS[part].depth_of_goals(scene, CAMERA, GOALS[runs], seed, runs)


def test_maps_are_the_goals_own(scene):
    whole, coarse = told(scene, "depth map"), told(scene, "coarse map")
    assert torch.equal(whole, scene.depth(CAMERA, GOALS))
    assert coarse.shape == (3, 8, 8)
    again = GoalDepth.of(coarse, CAMERA).maps(3)
    assert (again / whole - 1)[:, 4:-4, 4:-4].abs().max() < 0.02, "in its place"


def test_a_noisy_map_has_noise_and_blotches_of_its_run_alone(scene):
    noisy, whole = told(scene, "noisy map"), told(scene, "depth map")
    unknown = noisy.isnan()
    assert unknown.float().mean((1, 2)) == pytest.approx([0.1] * 3, abs=0.01)
    beside = unknown[..., 1:] & unknown[..., :-1]
    assert beside.float().mean() > 0.07, "most are beside another"
    assert (noisy / whole - 1)[~unknown].std() == pytest.approx(0.02, rel=0.05)
    some = told(scene, "noisy map", runs=torch.tensor([2]))
    assert torch.equal(some.nan_to_num(), noisy[2:].nan_to_num())
    assert not torch.equal(told(scene, "noisy map", seed=1).isnan(), unknown)


def test_one_number_is_a_multiple_of_the_median(scene):
    one = torch.tensor([1])
    median = told(scene, "depth map")[1].median().item()
    for multiple in (0.7, 1.4):
        found = told(scene, f"depth x {multiple:g}", runs=one)
        assert found == pytest.approx(multiple * median)
    assert told(scene, "no depth") is None


def test_what_is_known_before_the_goals_is_one_number_or_nothing():
    model = dict(MODEL)
    assert model["depth believed x 0.5"].depth_at_first(0.6) == 0.3
    assert model["relief of 2 cm"].depth_at_first(0.6) == 0.6
    assert all(condition.depth_at_first(0.6) is None for condition in CONDITIONS.values())
    wrong = model["depth believed x 0.5"]
    assert wrong.depth_of_goals(small().scenes["coffee"], CAMERA, GOALS, 0, RUNS) is None


@pytest.mark.parametrize(
    ("part", "known"), [("depth map", (2, 64, 64)), ("depth x 1.4", 1.4), ("no depth", None)]
)
def test_the_controller_knows_what_it_is_told(part, known):
    prepared = Prepared(Job("sift+dvs", "solid-tilt", part, "coffee", 2), small(max_steps=1))
    prepared.run(range(2))
    depth = prepared.controller.goal_depth
    if isinstance(known, float):
        Z = prepared.scene.depth(CAMERA, prepared.Ts_goal[1:])
        assert depth.Z is None and depth.metres == pytest.approx(known * Z.median().item())
    else:
        assert (None if depth.Z is None else depth.Z.shape) == known
        assert (depth.metres is None) == (known is None)
