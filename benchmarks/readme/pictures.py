"""The README's table: learn each bundled picture, then bring cameras home by every method, goal
clean and perturbed.

    python -m benchmarks pictures && make table

A picture whose model is in --models is not learned again, a row that is in --out is not measured
again: killed, it goes on.
"""

from pathlib import Path

import tyro

from benchmarks.common.rows import ResultsFile, per_run
from benchmarks.measurements.models import learned
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import servo_bar
from deepservo.evaluation.metrics import judge
from deepservo.evaluation.starts import sampled
from deepservo.evaluation.trial import Trial, measure
from deepservo.images.pictures import BUNDLED
from deepservo.methods import build
from deepservo.scene.build import Setup

METHODS = ("auto", "cnn+dvs", "cnn", "sift", "sift+dvs")
LEARNED = ("cnn+dvs", "cnn")
DISTANCE = 0.6
SETS = ("lookat-rz", "lookat-rz-perturbed")


def main(
    *,
    minutes: float = 4.5,
    models: Path = Path("out/models"),
    n: int = 100,
    seed: int = 1,
    out: Path = Path("results/pictures.json"),
    pictures: tuple[str, ...] = BUNDLED,
    methods: tuple[str, ...] = METHODS,
) -> None:
    """Measure what is not measured yet.

    Args:
        minutes: of training a picture.
        models: folder that keeps the models.
        n: starts a row.
        seed: of the starts and of what perturbs the goals; 0 was looked at while the methods were
        made. Trainings have seed 0.
        out: the results file.
        pictures: bundled pictures to take.
        methods: what to measure; a picture is learned where one of them needs that.
    """
    results = ResultsFile(out)
    for picture in pictures:
        model = (
            learned(picture, "cnn", models, minutes)
            if any(method in LEARNED for method in methods)
            else None
        )
        scene = model.scene if model else scene_of(picture)
        for name in SETS:
            for method in methods:
                training = model.training if model and method in LEARNED else {}
                steps = training.get("steps")
                settings = {
                    "method": method,
                    "set": name,
                    "scene": picture,
                    "n": n,
                    "seed": seed,
                    "trained_steps": steps,
                }
                if results.has(settings):
                    continue
                controller = build(method, PAPER_CAMERA, DISTANCE, model)
                setup = Setup(scene, PAPER_CAMERA, DISTANCE, picture)
                starts = sampled(name, n, seed, setup)
                with servo_bar(f"{method}, {name}, {picture}", controller.max_steps) as show:
                    trajectory, row = measure(controller, Trial(method, setup, starts), show)
                results.add(
                    {
                        **row,
                        "trained_s": training.get("seconds"),
                        "runs": per_run(judge(trajectory, starts.Ts_world_goal, controller.gain)),
                    },
                    settings,
                )
                print(
                    f"{picture:10} {name:20} {method:9} {100 * row['converged']:5.1f} % home, "
                    f"{row['time_s']:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    tyro.cli(main)
