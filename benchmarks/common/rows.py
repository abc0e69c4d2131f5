"""Results files of the benchmarks: rows as in `results.json`, one a line, on disk after each; and
what rows say together.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from deepservo.evaluation import metrics
from deepservo.evaluation.metrics import Judged
from deepservo.version import __version__

Row = dict[str, Any]


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
        metrics.write_results(self.path, self.rows)


def per_run(runs: Judged) -> dict[str, list[Any]]:
    """What pooling needs of each run, four significant digits: came home, end errors, steps to
    converge (null: did not).
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
    """The figures of a table over all runs of some rows; medians and means over the runs that came
    home, as in one row.
    """
    home, mm, deg, steps = (
        np.concatenate([np.array(row["runs"][k], float) for row in rows])
        for k in ("home", "end_mm", "end_deg", "steps")
    )
    good = home == 1
    ratios = [
        (row["length_ratio"], sum(row["runs"]["home"]))
        for row in rows
        if row["length_ratio"] is not None
    ]

    def median(values: np.ndarray) -> float | None:
        return float(np.median(values[good])) if good.any() else None

    return {
        "n": len(home),
        "converged": float(good.mean()),
        "converged_ci": metrics.wilson(int(good.sum()), len(home)),
        "end_mm_median": median(mm),
        "end_deg_median": median(deg),
        "length_ratio": sum(r * k for r, k in ratios) / sum(k for _, k in ratios)
        if ratios
        else None,
        "steps_median": median(steps),
    }
