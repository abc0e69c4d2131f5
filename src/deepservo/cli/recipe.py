"""`deepservo recipe`: a published experiment at full scale, or the list of those still to run."""

from dataclasses import dataclass
from pathlib import Path

from deepservo.cli.options import FirstName, OptionalCount


@dataclass(frozen=True)
class Recipe:
    """Repeat a published experiment at full scale on a GPU: train, measure, and write its results
    file.
    """

    #: Which: see --missing.
    name: FirstName = None
    #: Training steps: a part of the recipe's, and as large a part of its runs.
    steps: OptionalCount = None
    #: A quick run: the small networks, twenty steps, two short runs.
    quick: bool = False
    #: Of the training and of the starts.
    seed: int = 0
    #: Go on from the checkpoint and from the runs that are kept in --out.
    resume: bool = False
    #: List the recipes without a full-scale result in --results, those of greatest value first.
    missing: bool = False
    #: Folder for the model, its checkpoint and the runs.
    out: Path = Path("recipes")
    #: Folder for the results files.
    results: Path = Path("results/full-scale")

    def run(self) -> None:
        """Train, measure, and write the results file; or list what is missing."""
        import torch

        from deepservo.bench import full_scale
        from deepservo.cli.console import bench_bar, check_seed, console, training_bar
        from deepservo.errors import InputError
        from deepservo.system import distributed
        from deepservo.system.files import check_writable

        if self.missing:
            self._print_missing()
            return
        check_seed(self.seed)
        plan = full_scale.Plan.of(self.name, self.steps, self.quick, self.seed)
        folder, path = self.out / plan.name, self.results / f"{plan.name}.json"
        check_writable(path)
        if not plan.full and full_scale.is_full(path):
            raise InputError(
                f"{path}: holds the whole experiment, and a part of it would replace it; give "
                "another --results"
            )
        if plan.full and not torch.cuda.is_available():
            with training_bar(f"recipe {plan.name}, timing a step") as show:
                full_scale.refuse(plan, show)
        distributed.share_threads()
        with training_bar(f"recipe {plan.name}") as show:
            model = full_scale.train(plan, folder, self.resume, show, console.print)
        work, bench = full_scale.benchmark(plan, model)
        with bench_bar(len(work)) as show_bench:
            rows = full_scale.measure(work, bench, folder, show_bench)
        if distributed.first():
            full_scale.write(plan, folder, rows, path)
            part = "" if plan.full else "; a part of the experiment"
            count = f"{len(rows)} row{'s' * (len(rows) > 1)}"
            console.print(f"{path}: {plan.steps} steps, {count}{part}")
        distributed.release()

    def _print_missing(self) -> None:
        from rich.table import Table

        from deepservo.bench import full_scale
        from deepservo.cli.console import console
        from deepservo.training.recipes import EXPERIMENTS

        table = Table("recipe", "steps", "what was published")
        for name in full_scale.missing(self.results):
            table.add_row(name, str(EXPERIMENTS[name].steps), EXPERIMENTS[name].paper)
        done = f"{self.results}: every recipe has its full-scale result"
        console.print(table if table.row_count else done)
