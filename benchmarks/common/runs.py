"""What several benchmarks do alike: a model learned or loaded, and runs measured under a progress
bar.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.rows import Row, per_run
from deepservo.bench.runs import Bench, Job, Prepared, row
from deepservo.cli.console import servo_bar, training_bar
from deepservo.evaluation.metrics import judge
from deepservo.evaluation.trial import Trial, measure
from deepservo.methods.base import Controller
from deepservo.models.scene_model import Model, load_model


def learned(path: Path, what: str, learn: Callable[[Any], Model]) -> Model:
    """The model in a file, or the one that `learn`, given what shows its progress, writes there."""
    if path.is_file():
        return load_model(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with training_bar(f"learning {what}") as show:
        return learn(show)


def measured(controller: Controller, trial: Trial) -> Row:
    """The row of a trial, with the figures of each run."""
    what = f"{trial.method}, {trial.starts.name}, {trial.setup.picture}"
    with servo_bar(what, trial.max_steps or controller.max_steps) as show:
        trajectory, found = measure(controller, trial, show)
    runs = judge(trajectory, trial.starts.Ts_world_goal, found["gain"])
    return {**found, "runs": per_run(runs)}


def measured_job(job: Job, bench: Bench, controller: Controller, what: str) -> Row:
    """The row of a job of `deepservo bench`, with the figures of each run."""
    with servo_bar(what, controller.max_steps) as show:
        chunk = Prepared(job, bench, controller).run(range(job.n), show)
    return {**row(job, [chunk], bench), "runs": per_run(chunk.runs)}
