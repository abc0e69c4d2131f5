"""`python -m benchmarks NAME` is the only entry to the benchmarks: every script has a name, and
each name is a script.
"""

import ast
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.common.rows import ResultsFile, fill
from benchmarks.robustness.mutation import scope

ROOT = Path(__file__).resolve().parents[2]


def run_benchmarks(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_script_has_a_name() -> None:
    listed = run_benchmarks()
    assert listed.returncode == 0 and not listed.stderr
    names = {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("    ")}
    folder, runs = ROOT / "benchmarks", "\ndef main("
    scripts = [path.stem for path in folder.rglob("*.py") if runs in path.read_text()]
    assert names == set(scripts) - {"__main__"} and len(set(scripts)) == len(scripts)


def test_a_script_gets_its_options_and_a_wrong_name_is_one_sentence() -> None:
    assert "--check" in run_benchmarks("table", "--help").stdout
    wrong = run_benchmarks("tables")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith("there is no benchmark 'tables'; choose one of antialias, bank")


def test_a_row_that_the_results_file_has_is_not_measured_again(tmp_path: Path) -> None:
    out, measured = tmp_path / "rows.json", []

    def measure(settings: dict[str, int]) -> dict[str, int]:
        measured.append(settings["n"])
        return {"square": settings["n"] ** 2}

    for numbers in ((1, 2), (1, 2, 3)):
        fill(out, ({"n": n} for n in numbers), measure, ("square",))
    assert measured == [1, 2, 3]
    assert [row["square"] for row in ResultsFile(out).rows] == [1, 4, 9]


def test_faults_are_put_into_functions_that_exist_by_operators_that_are_names() -> None:
    package = ROOT / "src" / "deepservo"
    for pattern in scope.SCOPE:
        files, function = pattern.split("|")
        trees = [
            ast.parse(path.read_text()) for path in package.glob(files) if path.suffix == ".py"
        ]
        names = [name for tree in trees for name, _, _ in scope.functions(tree)]
        assert any(fnmatch(name, function) for name in names), f"{pattern} matches no function"
    assert all(operator.isidentifier() for operator in scope.OPERATORS)
