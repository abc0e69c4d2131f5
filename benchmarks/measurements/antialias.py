"""What the plain bilinear sampling of most simulators does near the goal, where the texture is
minified.

    python -m benchmarks antialias && make table

Three renderers draw the same views: plain bilinear, this package's antialiased one, and the truth
(the mean of 8 x 8 samples a pixel). For each, over shifts of a fraction of a pixel about the goal:
the grey error of the picture itself; the error of the *change* of the picture, which is all that
photometric servoing sees; and the error of L times the shift, L made from the pictures' gradients,
as `dvs` makes it. Last, where a camera that sees the truth ends when the goal was drawn by each
renderer.
"""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common.rows import Row, write
from deepservo import METHODS, Camera, PlanarScene, Simulator, servo
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation import metrics
from deepservo.features.luminance import Luminance
from deepservo.geometry import interaction, se3
from deepservo.images.pictures import BUNDLED, bundled
from deepservo.scene.sampling import fronto_parallel

DEPTH, WIDTH, BORDER, SAMPLES = 0.6, 0.8, 6, 8
STARTS, FAR_PX, STEPS = 4, 2.0, 200  # of the servoing: starts, their mean shift, steps


class Truth(PlanarScene):
    """The plane seen by pixels that average SAMPLES x SAMPLES samples."""

    def render(
        self, camera: Camera, T_world_cam: Tensor, background: Tensor | None = None
    ) -> Tensor:
        """Images, as PlanarScene."""
        images = super().render(
            camera.resize(SAMPLES * camera.width, SAMPLES * camera.height), T_world_cam, background
        )
        return torch.nn.functional.avg_pool2d(images, SAMPLES)


def camera_for(minification: float, texels_per_metre: float) -> Camera:
    """The published camera with fewer pixels over the same view, so that one covers about
    `minification` texels' width.
    """
    size = round(PAPER_CAMERA.width * DEPTH * texels_per_metre / (minification * PAPER_CAMERA.fx))
    return PAPER_CAMERA.resize(size, size)


def twists(camera: Camera, n: int, pixels: float, seed: int = 0) -> Tensor:
    """n random twists (n, 6) that move the picture of the plane by `pixels` in the mean."""
    directions = torch.randn(
        n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    directions[:, :3] *= DEPTH
    x, y = camera.xy(torch.float64)
    flow = (
        interaction.point(x, y, torch.tensor(DEPTH, dtype=torch.float64))
        @ directions[:, None, None, :, None]
    )[..., 0]
    mean = (
        (flow * torch.tensor([camera.fx, camera.fy], dtype=torch.float64)).norm(dim=-1).mean((1, 2))
    )
    return directions * (pixels / mean)[:, None]


def relative(a: Tensor, b: Tensor) -> float:
    """Root mean square of a - b over that of b."""
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())


def near_goal(
    renderers: dict[str, PlanarScene], camera: Camera, pixels: float, n: int = 16
) -> dict[str, dict[str, float]]:
    """Errors of each renderer's pictures, of their change over a shift of `pixels`, and of L."""
    features, depth = Luminance(camera, BORDER), torch.full((1, 1, 1), DEPTH)
    xi, goal = twists(camera, n, pixels), fronto_parallel(DEPTH)
    seen = {}
    for name, scene in renderers.items():
        pictures = scene.render(camera, torch.cat([goal, goal @ se3.exp(xi)]))
        s, L = features.s(pictures), features.L(pictures, depth)
        predicted = ((L[:1] + L[1:]) / 2 @ xi.float()[..., None])[..., 0]
        seen[name] = s, s[1:] - s[:1], predicted
    s_true, change_true, predicted_true = seen["truth"]
    return {
        name: {
            "grey": float((s - s_true).square().mean().sqrt()),
            "change": relative(change, change_true),
            "L": relative(predicted, predicted_true),
        }
        for name, (s, change, predicted) in seen.items()
    }


def ends(renderers: dict[str, PlanarScene], camera: Camera) -> dict[str, tuple[float, float]]:
    """Median distance [mm, deg] at which DVS ends when the camera sees the truth and the goal was
    drawn by each renderer.
    """
    goal, found = fronto_parallel(DEPTH), {}
    starts = goal @ se3.exp(twists(camera, STARTS, FAR_PX, seed=1))
    for name, scene in renderers.items():
        picture = scene.render(camera, goal)
        controller = METHODS["dvs"](camera, depth=DEPTH, border=BORDER)
        controller.set_goal(picture)
        trajectory = servo(
            Simulator(renderers["truth"], camera, starts), controller, picture, STEPS
        )
        metres, radians = metrics.errors(trajectory.Ts_world_cam[-1], goal)
        found[name] = float(1e3 * metres.median()), float(radians.median().rad2deg())
    return found


def main(
    out: Path = Path("results/antialias.json"),
    pictures: tuple[str, ...] = BUNDLED,
    minifications: tuple[float, ...] = (1.5, 2.0, 3.0),
    shifts: tuple[float, ...] = (0.1, 0.25, 0.5),
) -> None:
    """Measure it all (a few minutes) and write the results file.

    Args:
        out: the results file.
        pictures: bundled pictures to take.
        minifications: texels under a pixel's width.
        shifts: mean shift of the picture [px].
    """
    rows: list[Row] = []
    for picture in pictures:
        texture = bundled(picture)
        renderers = {
            "plain bilinear": PlanarScene(texture, WIDTH, antialias=False),
            "antialiased": PlanarScene(texture, WIDTH),
            "truth": Truth(texture, WIDTH, antialias=False),
        }
        for minification in minifications:
            camera = camera_for(minification, texture.shape[2] / WIDTH)
            end = ends(renderers, camera)
            for pixels in shifts:
                for name, figures in near_goal(renderers, camera, pixels).items():
                    row = {
                        "scene": picture, "minification": minification, "renderer": name,
                        "shift_px": pixels, **figures,
                    }  # fmt: skip
                    rows.append({**row, "end_mm": end[name][0], "end_deg": end[name][1]})
    write(out, rows)
