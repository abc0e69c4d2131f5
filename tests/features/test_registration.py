"""Photometric registration: a known pose is found again, under gain, bias, cover and tilt; and a
stranger is not believed.
"""

import math

import numpy as np
import pytest
import torch

from deepservo.features import alignment, registration
from deepservo.features.registration import ACQUIRE, AGREE, DAMPING, FLOOR, Registration, fronto
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene import PlanarScene, perturb, sampling

COARSE_TO_FINE = ((3, 12), (2, 6), (1, 4), (0, 4))
N = 4


@pytest.fixture(scope="module")
def T_goal_cam() -> torch.Tensor:
    """N offsets of about 3 cm and 4 deg."""
    generator = torch.Generator().manual_seed(4)
    twist = torch.randn(N, 6, generator=generator, dtype=torch.float64)
    return se3.exp(
        twist
        / twist.abs().amax(1, keepdim=True)
        * torch.tensor([0.03, 0.03, 0.03, 0.07, 0.07, 0.07])
    )


def register(found: Registration, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coarse to fine from the goal's own pose."""
    views, runs = found.views(images), torch.arange(len(images))
    T = found.refine(
        views, torch.eye(4, dtype=torch.float64).repeat(len(images), 1, 1), COARSE_TO_FINE, runs
    )
    return T, found.agreement(views, T, runs)[0]


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


def test_whatever_the_brightness_and_contrast(scene, paper_camera, T_goal_cam):
    ref = sampling.fronto_parallel(0.6)
    goal, images = scene.render(paper_camera, ref), scene.render(paper_camera, ref @ T_goal_cam)
    for gain, bias in ((0.4, 0.0), (0.5, 0.45)):
        T, agreement = register(Registration(paper_camera, gain * goal + bias, fronto(0.6)), images)
        assert_found(T, T_goal_cam, 0.2, 0.02)
        T, agreement = register(Registration(paper_camera, goal, fronto(0.6)), gain * images + bias)
        assert_found(T, T_goal_cam, 0.2, 0.02)
        assert (agreement > 0.97).all()


@pytest.mark.parametrize(("what", "share"), [("goal", 0.5), ("view", 1.0)])
def test_a_covered_picture(scene, paper_camera, T_goal_cam, what, share):
    """From a share of the offsets: a cover narrows the basin."""
    ref, T_goal_cam = sampling.fronto_parallel(0.6), se3.exp(share * se3.log(T_goal_cam))
    goal, images = scene.render(paper_camera, ref), scene.render(paper_camera, ref @ T_goal_cam)
    goal, images = (covered(goal), images) if what == "goal" else (goal, covered(images))
    T, agreement = register(Registration(paper_camera, goal, fronto(0.6)), images)
    assert_found(T, T_goal_cam, 0.3, 0.03)
    assert (agreement > AGREE).all()


@pytest.mark.parametrize("what", ["goal", "view"])
def test_an_overexposed_picture(scene, paper_camera, T_goal_cam, what):
    """White tells nothing but that it is bright; taken for a grey level it would pull the pose
    along.
    """
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


def lamp(images: torch.Tensor) -> torch.Tensor:
    """A bright spot on the left, so wide that hardly any of the picture is out of it."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, images.shape[2]),
        torch.linspace(-1, 1, images.shape[3]),
        indexing="ij",
    )
    return (0.6 * images * (1 + 0.5 * torch.exp(-2 * ((x + 0.6).square() + y.square())))).clamp(
        max=1
    )


@pytest.mark.parametrize("what", ["goal", "view"])
def test_a_picture_under_a_lamp(scene, paper_camera, T_goal_cam, what):
    """One gain for the whole picture would leave a slope of grey levels that a turn explains."""
    ref, T_goal_cam = sampling.fronto_parallel(0.6), se3.exp(0.5 * se3.log(T_goal_cam))
    goal, images = scene.render(paper_camera, ref), scene.render(paper_camera, ref @ T_goal_cam)
    goal, images = (lamp(goal), images) if what == "goal" else (goal, lamp(images))
    T, agreement = register(Registration(paper_camera, goal, fronto(0.6)), images)
    assert_found(T, T_goal_cam, 10.0, 1.0)
    assert (agreement > 0.9).all()


def tilted_goals() -> torch.Tensor:
    """N goals that look at the plane from the side, each its own."""
    generator = torch.Generator().manual_seed(5)
    aside = 0.5 * (torch.rand(N, 3, generator=generator, dtype=torch.float64) - 0.5) + torch.tensor(
        [0.0, 0.0, -0.6]
    )
    return sampling.look_at(
        aside, torch.zeros(N, 3, dtype=torch.float64), torch.linspace(-1, 1, N, dtype=torch.float64)
    )


def plane_of(T_world_goal: torch.Tensor) -> torch.Tensor:
    return torch.cat([T_world_goal[:, 2, :3], -T_world_goal[:, 2, 3:]], 1)


def test_one_tilted_goal_a_run_and_after_runs_are_dropped(scene, paper_camera, T_goal_cam):
    goals = tilted_goals()
    assert (torch.rad2deg(plane_of(goals)[:, 2].acos()) > 5).any(), (
        "this test is about planes that do not face the goal"
    )
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
    """Each with the plane of its own."""
    goals = tilted_goals()[:2]
    found = Registration(paper_camera, scene.render(paper_camera, goals), plane_of(goals))
    found.select_runs(torch.tensor([1]))
    torch.testing.assert_close(found.plane, plane_of(goals[1:]))
    assert all(len(level.image) == 1 for level in found.levels)


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
    found = registration._local_correlation(goal, seen, valid, noises)
    slowly = agreement_slowly(
        *(x[0].double().numpy() for x in (goal, seen, valid)), (0.7 * noise, noise)
    )
    assert [float(x) for x in found] == pytest.approx(slowly, abs=2e-4)


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
    T = found.refine(views, T, ACQUIRE, runs)  # what a method asks before it believes
    agreement = found.agreement(views, T, runs).agreement
    assert (agreement < AGREE).all(), agreement
    assert torch.isfinite(T).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_blank_picture_is_no_match_and_no_error(scene, paper_camera, value):
    goal = scene.render(paper_camera, sampling.fronto_parallel(0.6))
    blank = torch.full((1, 1, 224, 224), value)
    for a, b in ((goal, blank), (blank, goal), (blank, blank)):
        T, agreement = register(Registration(paper_camera, a, fronto(0.6)), b)
        assert torch.isfinite(T).all() and (agreement < AGREE).all()


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


@pytest.mark.parametrize("goals", ["one for all", "one each"])
@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("perturbed", ["clean", "perturbed", "lit"])
def test_a_step_in_c_is_the_step_in_torch(scene, paper_camera, T_goal_cam, level, goals, perturbed):
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
    floor = FLOOR[level] * picked.spread
    T = se3.exp(0.5 * se3.log(T_goal_cam))
    Hs = alignment.homographies(T, fronto(0.6), found.cameras[level], picked.camera)
    pairs = alignment.Pairs.of(
        views.levels[level], views.noise / 2**level, picked, floor.expand(N, 1)
    )
    args = (pairs, Hs, T[:, :3, 3], 2 * floor.expand(N, 1))
    gain_bias = None
    for _ in range(2):  # the first step judges the gain, the second goes on from it
        fast, slow = alignment.step(*args, gain_bias), alignment.step_reference(*args, gain_bias)
        for name in ("gain_bias", "cost", "scale", "next_cost", "H", "g"):
            a, b = (
                getattr(fast, name).double().view(N, -1),
                getattr(slow, name).double().view(N, -1),
            )
            assert ((a - b).abs() < 1e-2 * b.abs().amax(1, keepdim=True)).all(), (
                f"{name}: {a} is not {b}"
            )
        gain_bias = fast.gain_bias


@pytest.mark.parametrize("goals", ["one for all", "one each"])
@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("perturbed", [False, True], ids=["clean", "perturbed"])
def test_steps_in_c_are_the_steps_in_torch(paper_camera, T_goal_cam, level, goals, perturbed):
    """The goals each see the plane from the side; far enough that some steps raise the cost, and
    are taken back.
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
    pairs = alignment.Pairs.of(
        views.levels[level],
        views.noise / 2**level,
        picked,
        (FLOOR[level] * picked.spread).expand(N, 1),
    )
    args = (pairs, found.cameras[level], plane)
    T = se3.exp(0.3 * se3.log(T_goal_cam))
    for iterations, goes_on in ((0, False), (3, False), (4, True)):
        gain_bias = fast[1] if goes_on else None
        fast, slow = (
            align(*args, T, iterations, DAMPING[level], gain_bias)
            for align in (alignment.align, alignment.align_reference)
        )
        assert (
            se3.distance(fast[0], slow[0])[0].max() < 1e-5
            and (fast[1] - slow[1]).abs().max() < 1e-3
        )
        T = fast[0]


def test_a_step_that_raises_the_cost_is_taken_back(paper_camera):
    """From too far for this size: whatever it tries, it ends no worse than it began."""
    scene = PlanarScene(bundled("coffee"), 0.8)
    ref = sampling.fronto_parallel(0.6)
    found, runs = (
        Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6)),
        torch.arange(1),
    )
    far = se3.exp(torch.tensor([[0.2, 0.1, 0.05, 0.1, -0.1, 0.9]], dtype=torch.float64))
    views, goals = found.views(scene.render(paper_camera, ref @ far)), found.levels[0]
    pairs = alignment.Pairs.of(
        views.levels[0], views.noise, goals, (FLOOR[0] * goals.spread).expand(1, 1)
    )
    fast, slow = (
        align(
            pairs,
            paper_camera,
            found.plane,
            torch.eye(4, dtype=torch.float64)[None],
            8,
            DAMPING[0],
            None,
        )
        for align in (alignment.align, alignment.align_reference)
    )
    assert se3.distance(fast[0], slow[0])[0].max() < 1e-4
    before, after = (
        found.agreement(views, T, runs).agreement
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
        Hs = alignment.homographies(se3.exp(twist) @ T, fronto(0.6), found.cameras[1], goals.camera)
        warped, valid = alignment.warp(view, Hs, goals)
        return (warped - goals.image).double(), valid

    r, valid = residual(torch.zeros(6, dtype=torch.float64))
    warped, r = r.float() + goals.image, r * valid
    gain_bias, one = torch.tensor([[1.0, 0.0, 1.0]]).expand(N, 3), torch.ones(N, 1)
    H, g = alignment._normal_equations(
        goals, warped, T[:, :3, 3], gain_bias, 0 * one, r.flatten(1).float(), valid.flatten(1)
    )
    for k in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[k] = 2e-3
        slope = (residual(-step)[0] - residual(step)[0]) / 4e-3 * valid
        assert ((slope * r).sum((1, 2)) - g[:, k]).abs().max() < 0.02 * (
            slope.square().sum((1, 2)) * r.square().sum((1, 2))
        ).sqrt().min()
        assert (slope.square().sum((1, 2)) / H[:, k, k] - 1).abs().max() < 0.05


WRONG = torch.tensor(
    [
        [0.03, -0.02, 0.04, 0.02, 0.05, 0.1],
        [0.05, 0.0, 0.02, 0.1, 0.0, 0.05],
        [0.0, 0.06, -0.05, 0.0, 0.1, -0.1],
    ]
)


@pytest.mark.parametrize("picture", ["astronaut", "coffee", "page", "moon", "chelsea"])
def test_a_far_wrong_pose_on_a_real_picture_is_not_believed(paper_camera, picture):
    """What registration makes of a bad first guess is either right or refused."""
    scene, ref = PlanarScene(bundled(picture), 0.8), sampling.fronto_parallel(0.6)
    T_goal_cam = se3.exp(WRONG.double())
    found = Registration(paper_camera, scene.render(paper_camera, ref), fronto(0.6))
    views, runs = (
        found.views(scene.render(paper_camera, ref @ T_goal_cam)),
        torch.arange(len(WRONG)),
    )
    guess = torch.eye(4, dtype=torch.float64).repeat(len(WRONG), 1, 1)
    T = found.refine(views, guess, ACQUIRE, runs)
    metres, _ = se3.distance(T, T_goal_cam)
    wrong = metres > 0.02
    assert (found.agreement(views, T, runs)[0][wrong] < AGREE).all()
    assert (found.agreement(views, guess, runs)[0] < AGREE).all()
