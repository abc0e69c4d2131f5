"""What servoing looks like in the latent space: the way of each run in the plane in which all of
them vary most (MLVS Fig. 3a).

python -m benchmarks paths --model out/models/coffee-mlvs.safetensors
"""

from pathlib import Path

import plotly.graph_objects as go
import torch
import tyro
from plotly.subplots import make_subplots

from benchmarks.common.pages import write_page
from deepservo.cli.console import servo_bar
from deepservo.errors import InputError
from deepservo.evaluation.starts import sampled
from deepservo.evaluation.trial import Trial, measure
from deepservo.methods import build
from deepservo.models.scene_model import load_model

SHOWN = 60  # poses of a run


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
    known = load_model(model)
    controller = build(known.method, known.camera, known.distance, known)
    features = getattr(controller, "features", None)
    if features is None:
        raise InputError(
            f"{model}: {known.method} has no latent space; give a model of aevs or mlvs"
        )
    starts = sampled(set, n, seed, known)
    with servo_bar(f"{known.method}, {set}", controller.max_steps) as show:
        trajectory, row = measure(controller, Trial(known.method, known, starts), show)
    steps = (
        torch.linspace(0, 1, SHOWN)[:, None] ** 2 * trajectory.steps
    )  # a run goes most of its way in its first steps
    Ts = trajectory.Ts_world_cam[steps.round().long(), torch.arange(n)].flatten(0, 1)
    with torch.no_grad():
        z = torch.cat(
            [features.s(known.scene.render(known.camera, part)) for part in Ts.split(100)]
        )
        z_goal = features.s(starts.goal)
    mean = z.mean(0)
    values, axes = torch.linalg.svd(z - mean, full_matrices=False)[1:]
    share = values.square() / values.square().sum()
    flat, goal = ((x - mean) @ axes[:2].mT for x in (z, z_goal))
    figure = make_subplots(
        2, 1, subplot_titles=["in the latent space", "over the plane [m]"], vertical_spacing=0.12
    )
    for panel, (way, home) in enumerate(
        ((flat, goal), (Ts[:, :2, 3], starts.Ts_world_goal[:, :2, 3])), 1
    ):  # type: ignore[index]
        for k, each in enumerate(way.view(SHOWN, n, 2).unbind(1)):
            line = {"color": f"hsl({360 * k // n}, 55%, 45%)", "width": 1.3}
            figure.add_trace(
                go.Scatter(x=each[:, 0], y=each[:, 1], mode="lines", line=line), row=panel, col=1
            )
        marker = {"symbol": "cross", "size": 11, "color": "#111"}
        figure.add_trace(
            go.Scatter(x=home[:1, 0], y=home[:1, 1], mode="markers", marker=marker),
            row=panel,
            col=1,
        )
    words = (
        f"{known.method} on {known.picture}, {set}: {100 * row['converged']:.0f} % of {n} "
        "runs came home."
    )
    figure.update_layout(height=1200)
    figure.update_xaxes(title_text=f"first axis, {100 * share[0]:.0f} % of the variance", row=1)
    figure.update_yaxes(title_text=f"second axis, {100 * share[1]:.0f} %", row=1)
    for panel, axis in ((1, "x"), (2, "x2")):
        figure.update_yaxes(scaleanchor=axis, row=panel)
    write_page(page, figure, "Ways home", words)


if __name__ == "__main__":
    tyro.cli(main)
