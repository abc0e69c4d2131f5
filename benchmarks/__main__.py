"""One way in to everything that makes `results/`: `python -m benchmarks NAME [options]`.

Without a name, what there is.
"""

import ast
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = {
    "README.md": ("pictures", "film"),
    "docs/measurements.md": ("models", "picture", "dvs", "antialias"),
    "docs/bench.md": ("bound", "visp/judge"),
    "docs/methods": ("tangents", "bank", "studies", "paths", "scenes", "steps", "figures"),
    "docs/methods/dfbvs.md": ("keypoints", "objects", "grasps", "dfbvs_steps"),
    "docs/gantry.md": ("relief",),
    "docs/performance.md": ("speed",),
    "docs/results.md": ("gpu",),
    "docs/mutants.md": ("mutants",),
    "docs/architecture.md": ("plan",),
    "all pages": ("table",),
    "no page": ("fuzz",),
}


def main() -> int:
    """Run the script of that name with the options behind it, or say which names there are."""
    names = [name for scripts in PAGES.values() for name in scripts]
    if len(sys.argv) > 1 and sys.argv[1] in names:
        path = HERE / f"{sys.argv[1]}.py"
        sys.argv[:2] = [str(path)]
        sys.path[:0] = [str(path.parent), str(HERE)]
        runpy.run_path(str(path), run_name="__main__")
        return 0
    if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help"):
        print(
            f"there is no benchmark {sys.argv[1]!r}; choose one of {', '.join(names)}",
            file=sys.stderr,
        )
        return 2
    for page, scripts in PAGES.items():
        print(f"{page}:")
        for name in scripts:
            text = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
            about = " ".join(text.partition("\n\n")[0].split())
            print(f"    {name:12} {about}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
