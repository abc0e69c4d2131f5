"""What the commands print: tables, bars, and lines where no bar can be drawn."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from deepservo.errors import InputError
from deepservo.system import distributed

TABLE_COLUMNS = 120  # of a table in what is no terminal
LOG_S = 20.0  # seconds between two lines of progress where no bar can be drawn


class _Console(Console):
    """Leaves it to the caller what is done when the reader of a pipe, such as head, has seen
    enough.
    """

    def on_broken_pipe(self) -> None:
        """Not an end of the program."""
        raise BrokenPipeError


# Without markup: file names are shown as they are.
console = _Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def check_seed(seed: int) -> None:
    """InputError when torch's generators do not take `seed`."""
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed must be a whole number from 0 to 2^63 - 1, not {seed}")


def table(rows: list[dict[str, Any]]) -> Table:
    """The figures that a reader looks for first, a line for each row of results.json."""
    shown = Table(title=None)
    for column in NAMES:
        shown.add_column(column)
    for column in ("runs", "converged", *FIGURES):
        shown.add_column(column, justify="right")
    for row in rows:
        share = row["converged"]
        converged = "unknown" if share is None else f"{100 * share:.1f} %"
        figures = (_figure(row[key], form) for key, form in FIGURES.values())
        shown.add_row(*(row[name] for name in NAMES), str(row["n"]), converged, *figures)
    return shown


def print_lines(*lines: Table | str) -> None:
    """Print them; a table keeps its columns where the output is no terminal."""
    wide = console if console.is_terminal else Console(width=TABLE_COLUMNS, markup=False)
    for line in lines:
        (wide if isinstance(line, Table) else console).print(line)


NAMES = ("method", "set", "scene")
FIGURES = {
    "arrived": ("arrived", ".1%"),
    "end mm": ("end_mm_median", ".4f"),
    "end deg": ("end_deg_median", ".5f"),
    "length": ("length_ratio", ".2f"),
    "steps": ("steps_median", ".0f"),
    "ms/step": ("ms_per_step_p50", ".0f"),
}
"""Columns of the table, with the key in the row and how it is written."""


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


@contextmanager
def _bar(what: str, total: int | None, note: str = "") -> Iterator[Callable[[int, int, str], None]]:
    """A bar to call with (done, of, note); where none can be drawn (a file, a pipe), a line now and
    then instead.

    Of several processes the first draws it.
    """
    if not distributed.first():
        yield lambda done, of, note: None
        return
    if not console.is_terminal:
        said = time.monotonic()

        def tell(done: int, of: int, note: str) -> None:
            nonlocal said
            if time.monotonic() - said > LOG_S:
                said = time.monotonic()
                console.print(f"{what}: {note}")

        yield tell
        return
    plain = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*plain, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(what, total=total, note=note)
        yield lambda done, of, note: bar.update(task, completed=done, total=of, note=note)


@contextmanager
def training_bar(what: str) -> Iterator[Any]:
    """A bar for a training: call it with each Progress."""
    with _bar(what, None, "timing the first steps") as bar:

        def show(progress: Any) -> None:
            loss = f", loss {progress.loss[-1][1]:.3g}" if progress.loss else ""
            bar(
                progress.step,
                progress.steps,
                f"{progress.doing}step {progress.step} of {progress.steps}{loss}",
            )

        yield show


@contextmanager
def servo_bar(what: str, max_steps: int) -> Iterator[Any]:
    """A bar for a servoing: call it with each step and the number of runs still moving."""
    with _bar(what, max_steps) as bar:
        yield lambda step, active: bar(step, max_steps, f"step {step}, {active} runs to go")
        bar(max_steps, max_steps, "")


@contextmanager
def work_bar(what: str, total: int) -> Iterator[Any]:
    """A bar for work that is counted: call it with how much is done, and a note."""
    with _bar(what, total) as bar:
        yield lambda done, note: bar(done, total, note)


@contextmanager
def bench_bar(rows: int) -> Iterator[Any]:
    """A bar for a benchmark: call it with each `bench.Standing`."""
    with _bar(f"{rows} rows", None, "") as bar:

        def show(at: Any) -> None:
            job = at.job
            where = ", ".join(word for word in (job.method, job.set, job.part, job.scene) if word)
            runs = f"run {at.runs} of {job.n}, step {at.step}"
            note = f"{where}: {runs}; {at.done} of {at.chunks} chunks done"
            bar(at.done, at.chunks, note)

        yield show
