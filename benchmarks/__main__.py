"""One way in to everything that makes `results/`: `python -m benchmarks NAME [options]`.

Without a name, what there is. A benchmark is a file in one of the folders with a function `main`,
which is given the file's `Options`, where it has them.
"""

import ast
import importlib
import sys
from pathlib import Path

import tyro

HERE = Path(__file__).resolve().parent


def scripts() -> dict[str, Path]:
    """The file of each benchmark, by name."""
    files = sorted(path for path in HERE.glob("*/*.py") if "\ndef main(" in path.read_text())
    return {path.stem: path for path in files}


def about(path: Path) -> str:
    """The first paragraph of a file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def run(path: Path, words: list[str]) -> int | None:
    """Run a benchmark with the options in these words."""
    script = importlib.import_module(f"benchmarks.{path.parent.name}.{path.stem}")
    call = f"python -m benchmarks {path.stem}"
    if not hasattr(script, "Options"):
        return tyro.cli(script.main, args=words, prog=call)
    description = script.main.__doc__
    return script.main(tyro.cli(script.Options, args=words, prog=call, description=description))


def main() -> int | None:
    """Run the benchmark of that name with the options behind it, or say which names there are."""
    found = scripts()
    name, words = sys.argv[1] if len(sys.argv) > 1 else "--help", sys.argv[2:]
    if path := found.get(name.rpartition("/")[2].replace("-", "_")):
        return run(path, words)
    if name not in ("-h", "--help"):
        names = ", ".join(sorted(found))
        print(f"there is no benchmark {name!r}; choose one of {names}", file=sys.stderr)
        return 2
    folder = None
    for each, path in found.items():
        if path.parent != folder:
            folder = path.parent
            print(about(folder / "__init__.py"))
        print(f"    {each:12} {about(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
