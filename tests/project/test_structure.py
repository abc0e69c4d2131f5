"""The package's structure: a module imports only from its own room or an earlier one, no imports
are circular, and no file, function or line is long.
"""

import ast
from pathlib import Path

import deepservo
from benchmarks.architecture.plan import imports, modules, room

ROOT, PROJECT = Path(deepservo.__file__).parent, Path(__file__).parents[2]
CODE = ("*.py", "*.c", "*.h", "*.js", "*.css")
FOLDERS = ("src", "tests", "benchmarks", "examples", "docs", ".ci")
# The order of the rooms: a module may import from its own room and from those before it. A new
# room, or a new module beside the rooms, gets its place here.
ORDER = (
    "errors", "version", "moved", "native", "system", "geometry", "camera", "images", "control",
    "nets", "features", "scene", "models", "methods", "loop", "worlds", "training", "evaluation",
    "report", "bench", "cli", "__main__",
)  # fmt: skip
MAX_MODULES_OUTSIDE = 8
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_COLUMNS = 400, 60, 100


def test_every_room_has_its_place_in_the_order():
    rooms = {room(name) for name in modules() if name != "deepservo"}
    assert rooms <= set(ORDER), f"give {rooms - set(ORDER)} a place in ORDER"
    assert set(ORDER) <= rooms, f"remove {set(ORDER) - rooms} from ORDER"


def test_few_modules_are_outside_of_rooms():
    assert len(list(ROOT.glob("*.py"))) <= MAX_MODULES_OUTSIDE


def test_tests_are_in_the_rooms_of_what_they_test():
    folders = {path.parent.name for path in Path(__file__).parents[1].glob("*/test_*.py")}
    assert folders <= {*ORDER, "project"}


def test_no_module_imports_from_a_later_room():
    names = modules()
    for name, path in names.items():
        for target in imports(path, names):
            assert target in names, f"{name} imports {target}, which is no module"
            if name == "deepservo":  # __init__.py shows public names from every room
                continue
            assert target != "deepservo", (
                f"{name} imports deepservo/__init__.py, which imports from every room"
            )
            assert ORDER.index(room(target)) <= ORDER.index(room(name)), (
                f"{name} imports {target}, which is in a later room"
            )


def test_no_imports_are_circular():
    names = modules()
    graph = {name: imports(path, names) for name, path in names.items()}
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert done == graph.keys(), f"these import each other: {sorted(graph.keys() - done)}"


def sources(*kinds: str) -> list[Path]:
    """The project's own files of these kinds, without what is built or installed."""
    files = [path for kind in kinds for path in PROJECT.glob(kind)]
    files += [p for each in FOLDERS for kind in kinds for p in (PROJECT / each).rglob(kind)]
    return sorted(path for path in files if path.is_file())


def test_no_file_is_over_400_lines():
    for path in sources(*CODE):
        lines = len(path.read_text("utf-8").splitlines())
        assert lines <= MAX_FILE_LINES, f"{path.relative_to(PROJECT)} has {lines} lines"


def test_no_function_is_over_60_lines():
    long = []
    for path in sources("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{path.relative_to(PROJECT)}: {node.name} has {lines} lines")
    assert not long, "\n".join(long)


def test_no_line_is_over_100_columns():
    """Comments for the type checker may be longer; test_pages.py measures the pages."""
    long = []
    for path in sources(*CODE, "*.html", "*.xml", "*.toml", "*.yml", "Makefile", "run"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if len(line.split("  # type: ignore")[0].expandtabs(4)) > MAX_COLUMNS:
                long.append(f"{path.relative_to(PROJECT)}:{number} has {len(line)} columns")
    assert not long, "\n".join(long)
