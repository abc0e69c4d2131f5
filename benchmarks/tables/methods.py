"""The tables of docs/methods: single measurements, studies and networks of several scenes."""

import numpy as np

from benchmarks.common.rows import Row, grouped, pooled
from benchmarks.tables.measured import columns
from deepservo.bench.tables import converged_percent, ends, figure, table

# The words of the pages for those of the results files.
WORDS = {
    ", home": ", at the goal",
    "after that": "later steps",
    "first look": "first step",
    "nothing in common": "another scene",
}


def steps(rows: list[Row]) -> str:
    """How long a step takes."""
    return columns(
        rows,
        1,
        {
            "step": lambda r: _in_words(r["what"]),
            "steps measured": lambda r: str(r["n"]),
            "median ms": lambda r: figure(r["ms_median"]),
            "90th percentile ms": lambda r: figure(r["ms_p90"]),
        },
    )


def _in_words(step: str) -> str:
    for old, new in WORDS.items():
        step = step.replace(old, new)
    return step


def learned_depth(rows: list[Row]) -> str:
    """A line a method and teaching, before the solids that were learned; off: over all runs."""
    return columns(
        rows,
        2,
        {
            "method": lambda r: f"`{r['method']}`",
            "learned as": lambda r: "picture and depth" if r["deep"] else "plane",
            "runs": lambda r: str(r["n"]),
            "converged % [95 %]": converged_percent,
            "end mm": lambda r: figure(r["end_mm_median"]),
            "end deg": lambda r: figure(r["end_deg_median"]),
            "end mm, all runs": lambda r: figure(r["off_mm_median"]),
            "end deg, all runs": lambda r: figure(r["off_deg_median"]),
            "training s": lambda r: f"{r['trained_s']:.0f}",
        },
    )


def bound(rows: list[Row]) -> str:
    """The least end error that a perturbed goal leaves possible."""
    return columns(
        rows,
        1,
        {
            "set": lambda r: f"{r['set']}, {r['part']}",
            "goals": lambda r: str(r["n"]),
            "least possible median mm": lambda r: figure(r["end_mm_median"]),
            "least possible median deg": lambda r: figure(r["end_deg_median"]),
        },
    )


def tangents(rows: list[Row]) -> str:
    """How far L_z is from rendered motion, and what it costs."""
    axes = {
        axis: lambda r, k=k: f"{100 * r['axes'][k]:.1f}"
        for k, axis in enumerate(("x", "y", "z", "rx", "ry", "rz"))
    }
    error = columns(
        [row for row in rows if "scene" in row],
        2,
        {
            "encoder of": lambda r: r["model"],
            "pictures of": lambda r: r["scene"],
            "median relative error %": lambda r: f"{100 * r['median']:.1f}",
            **axes,
        },
    )
    cost = columns(
        [row for row in rows if "width" in row],
        0,
        {
            "width": lambda r: str(r["width"]),
            "z and L_z a second": lambda r: f"{r['ours']:.1f}",
            "against": _against,
            "times as long": lambda r: (
                f"**{1 / r['ratio']:.2f}** [{1 / r['high']:.2f}, {1 / r['low']:.2f}]"
            ),
        },
    )
    return f"{error}\n\n{cost}"


def _against(row: Row) -> str:
    """What L_z is compared with, and the error of that where it has one."""
    wrong = f", wrong by {100 * row['L_error']:.1f} %" if "L_error" in row else ""
    return f"{row['against']}{wrong}"


def bank(rows: list[Row]) -> str:
    """The bank of poses: what it holds, and what a query costs."""
    return columns(
        rows,
        1,
        {
            "scene": lambda r: r["scene"],
            "poses": lambda r: str(r["poses"]),
            "MB": lambda r: f"{r['mb']:.0f}",
            "seconds to build": lambda r: f"{r['built_s']:.1f}",
            "recall of 50": lambda r: f"{r['recall']:.4f}",
            "queries a second": lambda r: f"{r['ours']:.0f}",
            "against": lambda r: r["against"],
            "times as fast": lambda r: f"**{r['ratio']:.1f}** [{r['low']:.1f}, {r['high']:.1f}]",
        },
    )


def studies(rows: list[Row]) -> str:
    """A line a study, variant, training and set, over scenes and seeds; of several networks the
    shares with which the worst and the best converge.
    """
    named = ({**row, "name": row["part"] or row["set"]} for row in rows)
    lines = []
    for (study, steps, name, method), mine in grouped(
        named, "study", "steps_trained", "name", "method"
    ):
        total = pooled(mine)
        shares = [100 * row["converged"] for row in mine]
        each = f"{len(mine)}: {min(shares):.0f} to {max(shares):.0f}" if len(mine) > 1 else "1"
        loss, seconds, weights = (
            float(np.mean([row[k] for row in mine])) for k in ("loss", "trained_s", "parameters")
        )
        length = "-" if total["length_ratio"] is None else f"{total['length_ratio']:.2f}"
        words = [study.replace("spoiled", "degraded"), method, name, each]
        ran = [str(total["n"]), converged_percent(total), *ends(total)[:1], length]
        trained = [str(steps), f"{loss:.4f}", f"{seconds / 60:.1f}", f"{weights / 1e6:.2f}"]
        lines.append([*words, *ran, *trained])
    words = ["study", "variant", "set", "networks, each %"]
    ran = ["runs", "converged % [95 %]", "end mm", "length"]
    trained = ["steps learned", "loss", "minutes", "million weights"]
    return table([*words, *ran, *trained], lines, 3)


def scenes(rows: list[Row]) -> str:
    """A line a network of several scenes, over those that were measured."""
    networks = grouped(rows, "scenes", "colour", "steps_trained")
    totals = [{**mine[0], **pooled(mine)} for _, mine in networks]
    return columns(
        totals,
        2,
        {
            "scenes": lambda r: str(r["scenes"]),
            "pictures": lambda r: "colour" if r["colour"] else "grey",
            "runs": lambda r: str(r["n"]),
            "converged % [95 %]": converged_percent,
            "end mm": lambda r: figure(r["end_mm_median"]),
            "end deg": lambda r: figure(r["end_deg_median"]),
            "steps learned": lambda r: str(r["steps_trained"]),
            "minutes": lambda r: f"{r['trained_s'] / 60:.0f}",
            "loss": lambda r: f"{r['loss']:.2f}",
        },
    )
