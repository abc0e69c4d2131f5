"""An HTML page in one file that opens offline: its text, data, style, scripts and plotly in it."""

import html
import json
import math
import re
from importlib import resources
from pathlib import Path

import numpy as np
from plotly.offline import get_plotlyjs
from torch import Tensor

from deepservo.system.files import replacing

SCRIPTS = {
    "run_page": ("page", "run_film", "run_plots", "run_space", "run_page"),
    "bench_page": ("page", "bench_page"),
}
"""What draws each page: its scripts, in their order."""


def write_page(path: Path, name: str, words: dict[str, str], data: dict) -> None:
    """Write the page `name` of this folder to `path`, all at once: no reader finds half of it.

    words: the text that its layout names, `title` among them. data: what its scripts draw.
    """
    packed = json.dumps(_tidy(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        **{key: html.escape(text) for key, text in words.items()},
        "css": _read("page.css") + _read(f"{name}.css"),
        "plotly": get_plotlyjs(),
        "script": "".join(_read(f"{script}.js") for script in SCRIPTS[name]),
        "data": packed.replace("<", "\\u003c"),  # "<" could end the script element
    }
    layout = _read("page_head.html") + _read(f"{name}.html")
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], layout)
    with replacing(Path(path)) as beside:
        beside.write_text(page, "utf-8")


def _read(name: str) -> str:
    """A file of this folder."""
    return (resources.files("deepservo.report") / name).read_text("utf-8")


def _tidy(value: object) -> object:
    """What JSON can hold: four significant digits, null for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _tidy(v) for k, v in value.items()}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _tidy(value.tolist())
    if isinstance(value, list | tuple):
        return [_tidy(v) for v in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
