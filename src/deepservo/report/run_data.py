"""What the page of a run shows: curves, paths, pictures and figures of sets of runs."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.loop import Ending, Trajectory
from deepservo.methods.status import Status
from deepservo.report.thumbnails import Look, difference, sheet, small, webp

CURVE_POINTS = 200  # of a curve at most
PATH_POINTS = 40  # of a path in space
LOST_DISTANCE = 1.5  # a path is drawn up to this multiple of the farthest start's distance
MAX_PICTURED = 6  # runs that are shown in four pictures each
MAX_GOALS = 12  # goal cameras that are drawn
FRAMES = 40  # of an animation
COLUMNS = 6  # frames beside each other on a sheet
TILE = 176  # width of a small picture [px]


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
    """Which runs converged; None when unknown."""

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


def sentence(run: RunSet) -> str:
    """The result in one sentence; the median is over the runs that converged, or over all when none
    did.
    """
    errors, converged, B = _errors(run), run.converged, len(run.trajectory.steps)
    some = converged is not None and bool(converged.any())
    among = converged if converged is not None and some else torch.ones(B, dtype=torch.bool)
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
    arrived = [each.status for each in run.trajectory.ends if each.ending is Ending.ARRIVED]
    if B == 1:
        outcome = f" ended as {run.trajectory.ends[0].ending.value}: it" if not errors else ""
        if converged is not None:
            outcome = " converged: it" if converged[0] else " did not converge: it"
        return f"The camera{outcome} stopped {end} after {int(run.trajectory.steps[0])} steps."
    if converged is None:
        return f"{_believed(arrived, B)}; the median one stopped {end}."
    whose = "the median one" if among.all() else "the median one of those"
    return f"{int(converged.sum())} of {B} cameras converged; {whose} stopped {end}."


def _believed(arrived: list[Status], B: int) -> str:
    """How many of B runs believe that they have arrived, and how near."""
    if not arrived:
        return f"{B} cameras were steered, and none knows that it has arrived"
    mm, deg = (
        _number(float(np.median(np.array(most, dtype=float))))
        for most in zip(*((each.most_mm, each.most_deg) for each in arrived), strict=True)
    )
    return (
        f"{len(arrived)} of {B} cameras have arrived by their own estimates, within {mm} mm and "
        f"{deg} deg (95 %, the median one)"
    )


def _number(x: float) -> str:
    """Three significant digits, five decimals at most, without exponents; `num` of page.js does the
    same.
    """
    if 0 < abs(x) < 1e-5:
        return "less than 0.00001"
    if 0 < abs(x) < 1e-3:
        return f"{x:.5f}".rstrip("0")
    return f"{x:.0f}" if abs(x) >= 1000 else f"{x:.3g}"


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


def thin(values: list, most: int) -> list:
    """At most `most` of the values, first and last among them, evenly spread."""
    return [values[i] for i in _spread(len(values), most)] if values else []


def pack(run: RunSet, look: Look, camera: Camera, lines: int, movies: int) -> dict:
    """What the page draws of one RunSet; what needs poses that are unknown is None or empty.

    look: renders the pictures. lines: how many runs are drawn one by one; movies: how many of them
    are shown as animations.
    """
    t = run.trajectory
    B, steps = len(t.steps), t.steps.numpy()
    errors = _errors(run)
    mm, deg = errors if errors else (torch.full((2, B), torch.nan),) * 2
    image = t.image_error.double().numpy()
    refining = (t.refining > 0).numpy()
    handover = np.where(refining.any(0), refining.argmax(0), -1)
    difficulty = (mm[0].numpy() if errors else np.nan_to_num(image[0])).argsort(kind="stable")
    roles = _roles(run, difficulty, _last(image) if not errors else mm[-1].numpy())
    drawn = difficulty[_spread(B, lines)]
    has_poses = bool(torch.isfinite(t.Ts_world_cam).all())
    pictured = list(roles.items())[:MAX_PICTURED] if has_poses else []
    moving = _movie_runs(run, difficulty)[:movies] if has_poses else []
    offset = torch.full((B, 3), torch.nan)
    if errors and run.Ts_world_goal is not None:
        T_goal_cam = (
            se3.inverse(run.Ts_world_goal.double().expand(B, 4, 4)) @ t.Ts_world_cam[0].double()
        )
        offset = 1e3 * T_goal_cam[:, :3, 3]
    return {
        "label": run.label,
        "sentence": sentence(run),
        "goal": webp(small(run.goal[0], 2 * TILE)),
        "has_errors": errors is not None,
        "start_mm": mm[0],
        "start_deg": deg[0],
        "end_mm": mm[-1],
        "end_deg": deg[-1],
        "start_image": image[0],
        "end_image": _last(image),
        "x": offset[:, 0],
        "y": offset[:, 1],
        "steps": steps,
        "converged": run.converged,
        "ending": [end.ending.value for end in t.ends],
        "reason": t.reason,
        "reasons": Counter(reason.split(";")[0] for reason in t.reason).most_common(8),
        "handover": handover,
        "drawn": drawn,
        "curves": _curves(run, drawn),
        "space": _space(run, camera, drawn) if has_poses else None,
        "film": [_film(run, look, i, ", ".join(words)) for i, words in pictured],
        "movies": [_movie(run, look, i, handover[i]) for i in moving],
    }


def _roles(run: RunSet, difficulty: np.ndarray, end: np.ndarray) -> dict[int, list[str]]:
    """The runs that are shown in pictures, failures first, and why each is.

    difficulty: all runs, the nearest start first. end: error of each run at its end.
    """
    if len(difficulty) == 1:
        return {0: ["the only run"]}
    converged = np.ones(len(difficulty), bool) if run.converged is None else run.converged.numpy()
    failed = [(int(i), "did not converge") for i in np.flatnonzero(~converged)[:2]]
    named = [
        (difficulty[0], "nearest start"),
        (difficulty[(len(difficulty) - 1) // 2], "median start"),
        (difficulty[-1], "farthest start"),
    ]
    steps = run.trajectory.steps.numpy()
    named += [(steps.argmax(), "slowest")] if steps.min() < steps.max() else []
    worst = (
        "ended least like its goal" if run.converged is None else "converged with the largest error"
    )
    if converged.any():
        named.append((np.where(converged, np.nan_to_num(end), -1).argmax(), worst))
    roles: dict[int, list[str]] = {}
    for i, role in failed + named:
        roles.setdefault(int(i), []).append(role)
    return roles


def _movie_runs(run: RunSet, difficulty: np.ndarray) -> list[int]:
    """The median start, the first run that did not converge, the farthest start."""
    failed = [] if run.converged is None else (~run.converged).nonzero().flatten().tolist()[:1]
    median, farthest = (int(difficulty[k]) for k in ((len(difficulty) - 1) // 2, -1))
    return list(dict.fromkeys([median, *failed, farthest]))


def _curves(run: RunSet, drawn: np.ndarray) -> dict:
    """Errors and speeds against the step: the median over all runs, and the runs `drawn` until they
    stop.

    In the median a run that has stopped keeps its last errors, and its speed is zero.
    """
    t = run.trajectory
    steps = t.steps.numpy()
    grid = _spread(len(t.Ts_world_cam), CURVE_POINTS)
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
        finite = [row[np.isfinite(row)] for row in held]
        median = [float(np.median(row)) if len(row) else math.nan for row in finite]
        curves[name] = {
            "median": [m or math.nan for m in median],
            "lines": [values[grid[: len(values)] < until[i], i] for i in drawn],
        }
    return curves


def evenly_spaced(path: np.ndarray, points: int) -> np.ndarray:
    """About `points` of the points of a path (n, 3), evenly along it: runs slow down at its end."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    at = np.searchsorted(length, np.linspace(0, length[-1], points)).clip(max=len(path) - 1)
    return path[np.unique(np.r_[0, at, len(path) - 1])]


def until_lost(path: np.ndarray, farthest: float) -> np.ndarray:
    """The part of a path (n, 3) about its goal that is drawn: it ends where the camera is lost.

    farthest: distance of the farthest start. A plot that showed a lost camera's whole path would
    show all others as one dot.
    """
    lost = np.linalg.norm(path, axis=1) > LOST_DISTANCE * farthest
    return path[: max(1, int(lost.argmax()))] if lost.any() else path


def _space(run: RunSet, camera: Camera, drawn: np.ndarray) -> dict:
    """Paths of the runs `drawn` and the goal cameras' outlines, [m] in the world."""
    positions = run.trajectory.Ts_world_cam[..., :3, 3].double().numpy()
    goal, farthest, goals = np.zeros_like(positions[0]), math.inf, []
    if run.Ts_world_goal is not None:
        goal = goal + run.Ts_world_goal[:, :3, 3].double().numpy()
        farthest = float(np.linalg.norm(positions[0] - goal, axis=1).max())
        distinct = torch.unique(run.Ts_world_goal.double(), dim=0)[:MAX_GOALS]
        goals = [_outline(camera, T) for T in distinct]
    paths = []
    for i in drawn:
        path = until_lost(positions[: int(run.trajectory.steps[i]) + 1, i] - goal[i], farthest)
        paths.append(evenly_spaced(path + goal[i], PATH_POINTS))
    return {"paths": paths, "goals": goals}


def _outline(camera: Camera, T_world_cam: Float[Tensor, "4 4"]) -> Float[Tensor, "n 3"]:
    """A camera as one line in the world: the pyramid from its centre to the picture's corners."""
    w, h = camera.width - 0.5, camera.height - 0.5
    pixels = [[-0.5, -0.5, 1], [w, -0.5, 1], [w, h, 1], [-0.5, h, 1]]
    a, b, c, d = torch.tensor(pixels, dtype=torch.float64) @ camera.K_inv.T
    centre = torch.zeros(3, dtype=torch.float64)
    line = torch.stack([centre, a, b, centre, c, d, centre, a, d, c, b])
    size = 0.12 * T_world_cam[2, 3].abs()
    return line * size @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]


def _goal_of(run: RunSet, i: int) -> np.ndarray:
    """The goal picture of run i, small."""
    return small(run.goal[i if len(run.goal) > 1 else 0], TILE)


def _film(run: RunSet, look: Look, i: int, role: str) -> dict:
    """One run in four pictures."""
    goal = _goal_of(run, i)
    start, end = (small(view, TILE) for view in look(run.trajectory.Ts_world_cam[[0, -1], i]))
    pictures = {"start": start, "goal": goal, "end": end, "difference": difference(end, goal)}
    return {"run": i, "role": role} | {name: webp(picture) for name, picture in pictures.items()}


def _movie(run: RunSet, look: Look, i: int, handover: int) -> dict:
    """Sheets of what camera i sees and of the difference to its goal.

    The frames are close at the beginning and far apart at the end, as the motion slows down; the
    step at which the refinement begins, and the one before, are among them.
    """
    t, n = run.trajectory, int(run.trajectory.steps[i])
    steps = set(np.geomspace(1, n + 1, FRAMES).round().astype(int) - 1)
    if handover >= 0:
        steps |= {max(handover - 1, 0), handover}
    at = sorted(int(s) for s in steps)
    goal = _goal_of(run, i)
    views = [small(view, TILE) for view in look(t.Ts_world_cam[at, i])]
    errors = _errors(run, np.array(at))
    refining = [bool(t.refining[min(s, n - 1), i]) for s in at]
    return {
        "run": i,
        "columns": COLUMNS,
        "width": goal.shape[1],
        "height": goal.shape[0],
        "goal": webp(goal),
        "view": webp(sheet(views, COLUMNS)),
        "difference": webp(sheet([difference(view, goal) for view in views], COLUMNS)),
        "step": at,
        "mm": errors[0][:, i] if errors else None,
        "deg": errors[1][:, i] if errors else None,
        "image": [t.image_error[s, i] if s < n else None for s in at],
        "refining": refining if bool(t.refining.any()) else None,
    }
