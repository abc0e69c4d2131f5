"""Feeds mutated pictures, cameras, poses, meshes, models and command lines to what reads them, and
looks for what users would report.

    python -m benchmarks fuzz                # 20,000 inputs, two kinds at a time
    python -m benchmarks fuzz --seconds 120  # as many as two minutes allow

Each input is changed in the terms of its format (`fuzzing/changes.py`). Atheris (libFuzzer) keeps
for further changes what reached new lines, where it is installed; elsewhere the whole inputs are
changed again and again. A finding is any exception but InputError, an exit code but 0 and 2, a line
on standard output or error that is not the one sentence, a file left half-written, an input that
takes over ten seconds, a crash. The inputs of findings are kept in `build/fuzz`; an input that
crashes or hangs ends its kind. Seeded: one seed and one machine try the same inputs.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.robustness.fuzzing.worker import ACCOUNT, ROOT, Account

STORE, RESULTS = ROOT / "build" / "fuzz", ROOT / "results" / "fuzz.json"
# Inputs of each kind, of 20,000.
SHARES = {
    "pictures": 5000, "cameras": 4500, "poses": 3000, "meshes": 3500, "models": 2000,
    "commands": 2000,
}  # fmt: skip
ALL_INPUTS, ALL_SECONDS = sum(SHARES.values()), 1200
AT_ONCE = 2  # kinds that run at the same time


@dataclass(frozen=True)
class Options:
    """How much is tried."""

    n: int = ALL_INPUTS
    """inputs in all"""
    seconds: int = ALL_SECONDS
    """for all of them"""
    seed: int = 1
    """of the changes"""


def main(options: Options) -> int:
    """All kinds, two at a time; 1 where something was found."""
    guided = importlib.util.find_spec("atheris") is not None
    missing = "atheris is not installed: bytes are changed at random, without coverage"
    print("guided by coverage" if guided else missing, flush=True)
    shutil.rmtree(STORE, ignore_errors=True)
    waiting, rows = list(SHARES), []
    active_runs: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or active_runs:
        while waiting and len(active_runs) < AT_ONCE:
            kind = waiting.pop(0)
            active_runs[kind] = _started(kind, options)
        time.sleep(0.5)
        for kind in [kind for kind, run in active_runs.items() if run.poll() is not None]:
            code = active_runs.pop(kind).returncode
            rows.append({"kind": kind, **_figures(kind, code), "guided": guided})
            rows[-1]["seed"] = options.seed
            print("  ".join(f"{key}: {value}" for key, value in rows[-1].items()), flush=True)
    found = [row["kind"] for row in rows if row["findings"]]
    counted = ("inputs", "taken", "findings")
    total, taken, findings = (sum(row[key] for row in rows) for key in counted)
    where = f": {', '.join(found)}; see build/fuzz" if found else ""
    print(f"{total} inputs, {taken} of them taken, {findings} findings{where}")
    if options.n >= ALL_INPUTS and options.seconds >= ALL_SECONDS:
        body = ",\n".join(json.dumps(row) for row in sorted(rows, key=lambda row: row["kind"]))
        RESULTS.write_text(f"[\n{body}\n]\n")
    return int(bool(found))


def _started(kind: str, options: Options) -> "subprocess.Popen[bytes]":
    """The process that tries the inputs of a kind, in a folder of its own."""
    folder = STORE / kind
    (folder / "corpus").mkdir(parents=True)
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))),
        "COLUMNS": "100",
    }
    n = max(1, options.n * SHARES[kind] // ALL_INPUTS)
    seconds = max(5, AT_ONCE * options.seconds // len(SHARES))
    module = "benchmarks.robustness.fuzzing.worker"
    command = [sys.executable, "-m", module, kind, *map(str, (n, seconds, options.seed))]
    log = (folder / "log").open("wb")
    return subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)


def _figures(kind: str, code: int) -> dict[str, Any]:
    """The figures of a kind; its log is printed where something was found."""
    folder = STORE / kind
    log = (folder / "log").read_text("utf-8", "replace")
    whole = (folder / ACCOUNT).is_file()
    account = json.loads((folder / ACCOUNT).read_text()) if whole else asdict(Account())
    broken_off = bool(code) or not whole  # by a crash, or by an input that took too long
    if broken_off or account["found"]:
        lines = (line for line in log.splitlines() if not line.startswith(("#", "INFO")))
        print("\n".join(lines)[-6000:], flush=True)
    covered = re.findall(r"cov: (\d+)", log)
    return {
        **{key: account[key] for key in ("inputs", "taken", "seconds")},
        "findings": len(account["found"]) + broken_off,
        "branches": int(covered[-1]) if covered else None,
    }
