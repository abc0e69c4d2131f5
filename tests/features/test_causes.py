"""What keeps a pose from being known better is named."""

import pytest
import torch

from deepservo.evaluation import conditions
from deepservo.evaluation.conditions import Disturbance, HardSimulator
from deepservo.features.causes import Cause, cause
from deepservo.features.registration import Registration, fronto
from deepservo.geometry import se3
from deepservo.scene import sampling

NAMED = {**dict(conditions.LIGHT), **dict(conditions.BLUR), **dict(conditions.OCCLUSION)}


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("noise 0.05, view", Cause.NOISE),
        ("noise 0.08, both", Cause.NOISE),
        ("defocus 2 px, view", Cause.BLUR),
        ("defocus 4 px, goal", Cause.BLUR),
        ("spot light + 1", Cause.LIGHT),
        ("shadow to 0.4", Cause.LIGHT),
        ("40 % covered", Cause.COVERS),
    ],
)
def test_the_main_cause_is_named(scene, paper_camera, condition, wanted):
    plane, T = sampling.fronto_parallel(0.6), se3.exp(1e-4 * torch.ones(4, 6).double())
    named, runs = NAMED[condition], torch.arange(4)
    goal = named.goals(scene, paper_camera, plane, 0, runs)
    world = HardSimulator(scene, paper_camera, plane @ T, Disturbance(named, 0, runs))
    registration = Registration(paper_camera, goal, fronto(0.6).expand(len(goal), 4))
    views = registration.views(world.observe())
    found = [cause(registration, views, T[i], i) for i in range(4)]
    assert found.count(wanted) >= 3, found


def test_a_picture_of_one_mark_has_too_little_texture(paper_camera):
    picture = torch.full((1, 1, 224, 224), 0.5)
    picture[..., 90:120, 90:120] = 1.0
    registration = Registration(paper_camera, picture, fronto(0.6))
    here = torch.eye(4, dtype=torch.float64)
    assert cause(registration, registration.views(picture), here, 0) is Cause.TEXTURE
