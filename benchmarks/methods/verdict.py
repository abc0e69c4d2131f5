"""Whether runs know that they have arrived, and that they are lost: each run's last words beside
the truth, on all sets that need no training, and on scenes that mislead.

    python -m benchmarks verdict && make table
    python -m benchmarks verdict --sets checkerboard covered --n 4 --out out/verdict.json

A cell (one method on one part of a set before one scene) that is in --out is not measured again:
killed, it goes on.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.common.rows import ResultsFile, Row
from benchmarks.methods import verdict_runs
from benchmarks.methods.verdict_sets import cells, kinds
from benchmarks.methods.verdict_worlds import Cell
from benchmarks.tables import verdict as tables
from deepservo.cli.console import check_seed, work_bar
from deepservo.errors import InputError, unknown
from deepservo.methods import check_method, trained_as
from deepservo.system.files import check_writable

STOPPED = 130  # the exit code of what Ctrl-C has stopped


@dataclass(frozen=True)
class Options:
    """What is measured."""

    sets: tuple[str, ...] = ()
    """by name; all when none is given."""
    methods: tuple[str, ...] = ("auto",)
    """by name, that need no training."""
    n: int = 200
    """runs of each set, dealt to its parts and scenes; of some sets fewer, of one more."""
    workers: int = 2
    """processes, each with one thread."""
    image: Path | None = None
    """a picture, or a folder of them, instead of the bundled ones; hard-texture keeps its own."""
    seed: int = 0
    """of the starts and of what changes the pictures."""
    out: Path = Path("results/verdict.json")
    """the results file."""


def main(options: Options) -> int:
    """Measure what is not measured yet, and print it beside the marks."""
    try:
        results = ResultsFile(options.out)
        work = planned(options, results)
        fill(work, results, options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the cells that are done", file=sys.stderr)
        return STOPPED
    print(tables.verdict(results.rows), tables.by_set(results.rows), sep="\n\n")
    print("\n" + tables.false_arrivals(results.rows))
    return 0


def planned(options: Options, results: ResultsFile) -> list[Cell]:
    """The cells that are not in the results file yet; InputError where options do not fit, or
    the file holds others than these.
    """
    check_seed(options.seed)
    check_writable(options.out)
    for name, value in (("n", options.n), ("workers", options.workers)):
        if value < 1:
            raise InputError(f"--{name} {value}: give at least 1")
    for method in options.methods:
        check_method(method)
        if trained_as(method) or method == "pbvs":
            raise InputError(f"{method}: is trained, or told the true pose; give another method")
    if options.image is not None and not options.image.exists():
        raise InputError(f"{options.image}: no such file or folder; give one that holds pictures")
    known = kinds(tuple(verdict_runs.bench_of(options.image).scenes))
    for name in options.sets:
        if name not in known:
            raise unknown("set", name, known)
    other = [row for row in results.rows if _drawn(row) != (options.n, options.seed)]
    if other:
        raise InputError(
            f"{options.out}: holds runs that were made with --n {other[0].get('asked')} --seed "
            f"{other[0].get('seed')}; give these, or another --out"
        )
    every = [
        cell
        for name in options.sets or known
        for method in options.methods
        for cell in cells(method, name, known[name], options.n, options.seed)
    ]
    return [cell for cell in every if not results.has(asdict(cell))]


def _drawn(row: Row) -> tuple[int | None, int | None]:
    """What decided which runs a row has."""
    return row.get("asked"), row.get("seed")


def fill(work: list[Cell], results: ResultsFile, options: Options) -> None:
    """Measure these cells, each kept as it ends."""
    total, done, begin = sum(cell.n for cell in work), 0, time.monotonic()
    with work_bar(f"{total} runs", total) as show:
        for cell, row in measured(work, options):
            results.add({**row, "asked": options.n}, asdict(cell))
            done += cell.n
            left = (time.monotonic() - begin) / done * (total - done)
            where = ", ".join(word for word in (cell.method, cell.set, cell.part, cell.scene))
            show(done, f"{done} of {total} runs, about {_duration(left)} to go; {where}")


def measured(work: list[Cell], options: Options) -> Iterator[tuple[Cell, Row]]:
    """Each cell with its row, as they end. The processes end with the iteration, also where it is
    broken off.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(options.workers, context, _begin)
    try:
        waiting = {pool.submit(verdict_runs.measured, cell, options.image): cell for cell in work}
        for each in as_completed(waiting):
            yield waiting[each], each.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


def _begin() -> None:
    """Of a process that measures: it ends with the first one, which alone minds Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    verdict_runs.one_thread()


def _end_with_the_first() -> None:
    first = multiprocessing.parent_process()
    assert first is not None
    first.join()
    os._exit(1)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
