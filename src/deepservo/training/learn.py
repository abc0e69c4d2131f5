"""Learn a scene from one picture: from the picture at the door to a finished model file."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.errors import InputError, unknown
from deepservo.images.camera_file import CalibratedCamera
from deepservo.models.scene_model import Model
from deepservo.models.weights import load_backbone
from deepservo.nets.metric import MetricNet
from deepservo.nets.pose import PoseNet
from deepservo.nets.resnet import AutoEncoder, Shape
from deepservo.nets.siamese import GROUPS, Balanced, Loss, RegressionNet, SiameseNet
from deepservo.scene import PlanarScene
from deepservo.scene.build import check_distance
from deepservo.system import distributed
from deepservo.training.plan import Training, planned, with_batch
from deepservo.training.progress import Progress
from deepservo.training.rehearsal import balance
from deepservo.training.tasks.latent import AutoEncoderTask, IsometryTask, MetricTask, begun
from deepservo.training.tasks.latent import Loss as AutoEncoderLoss
from deepservo.training.tasks.pose import PoseTask
from deepservo.training.tasks.siamese import Law, RegressionTask, SiameseTask
from deepservo.training.train import deferred_interrupt, steps_in, train
from deepservo.version import __version__

# 234 x 234, fx = fy = 300, centre (124, 114), its border of 5 pixels cropped: the published
# experiments' camera.


@dataclass(frozen=True)
class Recipe:
    """What a method trains, on what, and what of it the model file keeps.

    net: made for a task and, where it has one, a backbone. minutes (on two cores) or steps: how
    long, where nobody asks for another length.
    finish: changes what is kept, at the end, and tells what of it to record; given the task, the
    steps that the training took, and what to call with its own step and of how many.
    backbone: where nobody asks for another. losses: which the caller may choose from. many: whether
    it learns several scenes, and colours.
    scheduled: the task, when it is known how many batches there will be.
    """

    net: Callable[..., nn.Module]
    task: Callable[..., Any]
    kept: Callable[[Any], Any] = lambda net: net
    finish: Callable[[Any, Any, int, Callable[[int, int], None]], dict[str, Any]] = (
        lambda kept, task, steps, show: {}
    )
    minutes: float | None = None
    steps: int | None = None
    backbone: str | None = None
    losses: tuple[str, ...] = ()
    many: bool = False
    scheduled: Callable[[Any, int], Any] = lambda task, batches: task


def _encoder(net: AutoEncoder) -> nn.Module:
    return net.encoder


@dataclass(frozen=True)
class Options:
    """What some methods alone may be told; None or nothing: as the recipe has it."""

    backbone: str | None = None
    """Of nets.backbones."""
    weights: Path | None = None
    """A file of ImageNet's weights for it."""
    loss: str | None = None
    """One of the recipe's."""
    others: tuple[PlanarScene, ...] = ()
    """More scenes that the same network learns."""
    halved: int = 0
    """How many times the batch is halved, where memory is short."""


def _siamese(law: Law, loss: Loss, preset: str) -> Recipe:
    """Siame-se(3); the perturbations set in over the first 10 of 75 epochs for several scenes
    (V-C), in minutes over the first half.
    """
    published = preset == "paper"
    task = partial(SiameseTask, law=law, loss_of=loss)
    return Recipe(
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
        scheduled=lambda task, batches: replace(
            task, ramp=(batches * 10 // 75 if task.others else 0) if published else batches // 2
        ),
    )


FEW = Shape(18, 16, 32, 64, smooth=True, linear=True)
STRAIGHT = partial(AutoEncoderTask, batch=96, perturb=False, straight=10, rate=3e-3)
RECIPES: Mapping[tuple[str, str], Recipe] = MappingProxyType(
    {
        ("cnn", "cpu"): Recipe(lambda task: PoseNet(), PoseTask, minutes=4.5),
        ("cnn", "paper"): Recipe(
            lambda task, backbone: RegressionNet(backbone),
            RegressionTask,
            backbone="alexnet",
            steps=50 * 11_000 // 50,
        ),
        # Not longer: what detail z still has to learn of the pictures bends it.
        ("aevs", "cpu"): Recipe(
            lambda task: begun(FEW, task.beginning(FEW.size)),
            STRAIGHT,
            _encoder,
            balance,
            steps=1000,
        ),
        ("aevs", "paper"): Recipe(
            lambda task: AutoEncoder(Shape(18)),
            partial(AutoEncoderTask, batch=50, perturb=False),
            _encoder,
            minutes=180,
            losses=get_args(AutoEncoderLoss),
        ),
        ("mlvs", "cpu"): Recipe(
            lambda task: MetricNet(
                Shape(18, 16, 32, 64, even=True, smooth=True, local=True), "silu"
            ),
            IsometryTask,
            minutes=10,
        ),
        ("mlvs", "paper"): Recipe(lambda task: MetricNet(Shape(34)), MetricTask, minutes=480),
        **{
            (f"siamese-{law}", preset): _siamese(law, "two" if law == "SE3" else "four", preset)
            for law in get_args(Law)
            for preset in ("cpu", "paper")
        },
    }
)
"""By method and preset: `cpu` for two cores, `paper` as it was published, for a GPU."""


def recipe(method: str, preset: str) -> Recipe:
    """The recipe of that name; InputError where there is none."""
    methods, presets = (list(dict.fromkeys(names)) for names in zip(*RECIPES, strict=True))
    if method not in methods:
        raise unknown("trained method", method, methods)
    if (method, preset) not in RECIPES:
        raise unknown(f"preset of {method}", preset, [p for p in presets if (method, p) in RECIPES])
    return RECIPES[method, preset]


def learn(
    picture: Float[Tensor, "c h w"],
    scene: PlanarScene,
    camera: CalibratedCamera,
    out: Path,
    *,
    name: str,
    distance: float = 0.6,
    method: str = "cnn",
    preset: str = "cpu",
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    options: Options = Options(),
    resume: bool | None = False,
    show: Callable[[Progress], None] = lambda progress: None,
) -> Model:
    """Train `method` on the scene, on torch's default device, and write the model to `out`; a
    checkpoint stands beside it until then.

    `steps` is exact. `minutes` becomes steps once, by timing; they are recorded, and the same call
    again, or `resume`, uses the recorded number; with neither it takes as long as the recipe says.
    `resume` None goes on from the checkpoint if there is one with these settings, and starts anew
    if not. Raises InputError for impossible options, a checkpoint made with other settings, or when
    `out` is some other file.
    """
    chosen = recipe(method, preset)
    training = Training(minutes, steps, seed, resume, options.halved).lasting(
        chosen.minutes, chosen.steps
    )
    check_distance(distance)
    device = torch.get_default_device()
    options = replace(options, others=tuple(other.to(device) for other in options.others))
    task = _task(chosen, method, preset, options, len(picture) == 3)(
        scene.to(device), camera.camera, distance
    )
    with torch.random.fork_rng(
        devices=[]
    ):  # the same weights whatever ran before, and the caller's random numbers untouched
        torch.manual_seed(seed)
        net = _net(chosen, task, options).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = chosen.kept(net)
    config = {
        "method": method, "picture": hashlib.sha256(picture.numpy().tobytes()).hexdigest(),
        "camera": asdict(camera.camera), "distortion": list(camera.distortion),
        "width": scene.width, "distance": distance, "seed": seed, "batch": task.batch,
        "minutes": training.minutes, "net": kept.config(), "steps asked": training.steps,
    }  # fmt: skip
    if preset != "cpu":
        config["preset"] = preset
    if scene.texel_aspect != 1 or any(scene.centre):
        config["texels"] = [scene.texel_aspect, *scene.centre]
    config |= _told(options)
    processes = distributed.rank()[1]
    if processes > 1:
        config["processes"] = processes
    plan = planned(out, config, training, lambda: steps_in(training.minutes or 0, net, task, seed))
    task = chosen.scheduled(task, plan.steps * processes)
    progress = train(net, task, plan, show)
    trained = time.perf_counter()
    try:
        facts = chosen.finish(
            kept,
            task,
            plan.steps,
            lambda step, of: show(replace(progress, step=step, steps=of, doing="rehearsing: ")),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{plan.checkpoint.path} keeps the training") from None
    progress.seconds += time.perf_counter() - trained
    record: dict[str, Any] = {
        "method": method, "steps": plan.steps, "seconds": round(progress.seconds, 1),
        "minutes": training.minutes, "batch": task.batch, "seed": seed,
        "parameters": sum(p.numel() for p in kept.parameters()), "loss": progress.loss,
        "picture": name, "threads": torch.get_num_threads(), "settings": config, **facts,
    }  # fmt: skip
    if options.others:
        record["scenes"] = 1 + len(options.others)
    model = Model(
        method,
        kept.cpu(),
        scene,
        camera.camera,
        distance,
        name,
        record,
        camera.distortion,
        __version__,
    )
    if distributed.first():
        with deferred_interrupt():
            model.save(out)
            plan.checkpoint.path.unlink(missing_ok=True)
    return model


def _task(
    chosen: Recipe, method: str, preset: str, options: Options, colour: bool
) -> Callable[..., Any]:
    """What makes the task, as the options have it; InputError where some are not for this
    recipe.
    """
    if chosen.backbone is None and (options.backbone or options.weights):
        able = " or ".join(
            f"--method {m} --preset {p}"
            for (m, p), other in RECIPES.items()
            if other.backbone and p != "cpu"
        )
        raise InputError(
            f"{method}: has no backbone with --preset {preset}; leave --backbone and --weights "
            f"away, or give {able}"
        )
    if options.others and not chosen.many:
        able = ", ".join(m for (m, p), other in RECIPES.items() if other.many and p == preset)
        raise InputError(f"{method}: learns one picture; only {able} take a folder of pictures")
    if colour and not chosen.many:
        raise InputError(f"{method}: learns grey levels; leave --colour away")
    if options.loss is not None and not chosen.losses:
        able = ", ".join(
            f"--method {m} --preset {p}" for (m, p), other in RECIPES.items() if other.losses
        )
        raise InputError(
            f"{method}: has one loss with --preset {preset}; leave --loss away, or give one of "
            f"{able}"
        )
    if options.loss is not None and options.loss not in chosen.losses:
        raise unknown(f"loss of {method}", options.loss, chosen.losses)
    asked = {
        field: value
        for field, value in (("loss_of", options.loss), ("others", options.others))
        if value
    }

    return lambda *scene: with_batch(chosen.task(*scene, **asked), options.halved)


def _net(chosen: Recipe, task: Any, options: Options) -> nn.Module:
    """The network, on the backbone and with the weights asked for."""
    if chosen.backbone is None:
        return chosen.net(task)
    name = options.backbone or chosen.backbone
    net = chosen.net(task, name)
    if options.weights is not None:
        load_backbone(chosen.kept(net).backbone, name, options.weights)
    return net


def _told(options: Options) -> dict[str, Any]:
    """The options that were given, as JSON has them."""
    told: dict[str, Any] = {}
    if options.weights is not None:
        told["weights"] = hashlib.sha256(options.weights.read_bytes()).hexdigest()
    if options.loss is not None:
        told["loss"] = options.loss
    if options.halved:
        told["halved"] = options.halved
    if options.others:
        told["others"] = [
            hashlib.sha256(scene.texture.cpu().numpy().tobytes()).hexdigest()
            for scene in options.others
        ]
    return told
