"""Siame-se(3) Fig. 3: one network of many scenes, in grey and in colour, measured on some of the
scenes that it learned.

    python -m benchmarks scenes --folder PICTURES && make table

Killed, it goes on: what is learned or measured is not done again.
"""

from pathlib import Path

import tyro

from benchmarks.common.rows import ResultsFile, per_run
from deepservo.bench.runs import Bench, Job, Prepared, row
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import servo_bar, training_bar
from deepservo.images import pictures
from deepservo.images.camera_file import CalibratedCamera
from deepservo.methods import build
from deepservo.models.scene_model import Model, load_model
from deepservo.scene import PlanarScene
from deepservo.scene.build import Setup, make_scene
from deepservo.training.learn import Options, learn
from deepservo.training.plan import Training

METHOD, SET, DISTANCE = "siamese-se3", "gaussian", 0.6


def main(
    *,
    folder: Path,
    numbers: tuple[int, ...] = (1, 10, 50, 100),
    colours: tuple[bool, ...] = (False, True),
    steps: int = 8000,
    preset: str = "cpu",
    measured: int = 10,
    n: int = 20,
    seed: int = 0,
    models: Path = Path("out/scenes"),
    out: Path = Path("results/scenes.json"),
) -> None:
    """Learn and measure.

    Args:
        folder: pictures, of which the first are learned.
        numbers: of scenes in a network.
        colours: whether pictures are in colour.
        steps: of each training.
        preset: of its recipe.
        measured: on how many of its scenes a network is measured, from the first to the last
        evenly.
        n: starts in each scene.
        seed: of the training and the starts.
        models: folder that keeps the networks.
        out: the results file.
    """
    results = ResultsFile(out)
    for number in numbers:
        for colour in colours:
            files = pictures.files_in(folder)[:number]
            settings = {
                "scenes": number,
                "colour": colour,
                "preset": preset,
                "steps_trained": steps,
                "n": n,
                "seed": seed,
            }
            chosen = files[:: -(-len(files) // measured)]
            wanted = [file for file in chosen if not results.has({**settings, "scene": file.name})]
            if not wanted:
                continue
            scenes = {file.name: scene_of(file, colour) for file in files}
            model = learned(
                files,
                colour,
                steps,
                preset,
                seed,
                scenes,
                models / f"{preset}-{number}{'-colour' * colour}-{steps}.safetensors",
            )
            bench = Bench(PAPER_CAMERA, DISTANCE, scenes, {}, seed)
            for file in wanted:
                job = Job(METHOD, SET, "", file.name, n)
                controller = build(METHOD, PAPER_CAMERA, DISTANCE, model)
                with servo_bar(f"{number} scenes, {file.name}", controller.max_steps) as show:
                    chunk = Prepared(job, bench, controller).run(range(n), show)
                trained = {
                    "trained_s": model.training["seconds"],
                    "loss": model.training["loss"][-1][1],
                }
                found = {**row(job, [chunk], bench), **trained, "runs": per_run(chunk.runs)}
                results.add(found, settings)
                print(
                    f"{number} scenes{', colour' * colour}, {file.name}: "
                    f"{100 * found['converged']:.0f} % home",
                    flush=True,
                )


def scene_of(file: Path, colour: bool) -> PlanarScene:
    """The picture on the plane."""
    return make_scene(
        pictures.read_picture(file, colour), CalibratedCamera(PAPER_CAMERA), str(file)
    )


def learned(
    files: list[Path],
    colour: bool,
    steps: int,
    preset: str,
    seed: int,
    scenes: dict[str, PlanarScene],
    path: Path,
) -> Model:
    """The network in `path`, or one learned now (resumed where it was killed)."""
    if path.is_file():
        return load_model(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = scenes.values()
    with training_bar(f"learning {len(scenes)} scenes{' in colour' * colour}") as show:
        return learn(
            Setup(first, PAPER_CAMERA, DISTANCE, files[0].name),
            path,
            Training(steps=steps, seed=seed, resume=None),
            options=Options(METHOD, preset, others=tuple(others)),
            show=show,
        )


if __name__ == "__main__":
    tyro.cli(main)
