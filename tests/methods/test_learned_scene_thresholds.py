"""Thresholds of a run and of a learned scene: just within one counts, just beyond it does not."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import noise_texture

from deepservo.camera import Camera
from deepservo.evaluation import metrics
from deepservo.features.agreement import Comparison
from deepservo.features.registration import Registration
from deepservo.geometry import se3
from deepservo.geometry.pnp import plane_points
from deepservo.methods import bank
from deepservo.methods.aevs import Gallery
from deepservo.methods.bank import Bank
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.coarse_to_fine import CoarseToFine, ZeroVelocity
from deepservo.methods.located import unusual_embeddings
from deepservo.methods.mlvs import MetricServo, Neighbours
from deepservo.methods.particle import ParticleServo
from deepservo.nets.metric import MetricNet
from deepservo.nets.pose import PoseNet, cell_rays
from deepservo.scene import PlanarScene, sampling
from tiny import small

CAMERA = Camera(160, 120, 200.0, 200.0, 78.0, 61.0)
GOAL_POSE = sampling.fronto_parallel(0.6)


# A run.


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("dt", [1.0, 0.1])
def test_a_run_has_settled_after_ten_steps_under_a_tenth_of_a_millimetre_and_0_01_deg(axis, dt):
    limit = (1e-4 if axis < 3 else math.radians(0.01)) / dt
    v_cam = torch.zeros(40, 4, 6, dtype=torch.float64)
    v_cam[:, 0, axis] = 0.99 * limit
    v_cam[20, 1, axis] = -1.01 * limit  # the first of the last ten
    v_cam[19, 2, axis] = 5 * limit
    v_cam[:5, 3, axis] = 0.99 * limit  # of a run of five steps
    trajectory = SimpleNamespace(v_cam=v_cam, dt=dt, steps=torch.tensor([30, 30, 30, 5]))
    assert metrics._settled(trajectory).tolist() == [True, False, True, True]


@pytest.mark.parametrize("better", ["from far off", "from near by"])
def test_a_pose_is_registered_from_far_off_and_from_near_by_and_the_better_one_counts(
    better, monkeypatch
):
    """From an eighth of the picture's size on; and from a quarter, where the pictures do not agree
    by more than AGREEMENT_NOT_REVIEWED: where much is covered the first fails.
    """
    controller, goal, schedules = (
        CoarseToFine(ZeroVelocity(CAMERA)),
        torch.zeros(1, 1, 120, 160),
        [],
    )
    controller.set_goal(goal)
    ends = {"from far off": GOAL_POSE, "from near by": GOAL_POSE @ GOAL_POSE}

    def refine(
        self: Registration,
        views: object,
        T: torch.Tensor,
        schedule: tuple[tuple[int, int], ...],
        runs: torch.Tensor,
    ) -> torch.Tensor:
        schedules.append([level for level, _ in schedule])
        return ends["from far off" if schedule[0][0] == 3 else "from near by"]

    def agreement(
        self: Registration, views: object, T: torch.Tensor, runs: torch.Tensor
    ) -> Comparison:
        return Comparison(
            *torch.tensor([[0.9 if torch.equal(T, ends[better]) else 0.6], [1.0], [1.0], [1.0]])
        )

    monkeypatch.setattr(Registration, "refine", refine)
    monkeypatch.setattr(Registration, "compare", agreement)
    controller.velocity(goal)
    assert schedules == ([[3, 2]] if better == "from far off" else [[3, 2], [2]])
    assert torch.equal(controller.state["T_goal_cam"], ends[better]) and controller.state[
        "agreement"
    ].item() == pytest.approx(0.9)


# A learned scene.


@pytest.fixture(scope="module")
def located() -> PoseServo:
    scene = PlanarScene(noise_texture(4))
    return PoseServo(CAMERA, PoseNet(16), 0.6, scene)


def set_goal_with(
    servo: PoseServo,
    agreement: float,
    seen: float,
    attainable: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Set a goal whose agreement with the learned picture, and whose share of it, are these."""
    monkeypatch.setattr(servo, "predict", lambda images: GOAL_POSE.expand(len(images), 4, 4))
    monkeypatch.setattr(Registration, "refine", lambda self, views, T, *rest: T.clone())

    def agreement_of(
        self: Registration, views: object, T: torch.Tensor, runs: torch.Tensor, level: int = 2
    ) -> Comparison:
        return Comparison(
            *(torch.full((len(T),), each) for each in (agreement, attainable, seen, seen))
        )

    monkeypatch.setattr(Registration, "compare", agreement_of)
    servo.set_goal(torch.full((1, 1, 120, 160), 0.5))


@pytest.mark.parametrize("attainable", [1.0, 0.6])
@pytest.mark.parametrize("seen", [1.0, 0.3])
@pytest.mark.parametrize("case", [(0.01, True), (-0.01, False)])
def test_a_goal_is_recognised_from_a_third_of_what_its_noise_leaves_and_more_where_it_shows_little(
    case, seen, attainable, located, monkeypatch
):
    more, found = case
    least = (0.33 + 2400 / (located.map_px * seen)) * attainable
    set_goal_with(located, least + more, seen, attainable, monkeypatch)
    assert located.state["found"].tolist() == [found]


@pytest.mark.parametrize(("agreement", "own"), [(0.81, True), (0.79, False)])
def test_a_goal_that_agrees_by_eight_tenths_is_clean(agreement, own, located, monkeypatch):
    set_goal_with(located, agreement, 1.0, 1.0, monkeypatch)
    goal = torch.full((1, 1, 120, 160), 0.5)
    assert torch.equal(located.reference_goal(goal).picture, goal) == own


@pytest.mark.parametrize(("agreement", "registered"), [(0.56, True), (0.54, False)])
def test_a_picture_is_where_it_registers_with_an_agreement_of_055(
    agreement, registered, located, monkeypatch
):
    set_goal_with(located, agreement, 1.0, 1.0, monkeypatch)
    aside = se3.exp(torch.tensor([[0.01, 0, 0, 0, 0, 0]], dtype=torch.float64))
    monkeypatch.setattr(Registration, "refine", lambda self, views, T, *rest: T @ aside)
    T = located.locate(torch.full((1, 1, 120, 160), 0.5))
    torch.testing.assert_close(T, GOAL_POSE @ aside if registered else GOAL_POSE)


def test_cells_of_a_picture_count_by_the_networks_confidence():
    """Half of the cells are wrong, and the network predicts a large error for them. A cell's weight
    is one over the width of its error, which is the exponential of the network's answer.
    """
    servo = PoseServo(CAMERA, PoseNet(16), 0.6)
    T = GOAL_POSE @ se3.exp(
        torch.tensor([[0.05, -0.03, 0.02, 0.1, -0.1, 0.4]], dtype=torch.float64)
    )
    points, _ = plane_points(cell_rays(CAMERA), T)
    out = torch.cat([points.mT / 0.6, torch.full((1, 1, 64), -4.0, dtype=torch.float64)], 1)
    out[:, :2, ::2] += 0.3
    out[:, 2, ::2] = 2.0
    servo.net = type(
        "Net", (), {"size": 64, "__call__": lambda self, images: out.view(1, 3, 8, 8)}
    )()
    metres, radians = se3.distance(servo.predict(torch.zeros(1, 1, 120, 160)), T)
    assert metres.max() < 2e-3 and radians.max() < 4e-3


def test_pictures_farther_than_the_scenes_own_give_a_warning():
    messages = unusual_embeddings(torch.tensor([0.1, 0.49, 0.51]), torch.tensor([0.2, 0.5, 0.3]))
    assert (
        messages[:2] == ["", ""]
        and "0.51 latent units from the nearest, the scene's own within 0.50" in messages[2]
    )


@pytest.mark.parametrize(("gain", "bias"), [(1.0, 0.0), (0.2, 0.5), (3.0, -0.4)])
def test_pictures_are_normalised_to_the_gallerys_mean_and_contrast(gain, bias):
    """The mean and the deviation become the gallery's. A nearly flat picture is not amplified to
    noise.
    """
    gallery = Gallery.__new__(Gallery)
    gallery.light = torch.tensor(0.45), torch.tensor(0.21)
    images = torch.rand(3, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    even = gallery._evened(gain * images + bias)
    torch.testing.assert_close(even, gallery._evened(images), atol=1e-4, rtol=0)
    torch.testing.assert_close(even.mean((1, 2, 3)), torch.full((3,), 0.45))
    torch.testing.assert_close(even.std((1, 2, 3)), torch.full((3,), 0.21))
    assert gallery._evened(0.5 + 1e-5 * images).std() < 0.21 * 0.011


@pytest.mark.parametrize(
    ("weights", "shares"), [("inverse", [6, 3, 1]), ("printed", [1, 2, 6]), (None, [6, 3, 1])]
)
def test_neighbours_count_by_the_inverse_of_their_distance_or_as_equation_13_prints_it(
    weights, shares, small_camera
):
    """MLVS's L is the weighted mean of the neighbours' L."""
    servo = MetricServo(
        small_camera,
        MetricNet(small(size=32)),
        0.6,
        neighbours=Neighbours(3, weights) if weights else Neighbours(3),
    )
    Ls = torch.randn(3, 32, 6, generator=torch.Generator().manual_seed(0))
    servo.bank = SimpleNamespace(
        r=torch.zeros(3, 6),
        poses=lambda r: r,
        nearest=lambda z, K: (torch.arange(3)[None], apart[None]),
    )
    servo.phi = SimpleNamespace(measure=lambda T: (None, Ls[None]))
    apart = torch.tensor([1.0, 2.0, 6.0])
    expected = sum(share * L for share, L in zip(shares, Ls, strict=True)) / sum(shares)
    torch.testing.assert_close(servo._L(torch.zeros(1, 32))[0], expected)


@pytest.mark.parametrize("depth", [0.6, 1.5])
def test_particles_are_moved_by_the_stated_deviations(depth):
    """3, 3 and 2 cm at 0.6 m and 3, 3 and 9 deg, or a share of that where the match is better. The
    first particle is not moved.
    """
    servo, moves = ParticleServo(CAMERA, depth), []
    servo.set_goal(torch.rand(1, 1, CAMERA.height, CAMERA.width))
    for servo.step in range(10):
        moved = servo._spread(torch.full((1, 1, 1), 0.5, dtype=torch.float64))[0]
        assert torch.equal(moved[0], torch.eye(4, dtype=torch.float64))
        moves.append(se3.log(moved[1:]))
    expected = 0.5 * torch.tensor(
        [0.03 * depth / 0.6, 0.03 * depth / 0.6, 0.02 * depth / 0.6, *np.radians([3, 3, 9])]
    )
    torch.testing.assert_close(torch.cat(moves).std(0), expected, rtol=0.1, atol=0)


def test_the_banks_cells_are_those_of_lloyd(generator):
    """The plain twin: eight rounds from the first 256 points, each centre the mean of the points
    nearest to it.
    """
    points = torch.randn(1500, 3, generator=generator)
    slowly = points[:256].double().numpy()
    for _ in range(8):
        nearest = ((points.double().numpy()[:, None] - slowly) ** 2).sum(2).argmin(1)
        slowly = np.array(
            [
                points[nearest == k].double().numpy().mean(0) if (nearest == k).any() else slowly[k]
                for k in range(256)
            ]
        )
    assert np.median(np.abs(bank._clustered(points).numpy() - slowly)) < 1e-5


def test_the_bank_reaches_as_far_as_published():
    """Ten values an axis over +-0.4 m and 60, 60, 120 deg (here three), and 10,000 poses within 4
    cm and 5 deg of the goal.
    """
    T_goal = se3.exp(torch.tensor([0.1, -0.2, 0.05, 0.1, 0.2, 0.3], dtype=torch.float64))
    goal = torch.cat([T_goal[:3, 3], se3.so3_log(T_goal[:3, :3])]).float()
    r = Bank(lambda T: T[..., :3, 3].float(), T_goal, grid=3).r - goal
    reach = torch.tensor([*[0.4 / 0.6] * 3, *np.radians([60, 60, 120])])
    near = (r.abs() <= torch.tensor([*[0.04 / 0.6] * 3, *np.radians([5] * 3)]) * 1.0001).all(1)
    assert len(r) == 3**6 + 10_000 and near.sum() == 10_000 + 1, "and the grid's middle"
    torch.testing.assert_close(r.abs().amax(0), reach.float())
    assert (
        r[near].amax(0) > 0.98 * 0.1 * reach.float() * torch.tensor([1, 1, 1, 5 / 6, 5 / 6, 5 / 12])
    ).all()
    assert (
        r[near].amin(0)
        < -0.98 * 0.1 * reach.float() * torch.tensor([1, 1, 1, 5 / 6, 5 / 6, 5 / 12])
    ).all()
