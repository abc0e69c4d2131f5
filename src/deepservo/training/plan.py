"""How long a network is trained, from what seed, and what it goes on from."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from deepservo.errors import InputError
from deepservo.models import checkpoint
from deepservo.system import distributed, files
from deepservo.training.exam import Exam
from deepservo.training.progress import Checkpoint, partial_of, peek

MAX_HALVINGS = 5  # of the batch, where memory is short

T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """How long a network is trained, from what seed, and whether it goes on from a checkpoint."""

    minutes: float | None = None
    """Turned into steps once, by timing; the steps are recorded, and used when it is repeated."""
    steps: int | None = None
    """Exact; in place of minutes. With neither, as long as the method's recipe says."""
    seed: int = 0
    resume: bool | None = False
    """None goes on from a checkpoint of these settings if there is one, and starts anew if not."""
    halved: int = 0
    """How many times the batch is halved, where memory is short."""

    def lasting(self, minutes: float | None, steps: int | None = None) -> "Training":
        """This training, with `minutes` or `steps` where it gives neither.

        Raises InputError when it gives both, or when its length is not positive.
        """
        if self.minutes is not None and self.steps is not None:
            raise InputError("give either --minutes or --steps, not both")
        if self.minutes is not None or self.steps is not None:
            minutes, steps = self.minutes, self.steps
        if not 0 < (minutes or steps or 0) < math.inf:
            raise InputError("training takes a positive number of minutes or steps")
        return replace(self, minutes=minutes, steps=steps)


@dataclass(frozen=True)
class Plan:
    """What `train` does: so many steps, from the beginning or on from the checkpoint; where there
    is an exam, no more than it takes to pass.
    """

    steps: int
    seed: int
    checkpoint: Checkpoint
    resume: bool = False
    exam: Exam | None = None


def planned(
    out: Path, settings: dict[str, Any], training: Training, timed: Callable[[], int]
) -> Plan:
    """The plan of the training that makes `out`.

    Its steps are those of `training`, or those recorded with these settings, or `timed()`. All
    processes do as the first does. Raises InputError when `out` cannot be written, or there is
    nothing to resume.
    """
    partial = partial_of(out)
    resume, steps = distributed.decided(
        lambda: _recorded(out, Checkpoint(partial, settings), training)
    )
    if steps is None:
        found = timed()  # by all of them at once, as they will run
        steps = distributed.decided(lambda: found)
    return Plan(steps, training.seed, Checkpoint(partial, settings), resume)


def _recorded(out: Path, partial: Checkpoint, training: Training) -> tuple[bool, int | None]:
    """Whether to go on from the checkpoint, and the number of steps if given or recorded.

    Raises InputError when `out` cannot be written, or there is nothing to resume.
    """
    if out.is_dir():
        raise InputError(
            f"{out}: is a folder; give the model a file name, such as {out / 'model.safetensors'}"
        )
    files.check_writable(out)
    finished = _finished(out)
    if training.resume and not partial.path.is_file():
        raise InputError(f"{partial.path}: there is nothing to resume; start without --resume")
    stopped = _stopped(partial)
    resume = stopped is not None if training.resume is None else training.resume
    if training.steps is None and resume:
        return resume, peek(partial.path)[1]  # of any settings: `train` says which of them differ
    return resume, training.steps or stopped or finished.get(json.dumps(partial.settings))


def _finished(out: Path) -> dict[str, int]:
    """The recorded steps of the model that stands at `out`, by its settings.

    Raises InputError when a file of another kind stands there.
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


def _stopped(partial: Checkpoint) -> int | None:
    """The recorded steps of a checkpoint made with these settings, if there is one."""
    try:
        settings, steps = peek(partial.path)
    except InputError:
        return None
    return steps if settings == partial.settings else None


def halving(
    learn: Callable[[Training], T], out: Path, training: Training, say: Callable[[str], None]
) -> T:
    """What `learn` gives, which writes `out`, with a batch that the memory holds.

    Out of memory it begins again with half the batch, and `say` is called with a sentence that says
    so. A resumed training keeps the batch of its checkpoint. Raises InputError where MAX_HALVINGS
    do not suffice.
    """
    partial = partial_of(out)
    if training.resume:
        halved = distributed.decided(
            lambda: int(peek(partial)[0].get("halved", 0)) if partial.is_file() else training.halved
        )
        training = replace(training, halved=halved)
    while True:
        share = 1 / 2**training.halved
        try:
            return learn(training)
        except torch.cuda.OutOfMemoryError:
            if training.halved == MAX_HALVINGS:
                raise InputError(
                    f"the memory does not hold {share:g} of the batch; learn on a larger GPU"
                ) from None
            training = replace(training, halved=training.halved + 1, resume=False)
            if distributed.first():
                say(f"out of memory; it begins again with {share / 2:g} of the batch")


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
