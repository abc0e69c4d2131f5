"""Puts faults into the code, one at a time, and looks whether the tests find them.

    python -m benchmarks mutants --n 300    # goes on where it stopped; needs the extra `mutants`

Cosmic Ray makes the faults; which are tried is drawn by a seed, and stays the same while the code's
other lines change. Each is tried in a copy of the tree, in a process forked from this one, which
has loaded what is slow to load and nothing of deepservo's. Tests that reach the function run, quick
ones first, until one fails. Which test reaches what is measured once, file by file, and kept in
`build/mutants`: remove that folder to measure anew. What is missed and no test is missing for is
judged by hand, in a row's `judged` of `results/mutants.json`, which stays.
"""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks.robustness.mutation.faults import Fault, drawn
from benchmarks.robustness.mutation.processes import (
    PACKAGE,
    ROOT,
    STORE,
    WHOLE,
    copy_tree,
    copy_whole,
    finished,
    killed_at_exit,
    start,
)
from benchmarks.robustness.mutation.reach import REACH, measure, tests_for

RESULTS = ROOT / "results" / "mutants.json"
# Slow to import, so they are imported once, before the forks.
LOADED = ("torch", "cv2", "scipy.spatial.transform", "skimage.segmentation", "hypothesis")
# A fault hangs whose tests take so many times as long as without it, and so much longer [s].
TIMES_AS_LONG, LONGER = 4, 60
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is tried."""

    n: int = 300
    """faults that are tried"""
    seed: int = 0
    """of what is drawn"""
    jobs: int = os.cpu_count() or 1
    """processes at a time"""
    again: bool = False
    """try those anew that were missed and are not judged"""
    tests: tuple[str, ...] = ("test_*.py",)
    """test files that may find them"""


def read_rows(seed: int, faults: dict[str, Fault]) -> dict[str, Row]:
    """The rows of the results file by key, of faults that still exist, on their present lines."""
    content = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows = content["rows"] if content.get("seed") == seed else []
    return {
        row["key"]: row | {"line": faults[row["key"]].line} for row in rows if row["key"] in faults
    }


def save(rows: list[Row], seed: int) -> None:
    """Write the results file beside and rename it."""
    rows = sorted(rows, key=lambda row: (row["file"], row["line"], row["change"]))
    body = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    beside = RESULTS.with_suffix(".partial")
    beside.write_text(f'{{\n "seed": {seed},\n "rows": [\n{body}\n ]\n}}\n')
    beside.replace(RESULTS)


def attempt(
    todo: list[Fault], trees: list[Path], reach: dict[str, Any]
) -> Iterator[tuple[Fault, Row]]:
    """Of each fault its outcome (found, hangs, or missed), the first test that failed, and how long
    it took [s].
    """
    free, todo = list(trees), list(todo)
    with killed_at_exit() as running:
        while todo or running:
            while todo and free:
                fault, tree = todo.pop(0), free.pop()
                tests = tests_for(fault, reach)
                (tree / "src" / "deepservo" / fault.file).write_text(fault.code())
                names = [test for test, _ in tests]
                args = ["-x", "-q", "--tb=line", *names] if names else ["--version"]
                begin, most = time.monotonic(), sum(seconds for _, seconds in tests)
                deadline = begin + TIMES_AS_LONG * most + LONGER
                pid = start(tree, tree.with_suffix(".log"), args)
                running[pid] = (fault, tree, begin, deadline)
            pid, code = finished(running, lambda job: job[3])
            fault, tree, begin, _ = running.pop(pid)
            free.append(tree)
            shutil.copy2(PACKAGE / fault.file, tree / "src" / "deepservo" / fault.file)
            log = tree.with_suffix(".log").read_text(errors="replace")
            if code == pytest.ExitCode.USAGE_ERROR and "ERROR: not found" in log:
                raise SystemExit(f"{log}\nthese tests are gone: remove {REACH}")
            failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", log, re.M)
            outcome = {0: "missed", None: "hangs"}.get(code, "found")
            seconds = round(time.monotonic() - begin, 1)
            test = failed[0] if failed else ""
            yield fault, {"outcome": outcome, "test": test, "seconds": seconds}


def main(options: Options) -> None:
    """Try what has not been tried, and print how many of all were found."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in LOADED:
        import_module(name)
    STORE.mkdir(parents=True, exist_ok=True)
    copy_whole()
    faults = {fault.key: fault for fault in drawn(options.seed)}
    rows = read_rows(options.seed, faults)
    again = {
        key
        for key, row in rows.items()
        if options.again and row["outcome"] == "missed" and not row.get("judged")
    }
    todo = [
        fault
        for k, (key, fault) in enumerate(faults.items())
        if key in again or (k < options.n and key not in rows)
    ]
    print(f"{len(todo)} of {len(faults)} faults to try", flush=True)
    trees = [copy_tree(k) for k in range(options.jobs)]
    files = {path for pattern in options.tests for path in (WHOLE / "tests").rglob(pattern)}
    for fault, found in attempt(todo, trees, measure(trees, sorted(files))):
        row = {"file": fault.file, "line": fault.line, "change": fault.change()}
        judged = rows.get(fault.key, {}).get("judged")
        row |= {"outcome": found["outcome"]}
        row |= {"judged": judged} if judged and found["outcome"] == "missed" else {}
        rows[fault.key] = {**row, **found, "key": fault.key}
        save(list(rows.values()), options.seed)
        where = f"{fault.file}:{fault.line} {row['change']}"
        print(f"{len(rows)}: {found['outcome']} {where} {found['test']}", flush=True)
    save(list(rows.values()), options.seed)
    count = sum(row["outcome"] != "missed" for row in rows.values())
    print(f"{count} of {len(rows)} faults were found, {100 * count / max(1, len(rows)):.1f} %")
