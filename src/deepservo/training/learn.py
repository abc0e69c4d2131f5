"""Learn a scene from one picture: from a scene before a camera to a finished model file."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepservo.errors import InputError, unknown
from deepservo.models.scene_model import Model, as_kept
from deepservo.models.weights import load_backbone
from deepservo.scene import PlanarScene, Scene, taught
from deepservo.scene.build import Setup, check_distance
from deepservo.system import distributed
from deepservo.training import exam
from deepservo.training.plan import Plan, Training, planned, with_batch
from deepservo.training.presets import PRESETS, Preset, preset_of
from deepservo.training.progress import Progress
from deepservo.training.train import deferred_interrupt, steps_in, train
from deepservo.version import __version__


@dataclass(frozen=True)
class Options:
    """What is trained. What is None or empty is as the preset has it."""

    method: str = "cnn"
    preset: str = "cpu"
    """cpu: for two cores; paper: as it was published, for a GPU."""
    backbone: str | None = None
    """Of nets.backbones."""
    weights: Path | None = None
    """A file of ImageNet's weights for it."""
    loss: str | None = None
    """One of the preset's."""
    others: tuple[PlanarScene, ...] = ()
    """More scenes that the same network learns."""


def learn(
    setup: Setup,
    out: Path,
    training: Training = Training(),
    *,
    options: Options = Options(),
    show: Callable[[Progress], None] = lambda progress: None,
) -> Model:
    """Train a method for a scene before a camera, on torch's default device, and write the model to
    `out`. A checkpoint stands beside it until then.

    Steps are exact. Otherwise a method that has exams learns until more training brings no more
    runs home, and minutes are the most that it may take. They become steps once, by timing; these
    are recorded, and the same call again, or one that resumes, takes the recorded number. `show` is
    called with the progress after each step.
    Raises InputError for options that the preset does not have, for a checkpoint made with other
    settings, and when another kind of file stands at `out`.
    """
    preset = preset_of(options.method, options.preset)
    examined = training.steps is None and preset.exam_every
    training = training.lasting(preset.minutes, preset.steps)
    check_distance(setup.distance)
    device = torch.get_default_device()
    options = replace(options, others=tuple(other.to(device) for other in options.others))
    _check(options, preset, colour=len(setup.scene.texture) == 3)
    setup = _learnable(setup, options, preset)
    task = _task(setup, options, preset, training.halved)
    with torch.random.fork_rng(devices=[]):
        # The same weights whatever ran before, and the caller's random numbers untouched.
        torch.manual_seed(training.seed)
        net = _net(preset, task, options).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = preset.kept(net)
    settings = _settings(setup, options, training, kept, task.batch)
    if examined:
        settings["exam every"] = examined
    plan = planned(
        out, settings, training, lambda: steps_in(training.minutes or 0, net, task, training.seed)
    )
    task = preset.scheduled(task, plan.steps * distributed.rank()[1])
    if examined:
        taken = partial(exam.home, _model(setup, options.method, kept, {}))
        plan = replace(plan, exam=exam.Exam(examined, taken))
    progress = train(net, task, plan, show)

    facts = _finish(preset, kept, task, (progress, plan), show)
    record = {**_record(progress, training), "method": options.method, **facts}
    record |= {"batch": task.batch, "parameters": sum(p.numel() for p in kept.parameters())}
    record |= {"picture": setup.picture, "settings": settings}
    if options.others:
        record["scenes"] = 1 + len(options.others)
    model = _model(setup, options.method, kept.cpu(), record)
    if distributed.first():
        with deferred_interrupt():
            model.save(out)
            plan.checkpoint.path.unlink(missing_ok=True)
    return model


def _finish(
    preset: Preset,
    kept: Any,
    task: Any,
    of: tuple[Progress, Plan],
    show: Callable[[Progress], None],
) -> dict[str, Any]:
    """What the preset changes after the training, which is timed with it, and records of that."""
    progress, plan = of

    def finishing(step: int, steps: int) -> None:
        show(replace(progress, step=step, steps=steps, doing="rehearsing: "))

    trained = time.perf_counter()
    try:
        facts = preset.finish(kept, task, progress.step, finishing)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{plan.checkpoint.path} keeps the training") from None
    progress.seconds += time.perf_counter() - trained
    return facts


def _model(setup: Setup, method: str, net: nn.Module, training: dict[str, Any]) -> Model:
    return Model(
        **{f.name: getattr(setup, f.name) for f in fields(Setup)},
        method=method,
        net=net,
        training=training,
        version=__version__,
    )


def _record(progress: Progress, training: Training) -> dict[str, Any]:
    """How long the training took, and how its loss fell."""
    return {
        "steps": progress.step,
        **exam.said(progress.exams),
        "seconds": round(progress.seconds, 1),
        "minutes": training.minutes,
        "seed": training.seed,
        "loss": progress.loss,
        "threads": torch.get_num_threads(),
    }


def _settings(
    setup: Setup, options: Options, training: Training, kept: Any, batch: int
) -> dict[str, Any]:
    """What decides the weights, as JSON has it: a checkpoint goes on with the same alone."""
    scene, preset = setup.scene, options.preset
    settings = {
        "method": options.method,
        "picture": _digest(scene),
        "camera": asdict(setup.camera),
        "distortion": list(setup.distortion),
        "width": scene.width,
        "distance": setup.distance,
        "seed": training.seed,
        "batch": batch,
        "minutes": training.minutes,
        "net": kept.config(),
        "steps asked": training.steps,
    }
    if preset != "cpu":
        settings["preset"] = preset
    if setup.depth is not None:
        settings["depth"] = hashlib.sha256(setup.depth.numpy().tobytes()).hexdigest()
    elif setup.plane.texel_aspect != 1 or any(scene.centre):
        settings["texels"] = [setup.plane.texel_aspect, *scene.centre]
    if options.weights is not None:
        settings["weights"] = hashlib.sha256(options.weights.read_bytes()).hexdigest()
    if options.loss is not None:
        settings["loss"] = options.loss
    if training.halved:
        settings["halved"] = training.halved
    if options.others:
        settings["others"] = [_digest(other) for other in options.others]
    processes = distributed.rank()[1]
    if processes > 1:
        settings["processes"] = processes
    return settings


def _digest(scene: Scene) -> str:
    return hashlib.sha256(scene.texture.cpu().numpy().tobytes()).hexdigest()


def _learnable(setup: Setup, options: Options, preset: Preset) -> Setup:
    """A flat setup as it is; of a solid one the scene that the model file will hold.

    Raises InputError where the method learns planes alone, or cameras have no room.
    """
    if setup.depth is None:
        setup.plane  # noqa: B018  refuses solids that no one picture shows
        return setup
    if preset.flat:
        able = ", ".join(m for (m, p), other in PRESETS.items() if not other.flat and p == "cpu")
        raise InputError(
            f"{options.method}: cannot learn a scene with depth, as {preset.flat}; leave --depth "
            f"away, or take one of {able}"
        )
    if options.others:
        raise InputError(f"{options.method}: learns one scene with depth; give one picture of it")
    taught.check_room(setup.scene, setup.distance, setup.picture)
    return as_kept(setup)


def _check(options: Options, preset: Preset, *, colour: bool) -> None:
    """InputError for options that the preset does not have."""
    method, of = options.method, f"--preset {options.preset}"
    if preset.backbone is None and (options.backbone or options.weights):
        able = " or ".join(
            f"--method {m} --preset {p}"
            for (m, p), other in PRESETS.items()
            if other.backbone and p != "cpu"
        )
        raise InputError(
            f"{method}: has no backbone with {of}; leave --backbone and --weights away, or give "
            f"{able}"
        )
    if options.others and not preset.many:
        able = ", ".join(
            m for (m, p), other in PRESETS.items() if other.many and p == options.preset
        )
        raise InputError(f"{method}: learns one picture; only {able} take a folder of pictures")
    if colour and not preset.many:
        raise InputError(f"{method}: learns grey levels; leave --colour away")
    if options.loss is not None and not preset.losses:
        able = ", ".join(
            f"--method {m} --preset {p}" for (m, p), other in PRESETS.items() if other.losses
        )
        raise InputError(
            f"{method}: has one loss with {of}; leave --loss away, or give one of {able}"
        )
    if options.loss is not None and options.loss not in preset.losses:
        raise unknown(f"loss of {method}", options.loss, preset.losses)


def _task(setup: Setup, options: Options, preset: Preset, halved: int) -> Any:
    """The task, with the loss and the scenes that the options give, and a batch halved so often."""
    given: dict[str, Any] = {}
    if options.loss:
        given["loss_of"] = options.loss
    if options.others:
        given["others"] = options.others
    scene = setup.scene
    if setup.depth is None:
        scene = scene.to(torch.get_default_device())
    elif options.preset == "cpu":  # whose networks see 64 pixels
        scene = taught.simplified(scene, setup.camera, setup.distance)
    return with_batch(preset.task(scene, setup.camera, setup.distance, **given), halved)


def _net(preset: Preset, task: Any, options: Options) -> nn.Module:
    """The network, on the backbone and with the weights that the options give."""
    if preset.backbone is None:
        return preset.net(task)
    name = options.backbone or preset.backbone
    net = preset.net(task, name)
    if options.weights is not None:
        load_backbone(preset.kept(net).backbone, name, options.weights)
    return net
