"""The one-way road: an import never runs back. And no file grows out of hand."""

from pathlib import Path

import deepservo
from benchmarks.architecture.plan import imports, modules, room

ROOT = Path(deepservo.__file__).parent
# From the ground up: a room may import those before it and its own files. A new file at the top, or
# a new room, takes its place here.
ROAD = (
    "errors", "version", "moved", "native", "system", "geometry", "camera", "images", "control",
    "nets", "features", "scene", "models", "methods", "loop", "worlds", "training", "evaluation",
    "report", "bench", "cli", "__main__",
)  # fmt: skip
MOST = 8  # modules that lie loose beside the rooms
LONGEST = 400  # lines


def test_every_room_has_its_place_in_the_order():
    rooms = {room(name) for name in modules() if name != "deepservo"}
    assert rooms <= set(ROAD), f"give {rooms - set(ROAD)} a place on the road"
    assert set(ROAD) <= rooms, f"{set(ROAD) - rooms} are on the road, and gone"


def test_few_modules_are_outside_of_rooms():
    assert len(list(ROOT.glob("*.py"))) <= MOST


def test_tests_are_in_the_rooms_of_what_they_test():
    folders = {path.parent.name for path in Path(__file__).parents[1].glob("*/test_*.py")}
    assert folders <= {*ROAD, "project"}


def test_no_module_imports_from_a_later_room():
    names = modules()
    for name, path in names.items():
        for target in imports(path, names):
            assert target in names, f"{name} imports {target}, which is no module"
            if (
                name == "deepservo"
            ):  # the door: it shows the public names, and may take them from anywhere
                continue
            assert target != "deepservo", (
                f"{name} imports the package's door, which imports everything"
            )
            assert ROAD.index(room(target)) <= ROAD.index(room(name)), (
                f"{name} imports {target}: back along the road"
            )


def test_no_imports_are_circular():
    names = modules()
    graph = {name: imports(path, names) for name, path in names.items()}
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert done == graph.keys(), f"these import each other: {sorted(graph.keys() - done)}"


def test_no_file_is_over_400_lines():
    for path in [path for kind in ("*.py", "*.c", "*.js") for path in ROOT.rglob(kind)]:
        lines = len(path.read_text().splitlines())
        assert lines <= LONGEST, f"{path.name} has {lines} lines"
