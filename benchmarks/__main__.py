"""One way in to everything that makes `results/`: `python -m benchmarks NAME [options]`.

Without a name, what there is.
"""

import ast
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def scripts() -> dict[str, Path]:
    """The file of each benchmark, by name."""
    files = sorted(path for path in HERE.glob("*/*.py") if "\ndef main(" in path.read_text())
    return {path.stem: path for path in files}


def about(path: Path) -> str:
    """The first paragraph of a file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def main() -> int:
    """Run the script of that name with the options behind it, or say which names there are."""
    found = scripts()
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if path := found.get(asked.rpartition("/")[2]):
        del sys.argv[1]
        runpy.run_module(
            f"benchmarks.{path.parent.name}.{path.stem}", run_name="__main__", alter_sys=True
        )
        return 0
    if asked not in ("-h", "--help"):
        print(
            f"there is no benchmark {asked!r}; choose one of {', '.join(sorted(found))}",
            file=sys.stderr,
        )
        return 2
    folder = None
    for name, path in found.items():
        if path.parent != folder:
            folder = path.parent
            print(about(folder / "__init__.py"))
        print(f"    {name:12} {about(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
