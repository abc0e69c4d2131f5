"""Whether a scene is learned: while a network learns it, runs of its own say how many come home."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.models.scene_model import Model
from deepservo.scene import sampling, taught
from deepservo.training.progress import Progress
from deepservo.training.tasks.task import generator, perturbed
from deepservo.worlds.simulator import Simulator

RUNS, SEED = 32, 2
GAIN, MAX_STEPS = 0.3, 40  # a large one: of the way to the goal, 1e-5 is left
MAX_SIDE_PX = 256  # of the longer side: runs through a larger camera would outlast the training
HOME = 0.02  # of the distance, and as many radians, from the goal at the end of a run
BETTER = 2  # runs that an exam must bring home beyond the best one before: fewer may be chance


@dataclass(frozen=True)
class Exam:
    """An exam after every so many steps, and when a training has had enough of them."""

    every: int
    taken: Callable[[Callable[[int], None]], int]
    """How many of RUNS come home with the network as it is. It is given a function to call with
    the step of the runs.
    """

    def due(self, step: int, steps: int, results: list[tuple[int, int]]) -> bool:
        """Whether there is one after this step, the last of `steps`, that was not taken yet."""
        ends = step % self.every == 0 or step == steps
        return step > 0 and ends and (not results or results[-1][0] != step)

    def enough(self, results: list[tuple[int, int]]) -> bool:
        """Whether more training does not help. results: of each exam, its step and runs home."""
        home = [each for _, each in results]
        return len(home) > 1 and home[-1] < max(home[:-1]) + BETTER

    def shown(self, progress: Progress) -> Progress:
        """The progress towards the next exam."""
        begin = max(0, progress.step - 1) // self.every * self.every
        last = f"{progress.exams[-1][1]} of {RUNS} runs came home; " if progress.exams else ""
        steps = min(begin + self.every, progress.steps)
        return replace(progress, steps=steps, doing=f"{last}next exam: ")


def home(model: Model, show: Callable[[int], None]) -> int:
    """How many of RUNS come home, from the starts of `lookat-rz` to perturbed pictures of the goal.

    The network steers, and the photometric refinement the last part of the way. show: called with
    the step.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        model = replace(model, net=copy.deepcopy(model.net).cpu().eval())
        g, camera, distance = generator(SEED, 0), model.camera.within(MAX_SIDE_PX), model.distance
        Ts_cam, Ts_goal = sampling.lookat_rz(RUNS, g, distance)
        Ts_cam = taught.with_room(
            model.scene, distance, Ts_cam, lambda n: sampling.lookat_rz(n, g, distance)[0]
        )
        goal = perturbed(taught.shown(model.scene, camera, Ts_goal), g)
        controller = build(f"{model.method}+dvs", camera, distance, model)
        controller.gain = GAIN
        controller.set_goal(goal)

        def progress(step: int, active: int) -> None:
            show(step)

        world = Simulator(model.scene, camera, Ts_cam)
        ended = servo(world, controller, goal, MAX_STEPS, progress=progress).Ts_world_cam[-1]
    return count_home(ended, Ts_goal, distance)


def count_home(
    Ts_world_cam: Float[Tensor, "b 4 4"], Ts_goal: Float[Tensor, "b 4 4"], distance: float
) -> int:
    """How many poses are within HOME of their goals. distance: of the scene [m]."""
    metres, radians = se3.distance(Ts_goal, Ts_world_cam)
    return int(((metres < HOME * distance) & (radians < HOME)).sum())


def said(results: list[tuple[int, int]]) -> dict[str, Any]:
    """What a model file records of the exams."""
    return {"exams": results, "exam runs": RUNS} if results else {}
