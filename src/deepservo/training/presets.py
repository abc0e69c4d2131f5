"""What each method trains for a scene: its network, its task and how long, by method and preset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, get_args

from torch import nn

from deepservo.errors import unknown
from deepservo.nets.metric import MetricNet
from deepservo.nets.pose import PoseNet
from deepservo.nets.resnet import AutoEncoder, Shape
from deepservo.nets.siamese import GROUPS, Balanced, Loss, RegressionNet, SiameseNet
from deepservo.training.rehearsal import balance
from deepservo.training.tasks.latent import (
    AutoEncoderTask,
    IsometryTask,
    MetricTask,
    principal_autoencoder,
)
from deepservo.training.tasks.latent import Loss as AutoEncoderLoss
from deepservo.training.tasks.pose import PoseTask
from deepservo.training.tasks.siamese import Law, RegressionTask, SiameseTask


@dataclass(frozen=True)
class Preset:
    """What a method trains, from what, and which part of the network the model file keeps."""

    net: Callable[..., nn.Module]
    """Made for a task and, where `backbone` is given, a backbone's name."""
    task: Callable[..., Any]
    """Made for a scene, a camera and a distance."""
    kept: Callable[[Any], Any] = lambda net: net
    """The part of the network that the model file keeps."""
    finish: Callable[[Any, Any, int, Callable[[int, int], None]], dict[str, Any]] = (
        lambda kept, task, steps, show: {}
    )
    """Changes the kept part after the training, and answers what the model file records of that.
    It gets that part, the task, the training's steps, and a function to call with its own step and
    their number.
    """
    minutes: float | None = None
    """On two cores, where the caller asks for no other length."""
    steps: int | None = None
    """In place of minutes; where there are exams, at most."""
    exam_every: int | None = None
    """Steps from one exam to the next; None where there are none."""
    backbone: str | None = None
    """Where the caller asks for no other."""
    losses: tuple[str, ...] = ()
    """That the caller may choose from."""
    many: bool = False
    """Whether it learns several scenes, and colours."""
    flat: str = ""
    """Why it learns planes alone; empty where it learns solids too."""
    scheduled: Callable[[Any, int], Any] = lambda task, batches: task
    """The task, once it is known how many batches there will be."""


def _encoder(net: AutoEncoder) -> nn.Module:
    return net.encoder


def _small_autoencoder(task: AutoEncoderTask) -> AutoEncoder:
    return principal_autoencoder(SMALL_ENCODER, task.workspace_pictures(SMALL_ENCODER.size))


def _siamese(law: Law, loss: Loss, preset: str) -> Preset:
    """Siame-se(3). Perturbations grow to full strength over the first 10 of 75 epochs for several
    scenes (V-C); with `cpu`, over the first half of the training.
    """
    published = preset == "paper"
    task = partial(SiameseTask, law=law, loss_of=loss)
    return Preset(
        lambda task, backbone: Balanced(
            SiameseNet(backbone, published, len(task.scene.texture) == 3), task.loss_of
        ),
        partial(task, batch=25, goals=1, rate=1e-4) if published else task,
        lambda net: net.net,
        minutes=None if published else 20,
        steps=50 * 100_000 // 25 if published else None,
        backbone="efficientnet_b3" if published else "compact",
        losses=tuple(GROUPS),
        many=True,
        flat="its velocities follow from points of a plane" if law == "ibvs" else "",
        scheduled=lambda task, batches: replace(
            task, ramp=(batches * 10 // 75 if task.others else 0) if published else batches // 2
        ),
    )


SMALL_ENCODER = Shape(18, 16, 32, 64, smooth=True, linear=True)
STRAIGHT_TASK = partial(AutoEncoderTask, batch=96, perturb=False, straightness=10, rate=3e-3)
PRESETS: Mapping[tuple[str, str], Preset] = MappingProxyType(
    {
        ("cnn", "cpu"): Preset(lambda task: PoseNet(), PoseTask, steps=5000, exam_every=500),
        ("cnn", "paper"): Preset(
            lambda task, backbone: RegressionNet(backbone),
            RegressionTask,
            backbone="alexnet",
            steps=50 * 11_000 // 50,
        ),
        # Not longer: learning more detail of the pictures bends the paths of z.
        ("aevs", "cpu"): Preset(
            _small_autoencoder,
            STRAIGHT_TASK,
            _encoder,
            balance,
            steps=1000,
        ),
        ("aevs", "paper"): Preset(
            lambda task: AutoEncoder(Shape(18)),
            partial(AutoEncoderTask, batch=50, perturb=False),
            _encoder,
            minutes=180,
            losses=get_args(AutoEncoderLoss),
        ),
        ("mlvs", "cpu"): Preset(
            lambda task: MetricNet(
                Shape(18, 16, 32, 64, even=True, smooth=True, local=True), "silu"
            ),
            IsometryTask,
            minutes=10,
        ),
        ("mlvs", "paper"): Preset(lambda task: MetricNet(Shape(34)), MetricTask, minutes=480),
        **{
            (f"siamese-{law}", preset): _siamese(law, "two" if law == "SE3" else "four", preset)
            for law in get_args(Law)
            for preset in ("cpu", "paper")
        },
    }
)
"""By method and preset: `cpu` for two cores, `paper` as it was published, for a GPU."""


def preset_of(method: str, preset: str) -> Preset:
    """The preset of that name; InputError where there is none."""
    methods, presets = (list(dict.fromkeys(names)) for names in zip(*PRESETS, strict=True))
    if method not in methods:
        raise unknown("trained method", method, methods)
    if (method, preset) not in PRESETS:
        raise unknown(f"preset of {method}", preset, [p for p in presets if (method, p) in PRESETS])
    return PRESETS[method, preset]
