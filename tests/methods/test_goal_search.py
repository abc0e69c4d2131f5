"""A goal is found in the learned picture whether it is lit, covered or noisy. A goal of another
scene is not found.
"""

from types import SimpleNamespace

import pytest
import torch

from deepservo import control
from deepservo.features.registration import fronto
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.methods import build
from deepservo.methods.aevs import AutoEncoderServo
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.located import CLEAN_AGREEMENT
from deepservo.methods.mlvs import MetricServo
from deepservo.nets.metric import MetricNet
from deepservo.nets.pose import PoseNet
from deepservo.nets.resnet import Encoder, Shape
from deepservo.scene import PlanarScene, perturb, sampling
from deepservo.scene.reference import to_reference
from deepservo.training.tasks.latent import AutoEncoderTask, principal_autoencoder

ASTRAY = torch.tensor(
    [0.05, -0.04, 0.02, 0.05, 0.06, -0.06], dtype=torch.float64
)  # the network's error [m, rad]
N = 4


@pytest.fixture(scope="module")
def learned() -> PlanarScene:
    return PlanarScene(bundled("coffee"), 0.8)


@pytest.fixture(scope="module")
def T_world_goal() -> torch.Tensor:
    """N goals near the middle, each with its own tilt and roll."""
    twist = 0.1 * torch.randn(N, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return sampling.fronto_parallel(0.6) @ se3.exp(twist)


@pytest.fixture
def controller(learned, paper_camera, T_world_goal, monkeypatch) -> PoseServo:
    """Its network has an error of ASTRAY."""
    servo = PoseServo(paper_camera, PoseNet(16), 0.6, learned)
    monkeypatch.setattr(
        servo, "predict", lambda images: T_world_goal[: len(images)] @ se3.exp(ASTRAY)
    )
    return servo


def test_a_clean_goal_is_found_and_kept(controller, learned, paper_camera, T_world_goal):
    goal = learned.render(paper_camera, T_world_goal)
    controller.set_goal(goal)
    metres, radians = se3.distance(controller.state["T_world_goal"], T_world_goal)
    assert metres.max() < 1e-3 and radians.max() < 2e-3
    assert (controller.state["agreement"] > CLEAN_AGREEMENT).all()
    reference = controller.reference_goal(goal)
    picture, plane = reference.picture, reference.planes
    assert torch.equal(picture, goal)
    truth = torch.cat([T_world_goal[:, 2, :3], -T_world_goal[:, 2, 3:]], 1)
    torch.testing.assert_close(plane, truth, atol=3e-3, rtol=0)


def test_a_lit_noisy_covered_goal_is_found_and_replaced(
    controller, learned, paper_camera, T_world_goal
):
    clean = learned.render(paper_camera, T_world_goal)
    goal = perturb.as_mlvs(
        perturb.erase(clean, torch.Generator().manual_seed(3), probability=1.0),
        torch.Generator().manual_seed(5),
    )
    controller.set_goal(goal)
    metres, _ = se3.distance(controller.state["T_world_goal"], T_world_goal)
    assert metres.max() < 6e-3
    picture = controller.reference_goal(goal).picture
    assert (controller.state["agreement"] < CLEAN_AGREEMENT).any() and controller.state[
        "found"
    ].all()
    better = (picture - clean).square().mean((1, 2, 3)).sqrt() / (goal - clean).square().mean(
        (1, 2, 3)
    ).sqrt()
    assert (better <= 1).all() and better.min() < 0.2


def test_a_goal_seen_from_near_by_is_found(learned, paper_camera, monkeypatch):
    """From where the camera sees a fourteenth of the learned picture, as in CNN-VS's batches."""
    T_world_goal = sampling.fronto_parallel(0.25) @ se3.exp(
        torch.tensor([[0.03, -0.02, 0.01, 0.05, -0.05, 0.2]], dtype=torch.float64)
    )
    servo = PoseServo(paper_camera, PoseNet(16), 0.25, learned)
    astray = ASTRAY * torch.tensor([0.4, 0.4, 0.4, 1.0, 1.0, 1.0], dtype=torch.float64)
    monkeypatch.setattr(servo, "predict", lambda images: T_world_goal @ se3.exp(astray))
    servo.set_goal(learned.render(paper_camera, T_world_goal))
    metres, radians = se3.distance(servo.state["T_world_goal"], T_world_goal)
    assert metres.max() < 1e-3 and radians.max() < 3e-3
    assert servo.state["found"].all()


def test_a_goal_of_another_scene_is_not_replaced(controller, paper_camera, other_scene):
    goal = other_scene.render(paper_camera, sampling.fronto_parallel(0.6))
    controller.set_goal(goal)
    reference = controller.reference_goal(goal)
    picture, plane = reference.picture, reference.planes
    assert torch.equal(picture, goal) and torch.equal(plane, fronto(0.6))
    assert "not found" in controller.words(1)[0]


def test_the_goal_of_mlvs_is_embedded_as_the_learned_scene_shows_it(
    learned, paper_camera, T_world_goal, monkeypatch
):
    torch.manual_seed(0)
    servo = MetricServo(paper_camera, MetricNet(Shape(18, 4, 8, 32), "silu"), 0.6, learned)
    monkeypatch.setattr(
        servo, "predict", lambda images: T_world_goal[: len(images)] @ se3.exp(ASTRAY)
    )
    clean = learned.render(paper_camera, T_world_goal)
    wanted = servo.features.s(clean)
    servo.set_goal(clean)
    assert torch.equal(servo.state["z"], wanted), "a clean goal keeps its picture"
    goal = perturb.as_mlvs(
        perturb.erase(clean, torch.Generator().manual_seed(3), probability=1.0),
        torch.Generator().manual_seed(5),
    )
    servo.set_goal(goal)
    kept, degraded = ((z - wanted).norm(dim=1) for z in (servo.state["z"], servo.features.s(goal)))
    assert (kept <= degraded).all() and kept.median() < 0.2 * degraded.median()


@pytest.fixture(scope="module")
def components(learned, paper_camera) -> Encoder:
    """An untrained encoder: principal components."""
    torch.manual_seed(0)
    task = AutoEncoderTask(learned, paper_camera, 0.6)
    return principal_autoencoder(
        Shape(18, 4, 32, 64, smooth=True, linear=True), task.workspace_pictures(64)
    ).encoder


@pytest.mark.parametrize("light", [1.0, 0.4])
def test_aevs_recognises_where_a_picture_was_taken(light, components, learned, paper_camera):
    """From the whole workspace, and after it became dim. Some of many runs are steered without the
    others.
    """
    place = AutoEncoderServo(paper_camera, components, 0.6, learned, recognise=True)
    T = sampling.workspace(20, torch.Generator().manual_seed(7), 0.6)
    images = light * learned.render(paper_camera, T)
    metres, radians = se3.distance(place.locate(images), T)
    near = (metres < 5e-3) & (radians < 0.01)
    assert near.sum() >= 17
    T_goal = sampling.fronto_parallel(0.6)
    place.set_goal(learned.render(paper_camera, T_goal))
    straight = control.pbvs(se3.inverse(T_goal) @ T, place.gain)
    v_cam = place.velocity(images)
    assert (v_cam - straight)[near].abs().max() < 2e-3, (
        "straight to the goal from where it was recognised"
    )
    part = torch.tensor([3, 11])
    torch.testing.assert_close(
        place.velocity_of(images[part], part, 20), v_cam[part], atol=1e-5, rtol=0
    )
    assert torch.isfinite(v_cam).all()
    blank = place.velocity(torch.full((1, 1, 224, 224), 0.5))
    assert torch.isfinite(blank).all()


@pytest.mark.parametrize("name", ["aevs", "aevs+dvs", "mlvs", "mlvs+dvs"])
def test_a_goal_like_nothing_that_was_learned_gives_a_warning(
    name, components, learned, paper_camera, other_scene
):
    """psi agrees with phi here: it embeds a learned picture at its pose, and another picture where
    no pose is.
    """
    T = sampling.fronto_parallel(0.6)
    net = components if name.startswith("aevs") else MetricNet(Shape(18, 4, 16, 64), "silu")
    model = SimpleNamespace(
        method=name[:4], camera=paper_camera, net=net, distance=0.6, scene=learned
    )
    controller = build(name, paper_camera, model=model)
    coarse = getattr(controller, "coarse", controller)
    if isinstance(coarse, MetricServo):
        coarse.usual = torch.tensor([0.1, 0.2])
        z = coarse.phi(to_reference(T, 0.6))
    for scene, far, warns in ((learned, 0.0, False), (other_scene, 5.0, True)):
        if isinstance(coarse, MetricServo):
            coarse.features.s = lambda images, far=far: (z + far).expand(len(images), -1)
        controller.set_goal(scene.render(paper_camera, T))
        controller.velocity(learned.render(paper_camera, T @ se3.exp(ASTRAY)))
        words = controller.words(1)[0]
        assert (" not found in the learned picture" in words) == warns
        assert ("like nothing that was learned" in words) == warns or name.startswith("aevs"), (
            "principal components distinguish little"
        )
