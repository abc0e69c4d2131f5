"""`deepservo recipe`: an experiment at full scale, from its training to its results file."""

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from deepservo.bench.bench import Show, collect, open_together, run_all
from deepservo.bench.runs import Bench, Job, jobs, on_this_machine
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.errors import InputError, unknown
from deepservo.evaluation import results_file
from deepservo.models.any_scene_model import UnseenModel
from deepservo.models.scene_model import Model, read_model
from deepservo.scene import planar
from deepservo.scene.build import Setup
from deepservo.system import distributed
from deepservo.system.files import replacing
from deepservo.training.learn import Options, learn
from deepservo.training.learn_any_scene import KINDS, learn_unseen
from deepservo.training.plan import Training, halving
from deepservo.training.presets import preset_of
from deepservo.training.progress import Progress, partial_of
from deepservo.training.recipes import EXPERIMENTS
from deepservo.training.recipes.experiment import TWO_CORES, Experiment
from deepservo.training.tasks import pair as data_pair

DISTANCE = 0.6  # of the reference pose [m]
QUICK_TRAINING_STEPS, QUICK_MAX_STEPS = 20, 20  # of a quick plan: of training, of each run
LEAST_RUNS = 2  # of a row
TIMED_STEPS = 2  # of training, that tell how long all of it would take
WARM, WATCHED = 5, 20  # first steps, which also warm caches up; and those whose rendering is timed
MODEL, TRAINING, BENCH = "model.safetensors", "training.json", "bench"  # in a recipe's folder


@dataclass(frozen=True)
class Plan:
    """How much of an experiment is repeated: all, a part, or a quick run of small networks with few
    steps and few runs.
    """

    name: str
    steps: int
    quick: bool
    seed: int

    @classmethod
    def of(cls, name: str | None, steps: int | None, quick: bool, seed: int) -> "Plan":
        """A plan with so many steps of training, all of them when None.

        Raises InputError where there is no recipe of that name, or `steps` is less than 1.
        """
        if name is None:
            raise InputError(
                f"give the recipe's name: {', '.join(EXPERIMENTS)}; or --missing for those without "
                "a result"
            )
        if name not in EXPERIMENTS:
            raise unknown("recipe", name, EXPERIMENTS)
        if steps is not None and steps < 1:
            raise InputError(f"--steps {steps}: give at least 1")
        return cls(
            name, steps or (QUICK_TRAINING_STEPS if quick else EXPERIMENTS[name].steps), quick, seed
        )

    @property
    def experiment(self) -> Experiment:
        """Its values."""
        return EXPERIMENTS[self.name]

    @property
    def full(self) -> bool:
        """Whether nothing is left out."""
        return not self.quick and self.steps >= self.experiment.steps

    @property
    def runs(self) -> dict[str, int]:
        """Of each part and scene of its sets: as large a share of them as of the training's
        steps.
        """
        share = min(1.0, self.steps / self.experiment.steps)
        return {
            name: LEAST_RUNS if self.quick else max(LEAST_RUNS, round(share * n))
            for name, n in self.experiment.sets.items()
        }

    @property
    def preset(self) -> str:
        """Whose networks."""
        return "cpu" if self.quick else "paper"


@dataclass
class Watch:
    """How much of a training's steps is rendering: of WATCHED of them, after WARM. Meanwhile each
    rendering waits for the GPU.
    """

    steps: int = 0
    rendering: float = 0.0
    begun: float = 0.0
    seconds: float = 0.0

    def stepped(self) -> None:
        """Call it after each step."""
        self.steps += 1
        if self.steps == WARM:
            self.begun = time.perf_counter()
        if self.steps <= WARM + WATCHED:
            self.seconds = time.perf_counter() - self.begun

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In the block the sampler's calls are timed."""
        rooms = [
            (room, name)
            for room in (planar, data_pair)
            for name in ("sample", "sample_covered")
            if hasattr(room, name)
        ]
        before = [getattr(room, name) for room, name in rooms]
        for (room, name), call in zip(rooms, before, strict=True):
            setattr(room, name, self._timed(call))
        try:
            yield
        finally:
            for (room, name), call in zip(rooms, before, strict=True):
                setattr(room, name, call)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            if not WARM <= self.steps < WARM + WATCHED:
                return call(*args)
            distributed.wait()
            begin = time.perf_counter()
            answer = call(*args)
            distributed.wait()
            self.rendering += time.perf_counter() - begin
            return answer

        return timed

    @property
    def share(self) -> float | None:
        """Of the time of a step; None where a training was too short to tell."""
        return round(self.rendering / self.seconds, 3) if self.steps > WARM else None


def missing(results: Path) -> list[str]:
    """The recipes without a full-scale result in this folder, those of greatest value first."""
    return [name for name in EXPERIMENTS if not is_full(results / f"{name}.json")]


def is_full(path: Path) -> bool:
    """Whether a results file is there, and holds an experiment whole; InputError where it cannot be
    read.
    """
    if not path.is_file():
        return False
    try:
        return bool(json.loads(path.read_text())["full"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is no result of deepservo recipe; move it away") from None


def train(
    plan: Plan,
    folder: Path,
    resume: bool,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Model | UnseenModel:
    """The trained model, kept in `folder` with what its training took; the one that is there if it
    is finished.

    Out of memory, the batch is halved, which `say` tells. Raises InputError when the folder holds a
    training and `resume` is not asked for.
    """
    path, facts = folder / MODEL, folder / TRAINING
    finished, begun = distributed.decided(lambda: _found(folder, resume))
    if finished:
        return read_model(path)
    watch = Watch()

    def attempt(training: Training) -> Model | UnseenModel:
        nonlocal watch
        watch = Watch()
        results_file.reset_peak()

        def watched(progress: Progress) -> None:
            if not progress.doing:  # pictures drawn beforehand and rehearsals are no steps
                watch.stepped()
            show(progress)

        with watch.watching():
            return learned(plan, path, training, watched)

    training = Training(steps=plan.steps, seed=plan.seed, resume=begun)
    model = halving(attempt, path, training, say)
    # Each process has timed itself: all take the first one's record.
    model = replace(model, training=distributed.decided(lambda: model.training))
    if distributed.first():
        text = json.dumps(facts_of(model.training, watch), indent=1, allow_nan=False)
        with replacing(facts) as beside:
            beside.write_text(text + "\n")
    return model


def _found(folder: Path, resume: bool) -> tuple[bool, bool]:
    """Whether the training in this folder is finished, and whether it has begun."""
    finished = (folder / MODEL).is_file() and (folder / TRAINING).is_file()
    begun = partial_of(folder / MODEL).is_file()
    if not resume and ((folder / MODEL).exists() or begun):
        raise InputError(
            f"{folder}: holds this recipe's training already; --resume goes on with it, or give "
            "another --out"
        )
    return finished, begun


def learned(
    plan: Plan, path: Path, training: Training, show: Callable[[Progress], None]
) -> Model | UnseenModel:
    """The experiment's network, trained on the GPU where there is one."""
    experiment = plan.experiment
    if experiment.method in KINDS:
        scale = TWO_CORES if plan.quick else experiment.scale
        with distributed.on_device():
            return learn_unseen(experiment.method, path, training, scale=scale, show=show)
    first, *others = (scene_of(name) for name in experiment.scenes)
    setup = Setup(first, PAPER_CAMERA, DISTANCE, experiment.scenes[0])
    options = Options(experiment.method, plan.preset, others=tuple(others))
    if preset_of(experiment.method, plan.preset).losses:
        options = replace(options, loss=experiment.loss)
    with distributed.on_device():
        return learn(setup, path, training, options=options, show=show)


def facts_of(training: dict[str, Any], watch: Watch) -> dict[str, Any]:
    """What a results file says of a training."""
    seconds, samples = (
        training["seconds"],
        training["steps"] * training["batch"] * distributed.rank()[1],
    )
    gpu = torch.cuda.is_available()
    return {
        **{k: training[k] for k in ("steps", "batch", "seconds", "parameters", "seed")},
        "samples_per_s": round(samples / max(seconds, 1e-9), 1),
        "rendering_share": watch.share,
        "peak_mb": round(
            torch.cuda.max_memory_allocated() / 2**20 if gpu else results_file.peak_mb()
        ),
        "loss": training["loss"][-1][1],
    }


def benchmark(plan: Plan, model: Model | UnseenModel) -> tuple[list[Job], Bench]:
    """The rows of the experiment's sets, the first alone of a quick plan; and what their runs
    share.
    """
    experiment, alone = plan.experiment, isinstance(model, UnseenModel)
    names = experiment.scenes if alone else experiment.scenes[:1]
    bench = Bench(
        PAPER_CAMERA, DISTANCE, {name: scene_of(name) for name in names},
        {(model.picture, model.method): model} if isinstance(model, Model) else {}, plan.seed,
        QUICK_MAX_STEPS if plan.quick else None,
        pair=model if isinstance(model, UnseenModel) else None, **on_this_machine(),
    )  # fmt: skip
    whole = [
        job for name, n in plan.runs.items() for job in jobs(experiment.methods, (name,), bench, n)
    ]
    return whole[:1] if plan.quick else whole, bench


def measure(work: list[Job], bench: Bench, folder: Path, show: Show) -> list[dict[str, Any]]:
    """The rows, run by run; runs that are kept in `folder` are not run again."""
    open_together(folder / BENCH, bench, resume=True)
    run_all(work, bench, folder / BENCH, show)
    return collect(work, bench, folder / BENCH)[0] if distributed.first() else []


def write(plan: Plan, folder: Path, rows: list[dict[str, Any]], path: Path) -> None:
    """The results file: a row a line."""
    head = {
        "recipe": plan.name, "paper": plan.experiment.paper, "full": plan.full,
        "training": json.loads((folder / TRAINING).read_text()),
    }  # fmt: skip
    results_file.write_results(path, rows, head)


def hours(plan: Plan, show: Callable[[Progress], None]) -> float:
    """How long the training would take on this machine, by two of its steps."""
    with tempfile.TemporaryDirectory() as scratch:
        training = Training(steps=TIMED_STEPS, seed=plan.seed)
        model = learned(plan, Path(scratch) / MODEL, training, show)
    return float(model.training["seconds"]) / TIMED_STEPS * plan.steps / 3600


def refuse(plan: Plan, show: Callable[[Progress], None]) -> None:
    """InputError that says how long the training would take on this processor, and what to do
    instead.
    """
    raise InputError(
        f"{plan.name}: its {plan.steps} steps would take about {duration(hours(plan, show))} here, "
        "where there is no GPU; --quick gives a quick run, --steps N a part, and deepservo learn "
        f"--method {plan.experiment.method} learns in minutes, with --preset cpu"
    )


def duration(hours: float) -> str:
    """In words, two significant digits."""
    for unit, size in (("days", 24.0), ("hours", 1.0)):
        if hours >= 2 * size:
            return f"{_rounded(hours / size)} {unit}"
    return f"{_rounded(max(60 * hours, 1))} minutes"


def _rounded(value: float) -> str:
    return f"{round(value, 1 - math.floor(math.log10(value))):g}"
