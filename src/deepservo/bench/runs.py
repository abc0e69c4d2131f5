"""Runs of a benchmark, in chunks that are kept on disk as they end: a benchmark that was stopped
goes on from them.

A run depends on the seed, its set and its number there alone. So the figures do not depend on how
the runs are cut into chunks, nor on how many processes share them.
"""

import copy
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.bench.scenes import scene_of
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.evaluation import metrics, results_file, sight
from deepservo.evaluation.conditions import Condition, Disturbance
from deepservo.evaluation.known_depth import OfMedian
from deepservo.evaluation.sets import SETS, Part, overlap
from deepservo.evaluation.worlds import SIMULATOR, check_condition, opened, period
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods import WHOLE_PICTURE, build, trained_as
from deepservo.methods.base import Controller
from deepservo.methods.true_pose import TruePose
from deepservo.models.any_scene_model import UnseenModel
from deepservo.models.scene_model import Model, Unlearned
from deepservo.scene import Scene
from deepservo.scene.build import Setup
from deepservo.system import distributed
from deepservo.system.files import replacing
from deepservo.worlds.simulator import Simulator

SHARING = 0.05  # of the goal's pixels; starts that see less are left out of `sharing`
# Runs that go together, on a processor and on a GPU: the most that a kill can lose.
CHUNK, GPU_CHUNK = 25, 250


@dataclass(frozen=True)
class Bench:
    """What all runs of a benchmark share."""

    camera: Camera
    distance: float
    scenes: Mapping[str, Scene]
    models: dict[tuple[str, str], Model]
    """By scene and by what they are trained as."""
    seed: int = 0
    max_steps: int | None = None
    poses: tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"]] | None = None
    """Of the set `poses`: the user's own."""
    pair: UnseenModel | None = None
    """In the place of the network that ships, for scenes never seen."""
    own_starts: bool = False
    """Each scene has starts of its own, where many scenes have few runs each; else all have the
    same.
    """
    world: str = SIMULATOR
    gpu: bool = False
    """Runs of the methods that can (`methods.WHOLE_PICTURE`), before what is plain to see, take
    place on the GPU.
    """
    chunk: int = CHUNK

    def with_poses(
        self, Ts_world_cam: Float[Tensor, "n 4 4"], Ts_world_goal: Float[Tensor, "n 4 4"]
    ) -> "Bench":
        """The same, with the set `poses`."""
        return replace(self, poses=(Ts_world_cam, Ts_world_goal), own_starts=False)

    def turn(self, scene: str) -> tuple[int, int]:
        """Which of the starts that are drawn are the scene's: the first, and how many there are
        from one to the next.
        """
        own = self.own_starts and scene in self.scenes
        return (list(self.scenes).index(scene), len(self.scenes)) if own else (0, 1)

    def able(self, method: str, scene: str) -> bool:
        """Whether the method needs no training, or has learned the scene."""
        return trained_as(method) is None or (scene, trained_as(method)) in self.models

    def setup(self, scene: str, method: str) -> Model | Unlearned:
        """The scene before the camera, with the method's model where it has one."""
        learned = self.models.get((scene, trained_as(method) or ""))
        if learned:
            return learned
        found = self.scenes[scene] if scene in self.scenes else scene_of(scene)
        return Unlearned(
            found, self.camera, self.distance, scene, net=self.pair.net if self.pair else None
        )


def on_this_machine() -> dict[str, Any]:
    """`gpu` and `chunk` of a Bench: where there is a GPU, many runs at once take place there."""
    gpu = torch.cuda.is_available()
    return {"gpu": gpu, "chunk": GPU_CHUNK if gpu else CHUNK}


@dataclass(frozen=True)
class Job:
    """One row of the results: one method on one part of a set, on one scene, from n starts."""

    method: str
    set: str
    part: str
    scene: str
    n: int

    def key(self) -> str:
        """A short name of its own for files."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Runs(metrics.Judged):
    """Some runs of a job, with their trajectories in the goal's frame; the first axis is the
    run.
    """

    run: np.ndarray
    taken: np.ndarray
    """Steps until it stopped."""
    start_mm: np.ndarray
    start_deg: np.ndarray
    share: np.ndarray
    """Of the goal's pixels that the start sees."""
    image_error: np.ndarray
    """At the end."""
    reason: np.ndarray
    path: np.ndarray
    """(b, s + 1, 6): `T_goal_cam` as t [m], theta-u [rad]; repeated after the last step."""

    @staticmethod
    def joined(parts: list["Runs"]) -> "Runs":
        """All of them, in the order of the runs' numbers."""
        longest = max(part.path.shape[1] for part in parts)
        whole = [part._padded(longest) for part in parts]
        order = np.argsort(np.concatenate([part.run for part in parts]))
        return Runs(
            **{
                f.name: np.concatenate([getattr(part, f.name) for part in whole])[order]
                for f in fields(Runs)
            }
        )

    def _padded(self, length: int) -> "Runs":
        """With paths of `length` poses: the last repeated."""
        more = np.repeat(self.path[:, -1:], length - self.path.shape[1], 1)
        return replace(self, path=np.concatenate([self.path, more], 1))


@dataclass(frozen=True)
class Chunk:
    """Runs that went together."""

    runs: Runs
    step_ms: np.ndarray
    """Of each call to `velocity`, for all of them [ms]."""
    facts: dict[str, Any]
    """Of the method: gain, dt, max_steps."""
    seconds: float
    peak_mb: float

    @staticmethod
    def joined(parts: list["Chunk"]) -> "Chunk":
        """Of runs that went together part by part."""
        seconds, peak_mb = sum(part.seconds for part in parts), max(part.peak_mb for part in parts)
        runs = Runs.joined([part.runs for part in parts])
        step_ms = np.concatenate([part.step_ms for part in parts])
        return Chunk(runs, step_ms, parts[0].facts, seconds, peak_mb)

    def save(self, path: Path) -> None:
        """Write beside and rename."""
        arrays = {f.name: getattr(self.runs, f.name) for f in fields(Runs)}
        facts = json.dumps({**self.facts, "seconds": self.seconds, "peak_mb": self.peak_mb})
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **arrays, step_ms=self.step_ms, facts=np.array(facts))

    @staticmethod
    def load(path: Path) -> "Chunk":
        """Read back; InputError where the file is not whole."""
        try:
            with np.load(path, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                runs = Runs(**{f.name: file[f.name] for f in fields(Runs)})
                return Chunk(
                    runs, file["step_ms"], facts, facts.pop("seconds"), facts.pop("peak_mb")
                )
        except Exception as error:
            # a foreign or corrupt file fails anywhere in zipfile, zlib, json and numpy, and in any
            # way
            raise InputError(
                f"{path}: is no chunk of a benchmark ({type(error).__name__}); delete it, and it "
                "is run again"
            ) from None


def sharing(runs: Runs) -> dict[str, Any]:
    """How the runs ended that began where SHARING of the goal or more was in sight."""
    converged = runs.converged[runs.share >= SHARING]
    return {
        "n": len(converged),
        "converged": float(converged.mean()) if len(converged) else None,
        "converged_ci": metrics.wilson(int(converged.sum()), len(converged)),
    }


def row(job: Job, chunks: list[Chunk], bench: Bench) -> dict[str, Any]:
    """The job's row of results.json, over all its runs."""
    runs, facts = Runs.joined([chunk.runs for chunk in chunks]), chunks[0].facts
    model = bench.models.get((job.scene, trained_as(job.method) or ""))
    seconds = sum(chunk.seconds for chunk in chunks)
    ms = np.concatenate([chunk.step_ms for chunk in chunks])
    return {
        "method": job.method,
        "set": job.set,
        "part": job.part,
        "scene": job.scene,
        "n": job.n,
        **metrics.figures(runs),
        **metrics.endings(runs.ending),
        "sharing": sharing(runs),
        "ape_at": metrics.ape_at(facts["gain"], facts["dt"]),
        "time_s": seconds,
        "ms_per_step_p50": float(np.median(ms)),
        "ms_per_step_p99": float(np.quantile(ms, 0.99)),
        "steps_per_s": float(runs.taken.sum()) / max(seconds, 1e-9),
        "peak_mb": max(chunk.peak_mb for chunk in chunks),
        "image_error_median": float(np.median(runs.image_error)),
        "world": bench.world,
        "camera": asdict(bench.camera),
        "gain": facts["gain"],
        "dt": facts["dt"],
        "max_steps": facts["max_steps"],
        "seed": bench.seed,
        "trained_s": model.training["seconds"] if model else None,
        "trained_steps": model.training["steps"] if model else None,
    }


def jobs(methods: tuple[str, ...], sets: tuple[str, ...], bench: Bench, n: int | None) -> list[Job]:
    """All rows, in the order of sets, parts, scenes, methods; a trained method has rows on the
    scenes that it has learned alone. n: runs of each row; None for as many as were published.
    """
    found = []
    for name in sets:
        for part in parts_of(name, bench):
            check_condition(bench.world, part.condition)
            for scene in part.scenes or bench.scenes:
                # One published start is the same however often, and a file of poses holds no more
                # than it holds.
                count = min(n or part.n, part.n) if part.n == 1 or name == "poses" else n or part.n
                found += [
                    Job(method, name, part.label, scene, count)
                    for method in methods
                    if bench.able(method, scene)
                ]
    return found


def parts_of(name: str, bench: Bench) -> tuple[Part, ...]:
    """The parts of a set; `poses` is the user's own."""
    if name == "poses":
        assert bench.poses is not None
        Ts_cam, Ts_goal = bench.poses
        return (
            Part("", len(Ts_cam), lambda n, generator, distance, camera: (Ts_cam[:n], Ts_goal[:n])),
        )
    return SETS[name]


class Prepared:
    """What the chunks of a job share: the scene, the poses of all its runs, the controller (which
    may have learned something first).

    controller: in the place of the one that the job's method names.
    """

    def __init__(self, job: Job, bench: Bench, controller: Controller | None = None) -> None:
        self.job, self.bench = job, bench
        part = next(part for part in parts_of(job.set, bench) if part.label == job.part)
        self.condition, distance = part.condition, part.distance or bench.distance
        setup = bench.setup(job.scene, job.method)
        first, every = bench.turn(job.scene)
        self.drawn = torch.arange(first, every * job.n, every)
        self.camera = self.condition.camera(bench.camera)
        self.scene = self.condition.scene(setup.scene, distance, job.scene)
        before = Setup(self.scene, bench.camera, distance, job.scene)
        generator = torch.Generator().manual_seed(bench.seed)
        self.Ts_cam, self.Ts_goal = part.poses(self.drawn, every * job.n, generator, before)
        base = trained_as(job.method) or job.method
        plain_view = self.condition == Condition(goal=self.condition.goal)
        able = base in WHOLE_PICTURE and "+" not in job.method and plain_view
        self.on_device = distributed.on_device if bench.gpu and able else nullcontext
        with self.on_device():
            if self.on_device is not nullcontext:
                moved = _there(scene=setup.scene, net=copy.deepcopy(setup.net))
                setup = replace(setup, **moved)
            self.controller = controller or build(
                job.method, bench.camera, self.condition.depth_at_first(distance), setup
            )
        self.dt = period(bench.world)
        self.controller.scale_gain(self.dt)
        # Runs at once, until the GPU's memory turns out to hold fewer. One number is the depth of
        # all goals of a controller: where each has its own, runs go one by one.
        self.most = 1 if isinstance(self.condition.depth, OfMedian) else job.n

    def run(self, numbers: range, progress: Callable[[int, int], None] | None = None) -> Chunk:
        """Steer the runs that have these numbers, and judge them. Out of a GPU's memory, half as
        many run at once, with a warning.
        """
        while True:
            parts = [numbers[k : k + self.most] for k in range(0, len(numbers), self.most)]
            try:
                return Chunk.joined([self._run(part, progress) for part in parts])
            except torch.cuda.OutOfMemoryError:
                most = min(self.most, len(numbers))
                self.most = (most + 1) // 2
                if most == 1:
                    raise InputError(
                        f"{self.job.method}: the GPU's memory does not hold one run; use a larger "
                        "one, or none"
                    ) from None
                warnings.warn(
                    f"{self.job.method}: out of memory; {self.most} runs go together, not {most}",
                    stacklevel=2,
                )

    def _run(self, numbers: range, progress: Callable[[int, int], None] | None) -> Chunk:
        results_file.reset_peak()
        begin = time.perf_counter()
        runs, controller = torch.tensor(numbers), self.controller
        Ts_cam, Ts_goal = self.Ts_cam[runs], self.Ts_goal[runs]
        setup = Setup(self.scene, self.camera, self.bench.distance, self.job.scene)
        disturbance = Disturbance(self.condition, self.bench.seed, self.drawn[runs])
        world, goal = opened(self.bench.world, setup, Ts_cam, Ts_goal, disturbance)
        assert goal is not None, "the goals' poses are known"
        with self.on_device():
            if self.on_device is not nullcontext:
                there = _there(scene=self.scene, T_world_cam=Ts_cam)
                world = Simulator(camera=self.camera, **there)
                goal = goal.to(torch.get_default_device())
            told = self.condition.depth_of_goals(
                self.scene, self.camera, Ts_goal, self.bench.seed, disturbance.runs
            )
            controller.set_goal(goal, told)
            if isinstance(controller, TruePose):
                controller.follow(world, Ts_goal)
            trajectory = servo(
                world, controller, goal, self.bench.max_steps, dt=self.dt, progress=progress
            ).cpu()
        judged = metrics.judge(trajectory, Ts_goal, controller.gain)
        start = metrics.errors(Ts_cam, Ts_goal)
        T = se3.inverse(Ts_goal) @ trajectory.Ts_world_cam
        path = torch.cat([T[..., :3, 3], se3.so3_log(T[..., :3, :3])], -1).float().transpose(0, 1)
        last = trajectory.image_error[trajectory.steps - 1, torch.arange(len(runs))]
        done = Runs(
            **vars(judged), run=runs.numpy(), taken=trajectory.steps.numpy(),
            start_mm=(1e3 * start[0]).numpy(), start_deg=start[1].rad2deg().numpy(),
            share=self._share(Ts_goal, Ts_cam).numpy(), image_error=last.numpy(),
            reason=np.array(trajectory.reason), path=path.numpy(),
        )  # fmt: skip
        facts = {"gain": controller.gain, "dt": trajectory.dt, "max_steps": trajectory.max_steps}
        return Chunk(
            done,
            trajectory.step_ms.numpy(),
            facts,
            time.perf_counter() - begin,
            results_file.peak_mb(),
        )

    def _share(
        self, Ts_goal: Float[Tensor, "b 4 4"], Ts_cam: Float[Tensor, "b 4 4"]
    ) -> Float[Tensor, " b"]:
        """Of the goal's pixels that the start sees: of a plane's, but for solids."""
        if self.condition.solid is None:
            return overlap(self.bench.camera, Ts_goal, Ts_cam)
        return sight.share_seen(self.scene, self.bench.camera, Ts_goal, Ts_cam)


def _there(**things: Any) -> dict[str, Any]:
    """Scenes, networks and tensors on the default device."""
    return {
        name: None if thing is None else thing.to(torch.get_default_device())
        for name, thing in things.items()
    }
