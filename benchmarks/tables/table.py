"""Prints the committed results as Markdown, and keeps the README's and the docs' tables equal to
them.

    make table

In a page, the text from `<!-- table:NAME -->` to `<!-- /table -->` belongs to this command; NAME is
one of TABLES.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import tyro

from benchmarks.architecture.plan import rooms
from benchmarks.common.rows import Row, pooled
from benchmarks.tables.parts import (
    first,
    gantry,
    grasps,
    keypoints,
    mutants,
    objects,
    pictures,
    relief,
)
from benchmarks.tables.published import gpu, marks, published, recipes, weights
from deepservo.bench.published import PUBLISHED
from deepservo.bench.tables import (
    beside_published,
    ends,
    figure,
    home,
    over_all,
    probability,
    run_by_run,
    table,
    unique,
    who_wins,
)
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.metrics import mcnemar, wilson
from deepservo.evaluation.sets import SETS
from deepservo.geometry import se3

ROOT = Path(__file__).resolve().parents[2]


def dvs(rows: list[Row]) -> str:
    """Photometric methods alone, pooled, beside the published share."""
    lines = []
    for variant, name, method in unique(
        (row["variant"], row["set"], row["method"]) for row in rows
    ):
        mine = [
            row
            for row in rows
            if (row["variant"], row["set"], row["method"]) == (variant, name, method)
        ]
        scenes = {row["scene"]: row for row in mine}
        each = [f"{100 * r['converged']:.0f}" for r in scenes.values()]
        total = pooled(mine)
        published = f"{PUBLISHED[name, method][0]:.1f}" if method == "dvs" else "-"
        lines.append(
            [
                name,
                f"`{method}`",
                variant,
                str(total["n"]),
                home(total),
                published,
                ", ".join(each),
                *ends(total)[:2],
            ]
        )
    head = [
        "set",
        "method",
        "variant",
        "runs",
        "converged % [95 %]",
        "published DVS %",
        ", ".join(unique(r["scene"] for r in rows)),
        "end mm",
        "end deg",
    ]
    return table(head, lines, 3)


def dvs_starts(rows: list[Row]) -> str:
    """From where `dvs` as published converges: the share by how far the start is, pooled over the
    pictures.
    """
    bounds = {
        ("lookat", "distance cm"): (0, 20, 35, 50, 65, 90),
        ("screw", "roll deg"): (0, 15, 31, 47, 62, 78),
        ("screw", "along the axis cm"): (-37, -22, -7, 7, 22, 37),
    }
    starts: dict[tuple[str, str], list[float]] = {key: [] for key in bounds}
    came: dict[str, list[int]] = {"lookat": [], "screw": []}
    for row in rows:
        if (row["method"], row["variant"]) == ("dvs", "as published"):
            Ts_cam, Ts_goal = SETS[row["set"]][0].draw(
                row["n"], torch.Generator().manual_seed(row["seed"]), 0.6, PAPER_CAMERA
            )
            metres, radians = se3.distance(Ts_cam, Ts_goal)
            along = (se3.inverse(Ts_goal) @ Ts_cam)[:, 2, 3]
            for key, values in (
                ("distance cm", 100 * metres),
                ("roll deg", radians.rad2deg()),
                ("along the axis cm", 100 * along),
            ):
                if (row["set"], key) in bounds:
                    starts[row["set"], key] += values.tolist()
            came[row["set"]] += row["runs"]["home"]
    lines = []
    for (name, parameter), edges in bounds.items():
        which = np.digitize(starts[name, parameter], edges)
        for k in range(1, len(edges)):
            good = np.array(came[name])[which == k]
            share = {"converged": good.mean(), "converged_ci": wilson(int(good.sum()), len(good))}
            lines.append(
                [name, f"{parameter} {edges[k - 1]} to {edges[k]}", str(len(good)), home(share)]
            )
    return table(["set", "start", "runs", "converged % [95 %]"], lines, 2)


def antialias(rows: list[Row]) -> str:
    """Means over the pictures; of the ends, medians, because now and then a run does not
    converge.
    """
    lines = []
    for minification, pixels, renderer in unique(
        (row["minification"], row["shift_px"], row["renderer"]) for row in rows
    ):
        mine = [
            row
            for row in rows
            if (row["minification"], row["shift_px"], row["renderer"])
            == (minification, pixels, renderer)
        ]
        mean = {k: float(np.mean([row[k] for row in mine])) for k in ("grey", "change", "L")}
        end = [figure(float(np.median([row[k] for row in mine]))) for k in ("end_mm", "end_deg")]
        percent = [f"{100 * mean[k]:.1f}" for k in ("change", "L")]
        lines.append(
            [
                f"{minification:g}",
                f"{pixels:g}",
                renderer,
                f"{255 * mean['grey']:.2f}",
                *percent,
                *end,
            ]
        )
    head = [
        "texels a pixel",
        "shift px",
        "renderer",
        "grey error of 255",
        "error of the change %",
        "error of L %",
        "end mm",
        "end deg",
    ]
    return table(head, lines, 0)


def visp(rows: list[Row]) -> str:
    """How far our figures are from ViSP's."""
    (row,) = rows
    lines = ([name, f"{value:.2g}"] for name, value in row.items())
    return table(["what is compared", "difference from ViSP"], lines, 1)


def speed(rows: list[Row]) -> str:
    """Ours against others."""
    lines = [
        [
            row["what"],
            row["against"],
            f"{row['ours']:.0f}",
            f"{row['theirs']:.0f}",
            f"**{row['ratio']:.2f}** [{row['low']:.2f}, {row['high']:.2f}]",
        ]
        for row in rows
        if "theirs" in row
    ]
    return table(["work", "against", "ours a second", "theirs a second", "ratio [range]"], lines, 2)


def speed_growth(rows: list[Row]) -> str:
    """DVS as the batch and the picture grow."""
    lines = [
        [
            row["what"].removeprefix("DVS steps, "),
            f"{row['ours']:.0f}",
            f"{row['ratio']:.2f} of {row['against']}",
            f"{100 * row['law']:.0f}",
            f"{100 * row['drawing']:.0f}",
            f"{row['peak_mb']:.0f}",
        ]
        for row in rows
        if "law" in row
    ]
    return table(
        ["what varies", "steps of runs a second", "ratio", "law %", "drawing %", "peak MB"],
        lines,
        1,
    )


def classical(rows: list[Row]) -> str:
    """The classical methods beside the published shares, picture by picture."""
    each, whole = over_all(rows)
    between = []
    for row in whole:
        known = PUBLISHED.get((row["set"], row["method"]))
        shares = [
            100 * r["converged"]
            for r in each
            if (r["set"], r["method"]) == (row["set"], row["method"])
        ]
        if known and len(shares) > 1 and not row.get("trained_s"):
            between.append(min(shares) <= known[0] <= max(shares))
    note = (
        f"Converged: by the published rule. All runs took "
        f"{sum(row['time_s'] for row in each) / 60:.0f} minutes."
    )
    if trained := [row["trained_s"] / 60 for row in each if row.get("trained_s")]:
        note += f" Learned in {min(trained):.0f} to {max(trained):.0f} minutes a scene on one core."
    if between:
        note += (
            f" In {sum(between)} of {len(between)} rows of untrained methods the published share "
            "lies between the least and the most of our pictures."
        )
    return f"{beside_published(each, whole)}\n\n{note}"


def paired(rows: list[Row]) -> str:
    """Two methods a line, run by run."""
    return run_by_run(over_all(rows)[1])


def hard(rows: list[Row]) -> str:
    """Who wins where."""
    return who_wins(over_all(rows)[1])


def batches(rows: list[Row]) -> str:
    """CNN-VS's batches: the share that converged of all starts, and of those that see enough of the
    goal, over all scenes and on each.
    """
    each, whole = over_all(rows)
    scenes = unique(row["scene"] for row in each)
    of_scene = {
        (row["set"], row["part"], row["scene"]): row["sharing"]["converged"] for row in each
    }
    lines = []
    for row in whole:
        some = row["sharing"]
        share = "-" if some["converged"] is None else home(some)
        apart = [of_scene[row["set"], row["part"], scene] for scene in scenes]
        by_scene = ["-" if value is None else f"{100 * value:.0f}" for value in apart]
        lines.append(
            [
                f"{row['set']}, {row['part']}",
                str(row["n"]),
                home(row),
                str(some["n"]),
                share,
                *by_scene,
                *ends(row)[:2],
            ]
        )
    heads = [
        "set",
        "runs",
        "converged % [95 %]",
        "that share 5 % or more",
        "converged % of these",
        *scenes,
        "end mm",
        "end deg",
    ]
    return table(heads, lines, 1)


def with_matches(rows: list[Row]) -> list[Row]:
    """Those of matches from the same starts, which another file has, and the rows themselves."""
    sets = {row["set"] for row in rows}
    rivals = json.loads((ROOT / "results" / "hard.json").read_text())["rows"]
    return [
        row for row in rivals if row["method"] in ("sift", "sift+dvs") and row["set"] in sets
    ] + rows


def beside_matches(rows: list[Row]) -> str:
    """Who wins where, matches beside."""
    return hard(with_matches(rows))


def against_matches(rows: list[Row]) -> str:
    """Runs lost in a whole set, and McNemar's p where it is largest: as if no run were lost by
    both.
    """
    whole = over_all(with_matches(rows))[1]
    methods = unique(row["method"] for row in rows)
    lines = []
    for name in unique(row["set"] for row in rows):
        lost = {
            m: [
                round(r["n"] * (1 - r["converged"]))
                for r in whole
                if (r["set"], r["method"]) == (name, m)
            ]
            for m in ("sift", *methods)
        }
        n = sum(row["n"] for row in whole if (row["set"], row["method"]) == (name, "sift"))
        for method in methods:
            theirs, ours = sum(lost["sift"]), sum(lost[method])
            lines.append(
                [
                    name,
                    str(n),
                    str(theirs),
                    f"`{method}`",
                    str(ours),
                    probability(mcnemar(theirs, ours)),
                ]
            )
    return table(
        ["set", "runs", "lost by `sift`", "other", "lost by the other", "p at most (McNemar)"],
        lines,
        1,
    )


def taught(rows: list[Row]) -> str:
    """Networks for scenes never seen, by what they learned from: a line a method and condition."""
    of = {
        "pictures made by code": rows,
        "natural pictures": json.loads((ROOT / "results" / "pairs-natural.json").read_text())[
            "rows"
        ],
        "what ships": json.loads((ROOT / "results" / "unseen.json").read_text())["rows"],
    }
    whole = {
        name: {(r["part"], r["method"]): r for r in over_all(each)[1]} for name, each in of.items()
    }
    lines = []
    for method in unique(row["method"] for row in rows):
        for part in unique(row["part"] for row in rows):
            found = [each[part, method] for each in whole.values()]
            lines.append(
                [
                    f"`{method}`",
                    part,
                    *[f"{home(row)}, {figure(row['end_mm_median'])} mm" for row in found],
                ]
            )
    return table(["method", "starts and goals", *of], lines, 2)


def steps(rows: list[Row]) -> str:
    """How long a step takes."""
    lines = [
        [_where(row["what"]), str(row["n"]), figure(row["ms_median"]), figure(row["ms_p90"])]
        for row in rows
    ]
    return table(["step", "steps measured", "median ms", "90th percentile ms"], lines, 1)


def _where(step: str) -> str:
    """A step as the results name it, in the words of the pages."""
    for old, new in (
        (", home", ", at the goal"),
        ("after that", "later steps"),
        ("first look", "first step"),
        ("nothing in common", "another scene"),
    ):
        step = step.replace(old, new)
    return step


def bound(rows: list[Row]) -> str:
    """The least end error that a perturbed goal leaves possible."""
    lines = [
        [
            f"{r['set']}, {r['part']}",
            str(r["n"]),
            figure(r["end_mm_median"]),
            figure(r["end_deg_median"]),
        ]
        for r in rows
    ]
    return table(
        ["set", "goals", "least possible median mm", "least possible median deg"], lines, 1
    )


def tangents(rows: list[Row]) -> str:
    """How far L_z is from rendered motion, and what it costs."""
    found = [row for row in rows if "scene" in row]
    error = table(
        ["encoder of", "pictures of", "median relative error %", "x", "y", "z", "rx", "ry", "rz"],
        (
            [
                r["model"],
                r["scene"],
                f"{100 * r['median']:.1f}",
                *[f"{100 * axis:.1f}" for axis in r["axes"]],
            ]
            for r in found
        ),
        2,
    )
    cost = table(
        ["width", "z and L_z a second", "against", "times as long"],
        (
            [
                str(r["width"]),
                f"{r['ours']:.1f}",
                _against(r),
                f"**{1 / r['ratio']:.2f}** [{1 / r['high']:.2f}, {1 / r['low']:.2f}]",
            ]
            for r in rows
            if "width" in r
        ),
        0,
    )
    return f"{error}\n\n{cost}"


def _against(row: Row) -> str:
    """What L_z is measured against, and how wrong that is where it is."""
    return (
        f"{row['against']}, wrong by {100 * row['L_error']:.1f} %"
        if "L_error" in row
        else str(row["against"])
    )


def bank(rows: list[Row]) -> str:
    """The bank of poses: what it holds, and what a query costs."""
    return table(
        [
            "scene",
            "poses",
            "MB",
            "seconds to build",
            "recall of 50",
            "queries a second",
            "against",
            "times as fast",
        ],
        (
            [
                r["scene"],
                str(r["poses"]),
                f"{r['mb']:.0f}",
                f"{r['built_s']:.1f}",
                f"{r['recall']:.4f}",
                f"{r['ours']:.0f}",
                r["against"],
                f"**{r['ratio']:.1f}** [{r['low']:.1f}, {r['high']:.1f}]",
            ]
            for r in rows
        ),
        1,
    )


def studies(rows: list[Row]) -> str:
    """A line a study, variant, training and set, over scenes and seeds; of several networks the
    shares with which the worst and the best converge.
    """
    lines = []
    keys = [
        (row["study"], row["steps_trained"], row["part"] or row["set"], row["method"])
        for row in rows
    ]
    for key in unique(keys):
        study, steps, name, method = key
        mine = [row for row, its in zip(rows, keys, strict=True) if its == key]
        total = pooled(mine)
        shares = [100 * row["converged"] for row in mine]
        each = f"{len(mine)}: {min(shares):.0f} to {max(shares):.0f}" if len(mine) > 1 else "1"
        mean = {
            k: float(np.mean([row[k] for row in mine])) for k in ("loss", "trained_s", "parameters")
        }
        trained = [
            f"{mean['loss']:.4f}",
            f"{mean['trained_s'] / 60:.1f}",
            f"{mean['parameters'] / 1e6:.2f}",
        ]
        length = "-" if total["length_ratio"] is None else f"{total['length_ratio']:.2f}"
        lines.append(
            [
                study.replace("spoiled", "degraded"),
                method,
                name,
                each,
                str(total["n"]),
                home(total),
                *ends(total)[:1],
                length,
                str(steps),
                *trained,
            ]
        )
    heads = [
        "study",
        "variant",
        "set",
        "networks, each %",
        "runs",
        "converged % [95 %]",
        "end mm",
        "length",
    ]
    return table([*heads, "steps learned", "loss", "minutes", "million weights"], lines, 3)


def scenes(rows: list[Row]) -> str:
    """A line a network of several scenes, over those that were measured."""
    lines = []
    for number, colour, steps in unique(
        (row["scenes"], row["colour"], row["steps_trained"]) for row in rows
    ):
        mine = [
            row
            for row in rows
            if (row["scenes"], row["colour"], row["steps_trained"]) == (number, colour, steps)
        ]
        total = pooled(mine)
        seen = "colour" if colour else "grey"
        trained = [str(steps), f"{mine[0]['trained_s'] / 60:.0f}", f"{mine[0]['loss']:.2f}"]
        lines.append([str(number), seen, str(total["n"]), home(total), *ends(total)[:2], *trained])
    return table(
        [
            "scenes",
            "pictures",
            "runs",
            "converged % [95 %]",
            "end mm",
            "end deg",
            "steps learned",
            "minutes",
            "loss",
        ],
        lines,
        2,
    )


# By name: the file in results/ and the table made of its rows; of many files, or of none, where
# there is no name.
TABLES: dict[str, tuple[str, Callable[[list[Row]], str]]] = {
    "first": ("pictures", first),
    "pictures": ("pictures", pictures),
    "dvs": ("dvs", dvs),
    "dvs-starts": ("dvs", dvs_starts),
    "antialias": ("antialias", antialias),
    "classical": ("classical", classical),
    "six": ("six", classical),
    "hard": ("hard", hard),
    "mlvs": ("mlvs", classical),
    "aevs": ("aevs", classical),
    "aevs-paired": ("aevs", paired),
    "mlvs-hard": ("mlvs-hard", beside_matches),
    "aevs-hard": ("aevs-hard", beside_matches),
    "unseen": ("unseen", hard),
    "unseen-paired": ("unseen", paired),
    "pairs": ("pairs-code", taught),
    "auto-hard": ("auto-hard", beside_matches),
    "auto-hard-sets": ("auto-hard", against_matches),
    "bound": ("bound", bound),
    "tangents": ("tangents", tangents),
    "bank": ("bank", bank),
    "studies": ("studies", studies),
    "siamese": ("siamese", studies),
    "one-scene": ("one-scene", hard),
    "batches": ("batches", batches),
    "rooms": ("", lambda _: rooms()),
    "published": ("", published),
    "marks": ("", marks),
    "recipes": ("", recipes),
    "weights": ("", weights),
    "gpu": ("gpu", gpu),
    "gantry": ("gantry", gantry),
    "keypoints": ("keypoints", keypoints),
    "objects": ("objects", objects),
    "objects-above": ("objects-above", objects),
    "grasps": ("grasps", grasps),
    "dfbvs-steps": ("dfbvs-steps", steps),
    "relief": ("relief", relief),
    "steps": ("steps", steps),
    "scenes": ("scenes", scenes),
    "visp": ("visp", visp),
    "mutants": ("mutants", mutants),
    "speed": ("speed", speed),
    "speed-growth": ("speed", speed_growth),
}

ON_A_GPU = ("gpu",)  # results that only a GPU can make: without them the table says so


def made(name: str) -> str | None:
    """The table of that name, or None without its results."""
    file, draw = TABLES[name]
    path = ROOT / "results" / f"{file}.json"
    if path.is_file():
        return draw(json.loads(path.read_text())["rows"])
    return draw([]) if not file or file in ON_A_GPU else None


def filled(page: str) -> str:
    """The page with each of its tables as the results have it now; those without results stay."""

    def fill(match: re.Match[str]) -> str:
        text = made(match[2])
        return match[0] if text is None else f"{match[1]}\n{text}\n{match[3]}"

    return re.sub(r"(<!-- table:([\w-]+) -->).*?(<!-- /table -->)", fill, page, flags=re.DOTALL)


def main(write: bool = False, check: bool = False) -> int:
    """Print every table there are results for.

    Args:
        write: put them into README.md and docs/.
        check: only say, by the exit code 1, when a page shows something else.
    """
    stale = [
        page
        for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
        if filled(page.read_text()) != page.read_text()
    ]
    if check:
        print(
            "\n".join(
                f"{page.relative_to(ROOT)}: its tables are not those of results/; run make table"
                for page in stale
            )
            or "all tables agree"
        )
        return int(bool(stale))
    for page in stale if write else ():
        page.write_text(filled(page.read_text()))
        print(f"{page.relative_to(ROOT)}: written")
    for name in TABLES:
        if text := made(name):
            print(f"## {name}\n\n{text}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
