"""The networks that the studies compare: how each is built, what it learns, how it steers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo import control
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.features.latent import Latent
from deepservo.geometry import se3
from deepservo.methods.aevs import latent_servo
from deepservo.methods.base import Controller
from deepservo.methods.mlvs import MetricServo, Neighbours
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.nets.metric import numbers
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import AutoEncoder, Encoder, Norm, Pool, Shape, folded
from deepservo.nets.siamese import GROUPS
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.reference import to_reference
from deepservo.training.presets import SMALL_ENCODER, preset_of
from deepservo.training.tasks.latent import (
    PCA_PICTURES,
    AutoEncoderTask,
    IsometryTask,
    Loss,
    degraded,
    pictures,
    principal_autoencoder,
)
from deepservo.training.tasks.siamese import Law, SiameseTask
from deepservo.training.tasks.task import Task, generator, perturbed

Study = Literal[
    "losses", "size", "depth", "norm", "pool", "scenes", "regression", "spoiled", "bank", "siamese",
    "draw",
]  # fmt: skip
DISTANCE = 0.6  # [m]
LATENTS, SEEDS = (6, 8, 16, 32, 64, 128, 256), range(5)
TEN_SCENES = "astronaut chelsea moon page brick clouds leaves strokes tiles mixed".split()
FREQUENCY, METRIC = "losses, frequency", "regression, mlvs"  # networks that several studies take


@dataclass(frozen=True)
class Variant:
    """One network of a study: how it is built, what it learns on a scene, how it steers, and on
    which sets it is measured.
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
    """Tasks of several scenes; each step of a training learns one of them, in turn."""

    def __init__(self, tasks: list[AutoEncoderTask]) -> None:
        self.tasks, self.rate = tasks, tasks[0].rate

    def loss(self, net: AutoEncoder, seed: int, step: int) -> Tensor:
        """Of one batch."""
        return self.tasks[step % len(self.tasks)].loss(net, seed, step)

    def workspace_pictures(self, size: int) -> Tensor:
        """The pictures that a network begins with, as many of each scene."""
        return torch.cat(
            [task.workspace_pictures(size, PCA_PICTURES // len(self.tasks)) for task in self.tasks]
        )


@dataclass(frozen=True)
class RegressionTask:
    """Teaches an encoder the pose itself, on the pictures of `like`: L1 of t [distances] and two
    columns of R.
    """

    like: IsometryTask

    @property
    def rate(self) -> float:
        """The learning rate of `like`."""
        return self.like.rate

    def loss(self, net: Encoder, seed: int, step: int) -> Tensor:
        """Of one batch."""
        g = generator(seed, step)
        Ts = sampling.workspace(self.like.batch, g, DISTANCE)
        seen = self.like.degrade(pictures(self.like.scene, PAPER_CAMERA, net.shape.size, Ts), g)
        with half_precision():
            found = net(seen.contiguous(memory_format=torch.channels_last))
        return (found.float() - numbers(to_reference(Ts, DISTANCE)).float()).abs().mean()


class Regressed(Controller):
    """PBVS between the poses that an encoder gives for the goal and for the picture."""

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
    """Siame-se(3): what the network's output is, and how its errors are weighed."""

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
        label: str,
        changed: Shape = shape,
        learned: Callable[[PlanarScene], Task] = task,
        seed: int = 0,
    ) -> Variant:
        plain = learned is task and changed == shape

        def net(task: AutoEncoderTask | InTurn) -> AutoEncoder:
            first = task.workspace_pictures(changed.size) if changed.linear else None
            return AutoEncoder(changed) if first is None else principal_autoencoder(changed, first)

        return Variant(
            label, net, learned, lambda net: latent_servo(PAPER_CAMERA, net.encoder, DISTANCE),
            seed=seed, learned_as=FREQUENCY if plain else "",
        )  # fmt: skip

    def losing(loss: Loss, seed: int) -> Variant:
        return aevs(loss, shape, lambda scene: replace(task(scene), loss_of=loss), seed)

    ten = [task(scene_of(name)) for name in TEN_SCENES] if study == "scenes" else []
    deepest = len(shape.stages())
    return {
        "losses": lambda: [losing(loss, seed) for loss in get_args(Loss) for seed in SEEDS],
        "size": lambda: [aevs(f"{n} numbers", replace(shape, latent=n)) for n in LATENTS],
        "depth": lambda: [
            aevs(f"{n} block{'s' * (n > 1)}", replace(shape, blocks=n if n < deepest else None))
            for n in range(1, deepest + 1)
        ],
        "norm": lambda: [
            aevs(f"{norm} norm", replace(shape, norm=norm), seed=seed)
            for norm in get_args(Norm)
            for seed in SEEDS
        ],
        "pool": lambda: [
            aevs(f"{pool} pool", replace(shape, pool=pool), seed=seed)
            for pool in get_args(Pool)
            for seed in SEEDS
        ],
        "scenes": lambda: [
            aevs("this scene"),
            aevs("ten others", shape, lambda scene: InTurn(ten)),
        ],
    }[study]()


def _metric(study: Study, preset: str) -> list[Variant]:
    """MLVS and a regression of the pose; MLVS and how its pictures are degraded."""
    metric = preset_of("mlvs", preset)
    encoder: Shape = metric.net(None).images.shape  # type: ignore[union-attr,assignment]

    def task(scene: PlanarScene) -> IsometryTask:
        return metric.task(scene, PAPER_CAMERA, DISTANCE)

    def mlvs(
        label: str,
        sets: tuple[str, ...],
        degrade: Callable[[Tensor, torch.Generator], Tensor] = degraded,
    ) -> Variant:
        return Variant(
            label, metric.net, lambda scene: replace(task(scene), degrade=degrade),
            lambda net: MetricServo(PAPER_CAMERA, net, DISTANCE), sets,
            learned_as=METRIC if degrade is degraded else "",
        )  # fmt: skip

    if study == "spoiled":
        sets = ("lookat-rz", "lookat-rz-perturbed", "hard-blur", "hard-size")
        ways = {
            "clean": lambda images, g: images,
            "lit and covered": perturbed,
            "and out of focus": degraded,
        }
        return [mlvs(label, sets, degrade) for label, degrade in ways.items()]
    if study == "bank":
        averages: dict[str, Neighbours | None] = {
            "search on phi": None, "K = 1": Neighbours(1), "K = 50": Neighbours(50),
            "K = 50, Eq. 13 as printed": Neighbours(50, "printed"),
        }  # fmt: skip
        return [
            Variant(
                label, metric.net, task,
                lambda net, over=over: MetricServo(PAPER_CAMERA, net, DISTANCE, neighbours=over),
                ("lookat-rz",), learned_as=METRIC,
            )
            for label, over in averages.items()
        ]  # fmt: skip
    sets = ("lookat-rz", "lookat-rz-perturbed")
    regression = Variant(
        "regression", lambda task: Encoder(replace(encoder, latent=9)),
        lambda scene: RegressionTask(task(scene)), Regressed, sets,
    )  # fmt: skip
    return [mlvs("mlvs", sets), regression]
