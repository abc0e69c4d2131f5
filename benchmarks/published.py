"""The tables of docs/results.md: what the papers print beside ours at full scale and on two cores; and the weights that ship."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from deepservo.bench.metrics import wilson
from deepservo.bench.published import PUBLISHED
from deepservo.bench.tables import ALL, figure, home, table
from deepservo.full_scale import is_full
from deepservo.recipes import EXPERIMENTS
from deepservo.unseen import SHIPPED, load_unseen
from rows import Row

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
TWO_CORES = ("one-scene", "aevs", "mlvs", "pictures", "classical", "six")  # the first of these that has a row counts
NOT_RUN = ["not run", "-", "-"]


def published(_: list[Row]) -> str:
    """A line a published figure."""
    lines = []
    for (name, method), (percent, mm) in PUBLISHED.items():
        lines.append([name, f"`{method}`", f"{percent:.1f}", figure(mm), *_cells(_full(name, method)), *_cells(_two_cores(name, method))])
    heads = [f"{where}: {what}" for where in ("full scale", "two cores") for what in ("home % [95 %]", "end mm", "learned for")]
    return table(["set", "method", "paper: home %", "end mm", *heads], lines, 2)


@functools.cache
def _rows(path: Path) -> list[Row]:
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def _full(name: str, method: str) -> list[Row]:
    """The rows of the full-scale result that measured this method on this set."""
    for recipe, experiment in EXPERIMENTS.items():
        path = RESULTS / "full-scale" / f"{recipe}.json"
        if method in experiment.methods and name in experiment.sets and is_full(path):
            content = json.loads(path.read_text())
            return [{**row, "trained_s": content["training"]["seconds"]} for row in _of(content["rows"], name, method)]
    return []


def _two_cores(name: str, method: str) -> list[Row]:
    return next((found for file in TWO_CORES if (found := _of(_rows(RESULTS / f"{file}.json"), name, method))), [])


def _of(rows: list[Row], name: str, method: str) -> list[Row]:
    return [row for row in rows if (row["set"], row["method"]) == (name, method) and row["scene"] != ALL]


def _cells(rows: list[Row]) -> list[str]:
    """Over all pictures; the end error is the mean of their medians."""
    if not rows:
        return NOT_RUN
    n = sum(row["n"] for row in rows)
    hits = round(sum(row["converged"] * row["n"] for row in rows))
    ends = [row["end_mm_median"] for row in rows if row["end_mm_median"] is not None]
    seconds = [row["trained_s"] for row in rows if row.get("trained_s")]
    total: dict[str, Any] = {"converged": hits / n, "converged_ci": wilson(hits, n)}
    minutes = f"{sum(seconds) / len(seconds) / 60:.1f} min" if seconds else "-"
    return [home(total), figure(sum(ends) / len(ends)) if ends else "-", minutes]


def recipes(_: list[Row]) -> str:
    """A line a recipe."""
    lines = []
    for name, experiment in EXPERIMENTS.items():
        path = RESULTS / "full-scale" / f"{name}.json"
        cells = ["not run", "-", "-", "-"]
        if is_full(path):
            content = json.loads(path.read_text())
            training = content["training"]
            share = f"{100 * training['rendering_share']:.0f}"
            gpu = content["machine"].get("gpu", content["machine"]["processor"])
            cells = [f"{training['seconds'] / 60:.1f}", f"{training['samples_per_s']:.0f}", share, gpu]
        lines.append([f"`{name}`", experiment.paper, str(experiment.steps), *cells])
    return table(["recipe", "what was published", "steps", "minutes", "samples a second", "% rendering", "hardware"], lines, 2)


def weights(_: list[Row]) -> str:
    """A line a file that ships."""
    lines = []
    for path in sorted(SHIPPED.glob("*.safetensors")):
        content, model = path.read_bytes(), load_unseen(path)
        made = model.training
        cells = [f"{made['parameters'] / 1e6:.2f}", f"{len(content) / 2**20:.1f}", str(made["steps"]), f"{made['seconds'] / 60:.0f}"]
        lines.append([f"`{path.stem}`", *cells, f"`{hashlib.sha256(content).hexdigest()}`"])
    return table(["name", "million weights", "MiB", "steps", "minutes", "SHA-256"], lines, 1)


def gpu(rows: list[Row]) -> str:
    """A line a method and number of runs: trajectory-steps a second beside the floors, and how long one call takes."""
    lines = []
    for row in rows:
        if row["steps_per_s"] is None:
            lines.append([f"`{row['method']}`", str(row["runs"]), "out of memory", "-", "-", "-", "-"])
            continue
        floors = [f"{row['steps_per_s'] / row[k]:.2f}" if row[k] else "-" for k in ("memory_floor", "flop_floor")]
        lines.append(
            [f"`{row['method']}`", str(row["runs"]), f"{row['steps_per_s']:.0f}", *floors, f"{row['ms_p50']:.2f}", f"{row['ms_p99']:.2f}"]
        )
    heads = [
        "method",
        "runs at once",
        "trajectory-steps a second",
        "of the memory's floor",
        "of the arithmetic's",
        "ms a call, median",
        "p99",
    ]
    return table(heads, lines, 1)
