"""`python -m benchmarks NAME` is the only entry to the benchmarks: every script has a name, and
each name is a script.
"""

import subprocess
import sys
from pathlib import Path

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
    scripts = {path.stem for path in folder.rglob("*.py") if runs in path.read_text()}
    assert names == scripts - {"__main__"}


def test_a_script_gets_its_options_and_a_wrong_name_is_one_sentence() -> None:
    assert "--check" in run_benchmarks("table", "--help").stdout
    wrong = run_benchmarks("tables")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith("there is no benchmark 'tables'; choose one of antialias, bank")
