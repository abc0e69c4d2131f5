"""What networks are shown of a solid scene in their training is that scene, from where cameras have
room.
"""

from types import SimpleNamespace

import pytest
import torch

from deepservo.errors import InputError
from deepservo.features.unseen_pixels import continued
from deepservo.geometry import pnp
from deepservo.nets.pose import GRID, cell_rays
from deepservo.nets.siamese import metres_and_degrees
from deepservo.scene import PlanarScene, SolidScene, sampling, taught
from deepservo.scene.build import Setup
from deepservo.training.learn import learn
from deepservo.training.plan import Training
from deepservo.training.tasks import latent, pose, siamese
from deepservo.training.tasks.task import generator
from solid_pair import CAMERA, solids, taken

B = 40
SETUP = taken()


def test_the_pose_network_sees_the_solid_and_learns_points_of_the_reference_plane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(pose, "perturbed", lambda images, g: seen.append(images) or images)
    task = pose.PoseTask(SETUP.scene, CAMERA, SETUP.distance, batch=B)
    T = taught.workspace(SETUP.scene, B, generator(0, 0), SETUP.distance)
    points, _ = pnp.plane_points(cell_rays(CAMERA), T)
    out = torch.zeros(B, 3, GRID, GRID)
    out[:, :2] = (points / SETUP.distance).mT.unflatten(2, (GRID, GRID)).float()
    net = SimpleNamespace(size=64)
    right = task.loss(lambda_net(net, out), 0, 0)
    wrong = task.loss(lambda_net(net, out + 0.1), 0, 0)
    assert abs(right) < 1e-4 < wrong
    small = CAMERA.resize(64, 64)
    own, coverage = SETUP.scene.render_covered(small, T)
    full = (coverage > 0.999)[:, None]
    torch.testing.assert_close(seen[0][full], own[full])
    flat = PlanarScene(SETUP.scene.texture, SETUP.scene.width, centre=SETUP.scene.centre)
    away = (seen[0] - flat.render(small, T)).abs()[full].mean()
    assert away > 0.02, "they have parallax"
    smooth = (seen[0] - continued(own)).abs().amax((1, 2, 3)) < 1e-6
    assert 0.25 < smooth.double().mean() < 0.75, "half before the scene's own surround"
    nothing = coverage == 0
    greys = [each[0][none].unique() for each, none in zip(seen[0], nothing, strict=True)]
    assert len({float(g) for g, own in zip(greys, smooth, strict=True) if not own}) > B / 4


def lambda_net(net: SimpleNamespace, out: torch.Tensor) -> object:
    return type("Net", (), {"size": net.size, "__call__": lambda self, images: out})()


def test_encoders_see_the_solid_continued() -> None:
    T = sampling.workspace(6, generator(0, 1), SETUP.distance)
    images = latent.pictures(SETUP.scene, CAMERA, 32, T)
    small = latent.seen_by(CAMERA, 32)
    assert torch.equal(images, continued(SETUP.scene.render(small, T)))
    assert images.isfinite().all()


def test_all_three_pictures_of_a_motion_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taught, "ROOM", 0.4)
    assert isinstance(SETUP.scene, SolidScene)
    room = taught.Room(SETUP.scene, SETUP.distance)
    task = latent.AutoEncoderTask(SETUP.scene, CAMERA, SETUP.distance, straightness=1)
    blind = sampling.workspace(B, generator(0, 0), SETUP.distance)
    assert not room(blind).all()
    assert room(task._threes(B, generator(0, 0))).all()
    assert room(task.poses(B, generator(0, 0))).all()


def test_pairs_show_the_solid_in_the_scale_of_its_distance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taught, "ROOM", 0.5)
    task = siamese.SiameseTask(SETUP.scene, CAMERA, SETUP.distance, batch=B)
    goals, views = siamese.pairs(B, generator(0, 0), CAMERA, task._room())
    T = siamese.scaled(torch.cat([goals, views]), SETUP.distance)
    assert taught.Room(SETUP.scene, SETUP.distance)(T).all()  # type: ignore[arg-type]
    images = task.pictures(32, torch.cat([goals, views]), generator(0, 0))
    own, coverage = SETUP.scene.render_covered(CAMERA.resize(32, 32), T)
    full = (coverage > 0.999)[:, None]
    assert full.double().mean() > 0.3 and images.isfinite().all()
    torch.testing.assert_close(images[full], own[full])


def test_published_poses_without_room_become_near_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taught, "ROOM", 0.53)
    monkeypatch.setattr(siamese, "lit_and_covered", lambda images, g: images)
    wanted: list[torch.Tensor] = []

    def loss(e: torch.Tensor, distance: float) -> torch.Tensor:
        wanted.append(-e)
        return metres_and_degrees(e, distance)

    monkeypatch.setattr(siamese, "metres_and_degrees", loss)
    task = siamese.RegressionTask(SETUP.scene, CAMERA, SETUP.distance, batch=300)
    net = type(
        "Net", (), {"size": 32, "__call__": lambda self, images: torch.zeros(len(images), 6)}
    )()
    task.loss(net, 0, 0)
    T = task._of(wanted[0].double())
    assert taught.Room(SETUP.scene, SETUP.distance)(T).all()  # type: ignore[arg-type]
    near = (wanted[0].abs().amax(1) < 0.02).double().mean()
    assert near > 0.3, "and not the eleventh that is near anyway"


def test_solids_that_no_picture_shows_are_refused(tmp_path) -> None:
    setup = Setup(solids(), CAMERA, 0.6, "made")
    with pytest.raises(InputError, match="made: this needs a flat scene"):
        learn(setup, tmp_path / "m", Training(steps=1))
    assert not list(tmp_path.iterdir())
