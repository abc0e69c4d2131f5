"""One training loop for every method: exact by the step, resumable at any time.

`steps` is the contract: the same task, seed and steps give the same weights on one machine. `minutes` times a few steps
on a throw-away copy, once, and turns into steps that are recorded. A checkpoint is written at least every CHECKPOINT_S
seconds; a run that goes on from it ends with the weights of an uninterrupted one, because the data of a step are a
function of (seed, step) and everything else is in the checkpoint.
"""

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from deepservo import checkpoint
from deepservo.errors import InputError

CHECKPOINT_S = 15.0
LEARNING_RATE, WEIGHT_DECAY, CLIP = 2e-3, 1e-2, 5.0
WARMUP = 200  # steps
TIMED = 30  # steps that are timed to turn minutes into steps


class Task(Protocol):
    """Something to learn: the loss of one batch, a function of the seed and the step."""

    def loss(self, net: Any, seed: int, step: int) -> Tensor: ...


@dataclass
class Progress:
    """Where a training stands: what is shown, and what the model keeps of it."""

    step: int
    steps: int
    seconds: float
    loss: list[tuple[int, float]] = field(default_factory=list)


def _optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def _advance(net: nn.Module, optimizer: torch.optim.Optimizer, task: Task, seed: int, step: int, steps: int) -> float:
    """One step: cosine schedule after a linear warm-up."""
    warm = min(1.0, (step + 1) / min(WARMUP, max(1, steps // 5)))
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-6
    loss = task.loss(net, seed, step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    optimizer.step()
    return float(loss)


def steps_in(minutes: float, net: nn.Module, task: Task, seed: int) -> int:
    """How many steps fit into `minutes` on this machine, by timing a few on a copy of the network."""
    net = copy.deepcopy(net)
    optimizer, times = _optimizer(net), []
    for step in range(TIMED):
        start = time.perf_counter()
        _advance(net, optimizer, task, seed, step, TIMED)
        times.append(time.perf_counter() - start)
    return max(1, round(minutes * 60 / statistics.median(times[TIMED // 3 :])))


def train(
    net: nn.Module, task: Task, steps: int, seed: int, partial: Path, config: dict[str, Any], resume: bool, show: Callable[[Progress], None]
) -> Progress:
    """Train `net` in place for `steps` steps, keeping a checkpoint in `partial` until the caller removes it.

    With `resume`, goes on from `partial`, whose `config` must be this one (else InputError). `show` is called every step.
    KeyboardInterrupt leaves a checkpoint of the last whole step. Raises InputError when the loss is no longer finite.
    """
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    optimizer = _optimizer(net)
    progress = Progress(0, steps, 0.0)
    if resume:
        _restore(net, optimizer, progress, partial, config)
    else:
        _keep(net, optimizer, progress, partial, config)
    before, start, kept = progress.seconds, time.perf_counter(), time.perf_counter()
    every = max(1, steps // 200)
    try:
        while progress.step < steps:
            loss = _advance(net, optimizer, task, seed, progress.step, steps)
            progress.step += 1
            if not math.isfinite(loss):
                raise InputError(f"training diverged at step {progress.step}; the checkpoint before it is kept in {partial}")
            if progress.step % every == 0 or progress.step == steps:
                progress.loss.append((progress.step, round(loss, 4)))
            now = time.perf_counter()
            progress.seconds = before + now - start
            if now - kept > CHECKPOINT_S:
                _keep(net, optimizer, progress, partial, config)
                kept = now
            show(progress)
    except KeyboardInterrupt:
        _restore(net, optimizer, Progress(0, steps, 0.0), partial, config)  # fails loudly if the checkpoint is not whole
        raise
    net.eval()
    return progress


def _keep(net: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, partial: Path, config: dict[str, Any]) -> None:
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    names = [name for name, _ in net.named_parameters()]
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{names[index]}.{k}": torch.as_tensor(v) for k, v in state.items()}
    where = {"step": progress.step, "steps": progress.steps, "seconds": progress.seconds, "loss": progress.loss}
    checkpoint.save(partial, tensors, {"partial": config, "progress": where})


def peek(partial: Path) -> dict[str, Any]:
    """The configuration of a checkpoint, with the recorded number of steps under "steps"."""
    _, config = checkpoint.load(partial)
    if "partial" not in config:
        raise InputError(f"{partial}: is a finished model, not a checkpoint of a training; remove --resume")
    return {**config["partial"], "steps": config["progress"]["steps"]}


def _restore(net: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, partial: Path, config: dict[str, Any]) -> None:
    tensors, found = checkpoint.load(partial)
    if found.get("partial") != config or found["progress"]["steps"] != progress.steps:
        different = [k for k in config if found.get("partial", {}).get(k) != config[k]] or ["steps"]
        raise InputError(f"{partial}: was made with another {', '.join(different)}; use the same settings, or start anew without --resume")
    checkpoint.load_weights(net, {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}, partial)
    state: dict[int, dict[str, Tensor]] = {}
    for index, (name, _) in enumerate(net.named_parameters()):
        keys = [k for k in tensors if k.startswith(f"adam.{name}.") and "." not in k[len(f"adam.{name}.") :]]
        if keys:
            state[index] = {k.rsplit(".", 1)[1]: tensors[k] for k in keys}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    where = found["progress"]
    progress.step, progress.seconds = where["step"], where["seconds"]
    progress.loss = [(int(a), float(b)) for a, b in where["loss"]]
