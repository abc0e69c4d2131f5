"""The surest reading of two pictures: clean, under lamps, covered in part, and out of focus."""

import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation import conditions
from deepservo.evaluation.conditions import Condition, Disturbance, HardSimulator
from deepservo.features.estimation import estimate, read
from deepservo.features.registration import Registration, Schedule, Views, fronto
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene import PlanarScene, sampling

SCHEDULE: Schedule = ((2, 0), (1, 4), (0, 8))
N = 12
RUNS = torch.arange(N)


def seen(condition: Condition) -> tuple[Registration, Views, torch.Tensor]:
    """Views of a scene from poses (N, 4, 4) at a millimetre of their goal, in this condition."""
    scene, T_goal = PlanarScene(bundled("coffee"), 0.8), sampling.fronto_parallel(0.6)
    twist = torch.randn(N, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    T = se3.exp(3e-4 * twist)
    camera = HardSimulator(scene, PAPER_CAMERA, T_goal @ T, Disturbance(condition, 0, RUNS))
    goals = condition.goals(scene, PAPER_CAMERA, T_goal.expand(N, 4, 4), 0, RUNS)
    found = Registration(PAPER_CAMERA, goals, fronto(0.6).expand(len(goals), 4))
    return found, found.views(camera.observe()), T


def errors(T_found: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
    return 1e3 * se3.log(T_found @ se3.inverse(T))[:, :3].norm(dim=1)


def part(kind: tuple, label: str) -> Condition:
    return dict(kind)[label]


def test_of_clean_pictures_it_is_the_plain_reading():
    found, views, T = seen(conditions.PLAIN)
    start = torch.eye(4, dtype=torch.float64).repeat(N, 1, 1)
    surest, plain = (each(found, views, start, SCHEDULE, RUNS) for each in (estimate, read))
    assert torch.equal(surest[0], plain[0]) and errors(surest[0], T).max() < 0.5
    assert torch.equal(surest[1].covariance, plain[1].covariance)


@pytest.mark.parametrize(
    ("condition", "times", "mm"),
    [
        (part(conditions.LIGHT, "spot light + 1"), 2, 0.5),
        (part(conditions.OCCLUSION, "50 % covered"), 2, 0.3),
        (conditions.LIT_AND_COVERED, 2, 0.5),
        (part(conditions.BLUR, "defocus 1 px, view"), 10, 0.15),
        (part(conditions.BLUR, "defocus 1 px, goal"), 2, 0.25),
        (part(conditions.BLUR, "defocus 2 px, view"), 20, 0.15),
        (part(conditions.BLUR, "defocus 2 px, goal"), 20, 0.2),
        (part(conditions.BLUR, "defocus 4 px, view"), 5, 1.0),
    ],
)
def test_under_lamps_and_covers_and_out_of_focus_it_is_nearer_and_surer(condition, times, mm):
    found, views, T = seen(condition)
    start = torch.eye(4, dtype=torch.float64).repeat(N, 1, 1)
    surest, plain = (each(found, views, start, SCHEDULE, RUNS) for each in (estimate, read))
    error, before = (errors(each[0], T) for each in (surest, plain))
    assert error.median() < mm and times * error.median() < before.median()
    deviation, wider = (
        torch.diagonal(each[1].covariance, 0, 1, 2)[:, :3].sum(1).sqrt() for each in (surest, plain)
    )
    assert (deviation <= wider).all() and (surest[1].agree >= plain[1].agree).all()
    assert (error < 3e3 * deviation).all(), "as sure as it says"


def test_another_scene_is_not_made_to_agree():
    found, _, _ = seen(conditions.PLAIN)
    other = PlanarScene(bundled("moon"), 0.8).render(PAPER_CAMERA, sampling.fronto_parallel(0.6))
    start = torch.eye(4, dtype=torch.float64)[None]
    _, evidence = estimate(found, found.views(other), start, SCHEDULE, RUNS[:1])
    assert evidence.agree < 0.1


def test_one_goal_serves_all_runs():
    found, views, T = seen(part(conditions.OCCLUSION, "40 % covered"))
    one = found.part(torch.tensor([0]))
    start = torch.eye(4, dtype=torch.float64).repeat(N, 1, 1)
    for register in (found, one):
        T_found, _ = estimate(register, views, start, SCHEDULE, RUNS)
        assert errors(T_found, T).median() < 0.3
