"""The studies, one line each: networks that differ in one thing, learned for as many steps,
measured on the same starts.

    python -m benchmarks studies losses        # AEVS Fig. 4: frequencies or pixels, five seeds
    python -m benchmarks studies size          # AEVS Fig. 5a: numbers in the latent space
    python -m benchmarks studies depth         # AEVS Fig. 5b: residual blocks that are kept
    python -m benchmarks studies norm          # weight norm or batch norm
    python -m benchmarks studies pool          # grouped convolution or average pool
    python -m benchmarks studies scenes        # one autoencoder of ten scenes, on another one
    python -m benchmarks studies regression    # MLVS, or the pose outright, all else the same
    python -m benchmarks studies spoiled       # MLVS, taught clean and degraded pictures
    python -m benchmarks studies bank          # MLVS: L of the pose, of one neighbour, of fifty
    python -m benchmarks studies siamese       # Siame-se(3) Table I: what is learned, and its loss
    python -m benchmarks studies draw          # what the results file has, as one page

Killed, a study goes on: what is learned or measured is not done again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import plotly.graph_objects as go
import torch
import tyro
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor, nn

from benchmarks.common.pages import write_page
from benchmarks.common.rows import ResultsFile, per_run, pooled
from deepservo import control
from deepservo.bench.runs import Bench, Job, Prepared, row
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import servo_bar, training_bar
from deepservo.evaluation.metrics import wilson
from deepservo.evaluation.sets import SETS
from deepservo.features.latent import Latent
from deepservo.geometry import se3
from deepservo.methods.aevs import latent_servo
from deepservo.methods.base import Controller
from deepservo.methods.mlvs import MetricServo, Neighbours
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.models import checkpoint
from deepservo.nets.metric import numbers
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import AutoEncoder, Encoder, Norm, Pool, Shape, folded
from deepservo.nets.siamese import GROUPS
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.reference import to_reference
from deepservo.training.plan import Plan
from deepservo.training.presets import SMALL_ENCODER, preset_of
from deepservo.training.progress import Checkpoint
from deepservo.training.tasks.latent import (
    BEGINNING,
    AutoEncoderTask,
    IsometryTask,
    Loss,
    begun,
    pictures,
    spoiled,
)
from deepservo.training.tasks.pose import generator, perturbed
from deepservo.training.tasks.siamese import Law, SiameseTask
from deepservo.training.train import Task, train

Study = Literal[
    "losses",
    "size",
    "depth",
    "norm",
    "pool",
    "scenes",
    "regression",
    "spoiled",
    "bank",
    "siamese",
    "draw",
]
DISTANCE = 0.6
HARDEST = (
    "",
    "defocus 4 px, view",
    "motion blur 1",
    "noise 0.08, view",
    "32 px",
)  # the parts of sets that are measured
LATENTS, SEEDS = (6, 8, 16, 32, 64, 128, 256), range(5)
TEN = (
    "astronaut",
    "chelsea",
    "moon",
    "page",
    "brick",
    "clouds",
    "leaves",
    "strokes",
    "tiles",
    "mixed",
)
FREQUENCY, METRIC = "losses, frequency", "regression, mlvs"  # networks that several studies take


@dataclass(frozen=True)
class Variant:
    """One network of a study: how it is built, what it learns on a scene, how it steers, and on
    which sets.
    """

    label: str
    net: Callable[[Any], nn.Module]
    task: Callable[[PlanarScene], Task]
    controller: Callable[[Any], Controller]
    sets: tuple[str, ...] = ("lookat", "screw")
    seed: int = 0
    learned_as: str = ""
    """The study and label of the variant whose network it takes."""
    scheduled: Callable[[Any, int], Task] = lambda task, steps: task
    """The task, when it is known how long it is learned."""


class InTurn:
    """Tasks that take a step each, one after the other."""

    def __init__(self, tasks: list[AutoEncoderTask]) -> None:
        self.tasks, self.rate = tasks, tasks[0].rate

    def loss(self, net: AutoEncoder, seed: int, step: int) -> Tensor:
        """Of one batch."""
        return self.tasks[step % len(self.tasks)].loss(net, seed, step)

    def beginning(self, size: int) -> Tensor:
        """As many of each."""
        return torch.cat(
            [task.beginning(size, BEGINNING // len(self.tasks)) for task in self.tasks]
        )


@dataclass(frozen=True)
class RegressionTask:
    """Teaches an encoder the pose outright, with the pictures that `like` has: L1 of t [distances]
    and two columns of R.
    """

    like: IsometryTask

    @property
    def rate(self) -> float:
        """The same."""
        return self.like.rate

    def loss(self, net: Encoder, seed: int, step: int) -> Tensor:
        """Of one batch."""
        g = generator(seed, step)
        Ts = sampling.workspace(self.like.batch, g, DISTANCE)
        seen = self.like.spoil(pictures(self.like.scene, PAPER_CAMERA, net.shape.size, Ts), g)
        with half_precision():
            found = net(seen.contiguous(memory_format=torch.channels_last))
        return (found.float() - numbers(to_reference(Ts, DISTANCE)).float()).abs().mean()


class Regressed(Controller):
    """PBVS between the poses that an encoder answers."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(PAPER_CAMERA)
        self.features = Latent(PAPER_CAMERA, folded(encoder))

    def _set_goal(self, goal: Tensor) -> None:
        self.state = {"T": self._pose(goal)}

    def _velocity(self, image: Tensor) -> Tensor:
        return control.pbvs(se3.inverse(self.state["T"]) @ self._pose(image), self.gain)

    def _pose(self, images: Tensor) -> Float[Tensor, "b 4 4"]:
        t, first, second = self.features.s(images).double().split(3, 1)
        x = nn.functional.normalize(first, dim=1)
        y = nn.functional.normalize(second - (second * x).sum(1, keepdim=True) * x, dim=1)
        return se3.transform(torch.stack([x, y, torch.linalg.cross(x, y)], -1), DISTANCE * t)


def variants(study: Study, preset: str) -> list[Variant]:
    """What a study compares."""
    if study == "siamese":
        return _siamese(preset)
    return (
        _metric(study, preset)
        if study in ("regression", "spoiled", "bank")
        else _autoencoders(study, preset)
    )


def _siamese(preset: str) -> list[Variant]:
    """Siame-se(3): what the network answers, and how its errors are weighed."""

    def variant(label: str, law: Law, loss: str) -> Variant:
        chosen = preset_of(f"siamese-{law}", preset)

        def task(scene: PlanarScene) -> SiameseTask:
            return replace(chosen.task(scene, PAPER_CAMERA, DISTANCE), loss_of=loss)

        return Variant(
            f"{label}, {loss}", lambda task: chosen.net(task, chosen.backbone), task,
            lambda net: SiameseServo(PAPER_CAMERA, net.net, DISTANCE, law == "SE3"), ("gaussian",),
            scheduled=chosen.scheduled,
        )  # fmt: skip

    laws: dict[str, Law] = {"velocity": "se3", "pose": "SE3"}
    both = [variant(label, law, loss) for label, law in laws.items() for loss in GROUPS]
    return [*both, variant("velocity of IBVS", "ibvs", "four")]


def _autoencoders(study: Study, preset: str) -> list[Variant]:
    """AEVS, changed in one thing."""
    shape = Shape(18) if preset == "paper" else SMALL_ENCODER

    def task(scene: PlanarScene) -> AutoEncoderTask:
        return preset_of("aevs", preset).task(scene, PAPER_CAMERA, DISTANCE)

    def aevs(
        label: str, learned: Callable[[PlanarScene], Task] = task, seed: int = 0, **changes: Any
    ) -> Variant:
        changed = replace(shape, **changes)
        plain = learned is task and changed == shape

        def net(task: AutoEncoderTask | InTurn) -> AutoEncoder:
            return (
                begun(changed, task.beginning(changed.size))
                if changed.linear
                else AutoEncoder(changed)
            )

        return Variant(
            label, net, learned, lambda net: latent_servo(PAPER_CAMERA, net.encoder, DISTANCE),
            seed=seed, learned_as=FREQUENCY if plain else "",
        )  # fmt: skip

    def losing(loss: Loss, seed: int) -> Variant:
        return aevs(loss, lambda scene: replace(task(scene), loss_of=loss), seed)

    ten = [task(scene_of(name)) for name in TEN] if study == "scenes" else []
    deepest = len(shape.stages())
    return {
        "losses": lambda: [losing(loss, seed) for loss in get_args(Loss) for seed in SEEDS],
        "size": lambda: [aevs(f"{n} numbers", latent=n) for n in LATENTS],
        "depth": lambda: [
            aevs(f"{n} block{'s' * (n > 1)}", blocks=n if n < deepest else None)
            for n in range(1, deepest + 1)
        ],
        "norm": lambda: [
            aevs(f"{norm} norm", seed=seed, norm=norm) for norm in get_args(Norm) for seed in SEEDS
        ],
        "pool": lambda: [
            aevs(f"{pool} pool", seed=seed, pool=pool) for pool in get_args(Pool) for seed in SEEDS
        ],
        "scenes": lambda: [aevs("this scene"), aevs("ten others", lambda scene: InTurn(ten))],
    }[study]()


def _metric(study: Study, preset: str) -> list[Variant]:
    """MLVS, and the pose outright; MLVS and what its pictures have been through."""
    metric = preset_of("mlvs", preset)
    encoder: Shape = metric.net(None).images.shape  # type: ignore[union-attr,assignment]

    def task(scene: PlanarScene) -> IsometryTask:
        return metric.task(scene, PAPER_CAMERA, DISTANCE)

    def mlvs(
        label: str,
        sets: tuple[str, ...],
        way: Callable[[Tensor, torch.Generator], Tensor] = spoiled,
    ) -> Variant:
        return Variant(
            label, metric.net, lambda scene: replace(task(scene), spoil=way),
            lambda net: MetricServo(PAPER_CAMERA, net, DISTANCE), sets,
            learned_as=METRIC if way is spoiled else "",
        )  # fmt: skip

    if study == "spoiled":
        sets = ("lookat-rz", "lookat-rz-perturbed", "hard-blur", "hard-size")
        ways = {
            "clean": lambda images, g: images,
            "lit and covered": perturbed,
            "and out of focus": spoiled,
        }
        return [mlvs(label, sets, way) for label, way in ways.items()]
    if study == "bank":
        averages: dict[str, Neighbours | None] = {
            "search on phi": None,
            "K = 1": Neighbours(1),
            "K = 50": Neighbours(50),
            "K = 50, Eq. 13 as printed": Neighbours(50, "printed"),
        }
        return [
            Variant(
                label,
                metric.net,
                task,
                lambda net, over=over: MetricServo(PAPER_CAMERA, net, DISTANCE, neighbours=over),
                ("lookat-rz",),
                learned_as=METRIC,
            )
            for label, over in averages.items()
        ]
    sets = ("lookat-rz", "lookat-rz-perturbed")
    outright = Variant(
        "regression",
        lambda task: Encoder(replace(encoder, latent=9)),
        lambda scene: RegressionTask(task(scene)),
        Regressed,
        sets,
    )
    return [mlvs("mlvs", sets), outright]


def learned(
    variant: Variant, scene: PlanarScene, steps: int, path: Path, what: str
) -> tuple[nn.Module, float, float]:
    """The network in `path`, or one learned now; its last loss and the seconds that it took."""
    task = variant.task(scene)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(variant.seed)
        net = variant.net(task)
    if path.is_file():
        weights, config = checkpoint.load(path)
        net.load_state_dict(weights)
        return net.eval(), config["loss"], config["seconds"]
    partial = Checkpoint(path.with_suffix(".partial"), {"study": str(path)})
    with training_bar(what) as show:
        progress = train(
            net,
            variant.scheduled(task, steps),
            Plan(steps, variant.seed, partial, partial.path.is_file()),
            show,
        )
    loss = progress.loss[-1][1]
    checkpoint.save(path, net.state_dict(), {"loss": loss, "seconds": progress.seconds})
    partial.path.unlink()
    return net, loss, progress.seconds


def main(
    study: tyro.conf.Positional[Study],
    *,
    scenes: tuple[str, ...] = ("coffee",),
    steps: int = 2000,
    n: int = 100,
    max_steps: int = 300,
    seed: int = 0,
    preset: str = "cpu",
    models: Path = Path("out/studies"),
    out: Path = Path("results/studies.json"),
    page: Path = Path("out/studies.html"),
) -> None:
    """Learn and measure what a study compares, then draw it.

    Args:
        study: which one; `draw` measures nothing.
        scenes: each network is learned on each.
        steps: of each training.
        n: starts of each set.
        max_steps: steps that a run may take.
        seed: of the starts.
        preset: whose recipes are varied.
        models: folder that keeps the networks.
        out: the results file.
        page: the drawing.
    """
    results = ResultsFile(out)
    for scene_name in scenes if study != "draw" else ():
        scene = scene_of(scene_name)
        bench = Bench(PAPER_CAMERA, DISTANCE, {scene_name: scene}, {}, seed, max_steps)
        for variant in variants(study, preset):
            of_scene = f", {scene_name}" + (f", seed {variant.seed}" if variant.seed else "")
            name = f"{study}, {variant.label}{of_scene}"
            kept = f"{variant.learned_as or f'{study}, {variant.label}'}{of_scene}"
            path = (
                models / preset / f"{kept.replace(', ', '-').replace(' ', '_')}-{steps}.safetensors"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            settings = {
                "study": study,
                "method": variant.label,
                "scene": scene_name,
                "preset": preset,
                "steps_trained": steps,
                "n": n,
            }
            settings |= {"max_steps": max_steps, "seed": seed, "trained_seed": variant.seed}
            jobs = [
                Job(variant.label, each, part.label, scene_name, n)
                for each in variant.sets
                for part in SETS[each]
                if part.label in HARDEST
            ]
            wanted = [job for job in jobs if not results.has({**settings, **where(job)})]
            if not wanted:
                continue
            net, loss, seconds = learned(variant, scene, steps, path, name)
            facts = {
                "loss": loss,
                "trained_s": seconds,
                "parameters": sum(p.numel() for p in net.parameters()),
            }
            for job in wanted:
                controller = variant.controller(net)
                with servo_bar(f"{name}, {job.set}", controller.max_steps) as show:
                    chunk = Prepared(job, bench, controller).run(range(n), show)
                found = {**row(job, [chunk], bench), **facts, "runs": per_run(chunk.runs)}
                results.add(found, {**settings, **where(job)})
                print(
                    f"{name}: {job.set} {job.part} {100 * found['converged']:.1f} % home, loss "
                    f"{loss:.4f}",
                    flush=True,
                )
    draw(results.rows, page)


def where(job: Job) -> dict[str, str]:
    """The part of a set that a row is about."""
    return {"set": job.set, "part": job.part}


def draw(rows: list[dict[str, Any]], page: Path) -> None:
    """A panel a study, part of a set and training: the share home of each variant, its interval;
    dots are single networks.
    """
    panels = list(
        dict.fromkeys((row["study"], row["set"], row["part"], row["steps_trained"]) for row in rows)
    )
    titles = [f"{study}, {part or each}, {steps} steps" for study, each, part, steps in panels]
    n = max(1, len(panels))
    figure = make_subplots(rows=n, subplot_titles=titles, vertical_spacing=0.4 / n)
    for k, panel in enumerate(panels):
        mine = [
            row
            for row in rows
            if (row["study"], row["set"], row["part"], row["steps_trained"]) == panel
        ]
        labels = list(dict.fromkeys(row["method"] for row in mine))
        where = {"row": k + 1, "col": 1}
        totals = [pooled([row for row in mine if row["method"] == label]) for label in labels]
        share = [100 * total["converged"] for total in totals]
        low, high = zip(
            *[wilson(round(t["converged"] * t["n"]), t["n"]) for t in totals], strict=True
        )
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [100 * h - s for h, s in zip(high, share, strict=True)],
        }
        bars["arrayminus"] = [s - 100 * w for w, s in zip(low, share, strict=True)]
        figure.add_trace(go.Bar(x=labels, y=share, error_y=bars, marker_color="#4c78a8"), **where)
        dots = go.Scatter(
            x=[row["method"] for row in mine],
            y=[100 * row["converged"] for row in mine],
            mode="markers",
            marker_color="#222",
        )
        figure.add_trace(dots, **where)
        figure.update_xaxes(
            tickvals=labels, ticktext=[label.replace(", ", ",<br>") for label in labels], **where
        )
        figure.update_yaxes(range=[0, 104], title_text="% home", **where)
    figure.update_layout(height=260 * n, bargap=0.5)
    words = (
        "A bar is the share of all runs that came home, with its 95 % interval; a dot is one "
        "network."
    )
    write_page(page, figure, "Studies of learned servoing", words)


if __name__ == "__main__":
    tyro.cli(main)
