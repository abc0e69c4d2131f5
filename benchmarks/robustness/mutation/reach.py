"""Which tests reach which functions, and how long they take."""

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import coverage

from benchmarks.robustness.mutation.faults import Fault
from benchmarks.robustness.mutation.processes import (
    PACKAGE,
    STORE,
    WHOLE,
    finished,
    killed_at_exit,
    start,
)
from benchmarks.robustness.mutation.scope import functions

REACH = STORE / "reach.json"
MAX_TEST_SECONDS = 60.0  # of all tests that are run on a fault


def measure(trees: list[Path], files: list[Path]) -> dict[str, Any]:
    """By test file: its digest, and of each test that passes how long it takes [s] and the
    functions that it reaches.
    """
    found: dict[str, Any] = json.loads(REACH.read_text()) if REACH.is_file() else {}
    digests = {
        str(path.relative_to(WHOLE / "tests")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    todo = [name for name, digest in digests.items() if found.get(name, {}).get("digest") != digest]
    free = list(trees)
    with killed_at_exit() as running:
        while todo or running:
            while todo and free:
                name, tree = todo.pop(0), free.pop()
                log = log_of(name)
                args = (
                    f"tests/{name} --cov=deepservo --cov-context=test --cov-report= "
                    f"--junitxml={log}.xml -o junit_family=xunit1"
                )
                running[start(tree, log, args.split(), True)] = (name, tree)
            pid, _ = finished(running, lambda _: float("inf"))
            name, tree = running.pop(pid)
            free.append(tree)
            found[name] = {"digest": digests[name], "tests": _reached(tree, log_of(name))}
            REACH.write_text(json.dumps(found))
            print(f"measured {name}: {len(found[name]['tests'])} tests", flush=True)
    return {name: found[name] for name in digests}


def log_of(name: str) -> Path:
    """The log of the process that measures a test file."""
    return STORE / f"{name.replace('/', '-')}.log"


def _reached(tree: Path, log: Path) -> dict[str, Any]:
    """Of each test that passed in a process that has ended: how long it took [s], and the functions
    that it reached, as file|name.
    """
    tests: dict[str, Any] = {}
    if not Path(f"{log}.xml").is_file():
        print(f"{log} says why its process broke off; its tests are not run on faults")
        return tests
    for case in ElementTree.parse(f"{log}.xml").iter("testcase"):
        if {child.tag for child in case} <= {"properties", "system-out", "system-err"}:
            name, seconds = f"{case.get('file')}::{case.get('name')}", float(case.get("time", 0))
            tests[name] = {"seconds": seconds, "reaches": []}
    data = coverage.CoverageData(f"{log}.coverage")
    data.read()
    for path in data.measured_files():
        file = str(Path(path).relative_to(tree / "src" / "deepservo"))
        parts = functions(ast.parse(Path(path).read_text()))
        reached = set()
        for line, contexts in data.contexts_by_lineno(path).items():
            name = next((name for name, begin, end in parts if begin < line <= end), None)
            reached |= {(context.split("|")[0], name) for context in contexts if name and context}
        for test, name in reached:
            if test in tests:
                tests[test]["reaches"].append(f"{file}|{name}")
    return tests


def tests_for(fault: Fault, reach: dict[str, Any]) -> list[tuple[str, float]]:
    """The tests that reach the fault, and how long each takes [s], quick ones first, of at most
    MAX_TEST_SECONDS in all.
    """
    tests = {test: facts for file in reach.values() for test, facts in file["tests"].items()}
    names = [] if fault.where else defined(fault)
    wanted = {f"{fault.file}|{fault.where}"} if fault.where else mentioning(names, PACKAGE)
    by_name = mentioning(names, WHOLE / "tests")
    found = [
        (facts["seconds"], test)
        for test, facts in tests.items()
        if wanted & set(facts["reaches"]) or named(test) in by_name
    ]
    if not found:  # a new function, or a constant that no function mentions
        found = [
            (facts["seconds"], test)
            for test, facts in tests.items()
            if any(name.startswith(f"{fault.file}|") for name in facts["reaches"])
        ]
    chosen, total = [], 0.0
    for seconds, test in sorted(found):
        if total + seconds <= MAX_TEST_SECONDS:
            chosen.append((test, seconds))
            total += seconds
    return chosen


def named(test: str) -> str:
    """A test's name in `_texts`, from `tests/room/test_x.py::test_y[z]`."""
    return test.removeprefix("tests/").split("[")[0].replace("::", "|")


def defined(fault: Fault) -> list[str]:
    """The names that the statement defines in which a fault outside of functions is."""
    for node in ast.parse((PACKAGE / fault.file).read_text()).body:
        if node.lineno <= fault.line <= (node.end_lineno or 0):
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name))
            names = [n.id for n in stored if isinstance(n.ctx, ast.Store)]
            return names + ([node.name] if isinstance(node, ast.ClassDef) else [])
    return []


def mentioning(names: list[str], folder: Path) -> set[str]:
    """The functions in a folder's files that mention one of these names, as file|name."""
    return {
        where
        for where, text in _texts(folder).items()
        if any(re.search(rf"\b{name}\b", text) for name in names)
    }


@cache
def _texts(folder: Path) -> dict[str, str]:
    """The text of every function in a folder's files, by file|name."""
    texts = {}
    for path in folder.rglob("*.py"):
        source = path.read_text()
        for name, begin, end in functions(ast.parse(source)):
            texts[f"{path.relative_to(folder)}|{name}"] = "\n".join(
                source.splitlines()[begin - 1 : end]
            )
    return texts
