"""A lost run looks for the goal, within bounds, where somebody asks for it."""

import math
from dataclasses import replace

import pytest
import torch

import deepservo
from deepservo import Phase, Reason
from deepservo.camera import PAPER_CAMERA
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.loop import Ending, servo
from deepservo.methods.base import Controller
from deepservo.methods.search import (
    BACK_METRES,
    BACK_SHARE,
    FOUND_AGAIN,
    LAWS,
    SPEED,
    TIME,
    TURN,
)
from deepservo.methods.verdict import Belief
from deepservo.scene import PlanarScene
from deepservo.scene.sampling import fronto_parallel
from deepservo.worlds.simulator import Simulator

DEPTH = 0.6
FIELD_OF_VIEW = 2 * math.atan(PAPER_CAMERA.width / 2 / PAPER_CAMERA.fx)
PUSH = torch.tensor([[0.01, 0.0, 0.0, 0.0, 0.02, 0.0]], dtype=torch.float64)
DRIFT = torch.tensor([[0.03, 0.0, 0.01, 0.0, 0.0, 0.1]], dtype=torch.float64)
NOTHING = torch.zeros(1, 6, dtype=torch.float64)


class Stub(Controller):
    """It steers by PUSH, and recognises the goal in the runs that a test says."""

    def __init__(self, depth: float | None = DEPTH, n: int = 1) -> None:
        super().__init__(PAPER_CAMERA, depth)
        self.recognises = [True] * n

    def belief(self, n: int) -> Belief:
        return replace(Belief.nothing(n), recognised=torch.tensor(self.recognises))

    def _set_goal(self, goal: torch.Tensor) -> None:
        pass

    def _velocity(self, image: torch.Tensor) -> torch.Tensor:
        return PUSH.expand(len(image), 6).clone()


def stub(law: str | None, dt: float = 0.1, depth: float | None = DEPTH, n: int = 1) -> Stub:
    controller = Stub(depth, n)
    controller.dt, controller.search = dt, law
    controller.set_goal(picture(0))
    return controller


def picture(number: int, n: int = 1) -> torch.Tensor:
    """Each number's is another one."""
    generator = torch.Generator().manual_seed(number)
    size = PAPER_CAMERA.height, PAPER_CAMERA.width
    return torch.rand(n, 1, *size, generator=generator)


def steered(controller: Stub, pictures: int, first: int = 1) -> torch.Tensor:
    """The twists (pictures, b, 6) that it answers before new pictures."""
    n = len(controller.recognises)
    return torch.stack([controller.velocity(picture(first + i, n)) for i in range(pictures)])


def went(twists: torch.Tensor, dt: float) -> torch.Tensor:
    """Where a camera is (k + 1, 4, 4) after twists (k, 6), from where it began."""
    poses = [torch.eye(4, dtype=torch.float64)]
    for twist in twists:
        poses.append(poses[-1] @ se3.exp(twist * dt))
    return torch.stack(poses)


@pytest.mark.parametrize("dt", [1 / 30, 0.2, 1.0])
@pytest.mark.parametrize("law", ["back-off", "spiral"])
def test_a_search_is_bounded_and_ends_at_rest(law, dt):
    controller = stub(law, dt)
    steered(controller, 1)
    controller.recognises = [False]
    twists = steered(controller, math.ceil((TIME + 12) / dt), first=2)[:, 0]
    moves = twists.any(1)
    begins = int(moves.int().argmax())
    assert begins + 1 >= 5 and (begins + 1) * dt >= 0.8 - 1e-9, "only when it is lost"
    assert moves.sum() * dt <= TIME + 1e-9 and moves.any()
    assert not moves[begins + int(moves.sum()) :].any(), "zero for good"
    assert twists[:, :3].norm(dim=1).max() <= SPEED + 1e-9
    assert twists[:, 3:].norm(dim=1).max() <= TURN + 1e-9
    # The step after the last picture in which the goal was recognised is gone back by both.
    poses = se3.exp(PUSH * dt) @ went(twists, dt)
    end = poses[-1]
    if law == "spiral":
        assert not twists[:, :3].any(), "it hits nothing"
        angles = se3.so3_log(poses[:, :3, :3]).norm(dim=1)
        assert 0.85 * FIELD_OF_VIEW < angles.max() <= FIELD_OF_VIEW + 1e-9
        assert angles[-1] < 1e-3
    else:
        way = BACK_SHARE * DEPTH
        assert poses[:, :3, 3].norm(dim=1).max() <= way + 1e-9
        expected = torch.tensor([0, 0, -way], dtype=torch.float64)
        torch.testing.assert_close(end[:3, 3], expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(end[:3, :3], torch.eye(3).double(), atol=1e-4, rtol=0)
    (status,) = controller.status
    assert (status.phase, status.reason) == (Phase.LOST, Reason.NOT_RECOGNISED)
    assert "the search has ended without finding it" in status.sentence


def test_without_a_depth_it_backs_off_a_little():
    controller = stub("back-off", depth=None)
    controller.recognises = [False]
    end = went(steered(controller, 150)[:, 0], 0.1)[-1]
    expected = torch.tensor([0, 0, -BACK_METRES], dtype=torch.float64)
    torch.testing.assert_close(end[:3, 3], expected, atol=1e-4, rtol=0)


def test_a_wide_camera_is_back_in_the_middle_in_time():
    controller = stub("spiral")
    controller.camera = replace(PAPER_CAMERA, fx=60.0, fy=60.0)
    controller.recognises = [False]
    twists = steered(controller, 250)[:, 0]
    angles = se3.so3_log(went(twists, 0.1)[:, :3, :3]).norm(dim=1)
    assert 0.5 < angles.max() < 0.9 and angles[-1] < 1e-3


def test_it_goes_back_on_the_way_that_the_robot_says_it_has_come():
    controller = stub("back-off")
    steered(controller, 1)
    controller.recognises = [False]
    twist, T = DRIFT, torch.eye(4, dtype=torch.float64)
    out: list[torch.Tensor] = []
    back: list[torch.Tensor] = []
    for number in range(150):
        T = T @ se3.exp(twist[0] * 0.1)
        answer = controller.velocity(picture(number), twist)
        (back if answer.any() or back else out).append(T)
        twist = answer if answer.any() or back else DRIFT
    way = torch.stack(out)[:, :3, 3]
    for pose in back:
        if pose[2, 3] > 0:
            assert (way - pose[:3, 3]).norm(dim=1).min() < 0.004, "off the way"
    expected = torch.tensor([0, 0, -BACK_SHARE * DEPTH], dtype=torch.float64)
    torch.testing.assert_close(T[:3, 3], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("law", [None, "hold"])
def test_nobody_asks_and_nothing_moves(law):
    controller = stub(law)
    steered(controller, 1)
    controller.recognises = [False]
    assert not steered(controller, 60).any()
    (status,) = controller.status
    assert status.phase is Phase.LOST and "search" not in status.sentence
    controller.recognises = [True]
    assert torch.equal(steered(controller, 1, first=70)[0], PUSH)
    assert "found again after 6 s" in controller.status[0].sentence


def test_another_word_is_refused():
    controller = Stub()
    with pytest.raises(
        InputError, match=r"'spirl'; did you mean spiral\? .*hold, back-off, spiral"
    ):
        controller.search = "spirl"
    assert controller.search is None
    for law in LAWS:
        controller.search = law
        assert controller.search == law


def test_it_says_that_it_looks_and_for_a_second_that_it_has_found_again():
    dt = 0.125
    controller = stub("spiral", dt)
    steered(controller, 1)
    controller.recognises = [False]
    steered(controller, 6, first=2)
    assert controller.status[0].phase is Phase.APPROACHING, "a few pictures say nothing"
    steered(controller, 18, first=8)
    (status,) = controller.status
    assert (status.phase, status.reason) == (Phase.SEARCHING, Reason.SEARCHES)
    assert status.sentence == "searching: looks for the goal"
    controller.recognises = [True]
    for number in range(12):
        assert torch.equal(steered(controller, 1, first=50 + number)[0], PUSH), "the method steers"
        (status,) = controller.status
        assert status.phase is Phase.APPROACHING
        assert ("found again after 3 s" in status.sentence) == (number * dt < FOUND_AGAIN)


def test_a_goal_that_flickers_does_not_give_the_way_once_more():
    controller, twists = stub("back-off"), []
    for number in range(1500):
        controller.recognises = [number % 15 == 0]  # each 1.5 s one picture looks like the goal
        twist = steered(controller, 1, first=number)[0]
        twists.append(twist[0] * (not controller.recognises[0]))
    assert torch.stack(twists)[:, :3].norm(dim=1).sum() * 0.1 < BACK_SHARE * DEPTH + 0.3
    assert not torch.stack(twists)[-200:].any()


def test_a_second_search_has_all_its_way_again():
    controller = stub("back-off")
    for first in (0, 1000):
        controller.recognises = [True]
        steered(controller, 15, first)
        controller.recognises = [False]
        end = went(steered(controller, 150, first + 15)[:, 0], 0.1)[-1]
        assert end[2, 3] == pytest.approx(-BACK_SHARE * DEPTH, abs=1e-3)


def test_a_dead_camera_is_never_moved():
    controller = stub("spiral")
    for _ in range(3):  # moves on, until it is seen that the pictures are the same
        controller.velocity(picture(1))
    assert controller.velocity(picture(1)).any() == 0
    for _ in range(60):
        assert not controller.velocity(picture(1)).any()
    assert controller.status[0].reason is Reason.FROZEN


def test_a_camera_that_dies_in_a_search_stops():
    controller = stub("spiral")
    controller.recognises = [False]
    assert steered(controller, 20)[-1].any()
    for step in range(30):
        twist = controller.velocity(picture(99))
        assert bool(twist.any()) == (step < 3), "three pictures tell"
    (status,) = controller.status
    assert (status.phase, status.reason) == (Phase.LOST, Reason.FROZEN)
    assert steered(controller, 2, first=200)[-1].any(), "it looks on when pictures come again"


@pytest.mark.parametrize("grey", [0.0, 0.5])
def test_it_looks_beside_what_shows_nothing(grey):
    controller = stub("spiral")
    steered(controller, 1)
    twists = [controller.velocity(torch.full_like(picture(0), grey)) for _ in range(100)]
    assert all(twist.any() for twist in twists[10:])
    assert controller.status[0].reason is Reason.SEARCHES


def test_a_run_that_gets_no_nearer_holds_still_while_it_sees_the_goal():
    controller = stub("back-off")
    steered(controller, 1)
    (run,) = controller.verdict.runs
    run.diverged = True
    assert not steered(controller, 40).any()
    assert controller.status[0].reason is Reason.DIVERGED
    controller.recognises = [False]
    assert not steered(controller, 7, first=50).any()
    assert steered(controller, 20, first=60)[-1].any()
    controller.recognises = [True]
    assert steered(controller, 1, first=90).any(), "from where it is now it may get there"


def test_each_run_of_a_batch_searches_for_itself():
    controller = stub("spiral", n=2)
    steered(controller, 1)
    controller.recognises = [True, False]
    twists = steered(controller, 30, first=2)
    alone = stub("spiral")
    steered(alone, 1)
    alone.recognises = [False]
    assert torch.equal(twists[:, 0], PUSH.expand(30, 6))
    torch.testing.assert_close(twists[:, 1:], steered(alone, 30, first=2))
    assert [s.phase for s in controller.status] == [Phase.APPROACHING, Phase.SEARCHING]
    controller.velocity_of(picture(5), torch.tensor([0]), 2)
    controller.select_runs(torch.tensor([1]))
    controller.recognises = [False]
    torch.testing.assert_close(steered(controller, 30, 40), steered(alone, 30, 40))
    controller.set_goal(picture(0))
    assert not steered(controller, 5, first=80).any(), "a new goal, a new run"
    assert controller.status[0].phase is Phase.SEARCHING


def test_where_some_runs_are_steered_alone_the_searches_of_all_go_on():
    controller = stub("spiral", n=2)
    controller.recognises = [False, False]
    steered(controller, 20)
    controller.velocity_of(picture(30), torch.tensor([1]), 2)
    assert [s.reason for s in controller.status] == [Reason.SEARCHES] * 2


class Turned(Simulator):
    """Somebody pushes the camera at the fourth picture."""

    def __init__(self, push: torch.Tensor) -> None:
        goal = fronto_parallel(DEPTH)
        start = torch.tensor([[0.02, -0.02, 0.03, 0.02, 0.03, 0.05]], dtype=torch.float64)
        super().__init__(PlanarScene(bundled("coffee"), 0.8), PAPER_CAMERA, goal @ se3.exp(start))
        self.goal = self.scene.render(PAPER_CAMERA, goal)
        self.pictures, self.push = 0, push

    def observe(self) -> torch.Tensor:
        self.pictures += 1
        if self.pictures == 4:
            self.T_world_cam = self.T_world_cam @ se3.exp(self.push)
        return super().observe()


def turned(share: float, degrees: float) -> torch.Tensor:
    """A push that turns the camera away, by this share of its field of view."""
    angle = math.radians(degrees)
    tilt, pan = math.sin(angle), math.cos(angle)
    turn = torch.tensor([[0, 0, 0, tilt, pan, 0]], dtype=torch.float64)
    return share * FIELD_OF_VIEW * turn


TOO_NEAR = torch.tensor([[0, 0, 0.42, 0, 0, 0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("law", "push"),
    [
        ("spiral", turned(1.2, 20)),
        ("spiral", turned(1.2, 170)),
        ("spiral", turned(1.4, 290)),
        ("back-off", TOO_NEAR),
    ],
)
def test_a_goal_that_has_left_the_view_is_found_again(law, push):
    world, dt = Turned(push), 0.2
    controller = deepservo.build("sift", PAPER_CAMERA, depth=DEPTH)
    controller.scale_gain(dt)
    controller.dt, controller.search = dt, law
    controller.set_goal(world.goal)
    phases = []
    for _ in range(150):
        world.apply(controller.velocity(world.observe()), dt)
        phases.append(controller.status[0].phase)
        if "found again" in controller.status[0].sentence:
            break
    assert phases[2] is phases[-1] is Phase.APPROACHING and Phase.SEARCHING in phases
    assert Phase.LOST not in phases, "a loop of one's own would end there"


@pytest.mark.parametrize(("law", "ending"), [("spiral", Ending.ARRIVED), (None, Ending.LOST)])
def test_a_run_goes_on_after_its_search_and_arrives(law, ending):
    world, dt = Turned(turned(1.2, 0)), 0.2
    controller = deepservo.build("sift+dvs", PAPER_CAMERA, depth=DEPTH)
    controller.scale_gain(dt)
    controller.search, controller.tolerance = law, deepservo.Tolerance()
    controller.set_goal(world.goal)
    (end,) = servo(world, controller, world.goal, 300, dt=dt).ends
    assert end.ending is ending
    if law:
        metres, radians = se3.distance(fronto_parallel(DEPTH), world.T_world_cam)
        assert metres < 1.5e-3 and radians.rad2deg() < 0.15


def test_a_run_that_searches_in_vain_ends_lost():
    world = Turned(NOTHING)
    controller = stub("back-off", dt=0.2)
    controller.recognises = [False]
    trajectory = servo(world, controller, world.goal, 300, dt=0.2)
    (end,) = trajectory.ends
    assert end.ending is Ending.LOST
    assert "the search has ended without finding it" in end.reason
    moves = trajectory.v_cam[:, 0].any(1)
    assert moves.any() and not moves[-10:].any() and len(moves) < 100
    apart = (trajectory.Ts_world_cam[-1, 0] - trajectory.Ts_world_cam[0, 0])[:3, 3].norm()
    assert apart == pytest.approx(BACK_SHARE * DEPTH, abs=1e-3)
