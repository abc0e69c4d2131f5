"""When a run has arrived and when it is lost, by what its method believes."""

import math
from dataclasses import replace

import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.errors import InputError
from deepservo.features.goal_depth import GoalDepth
from deepservo.geometry import se3
from deepservo.methods.status import Phase, Reason, Tolerance, bounds
from deepservo.methods.verdict import ARRIVED_PICTURES, Belief, Verdict, contrasts

HERE = torch.zeros(1, 6, dtype=torch.float64)
DEPTH = GoalDepth.of(0.6, PAPER_CAMERA)


def belief(mm: float, deviation_mm: float, **other: object) -> Belief:
    """Of one run that is refined, so far along x from its goal."""
    twist = torch.zeros(1, 6, dtype=torch.float64)
    twist[:, 0] = 1e-3 * mm
    deviation = torch.tensor([1e-3 * deviation_mm] * 3 + [1e-5] * 3, dtype=torch.float64)
    believed = replace(
        Belief.nothing(1),
        refining=torch.tensor([True]),
        by_pose=torch.tensor([True]),
        T_goal_cam=se3.exp(twist),
        covariance=torch.diag(deviation**2)[None],
        agree=torch.tensor([1.0]),
        blocks=torch.tensor([100.0]),
    )
    return replace(believed, **other)


def after(pictures: int, believed: Belief, v_cam: torch.Tensor = HERE, dt: float = 1.0) -> Verdict:
    verdict = Verdict()
    for _ in range(pictures):
        verdict.judge(believed, v_cam, (dt, 10.0))
    return verdict


def phase_of(verdict: Verdict) -> tuple[Phase, Reason]:
    (status,) = verdict.statuses([""], DEPTH)
    return status.phase, status.reason


def test_enough_pictures_within_the_tolerance_are_an_arrival():
    assert phase_of(after(ARRIVED_PICTURES - 1, belief(0.2, 0.3))) == (
        Phase.REFINING,
        Reason.MOVING,
    )
    verdict = after(ARRIVED_PICTURES, belief(0.2, 0.3))
    assert phase_of(verdict) == (Phase.ARRIVED, Reason.WITHIN_TOLERANCE)
    (status,) = verdict.statuses(["by SIFT"], DEPTH)
    assert status.mm == pytest.approx(0.2) and 0.5 < status.most_mm < 1.2 and status.age == 0
    assert status.sentence.startswith("arrived: within the tolerance; 0.2 mm")
    assert status.sentence.endswith("by SIFT")


@pytest.mark.parametrize(
    ("believed", "reason"),
    [
        (belief(1.1, 0.1), Reason.FAR),
        (belief(0.5, 0.6), Reason.UNCERTAIN),
        (belief(0.5, math.inf), Reason.UNCERTAIN),
        (belief(0.2, 0.1, agree=torch.tensor([0.3])), Reason.DISAGREES),
        (belief(0.2, 0.1, blocks=torch.tensor([10.0])), Reason.DISAGREES),
        (belief(0.2, 0.1, agree=torch.tensor([torch.nan])), Reason.DISAGREES),
        (belief(0.2, 0.1, compared=torch.tensor([False])), Reason.MOVING),
        (Belief.nothing(1), Reason.NO_POSE),
    ],
)
def test_what_keeps_a_run_from_its_arrival(believed, reason):
    verdict = after(20, believed)
    assert not any(verdict.arrived) and phase_of(verdict)[1] is reason


def test_a_camera_that_moves_by_more_than_the_tolerance_has_not_arrived():
    fast = torch.tensor([[2e-3, 0, 0, 0, 0, 0]], dtype=torch.float64)
    assert not any(after(20, belief(0.2, 0.1), fast).arrived)
    assert all(after(20, belief(0.2, 0.1), fast, dt=0.1).arrived)


def test_a_tighter_tolerance_is_kept():
    verdict = Verdict()
    verdict.asked = Tolerance(mm=0.1)
    for _ in range(20):
        verdict.judge(belief(0.2, 0.01), HERE, (1.0, 10.0))
    assert phase_of(verdict) == (Phase.REFINING, Reason.FAR)


def test_nothing_recognised_for_a_while_is_lost_and_commands_zero():
    nothing = replace(Belief.nothing(1), recognised=torch.tensor([False]))
    push, verdict = torch.ones(1, 6, dtype=torch.float64), Verdict()
    assert verdict.judge(Belief.nothing(1), push, (0.1, 1.0)).all()
    for picture in range(1, 20):
        assert not verdict.judge(nothing, push, (0.1, 1.0)).any(), "not recognised: zero at once"
        assert verdict.lost[0] == (picture >= 8), "0.8 s"
    assert phase_of(verdict) == (Phase.LOST, Reason.NOT_RECOGNISED)
    assert verdict.judge(Belief.nothing(1), push, (0.1, 1.0)).all(), "found again"
    assert not any(verdict.lost)


@pytest.mark.parametrize(
    ("twist", "reason"),
    [
        ([0.1, 0, 0, 0, 0, 2.0], Reason.CHANGED),
        ([1.0, 0, 0, 0, 0, 0], Reason.LEFT),
        ([0, 0, 0, 0, 1.5, 0], Reason.LEFT),
        ([0, 0, 1.0, 0, 0, 0], Reason.LEFT),
    ],
)
def test_a_lost_run_tells_whether_its_goal_is_still_in_view(twist, reason):
    """By the last pose that was known: 60 cm from the goal's scene."""
    nothing = replace(Belief.nothing(1), recognised=torch.tensor([False]))
    seen = replace(belief(1, 1), T_goal_cam=se3.exp(torch.tensor([twist]).double()))
    verdict = Verdict()
    for believed in (seen, *[nothing] * 6):
        verdict.judge(believed, HERE, (1.0, 10.0))
    (status,) = verdict.statuses([""], DEPTH)
    assert (status.phase, status.reason) == (Phase.LOST, reason)
    verdict.judge(seen, HERE, (1.0, 10.0))
    assert verdict.statuses([""], DEPTH)[0].phase is Phase.REFINING


def test_slow_pictures_are_lost_after_five():
    nothing = replace(Belief.nothing(1), recognised=torch.tensor([False]))
    assert not any(after(4, nothing).lost) and all(after(5, nothing).lost)


def test_a_camera_that_gets_no_nearer_is_lost():
    verdict = after(100, belief(50, 1))
    assert not any(verdict.lost)
    verdict.judge(belief(50, 1), HERE, (1.0, 10.0))
    verdict.judge(belief(50, 1), HERE, (1.0, 10.0))
    assert phase_of(verdict) == (Phase.LOST, Reason.DIVERGED)
    assert not any(after(300, belief(1.5, 0.5)).lost), "it may be within the tolerance"
    slow = Verdict()
    for step in range(300):  # half of one percent a step
        slow.judge(belief(100 * 0.995**step, 1), HERE, (1.0, 10.0))
    assert not any(slow.lost)


def test_blank_and_frozen_pictures_command_zero():
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    scene = torch.nn.functional.interpolate(noise[..., ::8, ::8], (64, 64), mode="bilinear")
    push = torch.full((1, 6), 0.01, dtype=torch.float64)
    for picture, reason, zero_from in (
        (0.5 + 0.01 * (noise - 0.5), Reason.BLANK, 0),
        (torch.full_like(noise, torch.nan), Reason.BLANK, 0),
        (scene, Reason.FROZEN, 3),
    ):
        verdict, v_last = Verdict(), None
        for step in range(30):
            verdict.look(picture, v_last, 0.1)
            v_last = verdict.judge(Belief.nothing(1), push, (0.1, 1.0))
            assert bool(v_last.any()) == (step < zero_from)
        assert phase_of(verdict) == (Phase.LOST, reason)


def test_a_camera_that_rests_may_give_one_picture_for_ever():
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    verdict, still = Verdict(), torch.full((1, 6), 1e-7, dtype=torch.float64)
    for _ in range(30):
        verdict.look(noise.round(), still, 1.0)
        verdict.judge(Belief.nothing(1), still, (1.0, 10.0))
    assert not any(verdict.lost)


def test_runs_are_kept_with_their_own_verdicts():
    both = Belief(**{
        name: torch.cat([a, b])
        for (name, a), b in zip(
            vars(belief(0.2, 0.1)).items(), vars(belief(30, 1)).values(), strict=True
        )
    })  # fmt: skip
    verdict = after(ARRIVED_PICTURES, both, HERE.expand(2, 6))
    assert verdict.arrived == [True, False]
    verdict.select_runs(torch.tensor([1]))
    assert phase_of(verdict) == (Phase.REFINING, Reason.FAR)


def test_before_the_first_picture_nothing_is_believed():
    (status,) = Verdict().statuses([], DEPTH)
    assert (status.phase, status.reason) == (Phase.SEARCHING, Reason.NO_PICTURE)
    assert status.mm is status.deg is status.most_mm is status.most_deg is None


def test_bounds_are_those_of_a_normal_distribution():
    C = torch.diag(torch.tensor([1e-6] * 3 + [1e-8] * 3, dtype=torch.float64))[None]
    metres, radians = bounds(torch.eye(4, dtype=torch.float64)[None], C)
    assert metres.item() == pytest.approx(2.795e-3, rel=0.06)  # of three normal numbers
    assert radians.item() == pytest.approx(2.795e-4, rel=0.06)
    far = se3.exp(torch.tensor([[0.1, 0, 0, 0, 0, 0]], dtype=torch.float64))
    assert bounds(far, C)[0].item() == pytest.approx(0.1 + 1.645e-3, rel=0.005)
    assert bounds(far, torch.inf * C)[0].isnan().all()


@pytest.mark.parametrize(("mm", "deg"), [(0.0, 0.1), (-1, 0.1), (1, math.nan), ("1", 0.1)])
def test_a_tolerance_is_two_positive_numbers(mm, deg):
    with pytest.raises(InputError, match="the tolerance must be a positive number"):
        Tolerance(mm, deg)


def test_contrasts_are_those_of_what_is_seen():
    pixels = torch.tensor([[0.2, 0.5, 0.4], [torch.nan, 0.5, 0.4], [torch.nan] * 3, [0.3] * 3])
    assert contrasts(pixels) == pytest.approx([0.3, 0.1, 0, 0])
    assert contrasts(pixels[[0, 3]]) == pytest.approx([0.3, 0])
