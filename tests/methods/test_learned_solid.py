"""A method that learned a solid scene finds its goal there, and hands the refinement the goal's
depth.
"""

import pytest
import torch

from deepservo.camera import Camera
from deepservo.features.pyramid import resize
from deepservo.features.registration import FIRST_GUESS_SCHEDULE, Registration, fronto
from deepservo.geometry import se3
from deepservo.methods.base import Reference
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.coarse_to_fine import CoarseToFine, ZeroVelocity
from deepservo.nets.pose import PoseNet
from deepservo.scene import SolidScene, sampling
from solid_pair import DISTANCE, solids, taken

CAMERA = Camera(192, 144, 192.0, 192.0, 95.5, 71.5)
SETUP = taken(CAMERA)
MOVED = torch.tensor([0.02, -0.015, 0.02, 0.03, 0.02, 0.1], dtype=torch.float64)


@pytest.fixture
def located(monkeypatch: pytest.MonkeyPatch) -> PoseServo:
    """Its predictions are MOVED away from the reference pose."""
    servo = PoseServo(CAMERA, PoseNet(8), SETUP.distance, SETUP.scene)
    T = sampling.fronto_parallel(SETUP.distance) @ se3.exp(2 * MOVED[None])
    monkeypatch.setattr(servo, "predict", lambda images: T.expand(len(images), 4, 4))
    return servo


def seen(T_ref_cam: torch.Tensor) -> torch.Tensor:
    """What is really before the camera."""
    return solids().render(CAMERA, sampling.fronto_parallel(DISTANCE) @ T_ref_cam)


def test_the_goal_is_found_by_the_depth_of_the_learned_picture(located: PoseServo) -> None:
    T_ref_goal = se3.exp(MOVED[None])
    located.set_goal(seen(T_ref_goal))
    assert located.state["found"].all()
    found = se3.inverse(sampling.fronto_parallel(SETUP.distance)) @ located.state["T_world_goal"]
    metres, radians = se3.distance(found, T_ref_goal)
    assert metres.max() < 1e-3 and radians.max() < 2e-3


def test_the_reference_has_the_depth_of_the_goals_pixels(located: PoseServo) -> None:
    T_ref_goal = se3.exp(MOVED[None])
    goal = seen(T_ref_goal)
    located.set_goal(goal)
    reference = located.reference_goal(goal)
    assert isinstance(reference, Reference) and reference.inverse_depth is not None
    true = solids().depth(CAMERA, sampling.fronto_parallel(DISTANCE) @ T_ref_goal)
    known = reference.inverse_depth > 0
    assert 0.5 < known.double().mean() < 1, "nothing is known beside the picture and in its hole"
    off = (reference.inverse_depth * true - 1)[known].abs()
    assert off.median() < 3e-3 and (off < 0.02).double().mean() > 0.97
    assert torch.equal(reference.picture, goal), "a clean goal stays"


def test_a_goal_of_another_scene_is_taken_for_a_plane(
    located: PoseServo, generator: torch.Generator
) -> None:
    goal = torch.rand(1, 1, 144, 192, generator=generator)
    located.set_goal(goal)
    reference = located.reference_goal(goal)
    assert reference is not None and reference.inverse_depth is not None
    assert (reference.inverse_depth == torch.tensor(1 / SETUP.distance)).all()
    assert torch.equal(reference.planes, fronto(SETUP.distance))


def test_the_refinement_registers_by_that_depth(located: PoseServo) -> None:
    servo, here = CoarseToFine(located), torch.eye(4, dtype=torch.float64)[None]
    servo.set_goal(seen(here))
    T_goal_cam = se3.exp(torch.stack([MOVED, -MOVED]))
    views = servo.registration.views(seen(T_goal_cam))
    runs = torch.tensor([0, 1])
    schedule = (*FIRST_GUESS_SCHEDULE, (1, 4), (0, 4))
    found = servo.registration.refine(views, here.expand(2, 4, 4), schedule, runs)
    flat = Registration(CAMERA, seen(here), fronto(SETUP.distance))
    planar = flat.refine(flat.views(seen(T_goal_cam)), here.expand(2, 4, 4), schedule, runs)
    by_depth, by_plane = (se3.distance(T, T_goal_cam)[0].max() for T in (found, planar))
    assert by_depth < 5e-4 < by_plane / 4


def test_a_map_that_is_told_comes_before_the_learned_one(located: PoseServo) -> None:
    told = torch.full((144, 192), 0.5, dtype=torch.float64)
    servo = CoarseToFine(located, told.numpy())
    servo.set_goal(seen(torch.eye(4, dtype=torch.float64)[None]))
    assert (servo.registration.levels[0].map == 2).all()
    plain = CoarseToFine(ZeroVelocity(CAMERA), 0.6)
    plain.set_goal(seen(torch.eye(4, dtype=torch.float64)[None]))
    assert plain.registration.levels[0].map is None


def test_thin_gaps_do_not_grow_in_reduced_pictures() -> None:
    images = torch.rand(2, 1, 144, 192, generator=torch.Generator().manual_seed(0))
    small = CAMERA.resize(48, 36)
    whole = resize(images, small)
    gaps = images.clone()
    gaps[..., ::8, :] = torch.nan
    gaps[1, :, :72] = torch.nan
    reduced = resize(gaps, small)
    assert not reduced[0].isnan().any() and reduced[1, :, :18].isnan().all()
    assert not reduced[1, :, 18:].isnan().any()
    assert torch.equal(reduced[0, :, 1::2], whole[0, :, 1::2]), "without gaps"
    rows = images[0, 0, 1:4].unflatten(1, (48, 4)).mean((0, 2))
    torch.testing.assert_close(reduced[0, 0, 0], rows)


def test_unknown_depths_are_not_mixed_with_known_ones() -> None:
    inverse = torch.full((1, 144, 192), 2.0)
    inverse[:, ::8] = 0
    inverse[:, :, :96] = 0
    found = Registration(CAMERA, torch.rand(1, 1, 144, 192), fronto(0.5))
    for runs in (False, True):
        if runs:
            found.set_depth_of(torch.tensor([0]), inverse, 1)
        else:
            found.set_depth(inverse)
        for level in found.levels:
            assert level.map is not None
            assert set(level.map.unique().tolist()) == {0.0, 2.0}
    assert isinstance(SETUP.scene, SolidScene)
