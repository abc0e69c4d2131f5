"""The interaction matrix of a network: how well it tells what motion does to the features, and what
it costs.

    python -m benchmarks tangents --models out/models/coffee-aevs.safetensors ...
    make table    # quiet machine, both

L_z is held against z of pictures rendered a little to either side along each axis. Times are of one
picture of 224 x 224, in turn with the network alone, with `torch.func.jvp`, six times, and with
itself in bfloat16, which errs.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.performance.speed import paired, rate
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation import metrics
from deepservo.features.latent import Latent
from deepservo.geometry import se3
from deepservo.models.scene_model import load_model
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import Encoder, Shape, folded
from deepservo.nets.tangent import with_tangents
from deepservo.scene import PlanarScene, sampling

# [m, rad] to either side: a sixtieth of a pixel; fewer of the network's corners lie between
STEP = 3e-5
POSES = 50
WIDTHS = (64, 32, 16)


def smooth_scene() -> PlanarScene:
    """A texture of a few slow waves: what is rendered has a derivative everywhere."""
    v, u = torch.meshgrid(torch.linspace(0, 1, 960), torch.linspace(0, 1, 1280), indexing="ij")
    return PlanarScene(
        (0.5 + 0.2 * torch.sin(23 * u + 5 * v) + 0.2 * torch.cos(17 * v - 8 * u))[None], 0.8
    )


def errors(features: Latent, scene: PlanarScene, distance: float, seed: int) -> torch.Tensor:
    """(POSES, 6): of each column of L_z, relative to what rendered motion says, at poses whose view
    the picture fills: at the rim of a picture there is a step of brightness, where no derivative is
    right.
    """
    Ts = sampling.workspace(50 * POSES, torch.Generator().manual_seed(seed), distance)
    small = PAPER_CAMERA.resize(28, 28)
    whole = (
        torch.cat(
            [scene.render_covered(small, part)[1].flatten(1).amin(1) for part in Ts.split(100)]
        )
        == 1
    )
    Ts = Ts[whole][:POSES]
    L = torch.cat(
        [
            features.measure(
                scene.render(PAPER_CAMERA, T[None]), scene.depth(PAPER_CAMERA, T[None]).float()
            )[1]
            for T in Ts
        ]
    )
    moves = STEP * torch.eye(6, dtype=torch.float64)
    ahead, behind = (
        torch.stack([features.s(scene.render(PAPER_CAMERA, T @ se3.exp(sign * moves))) for T in Ts])
        for sign in (1, -1)
    )
    numeric = ((ahead - behind) / (2 * STEP)).mT
    return (L - numeric).norm(dim=1) / numeric.norm(dim=1)


def times(width: int, repeats: int) -> list[dict[str, Any]]:
    """z and L_z of ResNet-18 of this width, beside the network alone and `torch.func.jvp`."""
    torch.manual_seed(0)
    net = folded(Encoder(Shape(18, width))).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image, tangents = torch.rand(1, 1, 224, 224), torch.randn(1, 6, 1, 224, 224)

    def six_times() -> None:
        for k in range(6):
            torch.func.jvp(net, (image,), (tangents[:, k],))

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        return with_tangents(net, image, tangents)

    def halved() -> tuple[torch.Tensor, torch.Tensor]:
        with half_precision():
            return both()

    works: dict[str, Callable[[], object]] = {
        "one forward pass": lambda: net(image),
        "torch.func.jvp, six times": six_times,
        "itself in bfloat16": halved,
    }
    with torch.no_grad():
        rows = [
            {
                "width": width,
                "against": name,
                **paired(lambda: rate(both, 1), lambda work=work: rate(work, 1), repeats),
            }  # type: ignore[misc]
            for name, work in works.items()
        ]
        (_, exact), (_, half) = both(), halved()
        rows[-1]["L_error"] = float((half.float() - exact).norm() / exact.norm())
        return rows


def main(
    *,
    models: tuple[Path, ...] = (),
    repeats: int = 7,
    seed: int = 0,
    out: Path = Path("results/tangents.json"),
) -> None:
    """Measure everything.

    Args:
        models: of `aevs`, one a scene.
        repeats: of each time.
        seed: of the poses.
        out: the results file.
    """
    rows: list[dict[str, Any]] = []
    for path in models:
        model = load_model(path)
        features = Latent(PAPER_CAMERA, folded(model.net))
        for name, scene in ((model.picture, model.scene), ("smooth", smooth_scene())):
            found = errors(features, scene, model.distance, seed)
            each = found.median(0).values.tolist()
            rows.append(
                {
                    "model": model.picture,
                    "scene": name,
                    "median": float(found.median()),
                    "axes": each,
                    "poses": POSES,
                }
            )
            print(
                f"{model.picture:10} on {name:10} median relative error "
                f"{100 * rows[-1]['median']:.2f} %",
                flush=True,
            )
    for width in WIDTHS:
        timed = times(width, repeats)
        rows += timed
        for row in timed:
            wrong = f", which is wrong by {100 * row['L_error']:.1f} %" if "L_error" in row else ""
            print(
                f"width {width}: {row['ours']:.1f} a second, {1 / row['ratio']:.2f} times as long "
                f"as {row['against']}{wrong}",
                flush=True,
            )
    metrics.write_results(out, rows)
    medians = [row["median"] for row in rows if "scene" in row] or [float("nan")]
    print(f"median over scenes {100 * statistics.median(medians):.2f} %")


if __name__ == "__main__":
    tyro.cli(main)
