"""How long `auto` takes for one camera at 30 pictures a second: to take the goal, for a step far
from it, with nothing in common with it, and near it.

Beside it are OpenCV's SIFT of the same view at 320 x 240, and near the goal a step of `dvs`.

    python -m benchmarks control-step && make table    # quiet machine
"""

import statistics
import time
from functools import partial
from pathlib import Path

import cv2
import torch
from torch import Tensor

from benchmarks.common.rows import Row, write
from benchmarks.common.timing import milliseconds
from deepservo.camera import PAPER_CAMERA, Camera
from deepservo.features import keypoints
from deepservo.features.sift import sift_reference
from deepservo.geometry import se3
from deepservo.images.pictures import OFFERED, bundled
from deepservo.methods import Controller, build
from deepservo.scene import PlanarScene, sampling

SIZES = ((640, 480), (1280, 960))
STARTS = 8  # of each picture
NEAR = torch.tensor([1e-3, -1e-3, 1e-3, 1e-3, 1e-3, 5e-3], dtype=torch.float64)  # m, rad
SETTLING, REFINING = 60, 20  # steps near the goal: before they are timed, and timed
PERIOD = 1 / 30  # s, from one picture to the next
FEW = 12  # pictures in a row, before the refinement takes over, or with nothing in common


def sift(view: Tensor) -> float:
    """Milliseconds that OpenCV's SIFT takes for the view at 320 x 240, as `auto` asks for it."""
    grey = (view[0, 0] * 255).round().byte().numpy()
    small = cv2.resize(grey, (320, 240), interpolation=cv2.INTER_AREA)
    return milliseconds(partial(sift_reference, small, **keypoints.SIFT))


def timed(controller: Controller, view: Tensor) -> float:
    """Milliseconds of one step."""
    return milliseconds(partial(controller.velocity, view))


def far(controller: Controller, scene: PlanarScene, T: Tensor) -> tuple[list[float], list[float]]:
    """Milliseconds of the steps before the refinement steers, at the rate of a camera, and of SIFT
    for the first view.
    """
    ours, first = [], scene.render(controller.camera, T)
    controller.scale_gain(PERIOD)
    controller.dt = PERIOD
    while len(ours) < FEW:
        begin = time.perf_counter()
        ours.append(timed(controller, scene.render(controller.camera, T)))
        if controller.is_refining(1).all():
            break
        assert controller.v_last is not None
        T = T @ se3.exp(controller.v_last * PERIOD)
        time.sleep(max(0.0, begin + PERIOD - time.perf_counter()))
    return ours, [sift(first)] * len(ours)


def refining(camera: Camera, scene: PlanarScene, T_goal: Tensor) -> tuple[list[float], list[float]]:
    """Milliseconds of steps near the goal: of `auto`, and of `dvs` before the same views."""
    goal, T = scene.render(camera, T_goal), T_goal @ se3.exp(NEAR)
    auto, dvs = build("auto", camera, 0.6), build("dvs", camera, 0.6)
    auto.set_goal(goal)
    dvs.set_goal(goal)
    ours, theirs = [], []
    for step in range(SETTLING + REFINING):
        view = scene.render(camera, T)
        times = timed(auto, view), timed(dvs, view)
        if step >= SETTLING:
            ours.append(times[0])
            theirs.append(times[1])
        T = T @ se3.exp(auto.v_last)
    return ours, theirs


def measured(camera: Camera) -> list[Row]:
    """A line for each kind of step."""
    found: dict[str, tuple[list[float], list[float]]] = {}

    def add(what: str, ours: list[float], theirs: list[float]) -> None:
        all_ours, all_theirs = found.setdefault(what, ([], []))
        all_ours += ours
        all_theirs += theirs

    T_goal = sampling.fronto_parallel(0.6)
    other = PlanarScene(bundled("page"), 0.8)
    for name in OFFERED:
        scene = PlanarScene(bundled(name), 0.8)
        goal = scene.render(camera, T_goal)
        generator = torch.Generator().manual_seed(0)
        for T in sampling.lookat_rz(STARTS, generator)[0][:, None]:
            auto = build("auto", camera, 0.6)
            add("set_goal", [milliseconds(partial(auto.set_goal, goal))], [sift(goal)])
            add("coarse", *far(auto, scene, T))
        if name != "page":
            auto.set_goal(goal)
            add("nothing in common", *far(auto, other, T_goal))
        add("refining", *refining(camera, scene, T_goal))
        print(camera.width, camera.height, name, flush=True)
    return [row(camera, what, *times) for what, times in found.items()]


def row(camera: Camera, what: str, ours: list[float], theirs: list[float]) -> Row:
    """Medians, the 99th percentile, and the median of the ratios."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "what": what,
        "width": camera.width,
        "height": camera.height,
        "n": len(ours),
        "ms": statistics.median(ours),
        "ms_p99": statistics.quantiles(ours, n=100)[-1],
        "beside": "dvs" if what == "refining" else "SIFT",
        "beside_ms": statistics.median(theirs),
        "ratio": statistics.median(ratios),
    }


def main(*, out: Path = Path("results/control-step.json")) -> None:
    """Measure all of them.

    Args:
        out: the results file.
    """
    rows = [each for w, h in SIZES for each in measured(PAPER_CAMERA.resize(w, h))]
    write(out, rows)
