"""Where the time of a training step of `cnn` goes, as shares of it: drawing, perturbing, the
network forward and back, and the optimizer.

    python -m benchmarks training-step && make table    # quiet machine
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.common.rows import write
from deepservo.camera import PAPER_CAMERA
from deepservo.images.pictures import bundled
from deepservo.nets.pose import PoseNet
from deepservo.scene import PlanarScene, taught
from deepservo.training.tasks import pose
from deepservo.training.train import Optimization

WARM = 5  # steps that are not counted


class Watch:
    """Adds up the seconds that functions take, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def run(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            result = work(*args, **kwargs)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
            return result

        return run


def main(*, steps: int = 60, out: Path = Path("results/training-step.json")) -> None:
    """Measure so many steps.

    Args:
        steps: of the training.
        out: the results file.
    """
    torch.manual_seed(0)
    task = pose.PoseTask(PlanarScene(bundled("coffee"), 0.8), PAPER_CAMERA, 0.6)
    learning, watch, found = Optimization(PoseNet(), task, 0, WARM + steps), Watch(), []
    optimizer = learning.optimizer
    with (
        patch.object(taught, "shown_covered", watch.timed("drawing", taught.shown_covered)),
        patch.object(pose, "perturbed", watch.timed("perturbing", pose.perturbed)),
        patch.object(optimizer, "step", watch.timed("optimizer", optimizer.step)),
    ):
        for step in range(WARM + steps):
            watch.seconds.clear()
            begin = time.perf_counter()
            learning.advance(step)
            found.append(watch.seconds | {"all": time.perf_counter() - begin})
    row: dict[str, Any] = {"method": "cnn", "batch": task.batch, "steps": steps}
    row["ms"] = 1e3 * statistics.median(each["all"] for each in found[WARM:])
    for name in ("drawing", "perturbing", "optimizer"):
        row[name] = statistics.median(each[name] / each["all"] for each in found[WARM:])
    write(out, [row])
