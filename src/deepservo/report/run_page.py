"""The report page: everything a run of `deepservo demo` or `deepservo servo` has to show, in one
file that opens offline.

Here the numbers and pictures are chosen, rounded and packed; `run_page.html` beside this file lays
them out, `run_page.js` draws them.
"""

import base64
import html
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from plotly.offline import get_plotlyjs
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.loop import Trajectory
from deepservo.scene import PlanarScene
from deepservo.system.files import replacing

POINTS = 200  # of a curve at most
PATH_POINTS = 40  # of a path in space,
LOST = 1.5  # which ends where it is so many times as far off as the farthest start
LINES = 100  # runs drawn one by one on the whole page; medians and counts are always over all runs
FRAMES = 40  # of an animation
TILE = 176  # width of a small picture [px]
Look = Callable[
    [Tensor], Tensor
]  # poses T_world_cam (n, 4, 4) to what a camera sees there (n, c, h, w)


@dataclass(frozen=True)
class RunSet:
    """B runs that belong together: one method on one set of starts. Raises InputError where the
    parts do not fit.
    """

    label: str
    """e.g. "cnn+dvs · lookat-rz · coffee"."""
    trajectory: Trajectory
    goal: Float[Tensor, "b c h w"]
    """Goal picture(s) in [0, 1]: one, or one a run."""
    Ts_world_goal: Float[Tensor, "b 4 4"] | None
    """One goal pose, or one a run; None when it is unknown: then the image error stands in for the
    pose error.
    """
    converged: Bool[Tensor, " b"] | None
    """Which runs came home; None when unknown."""

    def __post_init__(self) -> None:
        B = len(self.trajectory.steps)
        if B == 0:
            raise InputError(f"report: '{self.label}' holds no runs")
        for name, value, sizes in (
            ("goal", self.goal, (1, B)),
            ("Ts_world_goal", self.Ts_world_goal, (1, B)),
            ("converged", self.converged, (B,)),
        ):
            if value is not None and len(value) not in sizes:
                raise InputError(
                    f"report: '{self.label}' has {B} runs, but {name} has {len(value)} entries"
                )


@dataclass(frozen=True)
class Report:
    """What the page of a run shows. Raises InputError where there are no runs."""

    title: str
    rows: list[dict]
    """Rows of results.json."""
    runs: list[RunSet]
    """What is drawn, in the order of the menu; the sentence at the top is about the first."""
    scene: PlanarScene
    camera: Camera
    training: dict | None = None
    """Method, steps, seconds, parameters, batch, seed, loss ([[step, loss], ...]), picture and
    minutes (or None) of the training; None when nothing was trained.
    """
    look: Look | None = None
    """Renders the pictures again from the poses; None renders the flat scene."""
    note: str = ""
    """A sentence for below the first one."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("report: there are no runs to show")


def write_report(path: Path, report: Report) -> None:
    """Write the page to `path`, all at once: a reader never finds half of it."""
    runs, scene, camera, training = report.runs, report.scene, report.camera, report.training
    look = report.look or partial(_before_plane, scene, camera)
    lines, movies = max(20, LINES // len(runs)), 3 if len(runs) <= 2 else 1
    data = {
        "rows": report.rows,
        "sets": [_pack(run, look, camera, lines, movies) for run in runs],
        "camera": asdict(camera),
        "scene": {
            "width": scene.width,
            "height": scene.height,
            "centre": scene.centre,
            "picture": _webp(_small(scene.texture, 96)),
        },
        "training": training and {**training, "loss": _thin(training["loss"], 2 * POINTS)},
    }
    top = re.sub(
        r"(\d) (mm|deg)\b", "\\1\N{NO-BREAK SPACE}\\2", sentence(runs[0])
    )  # a number and its unit stay in one line
    words = {
        "title": report.title,
        "sentence": top if len(runs) == 1 else f"{runs[0].label}: {top}",
        "note": report.note,
    }
    write_page(path, "run_page", words, data)


def write_page(path: Path, name: str, words: dict[str, str], data: dict) -> None:
    """Write one of the pages of this folder, its text and data filled in, its style, scripts and
    plotly inside it.
    """
    files = resources.files("deepservo.report")
    parts = {
        **{key: html.escape(text) for key, text in words.items()},
        "css": (files / "page.css").read_text("utf-8"),
        "common": (files / "page.js").read_text("utf-8"),
        "plotly": get_plotlyjs(),
        "script": (files / f"{name}.js").read_text("utf-8"),
        # "<" could end the script element, and JSON has no NaN
        "data": json.dumps(
            _tidy(data), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).replace("<", "\\u003c"),
    }
    page = re.sub(
        r"\{\{(\w+)\}\}", lambda match: parts[match[1]], (files / f"{name}.html").read_text("utf-8")
    )
    with replacing(Path(path)) as beside:
        beside.write_text(page, "utf-8")


def sentence(run: RunSet) -> str:
    """The result in one sentence; the median is over the runs that came home, or over all when none
    did.
    """
    errors, home, B = _errors(run), run.converged, len(run.trajectory.steps)
    among = home if home is not None and bool(home.any()) else torch.ones(B, dtype=torch.bool)
    if errors is not None:
        mm, deg = (_number(float(np.median(e[-1][among]))) for e in errors)
        end = f"{mm} mm and {deg} deg from the goal"
    else:
        error = float(
            torch.from_numpy(_last(run.trajectory.image_error.numpy()))[among].nanmedian()
        )
        end = (
            f"at an image error of {_number(error)} (1 is black against white)"
            if math.isfinite(error)
            else "at an unknown distance from the goal"
        )
    if B == 1:
        came = "" if home is None else " came home: it" if home[0] else " did not come home: it"
        return f"The camera{came} stopped {end} after {int(run.trajectory.steps[0])} steps."
    if home is None:
        return f"{B} cameras were steered; the median one stopped {end}."
    whose = "the median one" if among.all() else "the median one of those"
    return f"{int(home.sum())} of {B} cameras came home; {whose} stopped {end}."


def _number(x: float) -> str:
    """Three significant digits, five decimals at most, without exponents; `num` of run_page.js does
    the same.
    """
    if 0 < abs(x) < 1e-5:
        return "less than 0.00001"
    return (
        f"{x:.0f}"
        if abs(x) >= 1000
        else f"{x:.5f}".rstrip("0")
        if 0 < abs(x) < 1e-3
        else f"{x:.3g}"
    )


def _errors(run: RunSet, index: np.ndarray | slice = slice(None)) -> tuple[Tensor, Tensor] | None:
    """Distance to the goal [mm, deg], (steps, B), at the steps of `index`; None when a pose is
    unknown.
    """
    Ts = run.trajectory.Ts_world_cam[index]
    if run.Ts_world_goal is None or not torch.isfinite(Ts).all():
        return None
    metres, radians = se3.distance(
        run.Ts_world_goal.double().expand(Ts.shape[1], 4, 4), Ts.double()
    )
    return 1e3 * metres, torch.rad2deg(radians)


def _last(values: np.ndarray) -> np.ndarray:
    """The last finite entry of each column of (S, B)."""
    return _held(values)[-1]


def _held(values: np.ndarray) -> np.ndarray:
    """(S, B) with each NaN replaced by the entry before it."""
    index = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
    return np.take_along_axis(values, np.maximum.accumulate(index), 0)


def _spread(n: int, most: int) -> np.ndarray:
    """At most `most` of the indices 0 .. n - 1, first and last among them, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _thin(values: list, most: int) -> list:
    return [values[i] for i in _spread(len(values), most)] if values else []


def _tidy(value: object) -> object:
    """Plain JSON: four significant digits, null for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _tidy(v) for k, v in value.items()}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _tidy(value.tolist())
    if isinstance(value, list | tuple):
        return [_tidy(v) for v in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _pack(run: RunSet, look: Look, camera: Camera, lines: int, movies: int) -> dict:
    """Everything the page draws of one RunSet; poses that are unknown leave their parts out
    (None).
    """
    t = run.trajectory
    B, steps = len(t.steps), t.steps.numpy()
    errors = _errors(run)
    mm, deg = errors if errors else (torch.full((2, B), torch.nan),) * 2
    image = t.image_error.double().numpy()
    fine = (t.refining > 0).numpy()
    handover = np.where(fine.any(0), fine.argmax(0), -1)
    difficulty = (mm[0].numpy() if errors else np.nan_to_num(image[0])).argsort(kind="stable")
    roles = _roles(run, difficulty, _last(image) if not errors else mm[-1].numpy())
    drawn = difficulty[_spread(B, lines)]
    seen = bool(torch.isfinite(t.Ts_world_cam).all())
    offset = torch.full((B, 3), torch.nan)
    if errors and run.Ts_world_goal is not None:
        T_goal_cam = (
            se3.inverse(run.Ts_world_goal.double().expand(B, 4, 4)) @ t.Ts_world_cam[0].double()
        )
        offset = 1e3 * T_goal_cam[:, :3, 3]
    return {
        "label": run.label,
        "sentence": sentence(run),
        "goal": _webp(_small(run.goal[0], 2 * TILE)),
        "poses": seen,
        "known": errors is not None,
        "start_mm": mm[0],
        "start_deg": deg[0],
        "end_mm": mm[-1],
        "end_deg": deg[-1],
        "start_image": image[0],
        "end_image": _last(image),
        "x": offset[:, 0],
        "y": offset[:, 1],
        "z": offset[:, 2],
        "steps": steps,
        "home": run.converged,
        "reason": t.reason,
        "reasons": Counter(reason.split(";")[0] for reason in t.reason).most_common(8),
        "handover": handover,
        "drawn": drawn,
        "curves": _curves(run, drawn),
        "space": _space(run, camera, drawn) if seen else None,
        "film": [_film(run, look, i, ", ".join(words)) for i, words in roles.items()][:6]
        if seen
        else [],
        "movies": [_movie(run, look, i, handover[i]) for i in _movie_runs(run, difficulty)[:movies]]
        if seen
        else [],
    }


def _roles(run: RunSet, difficulty: np.ndarray, end: np.ndarray) -> dict[int, list[str]]:
    """The runs worth a picture, failures first, and why each is."""
    known = run.converged is not None
    home = (
        run.converged.numpy() if run.converged is not None else np.ones(len(difficulty), dtype=bool)
    )
    first = [(int(i), "did not come home") for i in np.flatnonzero(~home)[:2]]
    named = [
        (difficulty[0], "nearest start"),
        (difficulty[(len(difficulty) - 1) // 2], "median start"),
        (difficulty[-1], "farthest start"),
    ]
    steps = run.trajectory.steps.numpy()
    named += [(steps.argmax(), "slowest")] if steps.min() < steps.max() else []
    last = "home, but farthest off" if known else "ended least like its goal"
    named += [(np.where(home, np.nan_to_num(end), -1).argmax(), last)] if home.any() else []
    roles: dict[int, list[str]] = {}
    for i, word in first + named if len(difficulty) > 1 else [(0, "the only run")]:
        roles.setdefault(int(i), []).append(word)
    return roles


def _movie_runs(run: RunSet, difficulty: np.ndarray) -> list[int]:
    """The median start, the first failure, the farthest start."""
    failed = [] if run.converged is None else (~run.converged).nonzero().flatten().tolist()[:1]
    return list(
        dict.fromkeys([int(difficulty[(len(difficulty) - 1) // 2]), *failed, int(difficulty[-1])])
    )


def _curves(run: RunSet, drawn: np.ndarray) -> dict:
    """Errors and speeds against the step: the median over all runs, and the runs `drawn` until they
    stop.

    In the median a run that has stopped keeps its last errors and stands still.
    """
    t = run.trajectory
    steps = t.steps.numpy()
    grid = _spread(len(t.Ts_world_cam), POINTS)
    before = grid[:-1]  # pictures and velocities are one fewer than poses
    active = before[:, None] < steps
    v = t.v_cam[before].double()
    image = np.where(active, t.image_error[before].double().numpy(), np.nan)
    speed, turn = 1e3 * v[..., :3].norm(dim=-1).numpy(), np.degrees(v[..., 3:].norm(dim=-1).numpy())
    kinds = {
        "image": (image, _held(image), steps),
        "speed": (speed, speed * active, steps),
        "turn": (turn, turn * active, steps),
    }
    if errors := _errors(run, grid):
        kinds |= {
            name: (e.numpy(), e.numpy(), steps + 1)
            for name, e in zip(("mm", "deg"), errors, strict=True)
        }
    curves: dict[str, object] = {"step": grid}
    for name, (values, held, until) in kinds.items():
        median = [
            float(np.median(seen)) if len(seen := row[np.isfinite(row)]) else math.nan
            for row in held
        ]
        curves[name] = {
            "median": [m or math.nan for m in median],
            "lines": [values[grid[: len(values)] < until[i], i] for i in drawn],
        }
    return curves


def even(path: np.ndarray, points: int) -> np.ndarray:
    """A path (n, 3) thinned to about `points` that lie evenly along it: runs slow down at its
    end.
    """
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    at = np.searchsorted(length, np.linspace(0, length[-1], points)).clip(max=len(path) - 1)
    return path[np.unique(np.r_[0, at, len(path) - 1])]


def until_lost(path: np.ndarray, farthest: float) -> np.ndarray:
    """A path (n, 3) about its goal as far as it is drawn: beside a camera that flies off all others
    would be one dot.
    """
    lost = np.linalg.norm(path, axis=1) > LOST * farthest
    return path[: max(1, int(lost.argmax()))] if lost.any() else path


def _space(run: RunSet, camera: Camera, drawn: np.ndarray) -> dict:
    """Paths of the runs `drawn` and the goal cameras' outlines, [m] in the world."""
    ways = run.trajectory.Ts_world_cam[..., :3, 3].double().numpy()
    about, farthest = np.zeros_like(ways[0]), math.inf
    if run.Ts_world_goal is not None:
        about = about + run.Ts_world_goal[:, :3, 3].double().numpy()
        farthest = float(np.linalg.norm(ways[0] - about, axis=1).max())
    paths = []
    for i in drawn:
        way = until_lost(ways[: int(run.trajectory.steps[i]) + 1, i] - about[i], farthest)
        paths.append(even(way + about[i], PATH_POINTS))
    goals = []
    if run.Ts_world_goal is not None:
        w, h = camera.width - 0.5, camera.height - 0.5
        corners = (
            torch.tensor(
                [[-0.5, -0.5, 1], [w, -0.5, 1], [w, h, 1], [-0.5, h, 1]], dtype=torch.float64
            )
            @ camera.K_inv.T
        )
        eye = torch.zeros(3, dtype=torch.float64)
        outline = torch.stack(
            [
                eye,
                *corners[:2],
                eye,
                *corners[2:],
                eye,
                corners[0],
                corners[3],
                corners[2],
                corners[1],
            ]
        )
        for T in torch.unique(run.Ts_world_goal.double(), dim=0)[:12]:
            size = 0.12 * T[2, 3].abs()
            goals.append(outline * size @ T[:3, :3].T + T[:3, 3])
    return {"paths": paths, "goals": goals}


def _film(run: RunSet, look: Look, i: int, role: str) -> dict:
    """One run in four pictures."""
    goal = _small(run.goal[i if len(run.goal) > 1 else 0], TILE)
    start, end = (_small(view, TILE) for view in look(run.trajectory.Ts_world_cam[[0, -1], i]))
    pictures = {"start": start, "goal": goal, "end": end, "difference": _difference(end, goal)}
    return {"run": i, "role": role} | {name: _webp(picture) for name, picture in pictures.items()}


def _movie(run: RunSet, look: Look, i: int, handover: int) -> dict:
    """Sheets of what camera i sees and of the difference to its goal, at steps that thin out as the
    motion does.
    """
    n = int(run.trajectory.steps[i])
    steps = set(np.geomspace(1, n + 1, FRAMES).round().astype(int) - 1) | (
        {max(handover - 1, 0), handover} if handover >= 0 else set()
    )
    at = sorted(int(s) for s in steps)
    goal = _small(run.goal[i if len(run.goal) > 1 else 0], TILE)
    views = [_small(view, TILE) for view in look(run.trajectory.Ts_world_cam[at, i])]
    t = run.trajectory
    columns = 6
    errors = _errors(run, np.array(at))
    return {
        "run": i,
        "columns": columns,
        "width": goal.shape[1],
        "height": goal.shape[0],
        "goal": _webp(goal),
        "view": _webp(_sheet(views, columns)),
        "difference": _webp(_sheet([_difference(view, goal) for view in views], columns)),
        "step": at,
        "mm": errors[0][:, i] if errors else None,
        "deg": errors[1][:, i] if errors else None,
        "image": [t.image_error[s, i] if s < n else None for s in at],
        "fine": [bool(t.refining[min(s, n - 1), i]) for s in at]
        if bool(t.refining.any())
        else None,
    }


def _before_plane(
    scene: PlanarScene, camera: Camera, Ts_world_cam: Float[Tensor, "n 4 4"]
) -> Float[Tensor, "n c h w"]:
    """What the camera sees from there; the plain background where it has gone through the plane."""
    Ts = Ts_world_cam.to(scene.texture.device).double()
    views = torch.full(
        (len(Ts), scene.texture.shape[0], camera.height, camera.width), scene.background
    )
    front = Ts[:, 2, 3] < 0
    if front.any():
        views[front.cpu()] = scene.render(camera, Ts[front]).float().cpu()
    return views


def _small(picture: Float[Tensor, "c h w"], width: int) -> np.ndarray:
    """(h, w, 3) float32 RGB, at most `width` wide."""
    array = (
        picture.detach()
        .float()
        .cpu()
        .expand(3, *picture.shape[1:])
        .permute(1, 2, 0)
        .contiguous()
        .numpy()
    )
    scale = min(1.0, width / array.shape[1])
    size = (max(1, round(array.shape[1] * scale)), max(1, round(array.shape[0] * scale)))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def _difference(view: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Black where equal, orange where brighter than the goal, blue where darker; full at half the
    grey range.
    """
    d = 2 * (view.mean(2, keepdims=True) - goal.mean(2, keepdims=True))
    return d.clip(0, 1) * np.array([1.0, 0.62, 0.12], np.float32) + (-d).clip(0, 1) * np.array(
        [0.25, 0.62, 1.0], np.float32
    )


def _sheet(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size, row by row on one."""
    empty = [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    rows = [
        np.concatenate((pictures + empty)[k : k + columns], 1)
        for k in range(0, len(pictures), columns)
    ]
    return np.concatenate(rows, 0)


def _webp(picture: np.ndarray) -> str:
    """A data address of an RGB picture in [0, 1]; what is unseen (NaN) is black."""
    bytes_bgr = (255 * np.nan_to_num(picture[..., ::-1])).round().clip(0, 255).astype(np.uint8)
    ok, packed = cv2.imencode(".webp", bytes_bgr, [cv2.IMWRITE_WEBP_QUALITY, 75])
    if not ok:
        raise InputError(
            f"report: a picture of {picture.shape[1]} x {picture.shape[0]} pixels could not be "
            "packed"
        )
    return "data:image/webp;base64," + base64.b64encode(packed.tobytes()).decode()
