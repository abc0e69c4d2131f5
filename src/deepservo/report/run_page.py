"""The page of `deepservo demo` and `deepservo servo`: one file that opens offline.

`run_data.py` chooses and packs its numbers and pictures, `run_page.html` is its layout, and
`run_film.js`, `run_plots.js`, `run_space.js` and `run_page.js` draw it.
"""

import re
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.report.page import write_page
from deepservo.report.run_data import CURVE_POINTS, RunSet, pack, sentence, thin
from deepservo.report.thumbnails import Look, render_scene, small, webp
from deepservo.scene import PlanarScene, Scene

MAX_LINES = 100  # runs drawn one by one on the whole page; medians and counts are over all runs
MIN_LINES = 20  # of one set of runs


@dataclass(frozen=True)
class Report:
    """What the page of a run shows. Raises InputError where there are no runs."""

    title: str
    rows: list[dict]
    """Rows of results.json."""
    runs: list[RunSet]
    """What is drawn, in the order of the menu; the sentence at the top is about the first."""
    scene: Scene
    camera: Camera
    training: dict | None = None
    """Method, steps, seconds, parameters, batch, seed, loss ([[step, loss], ...]), picture and
    minutes (or None) of the training; None when nothing was trained.
    """
    look: Look | None = None
    """Renders the pictures again from the poses; None renders the scene."""
    note: str = ""
    """A sentence for below the first one."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("report: there are no runs to show")


def write_report(path: Path, report: Report) -> None:
    """Write the page to `path`, all at once: no reader finds half of it."""
    runs, scene, camera, training = report.runs, report.scene, report.camera, report.training
    look = report.look or partial(render_scene, scene, camera)
    lines, movies = max(MIN_LINES, MAX_LINES // len(runs)), 3 if len(runs) <= 2 else 1
    data = {
        "rows": report.rows,
        "sets": [pack(run, look, camera, lines, movies) for run in runs],
        "camera": asdict(camera),
        "scene": {
            "width": scene.width,
            "height": scene.height,
            "centre": scene.centre,
            "on": "on a plane" if isinstance(scene, PlanarScene) else "at its median depth",
            "picture": webp(small(scene.texture, 96)),
        },
        "training": training and {**training, "loss": thin(training["loss"], 2 * CURVE_POINTS)},
    }
    # a number and its unit stay in one line
    top = re.sub(r"(\d) (mm|deg)\b", "\\1\N{NO-BREAK SPACE}\\2", sentence(runs[0]))
    words = {
        "title": report.title,
        "sentence": top if len(runs) == 1 else f"{runs[0].label}: {top}",
        "note": report.note,
    }
    write_page(path, "run_page", words, data)
