"""Speed, as ratios within one run on one machine: against ViSP and OpenCV, and as batch and picture
grow.

    python -m benchmarks speed && make table    # quiet machine; without ViSP, none of its rows

Each figure is measured `repeats` times, ours and theirs in turn; the ratio is the median of the
ratios.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.common.rows import Row, write
from benchmarks.common.timing import paired, rate
from benchmarks.visp import judge
from deepservo.camera import PAPER_CAMERA, Camera
from deepservo.evaluation import results_file
from deepservo.images.pictures import bundled
from deepservo.loop import servo
from deepservo.methods.direct import PhotometricServo
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator

VISP_CAMERA = Camera(320, 240, 400.0, 400.0, 159.5, 119.5)
BATCHES = (1, 8, 64, 512)
SIZES = (64, 112, 224, 448)
VISP_STEPS = 60


def rendering(antialias: bool, facing: bool, repeats: int) -> dict[str, float]:
    """Pictures of 224 x 224 grey pixels a second against cv2.warpPerspective with bilinear
    interpolation, on the same cores.
    """
    scene, n = PlanarScene(bundled("coffee"), 0.8, antialias=antialias), 64
    Ts = (
        sampling.fronto_parallel(0.6, n)
        if facing
        else sampling.workspace(n, torch.Generator().manual_seed(0))
    )
    texture, Hs = scene.texture[0].numpy(), scene.homography(PAPER_CAMERA, Ts).numpy()
    kept = np.empty((n, 224, 224), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def theirs() -> None:  # OpenCV writes into the same memory each time, which is in its favour
        for H, out in zip(Hs, kept, strict=True):
            cv2.warpPerspective(texture, H, (224, 224), out, flags, cv2.BORDER_CONSTANT, 1.0)

    return paired(
        lambda: rate(lambda: scene.render(PAPER_CAMERA, Ts), n), lambda: rate(theirs, n), repeats
    )


def rendering_like_visp(repeats: int, program: Path, folder: Path) -> dict[str, float]:
    """Pictures of 320 x 240 a second, bilinear, against ViSP's simulator, of the same start."""
    scene, n = PlanarScene(bundled("coffee"), 0.8, antialias=False), 64
    Ts = sampling.lookat(1, torch.Generator().manual_seed(0))[0].repeat(n, 1, 1)
    return paired(
        lambda: rate(lambda: scene.render(VISP_CAMERA, Ts), n),
        lambda: visp_rate(program, folder)[1],
        repeats,
    )


def dvs_rate(camera: Camera, batch: int, steps: int, antialias: bool) -> tuple[float, float]:
    """Steps of all runs a second of DVS in simulation, at the goal's L as ViSP's example has it;
    and the share of that time that drawing, law and status take.
    """
    scene = PlanarScene(bundled("coffee"), 0.8, antialias=antialias)
    controller = PhotometricServo(camera, 0.6, interaction="goal", gain=0.1)
    goal = scene.render(camera, sampling.fronto_parallel(0.6))
    Ts, _ = sampling.lookat(batch, torch.Generator().manual_seed(0))
    controller.set_goal(goal)
    world = Simulator(scene, camera, Ts)
    begin = time.perf_counter()
    trajectory = servo(world, controller, goal, steps)
    took = time.perf_counter() - begin
    return float(trajectory.steps.sum()) / took, float(trajectory.step_ms.sum()) / 1e3 / took


def visp_rate(program: Path, folder: Path) -> tuple[float, float]:
    """Steps a second of ViSP's simulator, luminance and law, one thread, and pictures a second of
    its simulator alone.
    """
    picture = bundled("coffee")
    judge.write_picture(folder / "coffee.pgm", picture)
    Ts, T_goal = sampling.lookat(1, torch.Generator().manual_seed(0))
    visp = judge.Judge(program, folder / "coffee.pgm", VISP_CAMERA, 0.8 / picture.shape[2])
    ((servoing, drawing),) = visp.run("speed", torch.cat([T_goal, Ts]), VISP_STEPS)
    return VISP_STEPS / float(servoing), VISP_STEPS / float(drawing)


def against_others(repeats: int) -> Iterator[Row]:
    """A row a comparison with OpenCV and, where it is installed, with ViSP."""
    for antialias in (False, True):
        for facing in (True, False):
            kind = "antialiased" if antialias else "bilinear"
            views = "facing" if facing else "all over the workspace"
            yield {
                "what": f"render 224 x 224, {kind}, {views}",
                "against": "cv2.warpPerspective, bilinear",
                **rendering(antialias, facing, repeats),
            }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = judge.build(folder)
        if program is None:
            return
        yield {
            "what": "render 320 x 240, bilinear",
            "against": "ViSP's simulator, one thread",
            **rendering_like_visp(repeats, program, folder),
        }
        for antialias in (False, True):
            kind = "antialiased" if antialias else "bilinear"
            figures = paired(
                partial(steps_a_second, antialias),
                lambda: visp_rate(program, folder)[0],
                repeats,
            )
            what = f"DVS steps, 320 x 240, 64 runs, {kind}"
            yield {"what": what, "against": "ViSP, one thread", **figures}


def steps_a_second(antialias: bool) -> float:
    """Steps of DVS a second, of 64 runs, as ViSP's example has it."""
    return dvs_rate(VISP_CAMERA, 64, 30, antialias)[0]


def growth(
    name: str, reference: int, sizes: dict[int, tuple[Camera, int]], repeats: int
) -> list[Row]:
    """A row a camera and number of runs at once, with its steps a second relative to those of the
    reference.
    """
    rows: list[Row] = []
    for value, (camera, batch) in sizes.items():
        results_file.reset_peak()
        found = [dvs_rate(camera, batch, max(3, 1000 // batch), True) for _ in range(repeats)]
        steps, law = (statistics.median(column) for column in zip(*found, strict=True))
        row: Row = {"what": f"DVS steps, {name}: {value}", "against": f"{name}: {reference}"}
        row |= {"ours": steps, "law": law, "peak_mb": results_file.peak_mb()}
        rows.append(row)
    base = rows[list(sizes).index(reference)]["ours"]
    return [{**row, "ratio": row["ours"] / base} for row in rows]


def main(*, repeats: int = 7, out: Path = Path("results/speed.json")) -> None:
    """Measure everything.

    Args:
        repeats: of each figure.
        out: the results file.
    """
    batches = {n: (PAPER_CAMERA, n) for n in BATCHES}
    sizes = {side: (PAPER_CAMERA.resize(side, side), 64) for side in SIZES}
    rows = [
        *against_others(repeats),
        *growth("runs at once", 64, batches, repeats),
        *growth("pixels a side", 224, sizes, repeats),
    ]
    write(out, rows)
