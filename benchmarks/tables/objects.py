"""The tables of docs/gantry.md and docs/methods/dfbvs.md: pictures and objects under the gantry."""

from statistics import fmean

from benchmarks.common.rows import Row, grouped, read
from benchmarks.objects.objects import SETTLED_PX
from benchmarks.tables.measured import NOT_RUN, columns, measured
from deepservo.bench.tables import ALL, converged_percent, ends, figure, table

DETECTORS = {"keypoints": "ours, learned", "sift": "SIFT", "orb": "ORB"}
VARIANTS = {
    "whole": "",
    "untracked": "without tracking",
    "unrobust": "without outlier rejection",
    "edges": "and edges",
}
# Results files of the gantry beside its own.
MORE = ("gantry-sets", "gantry-lights", "gantry-posters")


def keypoints(rows: list[Row]) -> str:
    """A line a detector, on clean and on degraded pictures."""
    within = {
        f"homography within {k} px %": lambda r, k=k: f"{100 * r[f'within_{k}']:.0f}"
        for k in (1, 3, 5)
    }
    return columns(
        rows,
        2,
        {
            "pictures": lambda r: "degraded" if r["spoiled"] else "clean",
            "detector": lambda r: DETECTORS[r["detector"]],
            "repeatability %": lambda r: f"{100 * r['repeated']:.0f}",
            "localisation px": lambda r: f"{r['off_px']:.2f}",
            "matching %": lambda r: f"{100 * r['matched']:.0f}",
            **within,
        },
    )


def objects(rows: list[Row]) -> str:
    """A line a detector, variant and table: means over the parts' goals and starts, as in the
    paper's Table I.
    """
    lines = []
    for (detector, variant, where), mine in grouped(rows, "detector", "variant", "table"):
        runs = {
            name: [value for row in mine for value in row["runs"][name]]
            for name in ("avg1_px", "avg2_px", "end_mm", "end_deg")
        }
        converged = [px < SETTLED_PX for px in runs["avg2_px"]]
        good = {
            name: [x for x, hit in zip(values, converged, strict=True) if hit and x is not None]
            for name, values in runs.items()
        }
        mean = {name: fmean(values) if values else None for name, values in good.items()}
        worst = max(good["end_mm"], default=None)
        errors = [mean["avg1_px"], mean["avg2_px"], mean["end_mm"], worst]
        name = f"{DETECTORS[detector]} {VARIANTS[variant]}".strip()
        counts = [str(len(converged)), str(sum(converged))]
        figures = [*(figure(error) for error in errors), figure(mean["end_deg"], 3)]
        lines.append([name, where, *counts, *figures])
    head = ["keypoints", "table", "runs", "converged"]
    errors = ["AVG1 px", "AVG2 px", "end mm", "worst mm", "end deg"]
    return table([*head, *errors], lines, 2)


def rounded(rows: list[Row]) -> str:
    """A line an object and method; means over the runs that converged."""
    lines = []
    for _, mine in grouped(rows, "object"):
        for row in mine:
            ends = [figure(row[key]) for key in ("avg2_px", "end_mm", "end_deg", "length", "steps")]
            counts = [str(row["n"]), str(round(row["n"] * row["home"]))]
            mesh = "yes" if row["mesh"] else "no"
            lines.append([row["object"], f"`{row['method']}`", mesh, row["table"], *counts, *ends])
    head = ["object", "method", "mesh known", "table", "runs", "converged"]
    return table([*head, "AVG2 px", "end mm", "end deg", "length", "steps"], lines, 4)


def grasps(rows: list[Row]) -> str:
    """A line a method and table: the share of runs that took the part, by how far off they
    started.
    """
    far = sorted({row["cm"] for row in rows})
    lines = []
    for (method, where), mine in grouped(rows, "method", "table"):
        cells = {}
        for cm, each in grouped(mine, "cm"):
            taken = [one for row in each for one in row["taken"]]
            cells[cm] = f"{100 * sum(taken) / len(taken):.0f} of {len(taken)}"
        lines.append([f"`{method}`", where, *(cells.get(cm, NOT_RUN) for cm in far)])
    head = ["method", "table", *(f"{cm} cm, % taken" for cm in far)]
    how = "`python -m benchmarks grasps` measures it."
    return measured(head, lines, 2, slice(2, None), how)


def gantry(rows: list[Row]) -> str:
    """A line a world, part of a set and picture."""
    every = rows + [row for name in MORE for row in read(name)]
    lines = [
        [
            row["world"], f"{row['set']}, {row['part']}" if row["part"] else row["set"],
            row["scene"], f"`{row['method']}`", str(row["n"]), converged_percent(row), *ends(row),
        ]
        for row in every
        if row["scene"] != ALL
    ]  # fmt: skip
    head = ["world", "set", "picture", "method", "runs", "converged % [95 %]"]
    return table([*head, "end mm", "end deg", "length", "steps"], lines, 4)


def relief(rows: list[Row]) -> str:
    """A line a method: before a flat picture, and before objects that stand on it."""
    lines = []
    for method, mine in grouped(rows, "method"):
        cells = []
        for stands in (False, True):
            found = [row for row in mine if bool(row["relief"]) == stands]
            cells += (
                [converged_percent(found[0]), *ends(found[0])[:2]] if found else [NOT_RUN, "-", "-"]
            )
        lines.append([f"`{method}`", str(mine[0]["n"]), *cells])
    heads = [
        f"{where}: {what}"
        for where in ("flat picture", "with objects")
        for what in ("converged % [95 %]", "end mm", "end deg")
    ]
    how = "`python -m benchmarks relief` measures it."
    return measured(["method", "runs of each", *heads], lines, 1, slice(2, None), how)
