"""Results as Markdown: rows beside the published figures, methods by condition and in pairs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepservo.bench.published import PUBLISHED
from deepservo.errors import InputError
from deepservo.evaluation.metrics import mcnemar

Figures = Mapping[str, Any]
MAX_SCENES = 12  # that a table has columns for
ALL = "all"  # in place of a scene: pooled over the scenes


def unique(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of its first place."""
    return list(dict.fromkeys(values))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> str:
    """A Markdown table whose first `words` columns are words, the others figures."""
    rule = ["---" if i < words else "--:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def figure(value: float | None, digits: int = 2) -> str:
    """A figure of so many significant digits, or a dash."""
    if value is None:
        return "-"
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return np.format_float_positional(value, digits, unique=False, fractional=False, trim="-")


def converged_percent(row: Figures) -> str:
    """Per cent of the runs that converged, and its 95 % interval."""
    low, high = row["converged_ci"]
    return f"{100 * row['converged']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def ends(row: Figures) -> list[str]:
    """End errors, length of the path over the straight one's, steps."""
    steps = "-" if row["steps_median"] is None else f"{row['steps_median']:.0f}"
    return [
        figure(row["end_mm_median"]),
        figure(row["end_deg_median"]),
        figure(row["length_ratio"], 3),
        steps,
    ]


def published(name: str, method: str) -> tuple[str, str]:
    """Per cent and end error [mm] that a paper prints, or dashes."""
    printed = PUBLISHED.get((name, method.removesuffix("+dvs")))
    return ("-", "-") if printed is None else (f"{printed[0]:.1f}", f"{printed[1]:g}")


def over_all(rows: Sequence[Figures]) -> tuple[list[Figures], list[Figures]]:
    """Rows of results.json: those of one scene each, and one a set, part and method, over all its
    scenes.
    """
    each = [row for row in rows if row["scene"] != ALL]
    key = ("set", "part", "method")
    whole = {
        tuple(row[k] for k in key): row
        for row in (*each, *(row for row in rows if row["scene"] == ALL))
    }
    return each, list(whole.values())


def beside_published(rows: Sequence[Figures], pooled: Sequence[Figures]) -> str:
    """A line for each set, part and method, over all scenes; the share that converged on each."""
    scenes = unique(row["scene"] for row in rows)
    scenes = scenes if len(scenes) <= MAX_SCENES else []
    each = {
        (row["set"], row["part"], row["method"], row["scene"]): f"{100 * row['converged']:.0f}"
        for row in rows
    }
    lines = []
    for row in pooled:
        percent, mm = published(row["set"], row["method"])
        shares = [
            each.get((row["set"], row["part"], row["method"], scene), "-") for scene in scenes
        ]
        name = f"{row['set']}, {row['part']}" if row["part"] else row["set"]
        lines.append(
            [
                name,
                f"`{row['method']}`",
                str(row["n"]),
                converged_percent(row),
                percent,
                *shares,
                *ends(row),
                mm,
                figure(row["ms_per_step_p50"]),
            ]
        )
    head = [
        "set",
        "method",
        "runs",
        "converged % [95 %]",
        "published %",
        *scenes,
        "end mm",
        "end deg",
        "length",
        "steps",
        "published mm",
        "ms a step",
    ]
    return table(head, lines, 2)


def by_condition(pooled: Sequence[Figures]) -> str:
    """Conditions down, methods across: the share that converged with its interval, and the median
    end error [mm]; the best share is bold.

    A method that ran on fewer scenes than another, because it has learned only those, has its count
    of runs beside.
    """
    methods = unique(row["method"] for row in pooled)
    lines = []
    for name, part in unique((row["set"], row["part"]) for row in pooled):
        mine = {row["method"]: row for row in pooled if (row["set"], row["part"]) == (name, part)}
        best = max(row["converged"] for row in mine.values())
        most = max(row["n"] for row in mine.values())
        cells = []
        for method in methods:
            if method not in mine:
                cells.append("-")
                continue
            row = mine[method]
            share = f"{100 * row['converged']:.0f}"
            low, high = row["converged_ci"]
            bold = f"**{share}**" if row["converged"] == best > 0 else share
            of = f", of {row['n']} only" if row["n"] < most else ""
            cells.append(
                f"{bold} [{100 * low:.0f}, {100 * high:.0f}], {figure(row['end_mm_median'])} mm{of}"
            )
        lines.append([name, part or "all", *cells])
    return table(["set", "condition", *[f"`{method}`" for method in methods]], lines, 2)


def pairs(pooled: Sequence[Figures]) -> list[tuple[str, str, str, int, int, float]]:
    """Of each set and two methods that ran from the same starts: set, one, other, how many runs
    converged over all parts with the one alone, how many with the other alone, and McNemar's p.
    """
    found: list[tuple[str, str, str, int, int, float]] = []
    for name in unique(row["set"] for row in pooled):
        counts: dict[tuple[str, str], list[int]] = {}
        for row in pooled:
            for other, both in row.get("paired", {}).items() if row["set"] == name else ():
                counts[row["method"], other] = [
                    a + b
                    for a, b in zip(counts.get((row["method"], other), (0, 0)), both, strict=True)
                ]
        for (one, other), alone in counts.items():
            if (name, other, one) not in {each[:3] for each in found}:
                found.append((name, one, other, *alone, mcnemar(*alone)))
    return found


def in_pairs(pooled: Sequence[Figures]) -> str:
    """Two methods a line, from the same starts."""
    lines = (
        [name, f"`{a}`", f"`{b}`", str(a_alone), str(b_alone), probability(p)]
        for name, a, b, a_alone, b_alone, p in pairs(pooled)
    )
    return table(
        ["set", "one", "other", "converged by the one alone", "by the other alone", "p (McNemar)"],
        lines,
        3,
    )


def probability(p: float) -> str:
    """Four decimals."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def markdown(rows: Sequence[Figures], pooled: Sequence[Figures]) -> str:
    """The page results.md."""
    note = (
        "Converged: by the published rule. End errors, length and steps: medians and means over "
        "the runs that converged."
    )
    parts = {"Methods by condition": by_condition(pooled), "Methods in pairs": in_pairs(pooled)}
    more = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items())
    return f"# Results\n\n{beside_published(rows, pooled)}\n\n{note}\n\n{more}"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a results.json; InputError where it is none."""
    try:
        rows = json.loads(path.read_text())["rows"]
        if not all("converged" in row and "method" in row for row in rows):
            raise ValueError
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a results.json") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is no results.json of deepservo") from None
    return list(rows)


def compared(before: Sequence[Figures], after: Sequence[Figures]) -> tuple[str, bool]:
    """The differences between two results, for every row of both; and whether the share that
    converged fell beyond its interval in any.
    """
    key = ("method", "set", "part", "scene")
    old = {tuple(row.get(name, "") for name in key): row for row in before}
    lines, worse = [], False
    for row in after:
        name = tuple(row.get(k, "") for k in key)
        if name not in old or row["converged"] is None or old[name]["converged"] is None:
            continue
        was = old[name]
        moved = row["converged"] - was["converged"]
        fell, rose = (
            row["converged_ci"][1] < was["converged_ci"][0],
            row["converged_ci"][0] > was["converged_ci"][1],
        )
        worse |= fell
        verdict = "fell" if fell else "rose" if rose else "within the intervals"
        errors = f"{figure(was['end_mm_median'])} -> {figure(row['end_mm_median'])}"
        lines.append(
            [
                *name[1:],
                f"`{name[0]}`",
                converged_percent(was),
                converged_percent(row),
                f"{100 * moved:+.1f}",
                verdict,
                errors,
            ]
        )
    head = [
        "set",
        "part",
        "scene",
        "method",
        "before: converged %",
        "after",
        "points",
        "",
        "end mm",
    ]
    return table(head, lines, 4), worse
