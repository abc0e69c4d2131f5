"""A drawing of the benchmarks as a page that is read wide and narrow, and needs no other file."""

from pathlib import Path

import plotly.graph_objects as go

from deepservo.system.files import replacing

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<body style="max-width:720px;margin:2em auto;padding:0 1em;font-family:sans-serif">
<h1 style="font-size:1.4em">{title}</h1><p>{words}</p>
{drawn}</body></html>"""


def write_page(page: Path, figure: go.Figure, title: str, words: str) -> None:
    """Write the figure to `page`, all at once, under a title and a sentence."""
    figure.update_layout(
        showlegend=False, template="plotly_white", margin={"l": 60, "r": 20, "t": 40, "b": 60}
    )
    drawn = figure.to_html(full_html=False, config={"displayModeBar": False})
    with replacing(page) as beside:
        beside.write_text(PAGE.format(title=title, words=words, drawn=drawn), "utf-8")
    print(f"{words} Drawn: {page}")
