"""Copies of the tree, and processes that run pytest in them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
STORE = ROOT / "build" / "mutants"
WHOLE = STORE / "whole"  # a copy of the tree, so that changes to it meanwhile change nothing
PACKAGE = WHOLE / "src" / "deepservo"


def copy_whole() -> None:
    """Copy the working tree to WHOLE, and compile its bytecode, because no process that tries a
    fault writes any.
    """
    shutil.rmtree(WHOLE, ignore_errors=True)
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (WHOLE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, WHOLE / name)
    os.waitpid(start(WHOLE, STORE / "whole.log", ["--collect-only", "-q"], True), 0)


def copy_tree(number: int) -> Path:
    """A copy of the tree, into which one process at a time puts faults."""
    tree = STORE / f"tree-{number}"
    shutil.rmtree(tree, ignore_errors=True)
    return shutil.copytree(WHOLE, tree)


def start(tree: Path, log: Path, args: list[str], bytecode: bool = False) -> int:
    """Start pytest in the tree, in a process and a group of its own that writes to `log`; the
    process's id.
    """
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
def killed_at_exit() -> Iterator[dict[int, Any]]:
    """The processes that are running, by id; those that still run when the block is left, also by
    an error, are killed.
    """
    running: dict[int, Any] = {}
    try:
        yield running
    finally:
        for pid in running:
            os.killpg(pid, signal.SIGKILL)


def finished(running: dict[int, Any], deadline: Callable[[Any], float]) -> tuple[int, int | None]:
    """Wait for a process to end; its id and exit code, None where it passed its deadline and was
    killed.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            return pid, os.waitstatus_to_exitcode(status)
        for late in [pid for pid in running if time.monotonic() > deadline(running[pid])]:
            os.killpg(late, signal.SIGKILL)
            os.waitpid(late, 0)
            return late, None
        time.sleep(0.05)
