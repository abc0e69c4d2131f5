"""The figures of docs/: runs of DFBVS as a film and as curves, the grasps, and a network before
objects that stand on the picture.

    python -m benchmarks figures runs      # Adrian 2022, Fig. 7 and 6
    python -m benchmarks figures grasps    # Adrian 2022, Fig. 8, of results/grasps.json
    python -m benchmarks figures relief    # AEVS Fig. 8, with the networks of benchmarks relief

They write docs/dfbvs-film.jpg and docs/dfbvs-curves.png, docs/dfbvs-grasps.png, docs/relief.jpg.
"""

from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from benchmarks.common.rows import grouped, read
from benchmarks.objects import relief
from benchmarks.objects.tabletop import CAMERA, finders, gantry, goal_of, servo_to
from deepservo.cli.console import servo_bar
from deepservo.evaluation.objects import starts_about
from deepservo.features.neighbours import match
from deepservo.features.two_views import Candidates
from deepservo.loop import Trajectory, servo
from deepservo.methods import build
from deepservo.methods.dfbvs import KeypointServo
from deepservo.worlds.gantry import RATE
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import Target

Figure = Literal["runs", "grasps", "relief"]
RED, BLUE, GREY = "#d9472b", "#0b6fb8", "#69707a"
AXES = ("#0b6fb8", "#d66a00", "#2a9d5c")  # x, y, z
# A film has two pictures between start and end, where these shares of the error are left.
LEFT = (0.6, 0.2)


class Recorder(KeypointServo):
    """DFBVS of one camera that records each picture, the number of matches that agree, and their
    mean error [px].
    """

    def _set_goal(self, goal: Tensor) -> None:
        super()._set_goal(goal)
        self.seen: list[tuple[Tensor, int, float]] = []

    def _velocity(self, image: Tensor) -> Tensor:
        v_cam = super()._velocity(image)
        self.seen.append(
            (image[0, 0].clone(), int(self.state["agree"][0]), float(self.state["error_px"][0]))
        )
        return v_cam

    def lines(self, picture: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The points that agree, in this picture and in the goal's [px]."""
        px, descriptors = self.detector(picture)
        target = self.targets[0]
        a, b = match(target.descriptors, descriptors)
        found = self._agreeing(0, Candidates(target.px[a], px[b], a))
        return found.cam_px, found.goal_px


def recorded(part: str, max_steps: int) -> tuple[Recorder, Target, Trajectory]:
    """One run in clutter."""
    goal = goal_of(part)
    start = starts_about(goal.target, CAMERA, 1, 1000 + 10 * list(PARTS).index(part))
    controller = Recorder(CAMERA, finders()["keypoints"], goal.target.depth)
    world = gantry(part, "clutter", goal.T_world_cam @ start, 1)
    return controller, goal.target, servo_to(goal.target, world, controller, max_steps, part)


def draw_runs(out: Path) -> None:
    """A row of pictures and a row of curves for each part."""
    film, shots = plt.subplots(len(PARTS), len(LEFT) + 3, figsize=(12.5, 5.9))
    curves, plots = plt.subplots(len(PARTS), 3, figsize=(12.5, 6.6), sharex="row", sharey="col")
    for row, part in enumerate(PARTS):
        controller, target, trajectory = recorded(part, 150)
        off = np.array([error for _, _, error in controller.seen])
        between = [int(np.nanargmax(off < share * off[0])) for share in LEFT]
        for column, step in enumerate([0, *between, len(off) - 1]):
            picture, _, error = controller.seen[step]
            shots[row, column].imshow(picture, cmap="gray", vmin=0, vmax=1)
            here, there = controller.lines(picture)
            shots[row, column].plot(
                *np.stack([here, there]).transpose(2, 0, 1), color=RED, linewidth=0.8
            )
            shots[row, column].set_title(f"step {step}, {error:.1f} px", fontsize=9)
        shots[row, -1].imshow(target.picture)
        shots[row, -1].set_title("target", fontsize=9)
        shots[row, 0].set_ylabel(part, fontsize=10)
        _curves(plots[row], part, controller, trajectory)
    for plot in shots.flat:
        plot.set(
            xticks=[], yticks=[], xlim=(-0.5, CAMERA.width - 0.5), ylim=(CAMERA.height - 0.5, -0.5)
        )
    _save(film, out / "dfbvs-film.jpg")
    _save(curves, out / "dfbvs-curves.png")


def _curves(plots: Any, part: str, controller: Recorder, trajectory: Trajectory) -> None:
    """The camera's velocity, and the matches: their error and their number."""
    v = trajectory.v_cam[:, 0].numpy()
    for axis, name in enumerate("xyz"):
        plots[0].plot(100 * v[:, axis], color=AXES[axis], linewidth=1.2, label=f"$v_{name}$")
        plots[1].plot(
            np.degrees(v[:, 3 + axis]), color=AXES[axis], linewidth=1.2, label=rf"$\omega_{name}$"
        )
    plots[0].set_ylabel(f"{part}\ncm/s")
    plots[1].set_ylabel("deg/s")
    plots[2].plot([error for _, _, error in controller.seen], color=RED, linewidth=1.2)
    plots[2].set_ylabel("error px", color=RED)
    beside = plots[2].twinx()
    beside.plot([count for _, count, _ in controller.seen], color=BLUE, linewidth=1.2)
    beside.set_ylabel("matches", color=BLUE)
    beside.set_ylim(0)
    for plot in plots:
        plot.grid(alpha=0.25)
        plot.margins(x=0)
    if part == next(iter(PARTS)):
        for plot in plots[:2]:
            plot.legend(fontsize=8, ncols=3)
    if part == list(PARTS)[-1]:
        for plot in plots:
            plot.set_xlabel("picture")


def draw_grasps(out: Path) -> None:
    """The share of grasps that took the part, by how far off they started."""
    found = dict(grouped(read("grasps"), "part", "table"))
    sheet, plots = plt.subplots(1, len(PARTS), figsize=(12.5, 3.2), sharey=True)
    for plot, part in zip(plots, PARTS, strict=True):
        for where, style, colour in (("plain", "-", BLUE), ("clutter", "--", RED)):
            mine = sorted((row["cm"], 100 * np.mean(row["taken"])) for row in found[part, where])
            cm, share = zip(*mine, strict=True)
            plot.plot(cm, share, style, marker="o", color=colour, label=where, clip_on=False)
        plot.set(title=part, xlabel="cm off at the start", ylim=(0, 105))
        plot.grid(alpha=0.25)
    plots[0].set_ylabel("taken %")
    plots[0].legend(loc="lower left")
    _save(sheet, out / "dfbvs-grasps.png")


def draw_relief(out: Path) -> None:
    """Start, goal, their difference and the difference at the end, without and with objects on the
    textured plane.
    """
    trained, method = relief.Options(), "cnn+dvs"
    sheet, shots = plt.subplots(2, 5, figsize=(12.5, 5.6), width_ratios=(1, 1, 1, 1, 1.35))
    for row, high in enumerate((False, True)):
        goal = relief.goal_picture(high)
        Ts_world_cam, T_world_goal = relief.starts(1, 1)
        model = relief.model_of("cnn", high, trained.models, trained.steps)
        controller = build(method, model.camera, model.distance, model)
        world = relief.gantry(high, Ts_world_cam, 1)
        controller.scale_gain(1 / RATE)
        controller.set_goal(goal)
        begin = world.observe()
        with servo_bar(method, controller.max_steps) as show:
            trajectory = servo(world, controller, goal, dt=1 / RATE, progress=show)
        end = world.pictures_at(trajectory.Ts_world_cam[-1])
        pictures = {
            "start": begin, "goal": goal, "start minus goal": 0.5 + (begin - goal) / 2,
            "end minus goal": 0.5 + (end - goal) / 2,
        }  # fmt: skip
        for plot, (title, picture) in zip(shots[row], pictures.items(), strict=False):
            plot.imshow(picture[0, 0], cmap="gray", vmin=0, vmax=1)
            plot.set(xticks=[], yticks=[])
            plot.set_title(title, fontsize=9)
        T = torch.linalg.solve(T_world_goal, trajectory.Ts_world_cam[:, 0])
        curve = shots[row, -1]
        curve.semilogy(1e3 * T[:, :3, 3].norm(dim=1), color=BLUE)
        curve.set_ylabel("mm from the goal", fontsize=9)
        curve.set_xlabel("picture", fontsize=9)
        curve.grid(alpha=0.25)
        shots[row, 0].set_ylabel("objects on the picture" if high else "flat picture", fontsize=10)
    _save(sheet, out / "relief.jpg")


def _save(sheet: Any, path: Path) -> None:
    sheet.tight_layout()
    sheet.savefig(path, dpi=110)
    print(path)


def main(which: Figure, /, out: Path = Path("docs")) -> None:
    """Draw a figure.

    Args:
        which: figure.
        out: folder.
    """
    mpl.use("Agg")
    mpl.rcParams |= {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.edgecolor": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
    }
    dict(zip(get_args(Figure), (draw_runs, draw_grasps, draw_relief), strict=True))[which](out)
