"""The runs of `python -m benchmarks verdict`, ready to begin: before flat and solid scenes, under
the gantry, before objects, and before scenes that are not what the goal was taken of.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.methods import verdict_scenes as scenes
from benchmarks.methods.verdict_scenes import Change, ChangingView, View

# `relief` imports Triton, which must be loaded before anything is drawn with Mesa.
from benchmarks.objects import relief, tabletop
from deepservo.bench.runs import Bench, Job, Prepared
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation import sight
from deepservo.evaluation.conditions import Disturbance, Shot, distinct
from deepservo.evaluation.objects import starts_about
from deepservo.evaluation.sets import overlap
from deepservo.evaluation.worlds import opened
from deepservo.images.depth import Depth
from deepservo.images.pictures import BUNDLED
from deepservo.loop import World
from deepservo.methods import Controller, build
from deepservo.methods.status import Phase
from deepservo.scene import PlanarScene
from deepservo.scene.build import Setup
from deepservo.worlds.gantry import RATE

STARTS = "gaussian"  # of the sets that are made here
# By part: the gantry's world, and its set and part there.
GANTRY = {
    "gaussian": ("gantry", "gaussian", ""),
    "gaussian, wandering lamps": ("gantry-lights", "gaussian", ""),
    "steps of 5 cm": ("gantry", "steps", "5 cm"),
    "steps of 20 cm": ("gantry", "steps", "20 cm"),
}
OBJECTS = {"in clutter": "clutter", "on a plain table": "plain"}  # by part: the table
RELIEF = "objects on a picture"
BOARDS = {"fills the view": False, "border in view": True}  # by part: whether there is a border
BRICKS = {"bricks, all alike": 0.0, "bricks, each of its own grey": scenes.SHADES}
TILE = "one tile"
OTHER, MIRRORED, PLATE = "another picture", "mirrored", "grey plate"
WRONG = (OTHER, MIRRORED, PLATE)
MOVED = ("moved", "exchanged", "covered")
NOISY_PLATE, HAND = "grey plate, noise", "hand"
COVERS = (PLATE, NOISY_PLATE, HAND, OTHER)
ON_THE_WAY, AFTER_ARRIVAL = "on the way", "after arrival"
# The first picture of a change, at least and at most: of the run, and after the arrival.
CHANGED_AT, CHANGED_AFTER = (5, 60), (1, 20)


@dataclass(frozen=True)
class Cell:
    """Runs that go together: one method on one part of a set, before one scene, n times."""

    method: str
    group: str
    set: str
    part: str
    scene: str
    n: int
    seed: int
    """Of the whole measurement."""

    @property
    def own_seed(self) -> int:
        """Two cells do not have the same starts; two methods do."""
        return zlib.crc32(f"{self.seed} {self.set} {self.part} {self.scene}".encode())

    def shot(self, run: int) -> Shot:
        """Of what is drawn for one run beside its start."""
        return Shot(self.own_seed, run, 0)


@dataclass(frozen=True)
class Ready:
    """n runs that can begin.

    goal, depth: as `Controller.set_goal` takes them. Ts_goal: the goals' true poses. sees: the
    share of each goal that is seen, of goals' and cameras' poses, both (k, 4, 4). dt: seconds from
    one picture to the next.
    """

    controller: Controller
    world: World
    goal: Float[Tensor, "g 1 h w"]
    depth: Depth
    Ts_goal: Float[Tensor, "n 4 4"]
    sees: Callable[[Tensor, Tensor], Tensor]
    dt: float


def published(cell: Cell, bench: Bench) -> Iterator[Ready]:
    """Runs of a set of SETS, as `deepservo bench` has them."""
    bench = replace(bench, seed=cell.own_seed)
    prepared = Prepared(Job(cell.method, cell.set, cell.part, cell.scene, cell.n), bench)
    condition, scene, camera = prepared.condition, prepared.scene, prepared.camera
    seen = overlap if condition.solid is None else partial(sight.share_seen, scene)
    setup = Setup(scene, camera, bench.distance, cell.scene)
    for runs in torch.arange(cell.n).split(prepared.most):
        Ts_goal, numbers = prepared.Ts_goal[runs], prepared.drawn[runs]
        disturbance = Disturbance(condition, bench.seed, numbers)
        world, goal = opened(bench.world, setup, prepared.Ts_cam[runs], Ts_goal, disturbance)
        assert goal is not None, "the goals' poses are known"
        yield Ready(
            prepared.controller,
            world,
            goal,
            condition.depth_of_goals(scene, camera, Ts_goal, bench.seed, numbers),
            Ts_goal,
            partial(seen, bench.camera),
            prepared.dt,
        )


def under_gantry(cell: Cell, bench: Bench) -> Iterator[Ready]:
    """Cameras that gantries carry over a picture."""
    world, name, part = GANTRY[cell.part]
    return published(replace(cell, set=name, part=part), replace(bench, world=world))


def repeated(cell: Cell, bench: Bench) -> Iterator[Ready]:
    """Before a pattern that repeats."""
    if cell.part in BOARDS:
        scene = scenes.checkerboard(BOARDS[cell.part])
    elif cell.part in BRICKS:
        scene = scenes.bricks(BRICKS[cell.part])
    else:
        scene = scenes.tiled(_flat(bench, cell.scene).texture)
    there = replace(bench, scenes={cell.scene: scene})
    return published(replace(cell, set=STARTS, part=""), there)


def wrong(cell: Cell, bench: Bench) -> Iterator[Ready]:
    """Before another scene than the one that the goal was taken of."""

    def view(run: int, scene: PlanarScene) -> View:
        if cell.part == PLATE:
            return scenes.plate(bench.camera, scenes.NOISE, cell.shot(run))
        other = _another(cell, bench, run)
        return scenes.before(scenes.mirrored(scene) if cell.part == MIRRORED else other, camera)

    camera = bench.camera
    yield _special(cell, bench, view, lambda run: None, 1.0)


def moved(cell: Cell, bench: Bench) -> Iterator[Ready]:
    """Before the scene that the goal was taken of, in which things were moved since."""

    def view(run: int, scene: PlanarScene) -> View:
        generator = cell.shot(run).of_run(10)
        other = _another(cell, bench, run)
        changed = scenes.of_another_time(scene, cell.part, other, generator)
        return scenes.before(changed, bench.camera)

    yield _special(cell, bench, view, lambda run: None, 1.0)


def covered(cell: Cell, bench: Bench) -> Iterator[Ready]:
    """Before the right scene, until the camera is covered, or the scene exchanged."""
    what, when = cell.part.rsplit(", ", 1)
    camera, after = bench.camera, when == AFTER_ARRIVAL

    def change(run: int) -> Change:
        shot = cell.shot(run)
        low, high = CHANGED_AFTER if after else CHANGED_AT
        picture = int(torch.randint(low, high + 1, (), generator=shot.of_run(11)))
        return Change(_cover(what, cell, bench, run), picture, after)

    def view(run: int, scene: PlanarScene) -> View:
        return scenes.before(scene, camera)

    yield _special(cell, bench, view, change, 1 / RATE)


def _cover(what: str, cell: Cell, bench: Bench, run: int) -> View:
    camera, shot = bench.camera, cell.shot(run)
    if what == HAND:
        return scenes.hand(camera, shot)
    if what == OTHER:
        return scenes.before(_another(cell, bench, run), camera)
    return scenes.plate(camera, scenes.NOISE if what == NOISY_PLATE else 0.0, shot)


def _special(
    cell: Cell,
    bench: Bench,
    view: Callable[[int, PlanarScene], View],
    change: Callable[[int], Change | None],
    dt: float,
) -> Ready:
    """Runs to goals before a flat scene; view: what the camera of a run sees, and change: what it
    sees later.
    """
    bench = replace(bench, seed=cell.own_seed)
    prepared = Prepared(Job(cell.method, STARTS, "", cell.scene, cell.n), bench)
    controller, scene = prepared.controller, _flat(bench, cell.scene)
    controller.scale_gain(dt)
    changes = [each for each in map(change, range(cell.n)) if each is not None]
    views = [view(run, scene) for run in range(cell.n)]

    def arrived() -> Sequence[bool]:
        return [status.phase is Phase.ARRIVED for status in controller.status]

    world = ChangingView(prepared.Ts_cam, views, changes, arrived)
    goal = scene.render(bench.camera, distinct(prepared.Ts_goal))
    sees = partial(overlap, bench.camera)
    return Ready(controller, world, goal, None, prepared.Ts_goal, sees, dt)


def _flat(bench: Bench, name: str) -> PlanarScene:
    scene = bench.scenes[name]
    assert isinstance(scene, PlanarScene), "pictures are flat"
    return scene


def _another(cell: Cell, bench: Bench, run: int) -> PlanarScene:
    """Another picture than the cell's, for each run its own: a bundled one where there is only
    one.
    """
    names = [name for name in bench.scenes if name != cell.scene] or [*BUNDLED]
    name = names[(cell.own_seed + run) % len(names)]
    return _flat(bench, name) if name in bench.scenes else scene_of(name)


def before_objects(cell: Cell, bench: Bench) -> Iterator[Ready]:
    """Objects on a table under gantries, whose goals' pictures the same camera took."""
    if cell.part == RELIEF:
        Ts_cam, Ts_goal = relief.starts(cell.n, cell.own_seed)
        camera, distance = PAPER_CAMERA, relief.DISTANCE
        world = relief.gantry(True, Ts_cam, cell.own_seed)
    else:
        camera, distance = tabletop.CAMERA, tabletop.DISTANCE
        goal = tabletop.goal_of(cell.scene, cell.own_seed % 2)
        Ts_cam = goal.T_world_cam @ starts_about(goal.target, camera, cell.n, cell.own_seed)
        Ts_goal = goal.T_world_cam.expand(cell.n, 4, 4)
        world = tabletop.gantry(cell.scene, OBJECTS[cell.part], Ts_cam, cell.own_seed)
    controller = build(cell.method, camera, distance)
    controller.scale_gain(1 / RATE)
    picture = world.pictures_at(distinct(Ts_goal))
    sees = partial(overlap, camera)
    yield Ready(controller, world, picture, None, Ts_goal, sees, 1 / RATE)
