"""Draws docs/architecture.svg: the rooms of the package on their floors, and what imports what.

    python -m benchmarks plan

It is drawn from the imports themselves. A room stands one floor above the highest room that it
imports. An arrow leads from a room to one that it imports; an arrow that follows from two others is
left out.
"""

import ast
import functools
import itertools
from pathlib import Path

from deepservo.bench.tables import table

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "deepservo"
PICTURE = ROOT / "docs" / "architecture.svg"

# A room's column on the plan, and its words there and in the table below it.
ROOMS = {
    "errors": (1.0, "for bad input", "the one exception that bad input raises"),
    "version": (2.25, "the version", "the version of the package"),
    "moved": (3.35, "names of 0.1", "names of 0.1 that have moved, and where each is now"),
    "native": (0.0, "the C code", "all C code, how it is compiled and loaded"),
    "camera": (1.0, "the pinhole camera", "the pinhole camera"),
    "geometry": (0.0, "rigid motions", "rigid motions, interaction matrices, poses from points"),
    "system": (2.0, "files, memory", "files that are never half-written, memory, processes"),
    "control": (0.0, "control laws", "the control laws, as pure functions"),
    "images": (2.0, "pictures, cameras", "pictures and cameras from files; resampling of pictures"),
    "nets": (1.0, "networks", "network definitions"),
    "features": (1.5, "measurements", "what is measured in a picture, and how it moves"),
    "scene": (1.5, "what cameras see", "the textured plane, published starts, lights and covers"),
    "models": (2.0, "model files", "model files: of one scene, of any scene, those that ship"),
    "worlds": (0.95, "simulators", "what carries the camera in simulation, and objects before it"),
    "methods": (1.6, "one file each", "the methods, one file each, and their names"),
    "loop": (1.6, "the closed loop", "the closed loop, and when a run stops"),
    "evaluation": (1.6, "sets, metrics", "starts, conditions and metrics, shared by the commands"),
    "report": (2.6, "HTML pages", "the pages that the commands write"),
    "training": (0.6, "how nets learn", "the training loop, what each network learns, recipes"),
    "bench": (1.6, "many runs", "sets of runs, their results files and tables"),
    "cli": (1.6, "the commands", "the command line"),
    "__main__": (1.6, "the program", "where the program starts"),
}
WIDTH, COLUMN, LEFT = 640, 143, 92  # px; LEFT is the middle of column 0
FLOOR, BOX, PORT, LANE = 64, (118, 38), 14, 11  # px
STYLE = """
    text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2933 }
    .name { font-size: 13px; font-weight: 600; text-anchor: middle }
    .words { font-size: 10.5px; text-anchor: middle; fill: #52606d }
    .floor { font-size: 10.5px; text-anchor: middle; fill: #7b8794 }
    .band { fill: #607d8b; fill-opacity: 0.07 }
    .box { fill: #ffffff; stroke: #607d8b; stroke-width: 1.2 }
    .arrow { fill: none; stroke: #d0562b; stroke-opacity: 0.8; stroke-width: 1.1 }
    .head { fill: #d0562b }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4e7eb }
      .words { fill: #b8c2cc }
      .floor { fill: #9aa5b1 }
      .band { fill: #b0bec5; fill-opacity: 0.08 }
      .box { fill: #2b323b; stroke: #90a4ae }
      .arrow { stroke: #ff8a65 }
      .head { fill: #ff8a65 }
    }
"""
Place = tuple[float, float]


def modules() -> dict[str, Path]:
    """Every module by its dotted name, `deepservo` itself among them."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join(("deepservo", *parts))] = path
    return found


def imports(path: Path, names: dict[str, Path]) -> set[str]:
    """The modules of this package that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it goes"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & names.keys()) or {str(node.module)}
    return {name for name in found if name.split(".")[0] == "deepservo"}


def room(module: str) -> str:
    """The room that a module stands in."""
    return module.split(".")[1]


def imported_rooms() -> dict[str, set[str]]:
    """For each room the others that it imports. The package's own `__init__.py` shows names from
    everywhere and stands in no room.
    """
    names = modules()
    found: dict[str, set[str]] = {room(name): set() for name in names if name != "deepservo"}
    for name, path in names.items():
        if name != "deepservo":
            targets = imports(path, names) - {"deepservo"}
            found[room(name)] |= {room(target) for target in targets} - {room(name)}
    return found


def floors(needs: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room, the ground floor is 1."""

    @functools.cache
    def floor(name: str) -> int:
        return 1 + max((floor(other) for other in needs[name]), default=0)

    return {name: floor(name) for name in needs}


def arrows(needs: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not follow from others."""

    @functools.cache
    def below(name: str) -> frozenset[str]:
        return frozenset(needs[name]).union(*(below(other) for other in needs[name]))

    return [
        (name, other)
        for name in sorted(needs)
        for other in sorted(needs[name])
        if not any(other in below(third) for third in needs[name] - {other})
    ]


def placed(floor: dict[str, int]) -> dict[str, Place]:
    """The middle of each room's box [px]; the ground floor is at the bottom."""
    top = max(floor.values())
    return {
        name: (LEFT + COLUMN * ROOMS[name][0], FLOOR * (top - floor[name] + 0.5)) for name in floor
    }


def ways(
    needs: dict[str, set[str]], floor: dict[str, int], at: dict[str, Place]
) -> list[list[Place]]:
    """For each arrow the points that it passes [px]: it leaves a box below, passes the floors
    between straight down where no box and no other arrow is, and reaches a box from above.
    """
    shown = arrows(needs)
    boxes = {k: [at[name] for name in floor if floor[name] == k] for k in floor.values()}
    lanes: dict[int, list[float]] = {k: [] for k in boxes}
    found = []
    for a, b in sorted(shown, key=lambda pair: (floor[pair[0]] - floor[pair[1]], pair)):
        begin = _port(a, b, [end for start, end in shown if start == a], at, below=True)
        end = _port(b, a, [start for start, end in shown if end == b], at, below=False)
        between = range(floor[b] + 1, floor[a])
        free = [
            x
            for x in range(2 * LANE, WIDTH - LANE)
            if all(abs(x - box[0]) >= BOX[0] / 2 + LANE for k in between for box in boxes[k])
            and all(abs(x - lane) >= LANE for k in between for lane in lanes[k])
        ]
        passed: list[Place] = []
        if between:
            x = min(free, key=lambda x: (abs(x - begin[0]) + abs(x - end[0]), abs(x - end[0])))
            ys = boxes[floor[a] - 1][0][1] - BOX[1] / 2, boxes[floor[b] + 1][0][1] + BOX[1] / 2
            passed = [(float(x), y) for y in ys]
            for k in between:
                lanes[k].append(x)
        found.append([begin, *passed, end])
    return found


def _port(name: str, other: str, others: list[str], at: dict[str, Place], below: bool) -> Place:
    """Where on the edge of a box its arrow to another stands: in the order of where they lead."""
    rank = sorted(others, key=lambda each: at[each][0]).index(other)
    x, y = at[name]
    return x + PORT * (rank - (len(others) - 1) / 2), y + (BOX[1] if below else -BOX[1]) / 2


def drawn() -> str:
    """The plan as SVG."""
    needs = imported_rooms()
    floor = floors(needs)
    at, top = placed(floor), max(floor.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {FLOOR * top}" role="img">',
        "  <title>The rooms of deepservo and their imports</title>",
        f"  <style>{STYLE}  </style>",
        '  <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="head" d="M0 0.8 8 4 0 7.2z"/></marker>',
    ]
    for k in range(1, top + 1):
        y = FLOOR * (top - k)
        lines.append(
            f'  <rect class="band" x="0" y="{y + 3}" width="{WIDTH}" height="{FLOOR - 6}" rx="6"/>'
            f'<text class="floor" x="14" y="{y + FLOOR / 2 + 4:g}">{k}</text>'
        )
    for points in ways(needs, floor, at):
        lines.append(f'  <path class="arrow" marker-end="url(#head)" d="{_curve(points)}"/>')
    for name, (x, y) in at.items():
        shown = name if (PACKAGE / name).is_dir() else f"{name}.py"
        lines.append(
            f'  <rect class="box" x="{x - BOX[0] / 2:g}" y="{y - BOX[1] / 2:g}" width="{BOX[0]}" '
            f'height="{BOX[1]}" rx="5"/><text class="name" x="{x:g}" y="{y - 2:g}">{shown}</text>'
            f'<text class="words" x="{x:g}" y="{y + 12:g}">{ROOMS[name][1]}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _curve(points: list[Place]) -> str:
    """A path that is vertical at each of its points."""
    text = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        bend = (to_y - y) / 2
        text += f" C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
    return text


def rooms() -> str:
    """The table of the rooms, floor by floor, as Markdown."""
    floor = floors(imported_rooms())
    lines = []
    for k in sorted(set(floor.values())):
        names = [name for name in ROOMS if floor[name] == k]
        shown = [f"`{name}/`" if (PACKAGE / name).is_dir() else f"`{name}.py`" for name in names]
        lines += [[str(k), name, ROOMS[each][2]] for name, each in zip(shown, names, strict=True)]
    return table(["floor", "room", "what is in it"], lines, 3)


def main() -> int:
    """Write docs/architecture.svg anew."""
    PICTURE.write_text(drawn())
    return 0
