"""What `deepservo recipe` does: an experiment at full scale, or the list of those that are still to
be run.
"""

from pathlib import Path

import torch
from rich.table import Table

from deepservo.bench import full_scale
from deepservo.bench.full_scale import Plan
from deepservo.cli.console import bench_bar, check_seed, console, training_bar
from deepservo.errors import InputError, unknown
from deepservo.system import distributed
from deepservo.system.files import check_writable
from deepservo.training.recipes import EXPERIMENTS


def run_missing(results: Path) -> None:
    """Print the recipes without a full-scale result, those of greatest value first."""
    table = Table("recipe", "steps", "what was published")
    for name in full_scale.missing(results):
        table.add_row(name, str(EXPERIMENTS[name].steps), EXPERIMENTS[name].paper)
    console.print(
        table if table.row_count else f"{results}: every recipe has its full-scale result"
    )


def run_recipe(
    name: str | None,
    steps: int | None,
    glance: bool,
    seed: int,
    resume: bool,
    out: Path,
    results: Path,
) -> None:
    """Train, measure, and write the results file."""
    check_seed(seed)
    if name is None:
        raise InputError(
            f"give the recipe's name: {', '.join(EXPERIMENTS)}; or --missing for those without a "
            "result"
        )
    if name not in EXPERIMENTS:
        raise unknown("recipe", name, EXPERIMENTS)
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: give at least 1")
    plan, folder, path = Plan.of(name, steps, glance, seed), out / name, results / f"{name}.json"
    check_writable(path)
    if not plan.full and full_scale.is_full(path):
        raise InputError(
            f"{path}: holds the whole experiment, and a part of it would replace it; give another "
            "--results"
        )
    if plan.full and not torch.cuda.is_available():
        _refuse(plan)
    distributed.share_threads()
    with training_bar(f"recipe {name}") as show:
        model = full_scale.train(plan, folder, resume, show, console.print)
    work, bench = full_scale.benchmark(plan, model)
    with bench_bar(len(work)) as show_bench:
        rows = full_scale.measure(work, bench, folder, show_bench)
    if distributed.first():
        full_scale.write(plan, folder, rows, path)
        console.print(
            f"{path}: {plan.steps} steps, {len(rows)} "
            f"row{'s' * (len(rows) > 1)}{'' if plan.full else '; a part of the experiment'}"
        )
    distributed.release()


def _refuse(plan: Plan) -> None:
    """Say how long a full-scale training would take on this processor, and what to do instead."""
    with training_bar(f"recipe {plan.name}, timing a step") as show:
        hours = full_scale.hours(plan, show)
    raise InputError(
        f"{plan.name}: its {plan.steps} steps would take about {full_scale.duration(hours)} here, "
        "where there is no GPU; --quick gives a "
        f"glance, --steps N a part, and deepservo learn --method {plan.experiment.method} learns "
        "in minutes, with --preset cpu"
    )
