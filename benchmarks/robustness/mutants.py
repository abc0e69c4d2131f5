"""Puts faults into the code, one at a time, and looks whether the tests find them.

    python -m benchmarks mutants --n 300    # goes on where it stopped; needs the extra `mutants`

Cosmic Ray makes the faults; which are tried is drawn by a seed, and stays the same while the code's
other lines change. Each is tried in a copy of the tree, in a process forked from this one, which
has loaded what is slow to load and nothing of deepservo's. Tests that reach the function run, quick
ones first, until one fails. Which test reaches what is measured once, file by file, and kept in
`build/mutants`: remove that folder to measure anew. What is missed and no test is missing for is
judged by hand, in a row's `judged` of `results/mutants.json`, which stays.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cosmic_ray.plugins
import coverage
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).resolve().parents[2]
STORE, RESULTS = ROOT / "build" / "mutants", ROOT / "results" / "mutants.json"
WHOLE = (
    STORE / "whole"
)  # the tree as it was when this began: whoever writes on meanwhile does not disturb
PACKAGE = WHOLE / "src" / "deepservo"
# file|function: control, geometry, features, methods, perturbations, metrics, and the losses; not
# what is drawn to train on
SCOPE = (
    "control.py|*", "geometry/*|*", "features/*|*", "methods/*|*", "scene/perturb.py|*",
    "scene/reference.py|*", "evaluation/metrics.py|*", "nets/siamese.py|*", "nets/metric.py|*",
    "training/tasks/*|*loss*", "training/tasks/siamese.py|*", "training/tasks/keypoint.py|_*",
    "training/tasks/keypoint.py|warped", "training/tasks/latent.py|*Task._*",
    "training/tasks/latent.py|bent", "training/tasks/latent.py|pairwise_distance",
    "training/tasks/pair.py|_missed", "training/tasks/pair.py|there",
)  # fmt: skip
OPERATORS = """
NumberReplacer ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd AddNot
ReplaceBreakWithContinue ReplaceContinueWithBreak ZeroIterationForLoop
ReplaceUnaryOperator_Delete_USub ReplaceUnaryOperator_Delete_Not ReplaceUnaryOperator_Delete_Invert
ReplaceBinaryOperator_Add_Sub ReplaceBinaryOperator_Sub_Add ReplaceBinaryOperator_Mul_Div
ReplaceBinaryOperator_Div_Mul ReplaceBinaryOperator_FloorDiv_Mul ReplaceBinaryOperator_Mod_Mul
ReplaceBinaryOperator_Pow_Mul ReplaceBinaryOperator_LShift_RShift
ReplaceBinaryOperator_RShift_LShift ReplaceBinaryOperator_BitAnd_BitOr
ReplaceBinaryOperator_BitOr_BitAnd ReplaceComparisonOperator_Lt_GtE ReplaceComparisonOperator_LtE_Gt
ReplaceComparisonOperator_Gt_LtE ReplaceComparisonOperator_GtE_Lt ReplaceComparisonOperator_Eq_NotEq
ReplaceComparisonOperator_NotEq_Eq ReplaceComparisonOperator_Is_IsNot
ReplaceComparisonOperator_IsNot_Is
# of Cosmic Ray's; not `<` for `<=`, which between measured numbers are one, and no second
# replacement of the same sign
""".split()
TINY = 1e-5  # a number below it only keeps a division from nothing
LOADED = (
    "torch",
    "cv2",
    "scipy.spatial.transform",
    "skimage.segmentation",
    "hypothesis",
)  # once, before the forks
BUDGET = 60.0  # seconds of tests that a fault has to get past
PATIENCE = (
    4,
    60,
)  # a fault hangs that takes so many times as long as its tests took, and so many seconds more


@dataclass(frozen=True)
class Fault:
    """One change of one file: where it is, and how Cosmic Ray makes it."""

    file: str
    where: str
    line: int
    key: str  # what it is known by while other lines come and go
    operator: str
    occurrence: int

    def code(self) -> str:
        """The file with the fault in it."""
        changed = mutate_code(
            (PACKAGE / self.file).read_text(), operator_of(self.operator), self.occurrence
        )
        assert changed is not None
        return changed

    def change(self) -> str:
        """The line as it is, and as the fault has it."""
        lines, changed = (PACKAGE / self.file).read_text().splitlines(), self.code().splitlines()
        pair = next(
            ((a, b) for a, b in zip(lines, changed, strict=False) if a != b),
            ("", "the last lines are gone"),
        )
        return " -> ".join(" ".join(text.split()) for text in pair)


@cache
def operator_of(name: str) -> Any:
    """Cosmic Ray's operator of that name."""
    return cosmic_ray.plugins.get_operator(f"core/{name}")()


def faults(file: str) -> Iterator[Fault]:
    """Every fault that may be put into a file, but for those that nobody could find, or would look
    for.
    """
    source = (PACKAGE / file).read_text()
    tree, lines, nodes = ast.parse(source), source.splitlines(), list(ast_nodes(get_ast(source)))
    silent, functions = [_span(node) for node in _silent(tree)], _functions(tree)
    for operator in OPERATORS:
        found = operator_of(operator)
        places = (place for node in nodes for place in found.mutation_positions(node))
        before, nth = (0, 0), 0
        for occurrence, ((row, column), _) in enumerate(places):
            nth = (
                nth + 1 if (row, column) == before else 0
            )  # of those that an operator makes at one place
            before = (row, column)
            where = next((name for name, begin, end in functions if begin <= row <= end), "")
            wanted = any(fnmatch(f"{file}|{where}", pattern) for pattern in SCOPE)
            if wanted and not any(begin <= (row, column) < end for begin, end in silent):
                key = "|".join(
                    (file, where, lines[row - 1].strip(), str(column), operator, str(nth))
                )
                yield Fault(file, where, row, key, operator, occurrence)


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def _silent(tree: ast.AST) -> Iterator[ast.AST]:
    """What decides nothing: annotations, messages, decorators, `zip(strict=True)`, seeds, TINY
    numbers, and who works, C or its twin.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr):
            yield node
        elif isinstance(node, ast.FunctionDef):
            yield from node.decorator_list
            yield from [node.returns] if node.returns else []
        elif isinstance(node, ast.ClassDef):
            yield from node.decorator_list
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            yield node.annotation
        elif isinstance(node, ast.keyword) and node.arg in ("strict", "seed"):
            yield node
        elif isinstance(node, ast.Call) and getattr(
            node.func, "attr", getattr(node.func, "id", "")
        ) in ("manual_seed", "generator"):
            yield from node.args
        elif isinstance(node, ast.IfExp | ast.Compare):
            yield from [node] if re.search(r"\blib\b|native\.library", ast.unparse(node)) else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield from [node] if 0 < node.value < TINY else []


def _functions(tree: ast.Module) -> list[tuple[str, int, int]]:
    """Name, first and last line of the functions and methods that stand in no other."""
    found = []
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, ast.FunctionDef):
                name = f"{node.name}.{part.name}" if isinstance(node, ast.ClassDef) else part.name
                found.append((name, part.lineno, part.end_lineno or part.lineno))
    return found


def drawn(seed: int) -> list[Fault]:
    """All faults that there are, in the order in which they are tried: a number, then another, as
    long as there are both.
    """
    files = sorted(
        {
            str(path.relative_to(PACKAGE))
            for pattern in SCOPE
            for path in PACKAGE.glob(pattern.split("|")[0])
            if path.suffix
        }
    )
    every = sorted(
        (f for file in files for f in faults(file)),
        key=lambda f: hashlib.sha256(f"{seed}|{f.key}".encode()).digest(),
    )
    numbers, others = (
        [f for f in every if ("Number" in f.operator) == of_numbers] for of_numbers in (True, False)
    )
    return [f for pair in zip_longest(numbers, others) for f in pair if f]


# Processes.


def copy_whole() -> None:
    """Copy the tree as it stands to WHOLE, and make its bytecode: no process that tries a fault
    writes any.
    """
    shutil.rmtree(WHOLE, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (WHOLE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, WHOLE / name)
    os.waitpid(start(WHOLE, STORE / "whole.log", ["--collect-only", "-q"], True), 0)


def copy_tree(number: int) -> Path:
    """A copy for one process at a time to put faults into."""
    tree = STORE / f"tree-{number}"
    shutil.rmtree(tree, ignore_errors=True)
    return shutil.copytree(WHOLE, tree)


def start(tree: Path, log: Path, args: list[str], bytecode: bool = False) -> int:
    """pytest in the tree, in a process and a group of its own. What it says goes to `log`."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(tree)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    sys.dont_write_bytecode = not bytecode
    os.environ |= {
        "PYTHONPATH": str(tree / "src"),
        "COVERAGE_FILE": f"{log}.coverage",
        "PYTHONDONTWRITEBYTECODE": "" if bytecode else "1",
    }
    ours = (ROOT, ROOT / "src")
    sys.path[:] = [str(tree / "src"), *(path for path in sys.path if Path(path) not in ours)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]  # the tests import those of the tree
    code = 1
    try:
        code = int(pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", *args]))
    finally:
        sys.stdout.flush()
        os._exit(code)


@contextmanager
def ended() -> Iterator[dict[int, Any]]:
    """Processes that are running: in whatever way the block is left, none of them stays."""
    running: dict[int, Any] = {}
    try:
        yield running
    finally:
        for pid in running:
            os.killpg(pid, signal.SIGKILL)


def finished(running: dict[int, Any], deadline: Any) -> tuple[int, int | None]:
    """A process that has ended and what it ended with: None where it was too late."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            return pid, os.waitstatus_to_exitcode(status)
        for late in [pid for pid in running if time.monotonic() > deadline(running[pid])]:
            os.killpg(late, signal.SIGKILL)
            os.waitpid(late, 0)
            return late, None
        time.sleep(0.05)


# Which test reaches what.


def measure(trees: list[Path], files: list[Path]) -> dict[str, Any]:
    """By test file: its digest, and of each test that passes the seconds it takes and the functions
    that it reaches.
    """
    store = STORE / "reach.json"
    known: dict[str, Any] = json.loads(store.read_text()) if store.is_file() else {}
    digests = {
        str(path.relative_to(WHOLE / "tests")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    todo = [name for name, digest in digests.items() if known.get(name, {}).get("digest") != digest]
    free = list(trees)
    with ended() as running:
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
            known[name] = {"digest": digests[name], "tests": _reached(tree, log_of(name))}
            store.write_text(json.dumps(known))
            print(f"measured {name}: {len(known[name]['tests'])} tests", flush=True)
    return {name: known[name] for name in digests}


def log_of(name: str) -> Path:
    """Of the process that measures a test file."""
    return STORE / f"{name.replace('/', '-')}.log"


def _reached(tree: Path, log: Path) -> dict[str, Any]:
    """Of each test that passed in a process that has ended: seconds, and functions as file|name."""
    tests: dict[str, Any] = {}
    if not Path(f"{log}.xml").is_file():
        print(f"{log} tells why its process broke off: these tests find nothing here")
        return tests
    for case in ElementTree.parse(f"{log}.xml").iter("testcase"):
        if not len(case) or {child.tag for child in case} <= {
            "properties",
            "system-out",
            "system-err",
        }:
            tests[f"{case.get('file')}::{case.get('name')}"] = {
                "seconds": float(case.get("time", 0)),
                "reaches": [],
            }
    data = coverage.CoverageData(f"{log}.coverage")
    data.read()
    for path in data.measured_files():
        file = str(Path(path).relative_to(tree / "src" / "deepservo"))
        functions = _functions(ast.parse(Path(path).read_text()))
        reached = set()
        for line, contexts in data.contexts_by_lineno(path).items():
            name = next((name for name, begin, end in functions if begin < line <= end), None)
            reached |= {(context.split("|")[0], name) for context in contexts if name and context}
        for test, name in reached:
            if test in tests:
                tests[test]["reaches"].append(f"{file}|{name}")
    return tests


def tests_for(fault: Fault, reach: dict[str, Any]) -> list[tuple[str, float]]:
    """The tests that reach the fault, and their seconds, quick ones first, up to BUDGET."""
    tests = {test: told for file in reach.values() for test, told in file["tests"].items()}
    names = [] if fault.where else defined(fault)
    wanted = {f"{fault.file}|{fault.where}"} if fault.where else mentioning(names, PACKAGE)
    asked = mentioning(names, WHOLE / "tests")
    found = [
        (told["seconds"], test)
        for test, told in tests.items()
        if wanted & set(told["reaches"]) or named(test) in asked
    ]
    if not found:  # a new function, or a constant that none mentions
        found = [
            (told["seconds"], test)
            for test, told in tests.items()
            if any(f.startswith(f"{fault.file}|") for f in told["reaches"])
        ]
    chosen, total = [], 0.0
    for seconds, test in sorted(found):
        if total + seconds <= BUDGET:
            chosen.append((test, seconds))
            total += seconds
    return chosen


def named(test: str) -> str:
    """A test as `_texts` knows it, from `tests/room/test_x.py::test_y[z]`."""
    return test.removeprefix("tests/").split("[")[0].replace("::", "|")


def defined(fault: Fault) -> list[str]:
    """What the statement defines that a fault outside of functions is in."""
    for node in ast.parse((PACKAGE / fault.file).read_text()).body:
        if node.lineno <= fault.line <= (node.end_lineno or 0):
            names = [
                n.id
                for n in ast.walk(node)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            ]
            return names + ([node.name] if isinstance(node, ast.ClassDef) else [])
    return []


def mentioning(names: list[str], folder: Path) -> set[str]:
    """The functions in a folder's files that mention one of these, as file|name."""
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
        for name, begin, end in _functions(ast.parse(source)):
            texts[f"{path.relative_to(folder)}|{name}"] = "\n".join(
                source.splitlines()[begin - 1 : end]
            )
    return texts


# Trying.


def save(rows: list[dict[str, Any]], seed: int) -> None:
    """Write the results file beside and rename it."""
    rows = sorted(rows, key=lambda row: (row["file"], row["line"], row["change"]))
    body = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    beside = RESULTS.with_suffix(".partial")
    beside.write_text(f'{{\n "seed": {seed},\n "rows": [\n{body}\n ]\n}}\n')
    beside.replace(RESULTS)


def attempt(
    todo: list[Fault], trees: list[Path], reach: dict[str, Any]
) -> Iterator[tuple[Fault, str, str, float]]:
    """Of each fault what came of it (found, hangs, or missed), the first test that failed, and the
    seconds that it took.
    """
    free, todo = list(trees), list(todo)
    with ended() as running:
        while todo or running:
            while todo and free:
                fault, tree = todo.pop(0), free.pop()
                tests = tests_for(fault, reach)
                (tree / "src" / "deepservo" / fault.file).write_text(fault.code())
                most = PATIENCE[0] * sum(seconds for _, seconds in tests) + PATIENCE[1]
                args = (
                    ["-x", "-q", "--tb=line", *(test for test, _ in tests)]
                    if tests
                    else ["--version"]
                )
                running[start(tree, tree.with_suffix(".log"), args)] = (
                    fault,
                    tree,
                    time.monotonic(),
                    most,
                )
            pid, code = finished(running, lambda job: job[2] + job[3])
            fault, tree, began, _ = running.pop(pid)
            free.append(tree)
            shutil.copy2(PACKAGE / fault.file, tree / "src" / "deepservo" / fault.file)
            said = tree.with_suffix(".log").read_text(errors="replace")
            if code == pytest.ExitCode.USAGE_ERROR and "ERROR: not found" in said:
                raise SystemExit(f"{said}\nthese tests are gone: remove {STORE / 'reach.json'}")
            failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.M)
            outcome = {0: "missed", None: "hangs"}.get(code, "found")
            yield fault, outcome, failed[0] if failed else "", time.monotonic() - began


def main() -> None:
    """Try what has not been tried, and tell how many of all were found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=300, help="faults that are tried")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument(
        "--again", action="store_true", help="try those anew that were missed and are not judged"
    )
    parser.add_argument(
        "--tests", nargs="*", default=["test_*.py"], help="test files that may find them"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in LOADED:
        import_module(name)
    STORE.mkdir(parents=True, exist_ok=True)
    copy_whole()
    every = {fault.key: fault for fault in drawn(args.seed)}
    told = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"rows": []}
    rows = {row["key"]: row for row in told["rows"] if told.get("seed") == args.seed}
    rows = {key: row | {"line": every[key].line} for key, row in rows.items() if key in every}
    again = {
        key
        for key, row in rows.items()
        if args.again and row["outcome"] == "missed" and not row.get("judged")
    }
    todo = [
        fault
        for k, (key, fault) in enumerate(every.items())
        if key in again or (k < args.n and key not in rows)
    ]
    print(f"{len(todo)} of {len(every)} faults to try", flush=True)
    trees = [copy_tree(k) for k in range(args.jobs)]
    reach = measure(
        trees, sorted({path for pattern in args.tests for path in (WHOLE / "tests").rglob(pattern)})
    )
    for fault, outcome, test, seconds in attempt(todo, trees, reach):
        told = {
            "file": fault.file,
            "line": fault.line,
            "change": fault.change(),
            "outcome": outcome,
        }
        told |= (
            {"judged": rows[fault.key]["judged"]}
            if outcome == "missed" and rows.get(fault.key, {}).get("judged")
            else {}
        )
        rows[fault.key] = told | {"test": test, "seconds": round(seconds, 1), "key": fault.key}
        save(list(rows.values()), args.seed)
        print(
            f"{len(rows)}: {outcome} {fault.file}:{fault.line} {rows[fault.key]['change']} {test}",
            flush=True,
        )
    save(list(rows.values()), args.seed)
    found = sum(row["outcome"] != "missed" for row in rows.values())
    print(f"{found} of {len(rows)} faults were found, {100 * found / max(1, len(rows)):.1f} %")


if __name__ == "__main__":
    main()
