"""Draws docs/demo.png from a finished demo: start, end and goal of one run, the difference at its
end, and the paths of many runs.

    make demo && .venv/bin/python -m benchmarks picture

The demo keeps no trajectories, so the runs are made again with its model, from the same starts.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from deepservo import InputError, Model, Trajectory, build, load_model
from deepservo.evaluation import metrics
from deepservo.evaluation.starts import Starts, sampled
from deepservo.evaluation.trial import Trial, measure

UP = 2  # drawn larger and reduced, for smooth lines
TILE, GAP, TEXT, MARGIN = 300, 20, 46, 24  # [px] of the finished picture
PAPER, INK, MUTE = (250, 250, 247), (26, 29, 33), (105, 112, 122)
COARSE, FINE = (11, 111, 184), (214, 106, 0)
RADIUS = 0.75  # [m] that the map of the paths shows about the goal, for a goal 0.6 m away


def main(
    demo: Path = Path("demo"), out: Path = Path("docs/demo.png"), starts: int = 60, seed: int = 0
) -> int:
    """Draw it.

    Args:
        demo: folder that `deepservo demo` filled.
        out: the picture.
        starts: runs whose paths are drawn.
        seed: of the starts.
    """
    try:
        model = load_model(demo / "model.safetensors")
    except InputError as error:
        print(f"{error}\nrun make demo first", file=sys.stderr)
        return 2
    where = sampled("lookat-rz", starts, seed, model)
    method = f"{model.method}+dvs"
    controller = build(method, model.camera, model.distance, model)
    trajectory, row = measure(controller, Trial(method, model, where))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(model, trajectory, where, row["converged"]).save(out, optimize=True)
    print(f"{out}: {100 * row['converged']:.0f} % of {starts} runs converged")
    return 0


def draw(model: Model, trajectory: Trajectory, starts: Starts, share: float) -> Image.Image:
    """Five panels side by side on one sheet."""
    run = shown_run(model, trajectory, starts)
    pictures = model.scene.render(model.camera, trajectory.Ts_world_cam[[0, -1], run])
    goal = starts.goal[run if len(starts.goal) > 1 else 0]
    mm, deg = errors(trajectory, starts)
    start = f"{mm[0, run] / 10:.0f} cm, {deg[0, run]:.0f}° away"
    end = f"{small(float(mm[-1, run]))} mm, {small(float(deg[-1, run]))}° away"
    n = trajectory.v_cam.shape[1]
    converged = f"{round(share * n)} of {n} converged"
    panels = [
        ("start", start, shade(pictures[0])),
        (f"after {int(trajectory.steps[run])} steps", end, shade(pictures[1])),
        ("goal", "seen from the goal pose", shade(goal)),
        ("end minus goal", "grey: no difference", shade(0.5 + (pictures[1] - goal) / 2)),
        (converged, "paths, seen facing the picture", paths(model, trajectory)),
    ]
    width = 2 * MARGIN + len(panels) * TILE + (len(panels) - 1) * GAP
    sheet = Image.new("RGB", (UP * width, UP * (2 * MARGIN + TILE + TEXT)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (title, note, picture) in enumerate(panels):
        left, top = UP * (MARGIN + i * (TILE + GAP)), UP * MARGIN
        sheet.paste(picture, (left, top))
        pen.text((left, top + UP * (TILE + 6)), title, INK, ImageFont.load_default(UP * 17))
        pen.text((left, top + UP * (TILE + 28)), note, MUTE, ImageFont.load_default(UP * 14))
    return sheet.resize((width, sheet.height // UP), Image.Resampling.LANCZOS)


def small(x: float) -> str:
    """Two significant digits, without an exponent."""
    return "under 0.0001" if x < 1e-4 else f"{x:.0f}" if x >= 100 else f"{x:.2g}"


def errors(trajectory: Trajectory, starts: Starts) -> tuple[Tensor, Tensor]:
    """Distance from the goal [mm, deg], (steps + 1, B)."""
    assert starts.Ts_world_goal is not None
    metres, radians = metrics.errors(trajectory.Ts_world_cam, starts.Ts_world_goal)
    return 1e3 * metres, radians.rad2deg()


def shown_run(model: Model, trajectory: Trajectory, starts: Starts) -> int:
    """The run with the farthest start among those that converged and started with most of their
    view on the picture.
    """
    mm, deg = errors(trajectory, starts)
    converged = (mm[-1] < 10) & (deg[-1] < 1)
    coverage = model.scene.render_covered(model.camera, trajectory.Ts_world_cam[0])[1].mean((1, 2))
    far = mm[0] / mm[0].max() + deg[0] / deg[0].max()
    return int((far + 10 * converged + 5 * (coverage > 0.7)).argmax())


def shade(image: Tensor) -> Image.Image:
    """A (1, H, W) picture as a panel."""
    grey = Image.fromarray((image[0].clamp(0, 1) * 255).round().byte().numpy()).convert("RGB")
    return grey.resize((UP * TILE, UP * TILE), Image.Resampling.BICUBIC)


def paths(model: Model, trajectory: Trajectory) -> Image.Image:
    """Every path in x and y over the faint picture: coarse part, photometric part, a dot at each
    start.
    """
    radius, side = RADIUS * model.distance / 0.6, UP * TILE
    pixels = side / (2 * radius)
    panel = Image.new("RGB", (side, side), (255, 255, 255))
    size = (round(model.scene.width * pixels), round(model.scene.height * pixels))
    faint = shade(0.72 + 0.28 * model.scene.texture).resize(size)
    panel.paste(faint, ((side - size[0]) // 2, (side - size[1]) // 2))
    pen = ImageDraw.Draw(panel)
    xy = (side / 2 + pixels * trajectory.Ts_world_cam[:, :, :2, 3]).numpy()
    fine = (trajectory.refining == 1).numpy()
    for run, steps in enumerate(trajectory.steps.tolist()):
        for k in range(steps):
            pen.line(
                [tuple(xy[k, run]), tuple(xy[k + 1, run])], FINE if fine[k, run] else COARSE, UP
            )
        x, y = xy[0, run]
        pen.ellipse([x - 3 * UP, y - 3 * UP, x + 3 * UP, y + 3 * UP], COARSE)
    centre = side / 2
    pen.ellipse(
        [centre - 5 * UP, centre - 5 * UP, centre + 5 * UP, centre + 5 * UP],
        (255, 255, 255),
        INK,
        2 * UP,
    )
    pen.rounded_rectangle([UP * 4, UP * 4, UP * 100, UP * 46], UP * 6, (255, 255, 255))
    for i, (name, colour) in enumerate((("network", COARSE), ("photometric", FINE))):
        pen.text((UP * 10, UP * (8 + 18 * i)), name, colour, ImageFont.load_default(UP * 14))
    pen.rectangle([0, 0, side - 1, side - 1], outline=(224, 225, 220), width=UP)
    return panel
