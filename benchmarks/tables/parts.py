"""The tables of the README's pictures, the gantry, keypoints, objects, and the faults that the
tests were tried with.
"""

import json
from pathlib import Path

from benchmarks.common.rows import Row, pooled
from benchmarks.objects.objects import SETTLED_PX
from benchmarks.tables.measured import NOT_RUN, measured
from deepservo.bench.tables import ALL, ends, figure, home, table, unique

NAMES = {"keypoints": "ours, learned", "sift": "SIFT", "orb": "ORB"}
MORE = (
    "gantry-sets",
    "gantry-lights",
    "gantry-posters",
)  # results files of the gantry beside its own
RESULTS = Path(__file__).resolve().parents[2] / "results"
VARIANTS = {
    "whole": "",
    "untracked": "without tracking",
    "unrobust": "without outlier rejection",
    "edges": "and edges",
}


def pictures(rows: list[Row]) -> str:
    """Pooled, with the share that converged on each picture; then every row."""
    sets, methods, scenes = (unique(row[k] for row in rows) for k in ("set", "method", "scene"))
    lines = []
    for name in sets:
        for method in methods:
            mine = {
                row["scene"]: row for row in rows if (row["set"], row["method"]) == (name, method)
            }
            if mine:
                total = pooled(list(mine.values()))
                each = [f"{100 * mine[s]['converged']:.0f}" if s in mine else "-" for s in scenes]
                lines.append([name, f"`{method}`", home(total), *each, *ends(total)])
    tail = ["end mm", "end deg", "length", "steps"]
    first = table(["starts and goals", "method", "converged % [95 %]", *scenes, *tail], lines, 2)
    order = sorted(
        rows,
        key=lambda r: (sets.index(r["set"]), scenes.index(r["scene"]), methods.index(r["method"])),
    )
    each = table(
        ["starts and goals", "picture", "method", "converged % [95 %]", *tail],
        ([r["set"], r["scene"], f"`{r['method']}`", home(r), *ends(r)] for r in order),
        3,
    )
    runs = unique(row["n"] for row in rows)
    note = (
        f"{' or '.join(map(str, runs))} runs on each picture in each row. End errors and steps are "
        "medians over the runs that converged; steps count until a run stays within the rule."
    )
    return f"{first}\n\n{note}\n\n<details><summary>Every picture</summary>\n\n{each}\n\n</details>"


def first(rows: list[Row]) -> str:
    """The README's: a line a method, over all pictures, without and with disturbances."""
    lines = []
    for method in unique(row["method"] for row in rows):
        of = {
            name: pooled([r for r in rows if (r["set"], r["method"]) == (name, method)])
            for name in ("lookat-rz", "lookat-rz-perturbed")
        }
        figures = [
            [
                f"{100 * each['converged']:.1f}",
                f"{each['end_mm_median']:.2g}",
                f"{each['steps_median']:.0f}",
            ]
            for each in of.values()
        ]
        lines.append([f"`{method}`", *figures[0], *figures[1][:2]])
    scenes, runs = unique(row["scene"] for row in rows), unique(row["n"] for row in rows)
    note = f"{len(scenes)} pictures, {' or '.join(map(str, runs))} runs on each in every row."
    head = ["method", "converged %", "end mm", "steps", "disturbed: converged %", "end mm"]
    return f"{table(head, lines, 1)}\n\n{note}"


def keypoints(rows: list[Row]) -> str:
    """A line a detector, on clean and on degraded pictures."""
    lines = []
    for row in rows:
        shares = [f"{100 * row[k]:.0f}" for k in ("within_1", "within_3", "within_5")]
        of = [f"{100 * row['repeated']:.0f}", f"{row['off_px']:.2f}", f"{100 * row['matched']:.0f}"]
        lines.append(
            ["degraded" if row["spoiled"] else "clean", NAMES[row["detector"]], *of, *shares]
        )
    heads = [
        "pictures",
        "detector",
        "repeatability %",
        "localisation px",
        "matching %",
        *(f"homography within {k} px %" for k in (1, 3, 5)),
    ]
    return table(heads, lines, 2)


def objects(rows: list[Row]) -> str:
    """A line a detector, variant and table: means over the parts' goals and starts, as in the
    paper's Table I.
    """
    kinds = unique((row["detector"], row["variant"], row["table"]) for row in rows)
    lines = []
    for kind in kinds:
        mine = [row for row in rows if (row["detector"], row["variant"], row["table"]) == kind]
        runs = {
            name: [value for row in mine for value in row["runs"][name]] for name in mine[0]["runs"]
        }
        good = [k for k, px in enumerate(runs["avg2_px"]) if px < SETTLED_PX]
        means = {}
        for name in ("avg1_px", "avg2_px", "end_mm", "end_deg"):
            known = [value for value in (runs[name][k] for k in good) if value is not None]
            means[name] = sum(known) / len(known) if known else None
        worst = max((runs["end_mm"][k] for k in good), default=None)
        shown = [
            figure(means["avg1_px"], 2),
            figure(means["avg2_px"], 2),
            figure(means["end_mm"], 2),
            figure(worst, 2),
            figure(means["end_deg"], 3),
        ]
        detector, variant, where = kind
        lines.append(
            [
                f"{NAMES[detector]} {VARIANTS[variant]}".strip(),
                where,
                str(len(runs["end_mm"])),
                str(len(good)),
                *shown,
            ]
        )
    return table(
        [
            "keypoints",
            "table",
            "runs",
            "converged",
            "AVG1 px",
            "AVG2 px",
            "end mm",
            "worst mm",
            "end deg",
        ],
        lines,
        2,
    )


def grasps(rows: list[Row]) -> str:
    """A line a method and table: the share of runs that took the part, by how far off they
    started.
    """
    kinds = unique((row["method"], row["table"]) for row in rows)
    far = sorted({row["cm"] for row in rows})
    lines = []
    for method, where in kinds:
        cells = []
        for cm in far:
            runs = [
                one
                for row in rows
                if (row["method"], row["table"], row["cm"]) == (method, where, cm)
                for one in row["taken"]
            ]
            cells.append(f"{100 * sum(runs) / len(runs):.0f} of {len(runs)}" if runs else NOT_RUN)
        lines.append([f"`{method}`", where, *cells])
    head = ["method", "table", *(f"{cm} cm, % taken" for cm in far)]
    how = "`python -m benchmarks grasps` measures it."
    return measured(head, lines, 2, slice(2, None), how)


def gantry(rows: list[Row]) -> str:
    """A line a world, part of a set and picture."""
    rows = rows + [
        row for name in MORE for row in json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    ]
    lines = []
    for row in rows:
        if row["scene"] != ALL:
            name = f"{row['set']}, {row['part']}" if row["part"] else row["set"]
            lines.append(
                [
                    row["world"],
                    name,
                    row["scene"],
                    f"`{row['method']}`",
                    str(row["n"]),
                    home(row),
                    *ends(row),
                ]
            )
    return table(
        [
            "world",
            "set",
            "picture",
            "method",
            "runs",
            "converged % [95 %]",
            "end mm",
            "end deg",
            "length",
            "steps",
        ],
        lines,
        4,
    )


def relief(rows: list[Row]) -> str:
    """A line a method: before a flat picture, and before objects that stand on it."""
    lines = []
    for method in unique(row["method"] for row in rows):
        flat, high = (
            [row for row in rows if row["method"] == method and bool(row["relief"]) == stands]
            for stands in (False, True)
        )
        cells = [
            cell
            for found in (flat, high)
            for cell in ([home(found[0]), *ends(found[0])[:2]] if found else [NOT_RUN, "-", "-"])
        ]
        lines.append([f"`{method}`", str((flat + high)[0]["n"]), *cells])
    heads = [
        f"{where}: {what}"
        for where in ("flat picture", "with objects")
        for what in ("converged % [95 %]", "end mm", "end deg")
    ]
    how = "`python -m benchmarks relief` measures it."
    return measured(["method", "runs of each", *heads], lines, 1, slice(2, None), how)


def mutants(rows: list[Row]) -> str:
    """A line a part of the package: how many faults its tests found; then every fault that they
    missed.
    """
    parts = {
        row["file"]: row["file"].split("/")[0] if "/" in row["file"] else f"`{row['file']}`"
        for row in rows
    }
    lines = []
    for part in (*sorted(set(parts.values())), ALL):
        found = [row["outcome"] != "missed" for row in rows if part in (ALL, parts[row["file"]])]
        lines.append(
            [part, str(len(found)), str(sum(found)), f"{100 * sum(found) / len(found):.1f}"]
        )
    left = [row for row in rows if row["outcome"] == "missed"]
    told = [
        [
            f"`{row['file']}:{row['line']}`",
            f"`{row['change']}`".replace("|", "\\|"),
            row.get("judged") or "not judged",
        ]
        for row in left
    ]
    first = table(["part", "faults", "found", "%"], lines, 1)
    head = ["where", "missed: the line as it is, and with the fault", "why"]
    return f"{first}\n\n{table(head, told, 3)}"
