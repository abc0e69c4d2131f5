"""The figures of docs/: runs of DFBVS as a film and as curves, the grasps, and a network before
things that stand up.

    python -m benchmarks figures runs      # Adrian 2022, Fig. 7 and 6
    python -m benchmarks figures grasps    # Adrian 2022, Fig. 8, of results/grasps.json
    python -m benchmarks figures relief    # AEVS Fig. 8, with the networks of benchmarks relief

They write docs/dfbvs-film.jpg and docs/dfbvs-curves.png, docs/dfbvs-grasps.png, docs/relief.jpg.
"""

import json
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
import numpy as np
import torch
import tyro
from matplotlib import pyplot as plt
from torch import Tensor

from benchmarks.objects import relief as standing_up
from benchmarks.objects.objects import CAMERA, brought, gantry, goal_pose, standing
from deepservo.cli.console import servo_bar
from deepservo.evaluation.objects import starts_about
from deepservo.features.detectors import Learned
from deepservo.features.keypoints import match
from deepservo.loop import Trajectory, servo
from deepservo.methods import build
from deepservo.methods.dfbvs import FeatureServo
from deepservo.models.any_scene_model import KEYPOINTS, shipped
from deepservo.worlds.gantry import RATE
from deepservo.worlds.objects import PARTS
from deepservo.worlds.target import Target, render_target

Figure = Literal["runs", "grasps", "relief"]
RED, BLUE, GREY = "#d9472b", "#0b6fb8", "#69707a"
AXES = ("#0b6fb8", "#d66a00", "#2a9d5c")  # x, y, z
WAY = (
    0.6,
    0.2,
)  # of the error at the start that is left where a film has a picture between start and end


class Watched(FeatureServo):
    """DFBVS of one camera that keeps what it saw: pictures, how many matches agreed, and how far
    off they were.
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
        """Where the points that agree are in this picture, and where in the goal's [px]."""
        px, descriptors = self.detector(picture)
        target = self.targets[0]
        a, b = match(target.descriptors, descriptors)
        agree = self.explained(target.px[a], target.Z[a], px[b])
        return px[b[agree]], target.px[a[agree]]


def watched(part: str, max_steps: int) -> tuple[Watched, Target, Trajectory]:
    """One run in clutter."""
    T_object_goal = goal_pose(0)
    target = render_target(PARTS[part].mesh(), CAMERA, T_object_goal)
    T_world_goal = torch.from_numpy(standing(part) @ T_object_goal)[None]
    start = starts_about(target, CAMERA, 1, 1000 + 10 * list(PARTS).index(part))
    controller = Watched(CAMERA, Learned(shipped(KEYPOINTS)), target.depth)
    world = gantry(part, "clutter", T_world_goal @ start, 1)
    return controller, target, brought(world, controller, target, max_steps, part)


def draw_runs(out: Path) -> None:
    """A row of pictures and a row of curves for each part."""
    film, shots = plt.subplots(len(PARTS), len(WAY) + 3, figsize=(12.5, 5.9))
    curves, plots = plt.subplots(len(PARTS), 3, figsize=(12.5, 6.6), sharex="row", sharey="col")
    for row, part in enumerate(PARTS):
        controller, target, trajectory = watched(part, 150)
        off = np.array([error for _, _, error in controller.seen])
        between = [int(np.nanargmax(off < share * off[0])) for share in WAY]
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
    _finish(film, out / "dfbvs-film.jpg")
    _finish(curves, out / "dfbvs-curves.png")


def _curves(plots: Any, part: str, controller: Watched, trajectory: Trajectory) -> None:
    """The camera's velocity, and the matches: how far off, and how many."""
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
    rows = json.loads(Path("results/grasps.json").read_text())["rows"]
    sheet, plots = plt.subplots(1, len(PARTS), figsize=(12.5, 3.2), sharey=True)
    for plot, part in zip(plots, PARTS, strict=True):
        for where, style, colour in (("plain", "-", BLUE), ("clutter", "--", RED)):
            mine = sorted(
                (row["cm"], 100 * np.mean(row["taken"]))
                for row in rows
                if (row["part"], row["table"]) == (part, where)
            )
            plot.plot(
                *zip(*mine, strict=True),
                style,
                marker="o",
                color=colour,
                label=where,
                clip_on=False,
            )
        plot.set(title=part, xlabel="cm off at the start", ylim=(0, 105))
        plot.grid(alpha=0.25)
    plots[0].set_ylabel("taken %")
    plots[0].legend(loc="lower left")
    _finish(sheet, out / "dfbvs-grasps.png")


def draw_relief(
    out: Path, models: Path = Path("out/relief"), method: str = "cnn+dvs", steps: int = 2400
) -> None:
    """Start, goal, what differs between them, and what differs at the end: before a poster, and
    before what stands on it.
    """
    sheet, shots = plt.subplots(2, 5, figsize=(12.5, 5.6), width_ratios=(1, 1, 1, 1, 1.35))
    for row, high in enumerate((False, True)):
        goal = standing_up.goal_picture(high)
        Ts_world_cam, T_world_goal = standing_up.starts(1, 1)
        model = standing_up.learned("cnn", high, models, steps)
        controller, world = (
            build(method, model.camera, model.distance, model),
            standing_up.gantry(high, Ts_world_cam, 1),
        )
        controller.scale_gain(1 / RATE)
        controller.set_goal(goal)
        begin = world.observe()
        with servo_bar(method, controller.max_steps) as show:
            trajectory = servo(world, controller, goal, dt=1 / RATE, progress=show)
        end = world.pictures_at(trajectory.Ts_world_cam[-1])
        for plot, picture, title in zip(
            shots[row],
            (begin, goal, 0.5 + (begin - goal) / 2, 0.5 + (end - goal) / 2),
            ("start", "goal", "start minus goal", "end minus goal"),
            strict=False,
        ):
            plot.imshow(picture[0, 0], cmap="gray", vmin=0, vmax=1)
            plot.set(xticks=[], yticks=[])
            plot.set_title(title, fontsize=9)
        T = torch.linalg.solve(T_world_goal, trajectory.Ts_world_cam[:, 0])
        curve = shots[row, -1]
        curve.semilogy(1e3 * T[:, :3, 3].norm(dim=1), color=BLUE)
        curve.set_ylabel("mm from home", fontsize=9)
        curve.set_xlabel("picture", fontsize=9)
        curve.grid(alpha=0.25)
        shots[row, 0].set_ylabel("things on the poster" if high else "poster", fontsize=10)
    _finish(sheet, out / "relief.jpg")


def _finish(sheet: Any, path: Path) -> None:
    sheet.tight_layout()
    sheet.savefig(path, dpi=110)
    print(path)


def main(which: Figure, /, out: Path = Path("docs")) -> None:
    """Draw it.

    Args:
        which: of them.
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


if __name__ == "__main__":
    tyro.cli(main)
