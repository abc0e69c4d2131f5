"""Runs in the latent space of a network, in the plane in which they vary most (MLVS Fig. 3a).

python -m benchmarks paths --model out/models/coffee-mlvs.safetensors
"""

from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from benchmarks.common.pages import write_page
from deepservo.cli.console import servo_bar
from deepservo.errors import InputError
from deepservo.evaluation.starts import sampled
from deepservo.evaluation.trial import Trial, measure
from deepservo.methods import build
from deepservo.models.scene_model import load_model

SHOWN = 60  # poses of a run


@dataclass(frozen=True)
class Plane:
    """Paths of n runs in a plane, and their goal there."""

    runs: Float[Tensor, "shown n 2"]
    goal: Float[Tensor, "2"]
    axes: tuple[str, str]


def in_latent_space(z: Float[Tensor, "m k"], z_goal: Float[Tensor, "1 k"], n: int) -> Plane:
    """The latent vectors of n runs in the plane in which they vary most."""
    mean = z.mean(0)
    values, axes = torch.linalg.svd(z - mean, full_matrices=False)[1:]
    share = 100 * values.square() / values.square().sum()
    runs, goal = ((x - mean) @ axes[:2].mT for x in (z, z_goal))
    names = f"first axis, {share[0]:.0f} % of the variance", f"second axis, {share[1]:.0f} %"
    return Plane(runs.view(SHOWN, n, 2), goal[0], names)


def drawn(planes: dict[str, Plane]) -> go.Figure:
    """A panel a plane: a line a run, a cross at the goal."""
    figure = make_subplots(2, 1, subplot_titles=list(planes), vertical_spacing=0.12)
    for row, plane in enumerate(planes.values(), 1):
        place, n = {"row": row, "col": 1}, plane.runs.shape[1]
        for k, run in enumerate(plane.runs.unbind(1)):
            line = {"color": f"hsl({360 * k // n}, 55%, 45%)", "width": 1.3}
            figure.add_trace(go.Scatter(x=run[:, 0], y=run[:, 1], mode="lines", line=line), **place)
        marker = {"symbol": "cross", "size": 11, "color": "#111"}
        x, y = plane.goal[None].unbind(1)
        figure.add_trace(go.Scatter(x=x, y=y, mode="markers", marker=marker), **place)
        figure.update_xaxes(title_text=plane.axes[0], **place)
        figure.update_yaxes(title_text=plane.axes[1], scaleanchor=f"x{row}".rstrip("1"), **place)
    figure.update_layout(height=1200)
    return figure


def main(
    *,
    model: Path,
    set: str = "lookat-rz",
    n: int = 40,
    seed: int = 0,
    page: Path = Path("out/paths.html"),
) -> None:
    """Steer, then draw.

    Args:
        model: of `aevs` or `mlvs`.
        set: where runs start.
        n: runs.
        seed: of the starts.
        page: the drawing.
    """
    learned = load_model(model)
    method, scene = learned.method, learned.scene
    controller = build(method, learned.camera, learned.distance, learned)
    features = getattr(controller, "features", None)
    if features is None:
        raise InputError(f"{model}: {method} has no latent space; give a model of aevs or mlvs")
    starts = sampled(set, n, seed, learned)
    with servo_bar(f"{method}, {set}", controller.max_steps) as show:
        trajectory, row = measure(controller, Trial(method, learned, starts), show)
    # A run moves most in its first steps.
    steps = (torch.linspace(0, 1, SHOWN)[:, None] ** 2 * trajectory.steps).round().long()
    Ts = trajectory.Ts_world_cam[steps, torch.arange(n)]
    with torch.no_grad():
        parts = Ts.flatten(0, 1).split(100)
        z = torch.cat([features.s(scene.render(learned.camera, part)) for part in parts])
        z_goal = features.s(starts.goal[:1])
    goal = starts.Ts_world_goal[0, :2, 3]  # type: ignore[index]
    figure = drawn(
        {
            "in the latent space": in_latent_space(z, z_goal, n),
            "over the plane [m]": Plane(Ts[..., :2, 3], goal, ("x", "y")),
        }
    )
    converged = f"{100 * row['converged']:.0f} % of {n} runs converged"
    words = f"{method} on {learned.picture}, {set}: {converged}."
    write_page(page, figure, "Runs in the latent space", words)
