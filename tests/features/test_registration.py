"""Photometric registration finds a known pose: under gain, bias, covers, lamps and tilt."""

import math

import pytest
import torch

from deepservo.camera import Camera
from deepservo.features.pairs import UNSEEN
from deepservo.features.pyramid import resize
from deepservo.features.registration import SAME_PLACE_AGREEMENT, Registration, fronto
from deepservo.geometry import se3
from deepservo.scene import PlanarScene, sampling
from tilted_planes import N, lamp, plane_of, tilted_goals

COARSE_TO_FINE = ((3, 12), (2, 6), (1, 4), (0, 4))


def register(found: Registration, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """From the goal's own pose, coarse to fine."""
    views, runs = found.views(images), torch.arange(len(images))
    T = found.refine(
        views, torch.eye(4, dtype=torch.float64).repeat(len(images), 1, 1), COARSE_TO_FINE, runs
    )
    return T, found.compare(views, T, runs)[0]


def assert_found(T: torch.Tensor, true: torch.Tensor, mm: float, deg: float) -> None:
    metres, radians = se3.distance(T, true)
    assert 1e3 * metres.max() < mm and math.degrees(radians.max()) < deg, (
        f"{1e3 * metres} mm, {torch.rad2deg(radians)} deg"
    )


def covered(images: torch.Tensor) -> torch.Tensor:
    """A black rectangle over a sixth of each picture."""
    images = images.clone()
    images[:, :, 40:130, 120:210] = 0
    return images


def test_a_known_pose_is_found(scene, paper_camera, T_goal_cam):
    ref = sampling.fronto_parallel(0.6)
    found = Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6))
    T, agreement = register(found, scene.render(paper_camera, ref @ T_goal_cam))
    assert_found(T, T_goal_cam, 0.1, 0.01)
    assert (agreement > 0.97).all()


def test_brightness_and_contrast_do_not_change_the_pose(scene, paper_camera, T_goal_cam):
    ref = sampling.fronto_parallel(0.6)
    goal, images = scene.render(paper_camera, ref), scene.render(paper_camera, ref @ T_goal_cam)
    for gain, bias in ((0.4, 0.0), (0.5, 0.45)):
        T, agreement = register(Registration(paper_camera, gain * goal + bias, fronto(0.6)), images)
        assert_found(T, T_goal_cam, 0.2, 0.02)
        T, agreement = register(Registration(paper_camera, goal, fronto(0.6)), gain * images + bias)
        assert_found(T, T_goal_cam, 0.2, 0.02)
        assert (agreement > 0.97).all()


@pytest.mark.parametrize("mm", [0.03, 0.1, 0.3])
def test_the_last_fraction_of_a_pixel_is_seen_in_a_fine_pattern(paper_camera, mm):
    """Between pixels such a picture is blurred by the warp, so that its cost is least where nothing
    is warped: there a camera would rest beside its goal.
    """
    fine = torch.rand(1, 600, 800, generator=torch.Generator().manual_seed(0))
    scene, ref = PlanarScene(fine), sampling.fronto_parallel(0.6)
    # A shift and a turn that look almost alike.
    true = se3.exp(torch.tensor([[0, mm, 0, mm / 0.6, 0, 0]], dtype=torch.float64) / 1e3)
    found = Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6))
    views = found.views(scene.render(paper_camera, ref @ true))
    T = torch.eye(4, dtype=torch.float64)[None]
    for _ in range(6):
        T = found.refine(views, T, ((2, 0), (1, 2), (0, 1)), torch.arange(1))
    assert 0.5 * mm < 1e3 * T[0, 1, 3] < 2 * mm


@pytest.mark.parametrize(("what", "share"), [("goal", 0.5), ("view", 1.0)])
def test_a_covered_picture(scene, paper_camera, T_goal_cam, what, share):
    """From a share of the offsets: a cover narrows the basin of convergence."""
    ref, T_goal_cam = sampling.fronto_parallel(0.6), se3.exp(share * se3.log(T_goal_cam))
    goal, images = scene.render(paper_camera, ref), scene.render(paper_camera, ref @ T_goal_cam)
    goal, images = (covered(goal), images) if what == "goal" else (goal, covered(images))
    T, agreement = register(Registration(paper_camera, goal, fronto(0.6)), images)
    assert_found(T, T_goal_cam, 0.3, 0.03)
    assert (agreement > SAME_PLACE_AGREEMENT).all()


@pytest.mark.parametrize("what", ["goal", "view"])
def test_an_overexposed_picture(scene, paper_camera, T_goal_cam, what):
    """White is at least so bright. If it counted as a grey level it would pull the pose along."""
    ref, T_goal_cam = sampling.fronto_parallel(0.6), se3.exp(0.5 * se3.log(T_goal_cam))
    goal, images = scene.render(paper_camera, ref), scene.render(paper_camera, ref @ T_goal_cam)
    factor = 1.2 / float(goal.median())
    goal, images = (
        ((factor * goal).clamp(max=1), images)
        if what == "goal"
        else (goal, (factor * images).clamp(max=1))
    )
    T, _ = register(Registration(paper_camera, goal, fronto(0.6)), images)
    assert_found(T, T_goal_cam, 1.0, 0.1)


@pytest.mark.parametrize("what", ["goal", "view"])
def test_a_picture_under_a_lamp(scene, paper_camera, T_goal_cam, what):
    """One gain for the whole picture would leave a slope of grey levels that a rotation
    explains.
    """
    ref, T_goal_cam = sampling.fronto_parallel(0.6), se3.exp(0.5 * se3.log(T_goal_cam))
    goal, images = scene.render(paper_camera, ref), scene.render(paper_camera, ref @ T_goal_cam)
    goal, images = (lamp(goal), images) if what == "goal" else (goal, lamp(images))
    T, agreement = register(Registration(paper_camera, goal, fronto(0.6)), images)
    assert_found(T, T_goal_cam, 10.0, 1.0)
    assert (agreement > 0.9).all()


def test_one_tilted_goal_a_run_and_after_runs_are_dropped(scene, paper_camera, T_goal_cam):
    goals = tilted_goals()
    assert (torch.rad2deg(plane_of(goals)[:, 2].acos()) > 5).any(), "this test needs tilted planes"
    found = Registration(paper_camera, scene.render(paper_camera, goals), plane_of(goals))
    images = scene.render(paper_camera, goals @ T_goal_cam)
    T, _ = register(found, images)
    assert_found(T, T_goal_cam, 0.15, 0.015)
    order = torch.tensor([2, 0])
    T = found.refine(
        found.views(images),
        torch.eye(4, dtype=torch.float64).repeat(2, 1, 1),
        COARSE_TO_FINE,
        order,
    )
    assert_found(T, T_goal_cam[order], 0.15, 0.015)
    left = torch.tensor([1, 3])
    found.select_runs(left)
    T, _ = register(found, images[left])
    assert_found(T, T_goal_cam[left], 0.15, 0.015)


def test_one_goal_for_all_is_kept_when_runs_are_dropped(scene, paper_camera, T_goal_cam):
    ref = sampling.fronto_parallel(0.6)
    found = Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6))
    images = scene.render(paper_camera, ref @ T_goal_cam)
    before, _ = register(found, images)
    found.select_runs(torch.tensor([3]))
    after, _ = register(found, images[3:])
    assert_found(after, before[3:], 0.05, 0.005)


def test_a_goal_seen_by_another_camera(scene, paper_camera, T_goal_cam):
    other = paper_camera.resize(320, 200)
    ref = sampling.fronto_parallel(0.6)
    found = Registration(paper_camera, scene.render(other, ref), fronto(0.6), goal_camera=other)
    T, _ = register(found, scene.render(paper_camera, ref @ T_goal_cam))
    assert_found(T, T_goal_cam, 0.3, 0.03)


def test_two_goals_are_kept_by_the_run(scene, paper_camera):
    """Each has its own plane."""
    goals = tilted_goals()[:2]
    found = Registration(paper_camera, scene.render(paper_camera, goals), plane_of(goals))
    found.select_runs(torch.tensor([1]))
    torch.testing.assert_close(found.plane, plane_of(goals[1:]))
    assert all(len(level.image) == 1 for level in found.levels)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_blank_picture_is_no_match_and_no_error(scene, paper_camera, value):
    goal = scene.render(paper_camera, sampling.fronto_parallel(0.6))
    blank = torch.full((1, 1, 224, 224), value)
    for a, b in ((goal, blank), (blank, goal), (blank, blank)):
        T, agreement = register(Registration(paper_camera, a, fronto(0.6)), b)
        assert torch.isfinite(T).all() and (agreement < SAME_PLACE_AGREEMENT).all()


def test_a_batch_is_its_runs(scene, paper_camera, T_goal_cam):
    goals = tilted_goals()
    pictures, images = (
        scene.render(paper_camera, goals),
        scene.render(paper_camera, goals @ T_goal_cam),
    )
    together, _ = register(Registration(paper_camera, pictures, plane_of(goals)), images)
    for i in range(N):
        one = slice(i, i + 1)
        alone, _ = register(
            Registration(paper_camera, pictures[one], plane_of(goals[one])), images[one]
        )
        assert_found(alone, together[one], 0.05, 0.005)


@pytest.mark.parametrize(("width", "height"), [(224, 168), (226, 170), (90, 45)])
@pytest.mark.parametrize("hole", [False, True])
def test_every_level_is_the_picture_resized(width, height, hole):
    """Halving the level before is a fast path; odd sizes and unseen pixels do not take it."""
    generator = torch.Generator().manual_seed(0)
    camera = Camera(width, height, 200.0, 200.0, width / 2, height / 2)
    images = torch.rand(2, 1, height, width, generator=generator)
    if hole:
        images[1, 0, 10:21, 5:16] = torch.nan
    views = Registration(camera, torch.rand(1, 1, height, width), fronto(0.6)).views(images)
    assert [tuple(level.shape[-2:]) for level in views.levels] == [
        (height >> i, width >> i) for i in range(4)
    ]
    for i, level in enumerate(views.levels):
        small = camera.resize(width >> i, height >> i)
        wanted = resize(images, small).nan_to_num(UNSEEN)
        torch.testing.assert_close(level, wanted, atol=1e-6, rtol=0)
