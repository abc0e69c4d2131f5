"""Solid scenes as networks are taught them: the same pictures of fewer triangles, poses that have
room, and no empty pixel.
"""

import math

import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.evaluation import sight
from deepservo.features.unseen_pixels import continued
from deepservo.images.camera_file import CalibratedCamera
from deepservo.scene import PlanarScene, SolidScene, sampling, taught
from deepservo.scene.build import Setup, solid_setup
from solid_pair import CAMERA, DISTANCE, taken

WIDE = Camera(96, 72, 30.0, 30.0, 47.5, 35.5)
LARGE = Camera(320, 240, 320.0, 318.0, 155.0, 121.0)


def tower(height: float = 0.3, camera: Camera = CAMERA) -> Setup:
    """A box in the middle of the picture, `height` [m] high, on a plane 0.6 m away."""
    Z = torch.full((72, 96), DISTANCE, dtype=torch.float64)
    Z[20:52, 30:66] = DISTANCE - height
    g = torch.Generator().manual_seed(0)
    return solid_setup(torch.rand(1, 72, 96, generator=g), Z, CalibratedCamera(camera), "tower")


def at(x: float, z: float) -> torch.Tensor:
    T = sampling.fronto_parallel(-z)
    T[:, 0, 3] = x
    return T


def test_fewer_triangles_show_the_same() -> None:
    setup = taken(LARGE)
    assert isinstance(setup.scene, SolidScene)
    simple = taught.simplified(setup.scene, LARGE, setup.distance)
    assert isinstance(simple, SolidScene)
    assert len(simple.triangles) < len(setup.scene.triangles) / 4
    assert torch.equal(simple.texture, setup.scene.texture)
    assert (simple.size, simple.centre) == (
        pytest.approx(setup.scene.size), pytest.approx(setup.scene.centre)
    )  # fmt: skip
    small = LARGE.resize(64, 64)
    Ts = sampling.workspace(20, torch.Generator().manual_seed(1), setup.distance)
    many, few = (
        each.render_covered(small, Ts, torch.full((20, 1), 0.5)) for each in (setup.scene, simple)
    )
    both = (many[1] > 0.999) & (few[1] > 0.999)
    assert both.double().mean() > 0.6 * (many[1] > 0.999).double().mean()
    difference = (many[0] - few[0])[:, 0][both].abs()
    assert difference.median() < 0.01 and difference.mean() < 0.02
    again = taught.simplified(taken().scene, CAMERA, setup.distance)
    assert isinstance(again, SolidScene), "of few pixels already"
    assert len(again.triangles) == len(taken().scene.triangles)  # type: ignore[union-attr]


def test_what_is_not_shown_is_continued_or_a_colour() -> None:
    scene, Ts = taken().scene, sampling.workspace(8, torch.Generator().manual_seed(0), DISTANCE)
    own = scene.render(CAMERA, Ts)
    assert own.isnan().any()
    assert torch.equal(taught.shown(scene, CAMERA, Ts), continued(own))
    colours = torch.where(torch.arange(8) < 4, torch.nan, 0.25)[:, None]
    images, coverage = taught.shown_covered(scene, CAMERA, Ts, colours)
    assert torch.equal(images[:4], continued(own[:4]))
    assert (images[4:, 0][coverage[4:] == 0] == 0.25).all()


def test_a_plane_is_drawn_as_it_is() -> None:
    scene = PlanarScene(torch.rand(1, 30, 40), 0.3)
    g, Ts = torch.Generator().manual_seed(0), sampling.fronto_parallel(DISTANCE)
    assert taught.simplified(scene, CAMERA, DISTANCE) is scene
    assert torch.equal(taught.shown(scene, CAMERA, Ts), scene.render(CAMERA, Ts))
    T = taught.workspace(scene, 9, g, DISTANCE)
    assert torch.equal(T, sampling.workspace(9, torch.Generator().manual_seed(0), DISTANCE))


def test_cameras_in_behind_and_beside_a_tower() -> None:
    """Its top is 0.3 m from the reference camera, and a free way is 0.09 m at least."""
    setup = tower()
    room = taught.Room(setup.scene, DISTANCE)  # type: ignore[arg-type]
    free = {
        (0.0, -0.6): True, (0.0, -0.4): True, (0.0, -0.36): False, (0.0, -0.2): False,
        (0.0, 0.2): False, (0.24, -0.3): True, (0.24, -0.05): False, (0.24, 0.1): False,
        (1.0, 0.3): True, (5.0, 0.5): True,
    }  # fmt: skip
    for (x, z), wanted in free.items():
        assert room(at(x, z)).tolist() == [wanted], (x, z)


def test_poses_have_the_room_that_starts_have() -> None:
    """As `evaluation.sight.room` knows it by drawing each camera's depth."""
    setup = tower(0.4, WIDE)
    g = torch.Generator().manual_seed(2)
    before = sampling.workspace(400, torch.Generator().manual_seed(2), DISTANCE)
    T = taught.workspace(setup.scene, 400, g, DISTANCE)
    blocked, free = sight.room(setup, before) == 0, sight.room(setup, T)
    assert blocked.any() and (free > 0).all()
    corner = math.hypot(WIDE.width / 2 / WIDE.fx, WIDE.height / 2 / WIDE.fy)
    assert free.min() > 0.14 * DISTANCE / math.hypot(1, corner)
    same = (before == T).all(-1).all(-1)
    assert not same[blocked].any() and same.double().mean() > 0.8


def test_a_picture_from_too_near_is_refused() -> None:
    taught.check_room(tower().scene, DISTANCE, "tower")
    with pytest.raises(InputError, match=r"near.png: cameras about this picture's have hardly any"):
        taught.check_room(tower(0.55).scene, DISTANCE, "near.png")
