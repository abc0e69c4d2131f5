"""Results files of the benchmarks: rows as in `results.json`, one a line, on disk after each; and
the figures of several rows together.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepservo.evaluation import metrics, results_file
from deepservo.evaluation.metrics import Judged
from deepservo.version import __version__

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"


class ResultsFile:
    """The rows in a file, made by this version; those of another version are measured anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = json.loads(path.read_text()) if path.is_file() else {}
        self.rows: list[Row] = content["rows"] if content.get("version") == __version__ else []

    def has(self, settings: Row) -> bool:
        """Whether a row made with these settings is there."""
        return any(
            settings.items() <= {k: row.get(k) for k in settings}.items() for row in self.rows
        )

    def add(self, row: Row, settings: Row) -> None:
        """Keep a row, and write the file beside and renamed."""
        self.rows.append({**row, **settings})
        results_file.write_results(self.path, self.rows)


def fill(
    out: Path, wanted: Iterable[Row], measure: Callable[[Row], Row], shown: tuple[str, ...]
) -> None:
    """Measure the rows that a results file does not have yet, and print each.

    Args:
        out: the results file.
        wanted: the settings of each row.
        measure: makes the figures of a row from its settings.
        shown: which figures are printed.
    """
    results = ResultsFile(out)
    for settings in wanted:
        if not results.has(settings):
            row = measure(settings)
            results.add(row, settings)
            figures = ", ".join(f"{key} {row[key]}" for key in shown)
            print(f"{', '.join(f'{k} {v}' for k, v in settings.items())}: {figures}", flush=True)


def write(out: Path, rows: list[Row]) -> None:
    """Write a results file all at once, and print its rows."""
    results_file.write_results(out, rows)
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))


def read(name: str) -> list[Row]:
    """The rows of a file in `results/`; none without the file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def grouped(rows: Iterable[Row], *keys: str) -> Iterator[tuple[Any, list[Row]]]:
    """The rows that agree in these keys, under what they agree in (a tuple, of one key its value),
    in the order of the first row of each.
    """
    found: dict[Any, list[Row]] = {}
    for row in rows:
        values = tuple(row[key] for key in keys)
        found.setdefault(values if len(keys) > 1 else values[0], []).append(row)
    yield from found.items()


def per_run(runs: Judged) -> dict[str, list[Any]]:
    """What pooling needs of each run, four significant digits: whether it converged, end errors,
    steps to converge (null: it did not).
    """
    return {
        "home": runs.converged.astype(int).tolist(),
        "end_mm": [float(f"{x:.4g}") for x in runs.mm.tolist()],
        "end_deg": [float(f"{x:.4g}") for x in runs.deg.tolist()],
        "steps": [
            int(count) if good else None
            for count, good in zip(runs.steps.tolist(), runs.converged, strict=True)
        ],
    }


def pooled(rows: list[Row]) -> Row:
    """The figures of a table over all runs of some rows; medians and means over the runs that
    converged, as in one row.
    """
    converged, mm, deg, steps = (
        np.concatenate([np.array(row["runs"][k], float) for row in rows])
        for k in ("home", "end_mm", "end_deg", "steps")
    )
    good = converged == 1
    ratios = [
        (row["length_ratio"], sum(row["runs"]["home"]))
        for row in rows
        if row["length_ratio"] is not None
    ]

    def median(values: np.ndarray) -> float | None:
        return float(np.median(values[good])) if good.any() else None

    return {
        "n": len(good),
        "converged": float(good.mean()),
        "converged_ci": metrics.wilson(int(good.sum()), len(good)),
        "end_mm_median": median(mm),
        "end_deg_median": median(deg),
        "length_ratio": sum(r * k for r, k in ratios) / sum(k for _, k in ratios)
        if ratios
        else None,
        "steps_median": median(steps),
    }
