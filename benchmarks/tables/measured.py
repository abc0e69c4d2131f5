"""Markdown tables of rows of results, and of what has been measured: there a row or a column in
which nothing has run is left out.
"""

from collections.abc import Callable, Iterable, Sequence

from benchmarks.common.rows import Row
from deepservo.bench.tables import table, unique

NOT_RUN = "not run"
EMPTY = (NOT_RUN, "-")
MISSING = (
    "It needs a GPU: `deepservo recipe --missing` lists the experiments that have no full-scale "
    "result yet, and `deepservo recipe NAME` runs one."
)


def columns(rows: Iterable[Row], words: int, cells: dict[str, Callable[[Row], str]]) -> str:
    """A Markdown table with a line a row.

    Args:
        rows: of a results file.
        words: how many of the first columns are words; the others are figures.
        cells: what each column shows of a row, by the column's name.
    """
    return table(list(cells), ([cell(row) for cell in cells.values()] for row in rows), words)


def measured(
    head: Sequence[str], lines: Iterable[Sequence[str]], words: int, columns: slice, how: str
) -> str:
    """A Markdown table without the rows and columns that hold no measurement, and a line that names
    the rows left out by their first cell. Without any measurement it is that line alone.

    Args:
        head: the names of the columns.
        lines: the rows; a cell without a measurement is one of EMPTY.
        words: how many of the first columns are words; the others are figures.
        columns: which columns hold measurements.
        how: the sentence that says what a measurement needs, and by which command it is made.
    """
    lines = [list(line) for line in lines]
    run = [line for line in lines if any(cell not in EMPTY for cell in line[columns])]
    left_out = unique(line[0] for line in lines if line not in run)
    kept = [
        k
        for k in range(len(head))
        if k not in range(len(head))[columns] or any(line[k] not in EMPTY for line in run)
    ]
    shown = [[line[k] for k in kept] for line in (head, *run)]
    parts = [table(shown[0], shown[1:], words)] if run else []
    if left_out or not lines:
        names = f": {'; '.join(left_out)}" if left_out else ""
        parts.append(f"Not measured yet{names}. {how}")
    return "\n\n".join(parts)
