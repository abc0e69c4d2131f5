"""The tables of the README and of docs/measurements.md."""

import numpy as np
import torch

from benchmarks.common.rows import Row, grouped, pooled
from benchmarks.tables.measured import columns
from deepservo.bench.published import PUBLISHED
from deepservo.bench.tables import converged_percent, ends, figure, table, unique
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.metrics import wilson
from deepservo.evaluation.sets import SETS
from deepservo.geometry import se3

TAIL = ["end mm", "end deg", "length", "steps"]  # the columns of `ends`


def first(rows: list[Row]) -> str:
    """The README's: a line a method, over all pictures, without and with disturbances."""
    lines = []
    for method, mine in grouped(rows, "method"):
        of = {name: pooled(each) for name, each in grouped(mine, "set")}
        clean, disturbed = (
            [
                f"{100 * of[name]['converged']:.1f}",
                f"{of[name]['end_mm_median']:.2g}",
                f"{of[name]['steps_median']:.0f}",
            ]
            for name in ("lookat-rz", "lookat-rz-perturbed")
        )
        lines.append([f"`{method}`", *clean, *disturbed[:2]])
    scenes = unique(row["scene"] for row in rows)
    note = f"{len(scenes)} pictures, {_counts(rows)} runs on each in every row."
    head = ["method", "converged %", "end mm", "steps", "disturbed: converged %", "end mm"]
    return f"{table(head, lines, 1)}\n\n{note}"


def _counts(rows: list[Row]) -> str:
    """How many runs the rows have each."""
    return " or ".join(str(n) for n in unique(row["n"] for row in rows))


def pictures(rows: list[Row]) -> str:
    """Pooled, with the share that converged on each picture; then every row."""
    sets, methods, scenes = (unique(row[k] for row in rows) for k in ("set", "method", "scene"))

    def place(row: Row) -> tuple[int, int, int]:
        """Set by set, on each picture method by method."""
        return sets.index(row["set"]), scenes.index(row["scene"]), methods.index(row["method"])

    order = sorted(rows, key=place)
    lines = []
    for (name, method), mine in sorted(
        grouped(rows, "set", "method"),
        key=lambda group: (sets.index(group[0][0]), methods.index(group[0][1])),
    ):
        shares = {row["scene"]: f"{100 * row['converged']:.0f}" for row in mine}
        total = pooled(mine)
        each = [shares.get(scene, "-") for scene in scenes]
        lines.append([name, f"`{method}`", converged_percent(total), *each, *ends(total)])
    first = table(["starts and goals", "method", "converged % [95 %]", *scenes, *TAIL], lines, 2)
    every = table(
        ["starts and goals", "picture", "method", "converged % [95 %]", *TAIL],
        ([r["set"], r["scene"], f"`{r['method']}`", converged_percent(r), *ends(r)] for r in order),
        3,
    )
    note = (
        f"{_counts(rows)} runs on each picture in each row. End errors and steps are "
        "medians over the runs that converged; steps count until a run stays within the rule."
    )
    return (
        f"{first}\n\n{note}\n\n<details><summary>Every picture</summary>\n\n{every}\n\n</details>"
    )


def dvs(rows: list[Row]) -> str:
    """Photometric methods alone, pooled, beside the published share."""
    lines = []
    for (variant, name, method), mine in grouped(rows, "variant", "set", "method"):
        each = {row["scene"]: f"{100 * row['converged']:.0f}" for row in mine}
        total = pooled(mine)
        share = f"{PUBLISHED[name, method][0]:.1f}" if method == "dvs" else "-"
        words = [name, f"`{method}`", variant]
        shares = [converged_percent(total), share, ", ".join(each.values())]
        lines.append([*words, str(total["n"]), *shares, *ends(total)[:2]])
    scenes = ", ".join(unique(row["scene"] for row in rows))
    head = ["set", "method", "variant", "runs", "converged % [95 %]", "published DVS %", scenes]
    return table([*head, *TAIL[:2]], lines, 3)


def dvs_starts(rows: list[Row]) -> str:
    """From where `dvs` as published converges: the share by how far the start is, pooled over the
    pictures.
    """
    edges_of = {
        ("lookat", "distance cm"): (0, 20, 35, 50, 65, 90),
        ("screw", "roll deg"): (0, 15, 31, 47, 62, 78),
        ("screw", "along the axis cm"): (-37, -22, -7, 7, 22, 37),
    }
    published = [r for r in rows if (r["method"], r["variant"]) == ("dvs", "as published")]
    of_set = dict(grouped(published, "set"))
    lines = []
    for (name, parameter), edges in edges_of.items():
        starts = [value for row in of_set[name] for value in _starts(row)[parameter]]
        converged = np.array([hit for row in of_set[name] for hit in row["runs"]["home"]])
        which = np.digitize(starts, edges)
        for k in range(1, len(edges)):
            good = converged[which == k]
            share = {"converged": good.mean(), "converged_ci": wilson(int(good.sum()), len(good))}
            lines.append(
                [
                    name,
                    f"{parameter} {edges[k - 1]} to {edges[k]}",
                    str(len(good)),
                    converged_percent(share),
                ]
            )
    return table(["set", "start", "runs", "converged % [95 %]"], lines, 2)


def _starts(row: Row) -> dict[str, list[float]]:
    """How far each start of a row is from its goal."""
    generator = torch.Generator().manual_seed(row["seed"])
    Ts_cam, Ts_goal = SETS[row["set"]][0].draw(row["n"], generator, 0.6, PAPER_CAMERA)
    metres, radians = se3.distance(Ts_cam, Ts_goal)
    along = (se3.inverse(Ts_goal) @ Ts_cam)[:, 2, 3]
    return {
        "distance cm": (100 * metres).tolist(),
        "roll deg": radians.rad2deg().tolist(),
        "along the axis cm": (100 * along).tolist(),
    }


def antialias(rows: list[Row]) -> str:
    """Means over the pictures; of the ends, medians, because now and then a run does not
    converge.
    """
    means = []
    for _, mine in grouped(rows, "minification", "shift_px", "renderer"):
        mean = {k: float(np.mean([row[k] for row in mine])) for k in ("grey", "change", "L")}
        end = {k: float(np.median([row[k] for row in mine])) for k in ("end_mm", "end_deg")}
        means.append({**mine[0], **mean, **end})
    return columns(
        means,
        0,
        {
            "texels a pixel": lambda r: f"{r['minification']:g}",
            "shift px": lambda r: f"{r['shift_px']:g}",
            "renderer": lambda r: r["renderer"],
            "grey error of 255": lambda r: f"{255 * r['grey']:.2f}",
            "error of the change %": lambda r: f"{100 * r['change']:.1f}",
            "error of L %": lambda r: f"{100 * r['L']:.1f}",
            "end mm": lambda r: figure(r["end_mm"]),
            "end deg": lambda r: figure(r["end_deg"]),
        },
    )
