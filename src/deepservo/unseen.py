"""Networks for scenes that were never seen: how they are trained, kept in a file, and those that ship."""

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo import checkpoint, distributed, pictures
from deepservo.data_keypoint import KeypointTask, Learner
from deepservo.data_pair import TEXTURE, PairTask, Pictures, Textures
from deepservo.data_stock import Stock, draw
from deepservo.errors import InputError
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.pair import PairNet
from deepservo.recipes.experiment import TWO_CORES, Scale
from deepservo.train import Progress, deferred_interrupt, partial_of, planned, steps_in, train, with_batch
from deepservo.version import __version__

SHIPPED = Path(__file__).parent / "shipped"
PAIR, KEYPOINTS = "cnn-pair", "keypoints"
MINUTES = 20.0  # where nobody asks for another length
TOLD = ("parameters", "steps", "batch", "seconds", "threads", "seed")  # numbers that every file tells of its training


@dataclass(frozen=True)
class Kind:
    """A network for any scene, and what teaches it."""

    net: Callable[..., Any]
    """From its `config()`."""
    task: Callable[[Pictures], Any]
    taught: Callable[[Any], nn.Module] = lambda net: net
    """What is trained: the network, or it and what only helps."""


KINDS = {PAIR: Kind(PairNet, PairTask), KEYPOINTS: Kind(KeypointNet, KeypointTask, Learner)}


@dataclass(frozen=True)
class UnseenModel:
    """A network, what it was trained as, and how. It knows no scene and no camera."""

    net: Any
    training: dict[str, Any]
    method: str
    version: str = __version__

    def save(self, path: Path) -> None:
        """Write the model file, beside and renamed, in half precision."""
        tensors = {f"net.{k}": v.half() if v.is_floating_point() else v for k, v in self.net.state_dict().items()}
        config = {"version": self.version, "method": self.method, "net": self.net.config(), "training": self.training}
        checkpoint.save(path, tensors, config)


def load_unseen(path: str | Path) -> UnseenModel:
    """The model in a file that `deepservo learn --method` wrote with one of KINDS; InputError when it is not whole or not such a one."""
    tensors, config = checkpoint.load(path)
    if "partial" in config:
        raise InputError(f"{path}: is the checkpoint of a training that has not ended; end it with deepservo learn --resume")
    method = config.get("method")
    if method not in KINDS:
        raise InputError(f"{path}: was learned for one scene; for any scene give what deepservo learn --method {PAIR} wrote")
    try:
        training = {**config["training"]}
        training |= {k: training[k] + 0 for k in TOLD}
        training["loss"] = [(int(step), float(loss)) for step, loss in training["loss"]]
        with torch.device("meta"):
            net = KINDS[method].net(**config["net"])
        version = str(config["version"])
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, InputError) as error:
        raise InputError(f"{path}: its description lacks or garbles {error}; train the model anew") from None
    weights = {k.removeprefix("net."): v.float() if v.dtype == torch.half else v for k, v in tensors.items()}
    checkpoint.load_weights(net, weights, path)
    return UnseenModel(net.eval(), training, method, version)


def shipped_file(path: str | Path) -> Path:
    """The file that ships under that name, where there is one; else the path itself."""
    ships = SHIPPED / f"{path}.safetensors"
    return ships if str(path) in KINDS and ships.is_file() else Path(path)


@functools.cache
def shipped(method: str = PAIR) -> Any:
    """The network that comes with deepservo, trained on pictures made by code."""
    return load_unseen(SHIPPED / f"{method}.safetensors").net


def learn_unseen(
    method: str,
    out: Path,
    *,
    folder: Path | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    scale: Scale = TWO_CORES,
    halved: int = 0,
    resume: bool | None = False,
    show: Callable[[Progress], None] = lambda progress: None,
) -> UnseenModel:
    """Train one of KINDS on endless pictures made by code, or on those in `folder`; write it to `out`, and a checkpoint beside until then.

    On torch's default device. minutes, steps, resume: as `deepservo.learn.learn` has them. halved: how many times the batch is. Raises
    InputError for impossible options, a folder without pictures, a checkpoint made with other settings, or when `out` is some other file.
    """
    if minutes is not None and steps is not None:
        raise InputError("give either --minutes or --steps, not both")
    minutes = MINUTES if minutes is None and steps is None else minutes
    if not 0 < (minutes or steps or 0) < float("inf"):
        raise InputError("training takes a positive number of minutes or steps")
    partial, found = partial_of(out), None if folder is None else _pictures(folder)
    kind = KINDS[method]
    task = kind.task(_source(found, scale, seed, show))
    task = with_batch(replace(task, batch=scale.batch or task.batch, rate=scale.rate or task.rate), halved)
    if isinstance(task.textures, Stock):
        task = replace(task, textures=replace(task.textures, shown=math.gcd(task.batch, task.textures.shown)))
    with torch.random.fork_rng(devices=[]):  # the same weights whatever ran before, and the caller's random numbers untouched
        torch.manual_seed(seed)
        net = kind.net(**scale.net)
        taught = kind.taught(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = {
        "method": method, "pictures": None if found is None else hashlib.sha256(found.numpy().tobytes()).hexdigest(),
        "seed": seed, "batch": task.batch, "minutes": minutes, "net": net.config(), "steps asked": steps,
        "processes": distributed.rank()[1],
    }  # fmt: skip
    if scale.stock:
        config["stock"] = scale.stock
    if halved:
        config["halved"] = halved
    resume, steps = planned(out, partial, config, steps, resume, lambda: steps_in(minutes or 0, taught, task, seed))
    progress = train(taught, task, steps, seed, partial, config, resume, show)
    training = {
        "steps": steps, "seconds": round(progress.seconds, 1), "batch": task.batch, "seed": seed,
        "parameters": sum(p.numel() for p in net.parameters()), "loss": progress.loss, "threads": torch.get_num_threads(),
        "settings": config,
    }  # fmt: skip
    model = UnseenModel(net.cpu(), training, method)
    if distributed.first():
        with deferred_interrupt():
            model.save(out)
            partial.unlink(missing_ok=True)
    return model


def _source(found: Tensor | None, scale: Scale, seed: int, show: Callable[[Progress], None]) -> Pictures:
    """Where the pictures come from: a folder, a stock drawn now, or the hand that draws as it goes."""
    if found is not None or not scale.stock:
        return Textures(found)
    return Stock(draw(scale.stock, seed, lambda done: show(Progress(done, scale.stock, 0.0, doing="drawing pictures: "))))


def _pictures(folder: Path) -> Float[Tensor, "n 1 h w"]:
    """Of a folder, each reduced to the size of those made by code; what is too long or too high is cut off on both sides alike."""
    found = []
    for file in pictures.files_in(folder):
        picture = pictures.read_picture(file)
        h, w = picture.shape[1:]
        scale = max(TEXTURE[0] / h, TEXTURE[1] / w)
        size = (max(TEXTURE[0], round(h * scale)), max(TEXTURE[1], round(w * scale)))
        resized = torch.nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
        top, left = (size[0] - TEXTURE[0]) // 2, (size[1] - TEXTURE[1]) // 2
        found.append(resized[:, top : top + TEXTURE[0], left : left + TEXTURE[1]])
    return torch.stack(found)
