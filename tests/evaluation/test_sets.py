"""The benchmark's sets of starts are as published."""

import pytest
import torch

from deepservo.bench.scenes import MADE, NAMES, scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.sets import SETS, gaussian, overlap
from deepservo.geometry import se3
from deepservo.scene import sampling
from small_bench import CAMERA


def test_gaussian_is_as_published():
    Ts_cam, Ts_goal = gaussian(1000, torch.Generator().manual_seed(0), 0.6, PAPER_CAMERA)
    metres, radians = se3.distance(Ts_goal, Ts_cam)
    assert abs(100 * metres.mean() - 12.7) < 0.8 and abs(100 * metres.std() - 7.0) < 0.8
    assert 16 < radians.rad2deg().mean() < 18.5 and 9 < radians.rad2deg().std() < 12, (
        "those with the largest rotations were drawn again"
    )
    assert (overlap(PAPER_CAMERA, Ts_goal, Ts_cam) >= 0.1).all()
    assert (Ts_goal[:, :2, 3].abs() <= 0.05).all() and (
        (Ts_goal[:, 2, 3] + 0.6).abs() <= 0.05
    ).all()


def test_overlap_against_counting_pixels():
    """The plain twin meets every pixel's ray with the plane and looks for the point in the other
    picture.
    """
    Ts_goal = sampling.fronto_parallel(0.6, 3)
    Ts_cam = Ts_goal @ se3.exp(
        torch.tensor(
            [[0.2, 0, 0, 0, 0, 0], [0, 0, 0.2, 0, 0, 0.7], [0.1, -0.3, -0.1, 0.2, 0.1, 2.0]],
            dtype=torch.float64,
        )
    )
    for T_goal, T_cam, share in zip(Ts_goal, Ts_cam, overlap(CAMERA, Ts_goal, Ts_cam), strict=True):
        hits = 0
        for v in range(64):
            for u in range(64):
                ray = T_goal[:3, :3] @ CAMERA.K_inv @ torch.tensor([u, v, 1.0], dtype=torch.float64)
                p = T_goal[:3, 3] - T_goal[2, 3] / ray[2] * ray
                q = CAMERA.K @ T_cam[:3, :3].T @ (p - T_cam[:3, 3])
                hits += bool(q[2] > 0 and -0.5 < q[0] / q[2] < 63.5 and -0.5 < q[1] / q[2] < 63.5)
        assert abs(share - hits / 64**2) < 0.06
    assert overlap(CAMERA, Ts_goal, Ts_goal).eq(1).all()


@pytest.mark.parametrize("name", SETS)
def test_every_set_draws_poses_before_the_plane_and_the_seed_gives_them(name):
    for part in SETS[name]:
        first, second, other = (
            part.draw(5, torch.Generator().manual_seed(seed), part.distance or 0.6, PAPER_CAMERA)
            for seed in (3, 3, 4)
        )
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
        assert (
            not torch.equal(first[0], other[0])
            or name == "published-starts"
            or part.label == "batch 0"
        )
        for T in (*first, part.condition.poses(first[0])):
            assert T.shape == (5, 4, 4) and (T[:, 2, 3] < 0).all(), f"{name} {part.label}"
            assert (T[:, :3, :3] @ T[:, :3, :3].mT - torch.eye(3)).abs().max() < 1e-9


@pytest.mark.parametrize("part", SETS["overlap"], ids=lambda part: part.label)
def test_starts_share_what_the_bin_says(part):
    low, high = (float(word) / 100 for word in part.label.removesuffix(" %").split(" to "))
    Ts_cam, Ts_goal = part.draw(10, torch.Generator().manual_seed(0), 0.6, PAPER_CAMERA)
    share = overlap(PAPER_CAMERA, Ts_goal, Ts_cam)
    assert ((share > low) & (share <= high)).all()


def test_batches_grow_to_the_published_deviations():
    ends = [
        part.draw(2000, torch.Generator().manual_seed(0), 0.25, PAPER_CAMERA)
        for part in SETS["batches"]
    ]
    metres = [se3.inverse(Ts_goal)[:, :3] @ Ts_cam[..., 3:] for Ts_cam, Ts_goal in ends]
    deviations = [float(m[:, 0, 0].std()) for m in metres]
    assert (
        deviations[0] == 0
        and deviations == sorted(deviations)
        and abs(deviations[-1] - 0.04) < 0.003
    )


def test_the_robots_starts_are_the_published_ones():
    (part,) = (part for part in SETS["published-starts"] if part.label == "MLVS")
    Ts_cam, Ts_goal = part.draw(1, torch.Generator(), 0.6, PAPER_CAMERA)
    T = se3.inverse(Ts_goal)[0] @ Ts_cam[0]
    assert (
        100 * T[:3, 3] - torch.tensor([-8.16, 7.27, -29.98], dtype=torch.float64)
    ).abs().max() < 1e-9
    assert (
        se3.so3_log(T[:3, :3]).rad2deg()
        - torch.tensor([24.86, -10.16, 135.06], dtype=torch.float64)
    ).abs().max() < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_every_scene_is_there(name):
    assert scene_of(name).texture.std() > 0.005
    assert (name in MADE) == (scene_of(name).texture.shape[1:] == (600, 800))
