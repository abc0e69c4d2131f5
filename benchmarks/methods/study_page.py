"""The drawing of the studies: a panel for each study, part of a set and training."""

from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.common.pages import write_page
from benchmarks.common.rows import Row, grouped, pooled
from deepservo.evaluation.metrics import wilson


def draw(rows: list[Row], page: Path) -> None:
    """A panel a study, part of a set and training: the share of each variant that converged, with
    its interval; dots are single networks.
    """
    panels = list(grouped(rows, "study", "set", "part", "steps_trained"))
    titles = [f"{study}, {part or name}, {steps} steps" for (study, name, part, steps), _ in panels]
    n = max(1, len(panels))
    figure = make_subplots(rows=n, subplot_titles=titles, vertical_spacing=0.4 / n)
    for k, (_, mine) in enumerate(panels, 1):
        _draw_panel(figure, mine, {"row": k, "col": 1})
    figure.update_layout(height=260 * n, bargap=0.5)
    words = (
        "A bar is the share of all runs that converged, with its 95 % interval; a dot is one "
        "network."
    )
    write_page(page, figure, "Studies of learned servoing", words)


def _draw_panel(figure: go.Figure, rows: list[Row], place: dict[str, int]) -> None:
    totals = {label: pooled(mine) for label, mine in grouped(rows, "method")}
    labels, share = list(totals), [100 * total["converged"] for total in totals.values()]
    counts = [(round(t["converged"] * t["n"]), t["n"]) for t in totals.values()]
    low, high = zip(*[wilson(hits, n) for hits, n in counts], strict=True)
    bars = {
        "type": "data", "symmetric": False,
        "array": [100 * h - s for h, s in zip(high, share, strict=True)],
        "arrayminus": [s - 100 * w for w, s in zip(low, share, strict=True)],
    }  # fmt: skip
    figure.add_trace(go.Bar(x=labels, y=share, error_y=bars, marker_color="#4c78a8"), **place)
    methods, shares = zip(*[(row["method"], 100 * row["converged"]) for row in rows], strict=True)
    dots = go.Scatter(x=methods, y=shares, mode="markers", marker_color="#222")
    figure.add_trace(dots, **place)
    ticks = [label.replace(", ", ",<br>") for label in labels]
    figure.update_xaxes(tickvals=labels, ticktext=ticks, **place)
    figure.update_yaxes(range=[0, 104], title_text="% converged", **place)
