"""The sets of `python -m benchmarks verdict`: their groups, parts and scenes, and how many runs
each has.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.methods import verdict_worlds as worlds
from benchmarks.methods.verdict_worlds import Cell, Ready
from benchmarks.objects import relief
from deepservo.bench.runs import Bench
from deepservo.evaluation.conditions import PLAIN, SOLIDS
from deepservo.evaluation.sets import SETS
from deepservo.worlds.objects import PARTS

# Those of SETS that need no training; `unseen` has the starts of two of them.
OF_SETS = (
    "lookat", "screw", "lookat-rz", "lookat-rz-perturbed", "gaussian", "gaussian-perturbed",
    "batches", "batches-perturbed", "overlap", "steps", "near",
    *(name for name in SETS if name.startswith(("hard-", "solid-"))),
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A set: its group, its parts with the scenes that each is measured on, and how its runs are
    made ready. times: how many runs it has, as a multiple of what a set usually has.
    """

    group: str
    pairs: tuple[tuple[str, str], ...]
    ready: Callable[[Cell, Bench], Iterator[Ready]]
    times: float = 1.0


def kinds(flat: tuple[str, ...]) -> Mapping[str, Kind]:
    """All sets by name; flat: the names of the flat scenes."""

    def everywhere(parts: Iterable[str]) -> tuple[tuple[str, str], ...]:
        return tuple((part, scene) for part in parts for scene in flat)

    found = {}
    for name in OF_SETS:
        pairs = tuple((p.label, scene) for p in SETS[name] for scene in p.scenes or flat)
        found[name] = Kind(group_of(name), pairs, worlds.published)
    boards = tuple((part, "checkerboard") for part in worlds.BOARDS)
    tiles = (*everywhere([worlds.TILE]), *((part, "bricks") for part in worlds.BRICKS))
    objects = tuple((part, name) for part in worlds.OBJECTS for name in PARTS)
    objects = (*objects, (worlds.RELIEF, relief.PICTURE))
    moments = (worlds.ON_THE_WAY, worlds.AFTER_ARRIVAL)
    covers = [f"{cover}, {moment}" for cover in worlds.COVERS for moment in moments]
    return {
        **found,
        "gantry": Kind("gantry", everywhere(worlds.GANTRY), worlds.under_gantry, 0.5),
        "objects": Kind("objects", objects, worlds.before_objects, 0.2),
        "checkerboard": Kind("repeated", boards, worlds.repeated),
        "tiles": Kind("repeated", tiles, worlds.repeated),
        "wrong-scene": Kind("wrong", everywhere(worlds.WRONG), worlds.wrong),
        "things-moved": Kind("moved", everywhere(worlds.MOVED), worlds.moved),
        "covered": Kind("lost", everywhere(covers), worlds.covered, 2.0),
    }


def group_of(name: str) -> str:
    """Of a set of SETS: clean where nothing disturbs the pictures, and all that is known is
    true.
    """
    if name in SOLIDS:
        return "solid"
    plain = all(part.condition == PLAIN for part in SETS[name])
    return "clean" if plain else "perturbed"


def cells(method: str, name: str, kind: Kind, n: int, seed: int) -> list[Cell]:
    """The runs of a set: n, or as many times that as it has.

    They are dealt in turn to its parts and scenes, in an order that is shuffled: where runs are
    fewer than these, they are some of all parts and scenes.
    """
    runs, pairs = max(1, round(n * kind.times)), list(kind.pairs)
    random.Random(f"{seed} {name}").shuffle(pairs)
    return [
        Cell(method, kind.group, name, *pair, n=len(range(k, runs, len(pairs))), seed=seed)
        for k, pair in enumerate(pairs[:runs])
    ]
