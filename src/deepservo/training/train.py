"""One training loop for every method: exact by the step, resumable at any time.

`steps` is the contract: the same task, seed and steps give the same weights on one machine.
`minutes` times a few steps on a throw-away copy, once, and turns into steps that are recorded. A
checkpoint is written at least every CHECKPOINT_S seconds; a run that goes on from it ends with the
weights of an uninterrupted one, because the data of a step are a function of (seed, step) and
everything else is in the checkpoint.
"""

import copy
import json
import math
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from deepservo.errors import InputError
from deepservo.models import checkpoint
from deepservo.system import distributed, files

CHECKPOINT_S = 15.0
WEIGHT_DECAY, CLIP = 1e-2, 5.0
WARMUP = 200  # steps
DIVERGED, FIRST = 10.0, 5  # times the loss that a training began with, the greatest of so many
HALVINGS = 5  # of the batch, where memory is short
TIMED = 30  # steps that are timed to turn minutes into steps,
TIMING_SHARE = 0.2  # and the share of the minutes that this may take


class Task(Protocol):
    """Something to learn: the loss of one batch, a function of the seed and the step."""

    @property
    def rate(self) -> float:
        """Learning rate at its highest."""
        ...

    def loss(self, net: Any, seed: int, step: int) -> Tensor:
        """Of the batch of this step."""
        ...


T = TypeVar("T")


@dataclass
class Progress:
    """Where a training stands: what is shown, and what the model keeps of it."""

    step: int
    steps: int
    seconds: float
    loss: list[tuple[int, float]] = field(default_factory=list)
    doing: str = ""


def _optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)


def _advance(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    seed: int,
    step: int,
    steps: int,
    stop: bool = False,
) -> tuple[Tensor, bool]:
    """One step: cosine schedule after a linear warm-up. The loss; whether to stop, which all
    processes must do after the same step.

    Each of several processes learns from a batch of its own, and the gradient is the mean of
    theirs.
    """
    warm = min(1.0, (step + 1) / min(WARMUP, max(1, steps // 5)))
    for group in optimizer.param_groups:
        group["lr"] = task.rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-6
    number, processes = distributed.rank()
    found: Tensor | None = None
    try:
        loss = task.loss(net, seed, step * processes + number)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        found = loss.detach()
    except torch.cuda.OutOfMemoryError:
        if processes == 1:
            raise
    mean_loss, stops = distributed.mean(net, found, stop)
    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    optimizer.step()
    return mean_loss, stops


def steps_in(minutes: float, net: nn.Module, task: Task, seed: int) -> int:
    """How many steps fit into what `minutes` leaves after timing a few of them on a copy of the
    network.

    The mean is taken and not the median: what slows some of the timed steps will slow as many of
    the others.
    """
    net = copy.deepcopy(net).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer, times, begin = _optimizer(net), [], time.perf_counter()
    for step in range(TIMED):
        start = time.perf_counter()
        loss, enough = _advance(
            net,
            optimizer,
            task,
            seed,
            step,
            TIMED,
            step >= 2 and start - begin > TIMING_SHARE * 60 * minutes,
        )
        loss.item()  # a GPU only says that it has done a step when asked
        times.append(time.perf_counter() - start)
        if enough:
            break
    left = 60 * minutes - (time.perf_counter() - begin)
    return max(
        1, round(left / statistics.fmean(times[len(times) // 3 :]))
    )  # the first ones also warm caches up


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside the block Ctrl-C does not strike in the middle of a step or a save: the function that
    it yields tells of it.

    Only the main thread gets signals; in another one nothing changes. A handler that somebody else
    set is left alone.
    """
    asked = threading.Event()
    mine = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if mine:
        signal.signal(signal.SIGINT, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked.is_set():  # after the block last looked
        raise KeyboardInterrupt


def train(
    net: nn.Module,
    task: Task,
    steps: int,
    seed: int,
    partial: Path,
    config: dict[str, Any],
    resume: bool,
    show: Callable[[Progress], None],
) -> Progress:
    """Train `net` in place for `steps` steps, keeping a checkpoint in `partial` until the caller
    removes it.

    With `resume`, goes on from `partial`, whose `config` must be this one (else InputError). `show`
    is called every step. Ctrl-C ends the step, keeps a checkpoint of it and raises
    KeyboardInterrupt. Raises InputError when the loss is no longer finite, or DIVERGED times what
    it was at first. Of several processes the first keeps checkpoints.
    """
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    optimizer = _optimizer(net)
    progress = Progress(0, steps, 0.0)
    with deferred_interrupt() as interrupted:
        progress = distributed.decided(
            lambda: _begin(net, optimizer, progress, partial, config, resume)
        )
        distributed.same(net, optimizer)
        before, start, kept = progress.seconds, time.perf_counter(), time.perf_counter()
        every = max(1, steps // 200)
        while progress.step < steps:
            loss, stop = _advance(net, optimizer, task, seed, progress.step, steps, interrupted())
            now = time.perf_counter()
            stop = stop or (interrupted() and distributed.rank()[1] == 1)
            keep = stop or now - kept > CHECKPOINT_S
            told = (progress.step + 1) % every == 0 or progress.step + 1 == steps
            # A GPU that is asked each step waits for the next one's orders; but no checkpoint is
            # kept of a loss that nobody looked at.
            if (told or keep or loss.device.type == "cpu") and _diverged(
                loss.item(), progress.loss
            ):
                where = f"step {progress.step + 1}, its loss is {loss.item():.3g}"
                raise InputError(
                    f"training diverged at {where}; the checkpoint before it is kept in {partial}"
                )
            progress.step += 1
            if told:
                progress.loss.append((progress.step, float(f"{loss.item():.4g}")))
            progress.seconds = before + now - start
            show(progress)
            if distributed.first() and keep:
                _keep(net, optimizer, progress, partial, config)
                kept = now
            if stop:
                raise KeyboardInterrupt(f"{partial} keeps step {progress.step} of {steps}")
    net.eval()
    return progress


def _diverged(loss: float, told: list[tuple[int, float]]) -> bool:
    """Whether the loss is no number, or DIVERGED times the greatest of those that were told first;
    one batch alone may be an easy one.
    """
    return not math.isfinite(loss) or (
        len(told) >= FIRST and loss > DIVERGED * max(abs(first) for _, first in told[:FIRST])
    )


def _begin(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    partial: Path,
    config: dict[str, Any],
    resume: bool,
) -> Progress:
    """Restore a checkpoint, or keep the first."""
    (_restore if resume else _keep)(net, optimizer, progress, partial, config)
    return progress


def _keep(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    partial: Path,
    config: dict[str, Any],
) -> None:
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    names = [name for name, _ in net.named_parameters()]
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{names[index]}.{k}": torch.as_tensor(v) for k, v in state.items()}
    where = {
        "step": progress.step,
        "steps": progress.steps,
        "seconds": progress.seconds,
        "loss": progress.loss,
    }
    checkpoint.save(partial, tensors, {"partial": config, "progress": where})


def peek(partial: Path) -> tuple[dict[str, Any], int]:
    """The configuration of a checkpoint, and its recorded number of steps."""
    _, config = checkpoint.load(partial)
    return _settings(config, partial)


def _settings(config: dict[str, Any], partial: Path) -> tuple[dict[str, Any], int]:
    if "partial" not in config:
        raise InputError(
            f"{partial}: is a finished model, not a checkpoint of a training; remove --resume"
        )
    try:
        return {**config["partial"]}, int(config["progress"]["steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{partial}: its description lacks or garbles {error}; start anew without --resume"
        ) from None


def _restore(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    partial: Path,
    config: dict[str, Any],
) -> None:
    tensors, found = checkpoint.load(partial)
    settings, steps = _settings(found, partial)
    if settings != config or steps != progress.steps:
        different = [k for k in config if settings.get(k) != config[k]] or ["steps"]
        raise InputError(
            f"{partial}: was made with another {', '.join(different)}; use the same settings, or "
            "start anew without --resume"
        )
    checkpoint.load_weights(
        net,
        {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")},
        partial,
    )
    state: dict[int, dict[str, Tensor]] = {}
    for index, (name, parameter) in enumerate(net.named_parameters()):
        keys = [
            k
            for k in tensors
            if k.startswith(f"adam.{name}.") and "." not in k[len(f"adam.{name}.") :]
        ]
        if any(tensors[k].shape not in (parameter.shape, torch.Size()) for k in keys):
            raise InputError(
                f"{partial}: the optimizer's state of {name} has another shape; start anew "
                "without --resume"
            )
        if keys:
            state[index] = {k.rsplit(".", 1)[1]: _laid_out(tensors[k], parameter) for k in keys}
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    try:
        where = found["progress"]
        progress.step, progress.seconds = int(where["step"]), float(where["seconds"])
        progress.loss = [(int(a), float(b)) for a, b in where["loss"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{partial}: its description lacks or garbles {error}; start anew without --resume"
        ) from None


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """In memory as its parameter is (channels last), so that a resumed step runs the same
    instructions as an uninterrupted one.
    """
    return (
        torch.empty_like(parameter).detach().copy_(tensor)
        if tensor.shape == parameter.shape
        else tensor.clone()
    )


def partial_of(out: Path) -> Path:
    """Where the checkpoint of the training that makes `out` stands."""
    return out.with_name(out.name + ".partial")


def halving(
    learn: Callable[[int, bool], T], out: Path, resume: bool, say: Callable[[str], None]
) -> T:
    """What `learn(halved, resume)` gives: halved, how many times the batch is. Out of memory it
    begins again with half, which `say` tells.

    What goes on, goes on with the batch of its checkpoint. Raises InputError where HALVINGS do not
    suffice.
    """
    partial = partial_of(out)
    halved = distributed.decided(
        lambda: int(peek(partial)[0].get("halved", 0)) if resume and partial.is_file() else 0
    )
    while True:
        try:
            return learn(halved, resume)
        except torch.cuda.OutOfMemoryError:
            if halved == HALVINGS:
                raise InputError(
                    f"the memory does not hold {1 / 2**halved:g} of the batch; learn on a larger "
                    "GPU"
                ) from None
            halved, resume = halved + 1, False
            if distributed.first():
                say(f"out of memory; it begins again with {1 / 2**halved:g} of the batch")


def with_batch(task: Any, halved: int) -> Any:
    """The task with so many times half the batch, which some count by its `anchors`."""
    return replace(
        task,
        **{
            f.name: getattr(task, f.name) >> halved
            for f in fields(task)
            if f.name in ("batch", "anchors")
        },
    )


def planned(
    out: Path,
    partial: Path,
    config: dict[str, Any],
    steps: int | None,
    resume: bool | None,
    timed: Callable[[], int],
) -> tuple[bool, int]:
    """Whether to go on from the checkpoint, and of how many steps: those asked for, or those
    recorded with these settings, or `timed`.

    All processes do as the first does. `resume` None goes on where there is a checkpoint with these
    settings. Raises InputError when `out` cannot be written, or there is nothing to resume.
    """
    resume, steps = distributed.decided(lambda: _known(out, partial, config, steps, resume))
    if steps is None:
        found = timed()  # by all of them at once, as they will run
        steps = distributed.decided(lambda: found)
    return resume, steps


def _known(
    out: Path, partial: Path, config: dict[str, Any], steps: int | None, resume: bool | None
) -> tuple[bool, int | None]:
    """Whether to go on from the checkpoint, and the number of steps where it is known; InputError
    when `out` cannot be written.
    """
    if out.is_dir():
        raise InputError(
            f"{out}: is a folder; give the model a file name, such as {out / 'model.safetensors'}"
        )
    files.check_writable(out)
    finished = _finished(out)
    if resume and not partial.is_file():
        raise InputError(f"{partial}: there is nothing to resume; start without --resume")
    stopped = _stopped(partial, config)
    resume = stopped is not None if resume is None else resume
    if steps is None and resume:
        return resume, peek(partial)[1]  # of whatever settings: `train` says which of them differ
    return resume, steps or stopped or finished.get(json.dumps(config))


def _finished(out: Path) -> dict[str, int]:
    """The recorded steps of the model that stands at `out`, by its settings; InputError when a file
    of another kind stands there.
    """
    if not out.exists():
        return {}
    try:
        _, config = checkpoint.load(out)
    except InputError:
        raise InputError(
            f"{out}: exists and is no model of deepservo's; choose another name, or remove it first"
        ) from None
    try:
        return {json.dumps(config["training"]["settings"]): int(config["training"]["steps"])}
    except (KeyError, TypeError, ValueError):  # of another version: it may be replaced
        return {}


def _stopped(partial: Path, config: dict[str, Any]) -> int | None:
    """The recorded steps of a checkpoint made with these settings, if there is one."""
    try:
        settings, steps = peek(partial)
    except InputError:
        return None
    return steps if settings == config else None
