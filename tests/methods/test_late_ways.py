"""Ways to the goal that take longer than a picture lasts go on beside the loop."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.features import keypoints
from deepservo.features.late_pose import LatePose
from deepservo.features.two_views import Candidates, Matched
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.methods.auto import AutoServo
from deepservo.methods.late_ways import Begun, Late, pictures
from deepservo.models.any_scene_model import shipped
from deepservo.scene import PlanarScene, sampling

DT = 1 / 30
T_GOAL = sampling.fronto_parallel(0.6)
FAR = T_GOAL @ se3.exp(torch.tensor([[0.12, -0.1, 0.03, 0.1, 0.15, 0.8]], dtype=torch.float64))
FAST = torch.tensor([[-1.2, 0.9, 0, 0, 0, 0.3]], dtype=torch.float64)  # m/s, rad/s


@pytest.fixture(scope="module")
def coffee() -> PlanarScene:
    return PlanarScene(bundled("coffee"), 0.8)


def smeared(images: torch.Tensor) -> torch.Tensor:
    """So much out of focus that SIFT finds little."""
    return torch.nn.functional.avg_pool2d(images, 11, 1, 5, count_include_pad=False)


def moving(controller: AutoServo, scene: PlanarScene, steps: int) -> list[torch.Tensor]:
    """The camera's poses, while it moves by FAST whatever the controller answers."""
    T, poses = FAR, []
    for step in range(steps):
        controller.velocity(smeared(scene.render(controller.camera, T)), FAST if step else None)
        poses.append(T)
        T = T @ se3.exp(FAST * controller.dt)
    return poses


def auto_before(scene: PlanarScene, camera: Camera, dt: float) -> AutoServo:
    controller = AutoServo(camera, shipped(), 0.6)
    controller.set_goal(scene.render(camera, T_GOAL))
    controller.dt = dt
    return controller


def pose_at_once(scene: PlanarScene, camera: Camera) -> torch.Tensor:
    """Of the picture from FAR, where the method waits for its matches."""
    controller = auto_before(scene, camera, 1.0)
    controller.velocity(smeared(scene.render(camera, FAR)))
    assert controller.words(1)[0].startswith("by the network")
    return controller.belief(1).T_goal_cam


def test_a_late_answer_is_of_where_the_camera_is_by_now(paper_camera, coffee):
    controller = auto_before(coffee, paper_camera, DT)
    moving(controller, coffee, 4)
    assert controller.words(1) == ["too few of SIFT's matches agree; slower ways are tried"]
    controller = auto_before(coffee, paper_camera, DT)
    poses = moving(controller, coffee, 5)
    assert controller.words(1)[0].startswith("by the network")
    now = pose_at_once(coffee, paper_camera) @ se3.inverse(FAR) @ poses[-1]
    metres, radians = se3.distance(controller.belief(1).T_goal_cam, now)
    assert metres < 1e-9 and radians < 1e-9


def test_a_picture_does_not_wait_for_the_late_ways(paper_camera, coffee, monkeypatch):
    """Until they are due; they are begun once."""
    controller, go_on, begun = auto_before(coffee, paper_camera, DT), threading.Event(), []

    def slow(image: torch.Tensor, *_: object) -> tuple[bool, None, list[Candidates]]:
        begun.append(image)
        assert go_on.wait(30)
        return False, None, [Candidates.of(*np.zeros((2, 0, 2)))]

    monkeypatch.setattr(controller, "_cells_beside", slow)
    moving(controller, coffee, 4)
    assert len(begun) == 1
    go_on.set()
    moving(controller, coffee, 1)
    assert len(begun) == 1 and controller.late[0].begun.way != controller.late[0].last.way


def test_few_matches_are_followed_only_where_all_else_has_failed(paper_camera, coffee, monkeypatch):
    """Eight that agree may be of a wrong pose, which would lead the camera away meanwhile."""
    controller = auto_before(coffee, paper_camera, DT)
    square = 60.0 + 30 * np.stack(np.meshgrid(range(4), range(2)), 2).reshape(8, 2)
    eight = Matched(
        square, square + 20, np.arange(8), H=np.array([[1, 0, 20], [0, 1, 20], [0, 0, 1]])
    )

    def start_matches(*_: object) -> list[Future[Matched]]:
        found = Future()
        found.set_result(eight)
        return [found]

    none = Candidates.of(*np.zeros((2, 0, 2)))
    monkeypatch.setattr(keypoints, "start_matches", start_matches)
    monkeypatch.setattr(controller, "_cells_beside", lambda *_: (False, None, [none]))
    monkeypatch.setattr(controller, "_fine_beside", lambda *_: none)
    view, moved = coffee.render(paper_camera, FAR), []
    for _ in range(12):
        moved.append(bool((controller.velocity(view) != 0).any()))
    ways = 1 + 3 + 3 + 2  # pictures until the network, and then SIFT at twice the size, answer
    assert moved == [False] * ways + [True] * (12 - ways)


def test_what_goes_on_for_a_run_stays_with_it(paper_camera, coffee):
    controller = auto_before(coffee, paper_camera, DT)
    views = smeared(coffee.render(paper_camera, torch.cat([T_GOAL, FAR])))
    for _ in range(2):
        controller.velocity(views, torch.zeros(2, 6, dtype=torch.float64))
    controller.select_runs(torch.tensor([1]))
    for _ in range(3):
        controller.velocity(views[1:], torch.zeros(1, 6, dtype=torch.float64))
    assert controller.words(1)[0].startswith("by the network")
    found = controller.belief(1).T_goal_cam
    assert torch.allclose(found, pose_at_once(coffee, paper_camera))


@pytest.mark.parametrize(
    ("seconds", "dt", "later"), [(0.1, 1.0, 0), (0.1, 0.1, 1), (0.1, DT, 3), (0.011, 0.01, 2)]
)
def test_an_answer_comes_with_the_first_picture_after_it_is_done(seconds, dt, later):
    assert pictures(seconds, dt) == later


def test_answers_are_forgotten_and_kept_for_a_while():
    late, matched = Late(2), object()
    begun = late.begun = Begun(3, None, picture=10, T_start_cam=np.eye(4), due=13)
    late.forget(18)
    assert late.begun is begun, "a tracked run is asked in one picture of five"
    late.forget(19)
    assert late.begun is None
    late.take(begun, matched)
    assert [late.kept(k, 3) for k in (13, 17, 18)] == [matched, matched, None]
    assert late.kept(13, 2) is None


def test_matches_of_an_earlier_picture_tell_the_pose_there_and_now(paper_camera):
    """And told twice they are no second view."""
    camera, depth = paper_camera, AutoServo(paper_camera, shipped(), 0.6).goal_depth
    pose = LatePose(camera, depth, 0, 100, lambda found: np.eye(4))
    then, now = (
        se3.exp(torch.tensor(v, dtype=torch.float64)).numpy()
        for v in ([0.1, 0, 0, 0, 0, 0.2], [0.1, 0.05, 0, 0, 0.1, 0.2])
    )
    pose.move_to(now)
    px = np.random.default_rng(0).uniform(30, 190, (60, 2))
    with pose.at(then):
        found = pose.explain(Candidates.of(px, px), 1.5, 8)
        pose.pose(found)
    assert np.allclose(pose.measured.T_goal_now, np.linalg.inv(then) @ now)
    assert (pose.T_start_cam == now).all()
    first = pose.measured
    pose.move_to(then)
    with pose.at(then):
        pose.pose(found)
    assert pose.measured.view is first.view and np.allclose(pose.measured.since, np.eye(4))
