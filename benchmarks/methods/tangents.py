"""The interaction matrix L_z of a network: its error against rendered motion, and its cost.

    python -m benchmarks tangents --models out/models/coffee-aevs.safetensors ... && make table

Run it on a quiet machine. L_z is compared with z of pictures rendered a little to either side along
each axis. Times are of one picture of 224 x 224, in turn with the network alone, with six calls of
`torch.func.jvp`, and with L_z in bfloat16, which has an error of its own.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common.rows import Row, write
from benchmarks.common.timing import paired, rate
from deepservo.camera import PAPER_CAMERA
from deepservo.features.latent import Latent
from deepservo.geometry import se3
from deepservo.models.scene_model import load_model
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import Encoder, Shape, folded
from deepservo.nets.tangent import with_tangents
from deepservo.scene import PlanarScene, sampling

# [m, rad] to either side: a sixtieth of a pixel. Over longer steps z passes more kinks of the
# network, where it has no derivative.
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
    """Relative errors (POSES, 6) of the columns of L_z against rendered motion, at poses whose view
    the picture fills. At the rim of a picture brightness jumps, and z has no derivative there.
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


def times(width: int, repeats: int) -> list[Row]:
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
            {"width": width, "against": name}
            | paired(lambda: rate(both), lambda work=work: rate(work), repeats)  # type: ignore[misc]
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
    rows: list[Row] = []
    for path in models:
        model = load_model(path)
        features = Latent(PAPER_CAMERA, folded(model.net))
        for name, scene in ((model.picture, model.scene), ("smooth", smooth_scene())):
            found = errors(features, scene, model.distance, seed)
            median, axes = float(found.median()), found.median(0).values.tolist()
            row = {"model": model.picture, "scene": name, "median": median, "axes": axes}
            rows.append({**row, "poses": POSES})
    for width in WIDTHS:
        rows += times(width, repeats)
    write(out, rows)
