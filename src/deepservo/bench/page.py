"""The page of a benchmark: tables beside the published figures, who wins where, and the runs behind
them. `bench_page.js` draws it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepservo.bench.landscape import AXES, REACH, landscapes
from deepservo.bench.runs import Bench, Runs
from deepservo.bench.tables import WIDEST, pairs, probability, published
from deepservo.evaluation.metrics import wilson
from deepservo.methods import build
from deepservo.report.run_page import even, until_lost, write_page

FARTHEST_BINS = 8  # of the distance at the start
SHARES = np.linspace(0, 1, 11)  # bins of the share of the goal that the start sees
CURVE = 80  # points of an error curve
PATHS, ALL_PATHS, FEWEST = (
    40,
    2000,
    6,
)  # drawn of one method at most; of all together about; and of one method at least
PATH_POINTS = 30


Group = tuple[str, str, str]
"""A set, a part of it, a method."""


def write_bench_page(
    path: Path, pooled: Sequence[Mapping[str, Any]], runs: Mapping[Group, Runs], bench: Bench
) -> None:
    """Write the page to `path`, all at once. pooled: rows over all scenes; runs: those behind each
    of them.
    """
    sets, _, methods = (list(dict.fromkeys(names)) for names in zip(*runs, strict=True))
    total = sum(len(each.run) for each in runs.values())
    paths = min(PATHS, max(FEWEST, ALL_PATHS // len(runs)))
    data = {
        "pooled": [{**row, "published": published(row["set"], row["method"])} for row in pooled],
        "pairs": [(*each[:5], probability(each[5])) for each in pairs(pooled)],
        "groups": [
            _group(name, part, runs, paths)
            for name, part in dict.fromkeys((name, part) for name, part, _ in runs)
        ],
        "axes": [
            {"name": name, "reach": reach * (bench.distance / 0.6 if i < 3 else 1)}
            for i, (name, reach) in enumerate(zip(AXES, REACH, strict=True))
        ],
        "landscapes": _landscapes(methods, bench),
    }
    words = {
        "title": f"{', '.join(methods)} on {', '.join(sets)}",
        "sentence": _sentence(pooled, total),
    }
    write_page(path, "bench_page", words, data)


def _sentence(pooled: Sequence[Mapping[str, Any]], total: int) -> str:
    """The best methods by the mean share home over all sets and parts; of equals, the one that ends
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
        return f"{best[0]} brought {100 * most:.1f} % of {total} cameras home."
    nearest = min(best, key=lambda method: float(np.mean(ends[method])))
    words = f"{', '.join(best[:-1])} and {best[-1]}" if len(best) > 1 else best[0]
    close = f" {nearest} ends nearest." if len(best) > 1 else ""
    share = f"{100 * most:.1f}\N{NO-BREAK SPACE}%"
    return (
        f"{words} came home most often: {share}, the mean over {len(shares[nearest])} "
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
    edges = np.linspace(0, farthest * 1.0001, FARTHEST_BINS + 1)
    return {
        "label": f"{name}, {part}" if part else name,
        "methods": {method: _method(each, edges, paths) for method, each in joined.items()},
    }


def _method(runs: Runs, edges: np.ndarray, paths: int) -> dict[str, Any]:
    drawn = np.unique(
        np.linspace(0, len(runs.run) - 1, min(paths, len(runs.run))).round().astype(int)
    )
    steps = np.unique(np.geomspace(1, runs.path.shape[1], CURVE).round().astype(int)) - 1
    mm = 1e3 * np.linalg.norm(runs.path[..., :3], axis=-1)
    return {
        "home": runs.converged,
        "start_mm": runs.start_mm,
        "start_deg": runs.start_deg,
        "end_mm": runs.mm,
        "x": 1e3 * runs.path[:, 0, 0],
        "y": 1e3 * runs.path[:, 0, 1],
        "by_distance": _rates(runs.start_mm, runs.converged, edges),
        "by_share": _rates(runs.share, runs.converged, SHARES),
        "curve": {"step": steps, "median": np.median(mm[:, steps], 0)},
        "paths": [
            even(until_lost(runs.path[i, : runs.taken[i] + 1, :3], edges[-1] / 1e3), PATH_POINTS)
            for i in drawn
        ],
        "drawn": drawn,
    }


def _rates(
    values: np.ndarray, home: np.ndarray, edges: np.ndarray
) -> list[tuple[float, float, float, float, int]]:
    """Middle of the bin, share home, its interval, runs; of the bins that hold any."""
    which = np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2)
    found = []
    for k in range(len(edges) - 1):
        good = home[which == k]
        if len(good):
            low, high = wilson(int(good.sum()), len(good))
            found.append(
                (float(edges[k] + edges[k + 1]) / 2, float(good.mean()), low, high, len(good))
            )
    return found


def _landscapes(methods: Sequence[str], bench: Bench) -> dict[str, dict[str, Any]]:
    """By scene and method, for the methods that descend a cost of features."""
    found: dict[str, dict[str, Any]] = {}
    for name, scene in list(bench.scenes.items())[:WIDEST]:
        for method in methods:
            if not bench.able(method, name):
                continue
            features = getattr(
                build(method, bench.camera, bench.distance, bench.setup(name, method)),
                "features",
                None,
            )
            if features is not None:
                found.setdefault(name, {})[method] = landscapes(
                    features, scene, bench.camera, bench.distance
                )
    return found
