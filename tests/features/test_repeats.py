"""Repeated patterns: other poses from which a goal looks alike, and what tells them apart."""

import math

import pytest
import torch

from benchmarks.methods.verdict_scenes import tiled
from deepservo.features.estimation import estimate
from deepservo.features.registration import Registration, fronto
from deepservo.features.repeats import MIN_TELLING, Repeats
from deepservo.features.self_likeness import likeliest_plane
from deepservo.geometry import se3
from deepservo.images.pictures import OFFERED, bundled
from deepservo.scene import PlanarScene, perturb, sampling

HEIGHT, WIDTH, PIXELS = 900, 1200, 1500  # of a board 0.8 m wide: pixels in a metre
FULL_SIZE = ((2, 0), (1, 2), (0, 1))
# The camera at the goal: a little aside, and turned.
HERE = sampling.fronto_parallel(0.6) @ se3.exp(
    torch.tensor([[0.013, -0.007, 0.0, 0.0, 0.0, 0.12]], dtype=torch.float64)
)
Y, X = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
CHECKERS = ((X // 60 + Y // 60) % 2)[None] * 0.7 + 0.15
SQUARE = 60 / PIXELS
BRICKS = torch.where((Y % 60 < 6) | ((X + Y // 60 % 2 * 60) % 120 < 6), 0.9, 0.4)[None]
HOLES = torch.where((X % 45 - 22) ** 2 + (Y % 45 - 22) ** 2 < 200, 0.1, 0.7)[None]
STRIPES = (X // 60 % 2)[None] * 0.6 + 0.2


def tiles(side: int, name: str = "coffee") -> torch.Tensor:
    tile = torch.nn.functional.interpolate(bundled(name)[None], (side, side), mode="area")[0]
    return tile.repeat(1, -(-HEIGHT // side), -(-WIDTH // side))[:, :HEIGHT, :WIDTH].contiguous()


def labelled(board: torch.Tensor, side: int = 180) -> torch.Tensor:
    """With a picture in view that is nowhere else."""
    board = board.clone()
    label = torch.nn.functional.interpolate(bundled("chelsea")[None], (side, side), mode="area")[0]
    board[:, 400 : 400 + side, 520 : 520 + side] = label
    return board


def cut(board: torch.Tensor, left: int, top: int) -> torch.Tensor:
    """Grey to the left of and above these pixels."""
    board = board.clone()
    board[..., :left] = 0.5
    board[:, :top] = 0.5
    return board


def motions(*shifts: tuple[float, float], turn: float = 0.0) -> torch.Tensor:
    """Motions of the board's plane: turned by `turn` degrees about a square's middle, shifted."""
    motion, radians = torch.eye(4, dtype=torch.float64).repeat(len(shifts), 1, 1), turn * math.pi
    c, s = math.cos(radians / 180), math.sin(radians / 180)
    middle = torch.tensor([SQUARE / 2, SQUARE / 2], dtype=torch.float64)
    motion[:, :2, :2] = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    motion[:, :2, 3] = middle - motion[0, :2, :2] @ middle + torch.tensor(shifts)
    return motion


def lattice(a: tuple[float, float], b: tuple[float, float], turn: float = 0.0) -> torch.Tensor:
    """Up to two periods each way."""
    steps = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if i or j or turn]
    return motions(*[(i * a[0] + j * b[0], i * a[1] + j * b[1]) for i, j in steps], turn=turn)


SQUARES = torch.cat(
    [lattice((SQUARE, SQUARE), (SQUARE, -SQUARE), turn) for turn in (0, 90, 180, 270)]
)


def told_apart(repeats, alike, runs):
    """By these pictures alone."""
    return repeats.told(alike, runs, repeats.none_told(len(runs)))[1]


class Scene:
    """A board, its goal with noise, and what is told of views at other poses."""

    def __init__(self, camera, board, noise=0.01, pose=HERE, plane=None):
        self.camera, self.scene, self.pose = camera, PlanarScene(board.float(), 0.8), pose
        self.noise, self.generator = noise, torch.Generator().manual_seed(1)
        self.registration = Registration(
            camera, self.view()[:1], fronto(0.6) if plane is None else plane
        )

    def view(self, motion=None):
        pose = self.pose if motion is None else motion @ self.pose
        return perturb.noise(self.scene.render(self.camera, pose), self.generator, self.noise)

    def evidence(self, views):
        start = torch.eye(4, dtype=torch.float64)[None]
        register = self.registration
        return [
            estimate(register, register.views(view[None]), start, FULL_SIZE, torch.tensor([0]))[1]
            for view in views
        ]

    def told(self, repeats, views):
        """Of views: whether they are told apart, and whether they look like the goal."""
        found, run = self.evidence(views), torch.tensor([0])
        told = [bool(told_apart(repeats, each.alike, run)) for each in found]
        return torch.tensor(told), torch.tensor([float(each.agree) > 0.5 for each in found])


PATTERNS = {
    "checkers": (CHECKERS, SQUARES),
    "tiles": (tiles(150), lattice((0.1, 0.0), (0.0, 0.1))),
    "large tiles": (tiles(300, "chelsea"), motions((0.2, 0), (-0.2, 0), (0, 0.2), (0, -0.2))),
    "bricks": (BRICKS, lattice((0.08, 0.0), (0.04, 0.04))),
    "holes": (HOLES, lattice((0.03, 0.0), (0.0, 0.03))),
    "stripes": (STRIPES, lattice((0.08, 0.0), (0.0, 0.03))),
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_pattern_that_fills_the_view_is_never_told_apart(paper_camera, name, noise):
    board, others = PATTERNS[name]
    scene = Scene(paper_camera, board, noise)
    repeats = Repeats.of(scene.registration)
    told, _ = scene.told(repeats, torch.cat([scene.view(), scene.view(others)]))
    assert not told.any()


def test_a_label_that_is_covered_now_and_then_tells_the_goal(paper_camera):
    """And none tells it where it never agrees."""
    scene = Scene(paper_camera, labelled(CHECKERS))
    repeats, run = Repeats.of(scene.registration), torch.tensor([0])
    for views, tells in ((scene.view(), True), (scene.view(SQUARES[:1]), False)):
        covered = views.clone()
        covered[..., 60:180, 60:180] = 0.5
        alike = [each.alike for each in scene.evidence(torch.cat([views, covered]))]
        alone = [bool(told_apart(repeats, each, run)) for each in alike]
        assert alone == [tells, False]
        told = repeats.none_told(1)
        for i in (0, 1, 0, 0, 1):
            told, apart = repeats.told(alike[i], run, told)
        assert bool(apart) is tells


@pytest.mark.parametrize("name", PATTERNS)
def test_a_label_tells_the_goal_and_every_other_pose_is_refused(paper_camera, name):
    board, others = PATTERNS[name]
    scene = Scene(paper_camera, labelled(board))
    repeats = Repeats.of(scene.registration)
    assert repeats.kept.any() and scene.told(repeats, scene.view())[0].all()
    assert scene.told(repeats, 0.7 * scene.view() + 0.1)[0].all()  # another light
    told, alike = scene.told(repeats, scene.view(others))
    assert alike.sum() >= len(others) / 5  # but for the label they look like the goal
    assert not told.any()


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_corner_of_a_board_tells_the_goal(paper_camera, noise):
    scene = Scene(paper_camera, cut(CHECKERS, 420, 270), noise)
    repeats = Repeats.of(scene.registration)
    assert scene.told(repeats, scene.view())[0].all()
    assert not scene.told(repeats, scene.view(SQUARES))[0].any()


def test_one_border_of_a_board_does_not_tell_where_along_it_the_camera_is(paper_camera):
    scene = Scene(paper_camera, cut(CHECKERS, 420, 0))
    repeats = Repeats.of(scene.registration)
    assert not scene.told(repeats, scene.view())[0].any()
    assert not scene.told(repeats, scene.view(SQUARES))[0].any()


@pytest.mark.parametrize("name", OFFERED)
def test_pictures_without_repetition_are_told_at_the_goal(paper_camera, name):
    scene = Scene(paper_camera, bundled(name))
    repeats = Repeats.of(scene.registration)
    assert scene.told(repeats, scene.view())[0].all()
    # A cup's rim, a clock's face and a wall's bricks are alike in parts.
    assert name in ("coffee", "clock", "brick") or not repeats.kept.any()


def test_turned_tiles_that_differ_make_no_tile_the_only_one(paper_camera):
    """Seen upside down some tiles of the moon are a little alike. That the others differ does not
    make the tiles at the rim of the picture, which few shifts show, unlike all others.
    """
    turn = se3.exp(torch.tensor([[0.01, -0.01, 0, -0.057, 0.046, 0]], dtype=torch.float64))
    pose, scene = sampling.fronto_parallel(0.57) @ turn, tiled(bundled("moon"))
    registration = Registration(paper_camera, scene.render(paper_camera, pose), fronto(0.6))
    repeats = Repeats.of(registration)
    shifts = se3.so3_log(repeats.T_goal_cam[0, :, :3, :3]).norm(dim=1) < 0.1
    assert shifts.sum() > 6
    assert (repeats.telling[0][shifts].sum(1) < MIN_TELLING).all()


def tilted(degrees):
    """The camera turned about the middle of the board, and the board's plane in its frame."""
    there = torch.eye(4, dtype=torch.float64)[None].clone()
    there[:, 2, 3] = 0.6
    turn = torch.tensor([[0, 0, 0, 0, math.radians(degrees), 0.1]], dtype=torch.float64)
    pose = sampling.fronto_parallel(0.6) @ there @ se3.exp(turn) @ se3.inverse(there)
    normal = pose[:, 2, :3] * -torch.sign(pose[:, 2, 3])[:, None]
    return pose, torch.cat([normal, pose[:, 2, 3:].abs()], 1)


@pytest.mark.parametrize("known", ["plane", "map", "nothing"])
def test_before_a_tilted_plane_known_or_not(paper_camera, known):
    pose, plane = tilted(20)
    for board, others in (PATTERNS["tiles"], PATTERNS["bricks"]):
        for label in (False, True):
            scene = Scene(
                paper_camera,
                labelled(board) if label else board,
                pose=pose,
                plane=fronto(0.6) if known == "nothing" else plane,
            )
            if known == "map":
                depth = scene.scene.depth(paper_camera, pose)
                scene.registration.set_depth(1 / depth)
            repeats = Repeats.of(scene.registration)
            assert bool(scene.told(repeats, scene.view())[0]) == label
            assert not scene.told(repeats, scene.view(others))[0].any()


def test_the_plane_is_that_on_which_tiles_have_one_size(paper_camera):
    pose, plane = tilted(20)
    scene = Scene(paper_camera, tiles(150), pose=pose)
    found = likeliest_plane(scene.registration.levels[1])
    assert torch.rad2deg(torch.acos((found[0, :3] * plane[0, :3]).sum())) < 2


def test_a_period_is_found_as_a_pose(paper_camera):
    scene = Scene(paper_camera, tiles(300), pose=sampling.fronto_parallel(0.6))
    scene.registration.set_depth(torch.full((1, 224, 224), 1 / 0.6))
    found = Repeats.of(scene.registration).T_goal_cam[0, :, :3, 3]
    for shift in ((0.2, 0), (-0.2, 0), (0, 0.2), (0, -0.2)):
        apart = (found - torch.tensor([*shift, 0.0])).norm(dim=1)
        assert apart.min() < 0.002


def test_several_goals_each_have_their_own_and_runs_are_selected(paper_camera):
    boards = (bundled("moon"), labelled(CHECKERS), CHECKERS)
    scenes = [Scene(paper_camera, board) for board in boards]
    goals = torch.cat([scene.view() for scene in scenes])
    repeats = Repeats.of(Registration(paper_camera, goals, fronto(0.6).expand(3, 4)))
    assert repeats.kept.any(1).tolist() == [False, True, True]
    alike = torch.cat([scene.evidence(scene.view())[0].alike for scene in scenes])
    assert told_apart(repeats, alike, torch.arange(3)).tolist() == [True, True, False]
    assert told_apart(repeats, alike[2:], torch.tensor([2])).tolist() == [False]
    repeats.select_runs(torch.tensor([2, 0]))
    assert told_apart(repeats, alike[[2, 0]], torch.arange(2)).tolist() == [False, True]


def test_one_goal_serves_all_runs(paper_camera):
    scene = Scene(paper_camera, labelled(CHECKERS))
    repeats = Repeats.of(scene.registration)
    views = torch.cat([scene.view(), scene.view(SQUARES[:2])])
    alike = torch.cat([each.alike for each in scene.evidence(views)])
    assert told_apart(repeats, alike, torch.arange(3)).tolist() == [True, False, False]
    repeats.select_runs(torch.tensor([0, 2]))
    assert told_apart(repeats, alike[[0, 2]], torch.arange(2)).tolist() == [True, False]


def test_unseen_pixels_and_a_plane_out_of_sight_do_no_harm(paper_camera):
    scene = Scene(paper_camera, CHECKERS)
    goal = scene.view()
    goal[..., :90, :70] = torch.nan
    repeats = Repeats.of(Registration(paper_camera, goal, fronto(0.6)))
    assert repeats.kept.any() and not scene.told(repeats, scene.view())[0].any()
    behind = torch.tensor([[0.0, 0.0, -1.0, 0.6]], dtype=torch.float64)
    assert not Repeats.of(Registration(paper_camera, scene.view(), behind)).kept.any()


def test_nothing_is_repeated_in_a_blank_picture(paper_camera):
    blank = torch.full((1, 1, 224, 224), 0.5)
    repeats = Repeats.of(Registration(paper_camera, blank, fronto(0.6)))
    unknown = torch.zeros(2, 256, dtype=torch.int8)
    assert told_apart(repeats, unknown, torch.arange(2)).all()
