"""The tables of docs/performance.md and docs/bench.md: speed, and ViSP's figures beside ours."""

from functools import partial

from benchmarks.common.rows import Row
from benchmarks.tables.measured import columns, measured
from deepservo.bench.tables import figure, table


def visp(rows: list[Row]) -> str:
    """How far our figures are from ViSP's."""
    (row,) = rows
    lines = ([name, f"{value:.2g}"] for name, value in row.items())
    return table(["what is compared", "difference from ViSP"], lines, 1)


def speed(rows: list[Row]) -> str:
    """Ours against others."""
    return columns(
        [row for row in rows if "theirs" in row],
        2,
        {
            "work": lambda r: r["what"],
            "against": lambda r: r["against"],
            "ours a second": lambda r: f"{r['ours']:.0f}",
            "theirs a second": lambda r: f"{r['theirs']:.0f}",
            "ratio [range]": lambda r: f"**{r['ratio']:.2f}** [{r['low']:.2f}, {r['high']:.2f}]",
        },
    )


def speed_growth(rows: list[Row]) -> str:
    """DVS as the batch and the picture grow."""
    return columns(
        [row for row in rows if "law" in row],
        1,
        {
            "what varies": lambda r: r["what"].removeprefix("DVS steps, "),
            "steps of runs a second": lambda r: f"{r['ours']:.0f}",
            "ratio": lambda r: f"{r['ratio']:.2f} of {r['against']}",
            "drawing and law %": lambda r: f"{100 * r['law']:.0f}",
            "peak MB": lambda r: f"{r['peak_mb']:.0f}",
        },
    )


def training_step(rows: list[Row]) -> str:
    """A line a method: how long a step takes, and the shares of that time."""
    parts = ("drawing", "perturbing", "optimizer")
    return columns(
        rows,
        1,
        {
            "method": lambda r: f"`{r['method']}`",
            "pictures a step": lambda r: str(r["batch"]),
            "ms a step": lambda r: f"{r['ms']:.0f}",
            **{f"{part} %": partial(_percent, part) for part in parts},
            "network, forward and back %": lambda r: f"{100 - 100 * sum(r[k] for k in parts):.1f}",
        },
    )


def _percent(part: str, row: Row) -> str:
    return f"{100 * row[part]:.1f}"


def control_step(rows: list[Row]) -> str:
    """A line a size and kind of step."""
    return columns(
        rows,
        2,
        {
            "camera": lambda r: f"{r['width']} x {r['height']}",
            "what": lambda r: r["what"],
            "steps": lambda r: str(r["n"]),
            "ms, median": lambda r: f"{r['ms']:.1f}",
            "99 of 100 under": lambda r: f"{r['ms_p99']:.0f}",
            "beside": lambda r: f"{r['beside']}, {r['beside_ms']:.1f} ms",
            "ratio": lambda r: f"**{r['ratio']:.1f}**",
        },
    )


def gpu(rows: list[Row]) -> str:
    """A line a method and number of runs: steps of all runs a second beside the floors, and how
    long one call takes.
    """
    lines = []
    for row in rows:
        what, speed = [f"`{row['method']}`", str(row["runs"])], row["steps_per_s"]
        if speed is None:
            lines.append([*what, "out of memory", *"-----"])
            continue
        floors = [figure(speed / row[k]) if row[k] else "-" for k in ("memory_floor", "flop_floor")]
        times = [row[k] for k in ("ms_p50", "ms_p99", "ms_compiled")]
        cells = ["-" if ms is None else f"{ms:.2f}" for ms in times]
        lines.append([*what, f"{speed:.0f}", *floors, *cells])
    head = ["method", "runs at once", "steps of runs a second"]
    floors = ["of the memory's floor", "of the arithmetic's"]
    times = ["ms a call, median", "p99", "compiled"]
    how = "`python -m benchmarks gpu` measures it on a GPU."
    return measured([*head, *floors, *times], lines, 1, slice(2, None), how)
