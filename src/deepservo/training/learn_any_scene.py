"""Train a network for any scene: from pictures made by code, or of a folder, to a model file."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.images import pictures
from deepservo.models.any_scene_model import KEYPOINTS, PAIR, UnseenModel
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import PairNet
from deepservo.system import distributed
from deepservo.training.plan import Training, planned, with_batch
from deepservo.training.progress import Progress
from deepservo.training.recipes.experiment import TWO_CORES, Scale
from deepservo.training.tasks.keypoint import KeypointTask, Learner
from deepservo.training.tasks.pair import TEXTURE, PairTask, Pictures, Textures
from deepservo.training.tasks.stock import Stock, draw
from deepservo.training.train import deferred_interrupt, steps_in, train

MINUTES = 20.0  # of a training that is given no length


@dataclass(frozen=True)
class Kind:
    """A network for any scene, and the task that it learns."""

    net: Callable[..., Any]
    """From its `config()`."""
    task: Callable[[Pictures], Any]
    trained: Callable[[Any], nn.Module] = lambda net: net
    """What is trained: the network, or the network and a part that only the training needs."""


KINDS = {PAIR: Kind(PairNet, PairTask), KEYPOINTS: Kind(KeypointNet, KeypointTask, Learner)}


def learn_unseen(
    method: str,
    out: Path,
    training: Training,
    *,
    folder: Path | None = None,
    scale: Scale = TWO_CORES,
    show: Callable[[Progress], None] = lambda progress: None,
) -> UnseenModel:
    """Train one of KINDS on torch's default device, and write the model to `out`.

    It learns from pictures made by code, or from those in `folder`. A checkpoint stands beside
    `out` until then. Raises InputError for impossible options, a folder without pictures, a
    checkpoint made with other settings, or when `out` is some other file.
    """
    training = training.lasting(MINUTES)
    found = None if folder is None else _pictures(folder)
    kind, seed = KINDS[method], training.seed
    task = _task(kind, scale, training, _source(found, scale, seed, show))
    # The same weights whatever ran before, and the caller's random numbers untouched.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = kind.net(**scale.net)
        trained = kind.trained(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = {
        "method": method,
        "pictures": None if found is None else hashlib.sha256(found.numpy().tobytes()).hexdigest(),
        "seed": seed, "batch": task.batch, "minutes": training.minutes, "net": net.config(),
        "steps asked": training.steps, "processes": distributed.rank()[1],
    }  # fmt: skip
    if scale.stock:
        settings["stock"] = scale.stock
    if training.halved:
        settings["halved"] = training.halved
    plan = planned(
        out, settings, training, lambda: steps_in(training.minutes or 0, trained, task, seed)
    )
    progress = train(trained, task, plan, show)
    record = {
        "steps": plan.steps, "seconds": round(progress.seconds, 1), "batch": task.batch,
        "seed": seed, "parameters": sum(p.numel() for p in net.parameters()),
        "loss": progress.loss, "threads": torch.get_num_threads(), "settings": settings,
    }  # fmt: skip
    model = UnseenModel(net.cpu(), record, method)
    if distributed.first():
        with deferred_interrupt():
            model.save(out)
            plan.checkpoint.path.unlink(missing_ok=True)
    return model


def _task(kind: Kind, scale: Scale, training: Training, textures: Pictures) -> Any:
    """What the network learns, with the batch and the learning rate of the scale."""
    task = kind.task(textures)
    task = replace(task, batch=scale.batch or task.batch, rate=scale.rate or task.rate)
    task = with_batch(task, training.halved)
    if isinstance(textures, Stock):
        shown = math.gcd(task.batch, textures.shown)
        task = replace(task, textures=replace(textures, shown=shown))
    return task


def _source(
    found: Tensor | None, scale: Scale, seed: int, show: Callable[[Progress], None]
) -> Pictures:
    """The pictures to learn from: of a folder, a stock drawn now, or drawn anew each step."""
    if found is not None or not scale.stock:
        return Textures(found)
    return Stock(
        draw(
            scale.stock,
            seed,
            lambda done: show(Progress(done, scale.stock, 0.0, doing="drawing pictures: ")),
        )
    )


def _pictures(folder: Path) -> Float[Tensor, "n 1 h w"]:
    """The pictures of a folder, reduced to the size of those made by code.

    What is too long or too high is cut off on both sides alike.
    """
    found = []
    for file in pictures.files_in(folder):
        picture = pictures.read_picture(file)
        h, w = picture.shape[1:]
        scale = max(TEXTURE[0] / h, TEXTURE[1] / w)
        size = (max(TEXTURE[0], round(h * scale)), max(TEXTURE[1], round(w * scale)))
        resized = torch.nn.functional.interpolate(
            picture[None], size, mode="bilinear", antialias=True
        )[0]
        top, left = (size[0] - TEXTURE[0]) // 2, (size[1] - TEXTURE[1]) // 2
        found.append(resized[:, top : top + TEXTURE[0], left : left + TEXTURE[1]])
    return torch.stack(found)
