"""The tables of docs/results.md: the published figures beside ours at full scale and on two cores;
marks; and the weights that ship.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.common.rows import RESULTS, Row
from benchmarks.tables.measured import MISSING, NOT_RUN, measured
from deepservo.bench.full_scale import is_full
from deepservo.bench.published import PUBLISHED
from deepservo.bench.tables import ALL, converged_percent, figure, table
from deepservo.evaluation.metrics import wilson
from deepservo.models.any_scene_model import SHIPPED, load_unseen
from deepservo.training.recipes import EXPERIMENTS

# Results files on two cores; the first of them that has a row counts.
TWO_CORES = ("one-scene", "aevs", "mlvs", "pictures", "classical", "six", "papers")
NO_CELLS = [NOT_RUN, "-", "-"]
# Each paper's method on the set that it was published on, one scene.
LEARNED = {"cnn": "lookat-rz", "siamese-se3": "gaussian", "aevs": "lookat", "mlvs": "lookat-rz"}
AS_VISP = "DVS steps, 320 x 240, 64 runs, antialiased"


def published(_: list[Row]) -> str:
    """A line a published figure."""
    lines = []
    for (name, method), (percent, mm) in PUBLISHED.items():
        ours = [*_cells(_full(name, method)), *_cells(_two_cores(name, method))]
        lines.append([name, f"`{method}`", f"{percent:.1f}", figure(mm), *ours])
    heads = [
        f"{where}: {what}"
        for where in ("full scale", "two cores")
        for what in ("converged % [95 %]", "end mm", "learned for")
    ]
    head = ["set", "method", "paper: converged %", "paper: end mm", *heads]
    return measured(head, lines, 2, slice(4, None), MISSING)


@functools.cache
def _rows(path: Path) -> list[Row]:
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def _whole() -> dict[str, dict[str, Any]]:
    """The full-scale results that there are, by recipe."""
    paths = {recipe: RESULTS / "full-scale" / f"{recipe}.json" for recipe in EXPERIMENTS}
    return {recipe: json.loads(path.read_text()) for recipe, path in paths.items() if is_full(path)}


def _full(name: str, method: str) -> list[Row]:
    return _first((content["rows"] for content in _whole().values()), name, method)


def _two_cores(name: str, method: str) -> list[Row]:
    return _first((_rows(RESULTS / f"{file}.json") for file in TWO_CORES), name, method)


def _first(files: Iterable[list[Row]], name: str, method: str) -> list[Row]:
    """The rows of a set and method, a row a scene, in the first file that has them."""
    for rows in files:
        wanted = [row for row in rows if (row["set"], row["method"]) == (name, method)]
        if found := [row for row in wanted if row["scene"] != ALL]:
            return found
    return []


def _cells(rows: list[Row]) -> list[str]:
    """Over all pictures; the end error is the mean of their medians."""
    if not rows:
        return NO_CELLS
    n = sum(row["n"] for row in rows)
    hits = round(sum(row["converged"] * row["n"] for row in rows))
    ends = [row["end_mm_median"] for row in rows if row["end_mm_median"] is not None]
    seconds = [row["trained_s"] for row in rows if row.get("trained_s")]
    total: dict[str, Any] = {"converged": hits / n, "converged_ci": wilson(hits, n)}
    minutes = f"{sum(seconds) / len(seconds) / 60:.1f} min" if seconds else "-"
    return [converged_percent(total), figure(sum(ends) / len(ends)) if ends else "-", minutes]


def recipes(_: list[Row]) -> str:
    """A line a recipe."""
    lines, whole = [], _whole()
    for name, experiment in EXPERIMENTS.items():
        cells = [*NO_CELLS, "-"]
        if name in whole:
            training, machine = whole[name]["training"], whole[name]["machine"]
            cells = [
                f"{training['seconds'] / 60:.1f}", f"{training['samples_per_s']:.0f}",
                f"{100 * training['rendering_share']:.0f}",
                machine.get("gpu", machine["processor"]),
            ]  # fmt: skip
        lines.append([f"`{name}`", experiment.paper, str(experiment.steps), *cells])
    head = ["recipe", "what was published", "steps", "minutes", "samples a second", "% rendering"]
    return measured([*head, "hardware"], lines, 2, slice(3, None), MISSING)


def marks(_: list[Row]) -> str:
    """A line a mark that a GPU is to meet."""
    lines = [
        [_mark(name, method), _learned(name, method), f"`deepservo recipe {method}`"]
        for method, name in LEARNED.items()
    ]
    rows = [
        row for content in _whole().values() for row in content["rows"] if row["set"] == "lookat-rz"
    ]
    slowest = max(
        ((row["time_s"] * 500 / row["n"] / 60, row["method"]) for row in rows), default=None
    )
    cell = f"{slowest[0]:.1f} min, `{slowest[1]}`" if slowest else NOT_RUN
    mark = "500 runs of `lookat-rz` by the slowest method in 3 min"
    lines.append([mark, cell, "`deepservo recipe` of each"])
    rows, by = _rows(RESULTS / "gpu.json"), "`python -m benchmarks gpu`"
    for method, net, most in (("aevs", "ResNet-18", 1.5), ("siamese-se3", "EfficientNet-B3", 3.0)):
        alone = [row["ms_p50"] for row in rows if (row["method"], row["runs"]) == (method, 1)]
        cell = f"{alone[0]:.2f} ms" if alone else NOT_RUN
        mark = f"one control step of `{method}`, {net}, 224 x 224, in {most:g} ms"
        lines.append([mark, cell, by])
    ours = [row["steps_per_s"] or 0.0 for row in rows if row["method"] == "dvs-visp"]
    (visp,) = (row["theirs"] for row in _rows(RESULTS / "speed.json") if row["what"] == AS_VISP)
    cell = f"{max(ours) / visp:.0f} times" if ours else NOT_RUN
    mark = "1000 times as many simulated steps of DVS a second as ViSP, 320 x 240"
    lines.append([mark, cell, by])
    how = f"{MISSING} {by} measures the speed."
    return measured(["mark", "measured", "by"], lines, 1, slice(1, 2), how)


def _mark(name: str, method: str) -> str:
    share = PUBLISHED[name, method][0]
    return f"`{method}` learned to {share:.1f} % converged on `{name}` in 10 min"


def _learned(name: str, method: str) -> str:
    """The share that converged, and how long the method learned for it."""
    rows = _full(name, method)
    if not rows:
        return NOT_RUN
    return f"{100 * rows[0]['converged']:.1f} %, {rows[0]['trained_s'] / 60:.1f} min"


def weights(_: list[Row]) -> str:
    """A line a file that ships."""
    lines = []
    for path in sorted(SHIPPED.glob("*.safetensors")):
        content, made = path.read_bytes(), load_unseen(path).training
        settings = made["settings"]
        steps, minutes = settings["steps asked"], settings["minutes"]
        length = f"--steps {steps}" if steps else f"--minutes {minutes:g}"
        size = [f"{made['parameters'] / 1e6:.2f}", f"{len(content) / 2**20:.1f}"]
        training = [f"`deepservo learn --method {path.stem} {length}`", str(made["steps"])]
        result = [SHOWN[path.stem](), f"`{hashlib.sha256(content).hexdigest()}`"]
        lines.append([f"`{path.stem}`", *size, *training, f"{made['seconds'] / 60:.0f}", *result])
    head = ["name", "million weights", "MiB", "made by", "steps", "minutes", "result", "SHA-256"]
    return table(head, lines, 1)


def _pairs_converged() -> str:
    rows = [
        row
        for row in _rows(RESULTS / "unseen.json")
        if (row["method"], row["scene"]) == ("cnn-pair+dvs", ALL)
    ]
    return f"`cnn-pair+dvs`, {_hits(rows)} converged on `unseen`"


def _objects_converged() -> str:
    wanted = ("dfbvs", "keypoints", "whole")
    rows = [
        row
        for row in _rows(RESULTS / "objects.json")
        if (row["method"], row["detector"], row["variant"]) == wanted
    ]
    shares = [{"n": len(row["runs"]["steps"]), "converged": row["home"]} for row in rows]
    return f"`dfbvs`, {_hits(shares)} converged before objects"


def _hits(rows: list[Row]) -> str:
    hits = round(sum(row["converged"] * row["n"] for row in rows))
    return f"{hits} of {sum(row['n'] for row in rows)}"


SHOWN = {"cnn-pair": _pairs_converged, "keypoints": _objects_converged}
"""The result of each file that ships, where it steered."""
