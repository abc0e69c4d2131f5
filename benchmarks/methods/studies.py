"""The studies, one line each: networks that differ in one thing, learned for as many steps,
measured on the same starts.

    python -m benchmarks studies losses        # AEVS Fig. 4: frequencies or pixels, five seeds
    python -m benchmarks studies size          # AEVS Fig. 5a: numbers in the latent space
    python -m benchmarks studies depth         # AEVS Fig. 5b: residual blocks that are kept
    python -m benchmarks studies norm          # weight norm or batch norm
    python -m benchmarks studies pool          # grouped convolution or average pool
    python -m benchmarks studies scenes        # one autoencoder of ten scenes, on another one
    python -m benchmarks studies regression    # MLVS, or the pose regressed, all else the same
    python -m benchmarks studies spoiled       # MLVS, taught clean and degraded pictures
    python -m benchmarks studies bank          # MLVS: L of the pose, of one neighbour, of fifty
    python -m benchmarks studies siamese       # Siame-se(3) Table I: what is learned, and its loss
    python -m benchmarks studies draw          # what the results file has, as one page

Killed, a study goes on: what is learned or measured is not done again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import tyro
from torch import nn

from benchmarks.common.rows import ResultsFile, Row, fill
from benchmarks.common.runs import measured_job
from benchmarks.methods.study_page import draw
from benchmarks.methods.variants import DISTANCE, Study, Variant, variants
from deepservo.bench.runs import Bench, Job
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import training_bar
from deepservo.evaluation.sets import SETS
from deepservo.models import checkpoint
from deepservo.training.plan import Plan
from deepservo.training.progress import Checkpoint
from deepservo.training.train import train

# The parts of sets that are measured.
HARDEST = ("", "defocus 4 px, view", "motion blur 1", "noise 0.08, view", "32 px")


@dataclass(frozen=True)
class Options:
    """What is learned, measured and drawn."""

    study: tyro.conf.Positional[Study]
    """which one; `draw` measures nothing."""
    scenes: tuple[str, ...] = ("coffee",)
    """each network is learned on each."""
    steps: int = 2000
    """of each training."""
    n: int = 100
    """starts of each set."""
    max_steps: int = 300
    """steps that a run may take."""
    seed: int = 0
    """of the starts."""
    preset: str = "cpu"
    """whose recipes are varied."""
    models: Path = Path("out/studies")
    """folder that keeps the networks."""
    out: Path = Path("results/studies.json")
    """the results file."""
    page: Path = Path("out/studies.html")
    """the drawing."""


@dataclass(frozen=True)
class Learned:
    """A network, its last loss, and how long it learned [s]."""

    net: nn.Module
    loss: float
    seconds: float


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row."""
    for scene in options.scenes:
        for variant in variants(options.study, options.preset):
            for name in variant.sets:
                for part in SETS[name]:
                    if part.label in HARDEST:
                        yield {
                            "study": options.study, "method": variant.label, "scene": scene,
                            "preset": options.preset, "steps_trained": options.steps,
                            "n": options.n, "max_steps": options.max_steps, "seed": options.seed,
                            "trained_seed": variant.seed, "set": name, "part": part.label,
                        }  # fmt: skip


@lru_cache(1)
def learned(label: str, seed: int, scene: str, options: Options) -> tuple[Variant, Learned]:
    """A variant and its network: the one in the folder, or one learned now (resumed where it was
    killed).
    """
    (variant,) = (
        each
        for each in variants(options.study, options.preset)
        if (each.label, each.seed) == (label, seed)
    )
    task = variant.task(scene_of(scene))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = variant.net(task)
    of_scene = f", {scene}" + (f", seed {seed}" if seed else "")
    name = f"{options.study}, {label}"
    kept = f"{variant.learned_as or name}{of_scene}".replace(", ", "-").replace(" ", "_")
    path = options.models / options.preset / f"{kept}-{options.steps}.safetensors"
    if path.is_file():
        weights, config = checkpoint.load(path)
        net.load_state_dict(weights)
        return variant, Learned(net.eval(), config["loss"], config["seconds"])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Checkpoint(path.with_suffix(".partial"), {"study": str(path)})
    plan = Plan(options.steps, seed, partial, partial.path.is_file())
    with training_bar(f"{name}{of_scene}") as show:
        progress = train(net, variant.scheduled(task, options.steps), plan, show)
    found = Learned(net, progress.loss[-1][1], progress.seconds)
    checkpoint.save(path, net.state_dict(), {"loss": found.loss, "seconds": found.seconds})
    partial.path.unlink()
    return variant, found


def main(options: Options) -> None:
    """Learn and measure what a study compares, then draw it."""

    def measure(settings: Row) -> Row:
        label, seed, scene = (settings[key] for key in ("method", "trained_seed", "scene"))
        variant, network = learned(label, seed, scene, options)
        scenes = {scene: scene_of(scene)}
        bench = Bench(PAPER_CAMERA, DISTANCE, scenes, {}, options.seed, options.max_steps)
        job = Job(label, settings["set"], settings["part"], scene, options.n)
        row = measured_job(job, bench, variant.controller(network.net), f"{label}, {job.set}")
        parameters = sum(p.numel() for p in network.net.parameters())
        facts = {"loss": network.loss, "trained_s": network.seconds, "parameters": parameters}
        return {**row, **facts}

    if options.study != "draw":
        fill(options.out, wanted(options), measure, ("converged", "loss"))
    draw(ResultsFile(options.out).rows, options.page)
