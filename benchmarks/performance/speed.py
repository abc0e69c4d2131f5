"""Speed, as ratios within one run on one machine: against ViSP and OpenCV, and as batch and picture
grow.

    python -m benchmarks speed && make table    # quiet machine; without ViSP, none of its rows

Each figure is measured `repeats` times, ours and theirs in turn; the ratio is the median of the
ratios.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro

from benchmarks.visp import judge
from deepservo.camera import PAPER_CAMERA, Camera
from deepservo.evaluation import metrics
from deepservo.images.pictures import bundled
from deepservo.loop import servo
from deepservo.methods.direct import PhotometricServo
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator

VISP_CAMERA = Camera(320, 240, 400.0, 400.0, 159.5, 119.5)
BATCHES = (1, 8, 64, 512)
SIZES = (64, 112, 224, 448)
VISP_STEPS = 60
LASTING = 0.3  # seconds
# seconds: torch's threads spin for a while after their work, and would hold back whoever comes next
REST = 0.05


def rate(work: Callable[[], object], n: int) -> float:
    """Pictures a second, n a call: called anew for LASTING seconds, after once to wake the threads
    up.
    """
    work()
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < LASTING:
        work()
        calls += 1
    return n * calls / (time.perf_counter() - begin)


def paired(
    ours: Callable[[], float], theirs: Callable[[], float], repeats: int
) -> dict[str, float]:
    """Both rates, a second, in turn; the median of the ratios and its range."""

    def rested(measure: Callable[[], float]) -> float:
        time.sleep(REST)
        return measure()

    pairs = [(rested(ours), rested(theirs)) for _ in range(repeats)]
    ratios = [a / b for a, b in pairs]
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "theirs": statistics.median(b for _, b in pairs), "ratio": statistics.median(ratios),
        "low": min(ratios), "high": max(ratios),
    }  # fmt: skip


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
    texture, Hs, kept = (
        scene.texture[0].numpy(),
        scene.homography(PAPER_CAMERA, Ts).numpy(),
        np.empty((n, 224, 224), np.float32),
    )
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


class TimedSimulator(Simulator):
    """Knows how long it has drawn [s]."""

    drawing = 0.0

    def observe(self) -> torch.Tensor:
        """The scene rendered."""
        begin = time.perf_counter()
        image = super().observe()
        self.drawing += time.perf_counter() - begin
        return image


def dvs_rate(camera: Camera, batch: int, steps: int, antialias: bool) -> tuple[float, float, float]:
    """Trajectory-steps a second of DVS in simulation, at the goal's L as ViSP's example has it; the
    shares of the law and of drawing.
    """
    scene = PlanarScene(bundled("coffee"), 0.8, antialias=antialias)
    controller = PhotometricServo(camera, 0.6, interaction="goal", gain=0.1)
    goal = scene.render(camera, sampling.fronto_parallel(0.6))
    Ts, _ = sampling.lookat(batch, torch.Generator().manual_seed(0))
    controller.set_goal(goal)
    world = TimedSimulator(scene, camera, Ts)
    begin = time.perf_counter()
    trajectory = servo(world, controller, goal, steps)
    took = time.perf_counter() - begin
    return (
        float(trajectory.steps.sum()) / took,
        float(trajectory.step_ms.sum()) / 1e3 / took,
        world.drawing / took,
    )


def visp_rate(program: Path, folder: Path) -> tuple[float, float]:
    """Steps a second of ViSP's simulator, luminance and law, one thread, and pictures a second of
    its simulator alone.
    """
    picture = bundled("coffee")
    judge.write_picture(folder / "coffee.pgm", picture)
    Ts, T_goal = sampling.lookat(1, torch.Generator().manual_seed(0))
    (seconds_taken,) = judge.visp(
        program,
        "speed",
        folder / "coffee.pgm",
        VISP_CAMERA,
        0.8 / picture.shape[2],
        torch.cat([T_goal, Ts]),
        VISP_STEPS,
    )
    servoing, looking = seconds_taken
    return VISP_STEPS / float(servoing), VISP_STEPS / float(looking)


def main(*, repeats: int = 7, out: Path = Path("results/speed.json")) -> None:
    """Measure everything.

    Args:
        repeats: of each figure.
        out: the results file.
    """
    rows: list[dict[str, Any]] = []

    def add(what: str, against: str, figures: dict[str, float]) -> None:
        rows.append({"what": what, "against": against, **figures})
        print(
            f"{what:60} {figures['ours']:9.0f} a second, {figures['ratio']:.2f} x {against}",
            flush=True,
        )

    for antialias in (False, True):
        for facing in (True, False):
            what = (
                f"render 224 x 224, {'antialiased' if antialias else 'bilinear'}, "
                f"{'facing' if facing else 'all over the workspace'}"
            )
            add(what, "cv2.warpPerspective, bilinear", rendering(antialias, facing, repeats))
    with tempfile.TemporaryDirectory() as scratch:
        program = judge.build(Path(scratch))
        if program is not None:
            add(
                "render 320 x 240, bilinear",
                "ViSP's simulator, one thread",
                rendering_like_visp(repeats, program, Path(scratch)),
            )
            for antialias in (False, True):
                what = (
                    f"DVS steps, 320 x 240, 64 runs, {'antialiased' if antialias else 'bilinear'}"
                )
                figures = paired(
                    lambda a=antialias: dvs_rate(VISP_CAMERA, 64, 30, a)[0],  # type: ignore[misc]
                    lambda: visp_rate(program, Path(scratch))[0],
                    repeats,
                )
                add(what, "ViSP, one thread", figures)
    for name, values, camera_of, batch_of in (
        ("runs at once", BATCHES, lambda _: PAPER_CAMERA, lambda n: n),
        ("pixels a side", SIZES, lambda side: PAPER_CAMERA.resize(side, side), lambda _: 64),
    ):
        reference = 64 if name == "runs at once" else 224
        for value in values:
            camera, batch = camera_of(value), batch_of(value)
            metrics.reset_peak()
            found = [dvs_rate(camera, batch, max(3, 1000 // batch), True) for _ in range(repeats)]
            steps, law, drawing = (statistics.median(column) for column in zip(*found, strict=True))
            row = {
                "what": f"DVS steps, {name}: {value}",
                "against": f"{name}: {reference}",
                "ours": steps,
                "law": law,
                "drawing": drawing,
                "peak_mb": metrics.peak_mb(),
            }
            rows.append(row)
            print(
                f"{row['what']:60} {steps:9.0f} a second, {100 * law:.0f} % of it the law, "
                f"{100 * drawing:.0f} % drawing",
                flush=True,
            )
    base = {
        row["against"]: row["ours"] for row in rows if row["what"] == f"DVS steps, {row['against']}"
    }
    for row in rows:
        if "ratio" not in row:
            row["ratio"] = row["ours"] / base[row["against"]]
    metrics.write_results(out, rows)


if __name__ == "__main__":
    tyro.cli(main)
