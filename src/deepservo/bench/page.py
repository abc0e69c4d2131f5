"""The page of a benchmark: methods by condition, figures beside the published ones, and the runs
behind them. `bench_page.js` draws it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepservo.bench.landscape import AXES, landscapes, reach
from deepservo.bench.runs import Bench, Runs
from deepservo.bench.tables import MAX_SCENES, pairs, probability, published
from deepservo.evaluation.metrics import wilson
from deepservo.methods import build
from deepservo.report.page import write_page
from deepservo.report.run_data import evenly_spaced, until_lost

DISTANCE_BINS = 8  # of the distance at the start
SHARE_EDGES = np.linspace(0, 1, 11)  # of bins of the share of the goal that the start sees
CURVE_POINTS = 80  # of an error curve
MIN_PATHS, MAX_PATHS = 6, 40  # drawn of one method in one part of a set
ALL_PATHS = 2000  # drawn on the whole page, about
PATH_POINTS = 30


Group = tuple[str, str, str]
"""A set, a part of it, a method."""


def write_bench_page(
    path: Path, pooled: Sequence[Mapping[str, Any]], runs: Mapping[Group, Runs], bench: Bench
) -> None:
    """Write the page to `path`, all at once.

    pooled: rows over all scenes. runs: the runs behind each of them.
    """
    sets, _, methods = (list(dict.fromkeys(names)) for names in zip(*runs, strict=True))
    total = sum(len(each.run) for each in runs.values())
    paths = min(MAX_PATHS, max(MIN_PATHS, ALL_PATHS // len(runs)))
    data = {
        "pooled": [{**row, "published": published(row["set"], row["method"])} for row in pooled],
        "pairs": [(*each[:5], probability(each[5])) for each in pairs(pooled)],
        "groups": [
            _group(name, part, runs, paths)
            for name, part in dict.fromkeys((name, part) for name, part, _ in runs)
        ],
        "axes": [{"name": name, "reach": reach(i, bench.distance)} for i, name in enumerate(AXES)],
        "landscapes": _landscapes(methods, bench),
    }
    words = {
        "title": f"{', '.join(methods)} on {', '.join(sets)}",
        "sentence": _sentence(pooled, total),
    }
    write_page(path, "bench_page", words, data)


def _sentence(pooled: Sequence[Mapping[str, Any]], total: int) -> str:
    """The methods with the largest mean share over all sets and parts; of equals, the one that ends
    nearest.
    """
    shares: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {}
    for row in pooled:
        shares.setdefault(row["method"], []).append(row["converged"])
        ends.setdefault(row["method"], []).append(row["end_mm_median_all"])
    means = {method: float(np.mean(values)) for method, values in shares.items()}
    most = max(means.values())
    best = [method for method in means if means[method] == most]
    if len(means) == 1:
        return f"{best[0]} converged in {100 * most:.1f} % of {total} runs."
    nearest = min(best, key=lambda method: float(np.mean(ends[method])))
    words = f"{', '.join(best[:-1])} and {best[-1]}" if len(best) > 1 else best[0]
    close = f" {nearest} ends nearest." if len(best) > 1 else ""
    share = f"{100 * most:.1f}\N{NO-BREAK SPACE}%"
    return (
        f"{words} converged most often: {share}, the mean over {len(shares[nearest])} "
        f"conditions; {total} runs in all.{close}"
    )


def _group(name: str, part: str, runs: Mapping[Group, Runs], paths: int) -> dict[str, Any]:
    """All that is drawn of one part of a set, by method."""
    joined = {
        method: each
        for (its_name, its_part, method), each in runs.items()
        if (its_name, its_part) == (name, part)
    }
    farthest = max(float(each.start_mm.max()) for each in joined.values())
    edges = np.linspace(0, farthest * 1.0001, DISTANCE_BINS + 1)
    return {
        "label": f"{name}, {part}" if part else name,
        "methods": {method: _method(each, edges, paths) for method, each in joined.items()},
    }


def _method(runs: Runs, edges: np.ndarray, paths: int) -> dict[str, Any]:
    """What is drawn of one method in one part of a set.

    edges: of the bins of the distance at the start [mm]. paths: how many are drawn.
    """
    drawn = np.unique(
        np.linspace(0, len(runs.run) - 1, min(paths, len(runs.run))).round().astype(int)
    )
    steps = np.unique(np.geomspace(1, runs.path.shape[1], CURVE_POINTS).round().astype(int)) - 1
    mm = 1e3 * np.linalg.norm(runs.path[..., :3], axis=-1)
    return {
        "converged": runs.converged,
        "start_mm": runs.start_mm,
        "start_deg": runs.start_deg,
        "end_mm": runs.mm,
        "x": 1e3 * runs.path[:, 0, 0],
        "y": 1e3 * runs.path[:, 0, 1],
        "by_distance": _rates(runs.start_mm, runs.converged, edges),
        "by_share": _rates(runs.share, runs.converged, SHARE_EDGES),
        "curve": {"step": steps, "median": np.median(mm[:, steps], 0)},
        "paths": [
            evenly_spaced(
                until_lost(runs.path[i, : runs.taken[i] + 1, :3], edges[-1] / 1e3), PATH_POINTS
            )
            for i in drawn
        ],
        "drawn": drawn,
    }


def _rates(
    values: np.ndarray, converged: np.ndarray, edges: np.ndarray
) -> list[tuple[float, float, float, float, int]]:
    """Of each bin with runs: its middle, the share that converged, its interval, the runs."""
    which = np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2)
    found = []
    for k in range(len(edges) - 1):
        mine, middle = converged[which == k], float(edges[k] + edges[k + 1]) / 2
        if len(mine):
            interval = wilson(int(mine.sum()), len(mine))
            found.append((middle, float(mine.mean()), *interval, len(mine)))
    return found


def _landscapes(methods: Sequence[str], bench: Bench) -> dict[str, dict[str, Any]]:
    """By scene and method, for the methods that descend a cost of features."""
    found: dict[str, dict[str, Any]] = {}
    for name, scene in list(bench.scenes.items())[:MAX_SCENES]:
        for method in methods:
            if not bench.able(method, name):
                continue
            setup = bench.setup(name, method)
            controller = build(method, bench.camera, bench.distance, setup)
            features = getattr(controller, "features", None)
            if features is not None:
                of_method = landscapes(features, scene, bench.camera, bench.distance)
                found.setdefault(name, {})[method] = of_method
    return found
