"""One training loop for every method: exact by the step, resumable at any time.

`steps` is the contract: the same task, seed and steps give the same weights on one machine.
`minutes` times a few steps on a throw-away copy, once, and turns into steps that are recorded. A
checkpoint is written at least every CHECKPOINT_S seconds; a run that goes on from it ends with the
weights of an uninterrupted one, because the data of a step are a function of (seed, step) and
everything else is in the checkpoint.
"""

import copy
import math
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from deepservo.errors import InputError
from deepservo.system import distributed
from deepservo.training.exam import Exam
from deepservo.training.plan import Plan
from deepservo.training.progress import Progress
from deepservo.training.tasks.task import Task

CHECKPOINT_S = 15.0
WEIGHT_DECAY, MAX_GRADIENT_NORM = 1e-2, 5.0
WARMUP_STEPS = 200
# A loss diverged that is so many times the greatest of the first so many recorded ones.
DIVERGENCE_RATIO, DIVERGENCE_WINDOW = 10.0, 5
# Steps that are timed to turn minutes into steps, and the share of the minutes that they may take.
TIMED_STEPS, TIMING_SHARE = 30, 0.2


class Optimization:
    """A network, its optimizer, and the task that it learns in a given number of steps: in rounds
    of `every` steps, where that is not None.
    """

    def __init__(
        self, net: nn.Module, task: Task, seed: int, steps: int, every: int | None = None
    ) -> None:
        self.net = net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)
        self.task, self.seed, self.steps, self.every = task, seed, steps, every or steps

    def advance(self, step: int, stop: bool = False) -> tuple[Tensor, bool]:
        """One step, at the learning rate of a cosine schedule after a linear warm-up, in each round
        anew (Loshchilov & Hutter 2017).

        Each of several processes learns from a batch of its own, and the gradient is the mean of
        theirs. Returns the loss, and whether to stop, which all processes must do after the same
        step.
        """
        begin = step // self.every * self.every
        length, at = min(self.every, self.steps - begin), step - begin
        warm = min(1.0, (at + 1) / min(WARMUP_STEPS, max(1, length // 5)))
        cosine = 0.5 * (1 + math.cos(math.pi * at / length))
        for group in self.optimizer.param_groups:
            group["lr"] = self.task.rate * warm * cosine + 1e-6
        number, processes = distributed.rank()
        found: Tensor | None = None
        try:
            loss = self.task.loss(self.net, self.seed, step * processes + number)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            found = loss.detach()
        except torch.cuda.OutOfMemoryError:
            if processes == 1:
                raise
        mean_loss, stops = distributed.mean(self.net, found, stop)
        nn.utils.clip_grad_norm_(self.net.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        return mean_loss, stops

    def begin(self, plan: Plan) -> Progress:
        """Restore the checkpoint, or keep the first. All processes go on from the first one's."""

        def first() -> Progress:
            if plan.resume:
                return plan.checkpoint.restore(self.net, self.optimizer, self.steps)
            progress = Progress(0, self.steps, 0.0)
            plan.checkpoint.keep(self.net, self.optimizer, progress)
            return progress

        progress = distributed.decided(first)
        distributed.same(self.net, self.optimizer)
        return progress


def steps_in(minutes: float, net: nn.Module, task: Task, seed: int) -> int:
    """How many steps fit into `minutes`, by timing a few on a copy of the network.

    What timing takes is left out of the minutes. The mean is taken and not the median: what slows
    some of the timed steps will slow as many of the others.
    """
    optimization = Optimization(copy.deepcopy(net), task, seed, TIMED_STEPS)
    times, begin = [], time.perf_counter()
    for step in range(TIMED_STEPS):
        start = time.perf_counter()
        late = step >= 2 and start - begin > TIMING_SHARE * 60 * minutes
        loss, enough = optimization.advance(step, late)
        loss.item()  # waits until a GPU has done the step
        times.append(time.perf_counter() - start)
        if enough:
            break
    left = 60 * minutes - (time.perf_counter() - begin)
    # The first ones also warm caches up.
    return max(1, round(left / statistics.fmean(times[len(times) // 3 :])))


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside the block Ctrl-C does not interrupt a step or a save.

    The block is given a function that says whether Ctrl-C was pressed. Only the main thread gets
    signals; in another one nothing changes. A handler that somebody else set is left alone.
    """
    pressed = threading.Event()
    mine = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if mine:
        signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed.is_set():  # after the block last looked
        raise KeyboardInterrupt


def train(net: nn.Module, task: Task, plan: Plan, show: Callable[[Progress], None]) -> Progress:
    """Train `net` in place as planned, keeping the plan's checkpoint until the caller removes it.

    It ends before the plan's steps where its exam has had enough. `show` is called every step, of
    the training and of an exam's runs. Ctrl-C ends the step, keeps a checkpoint of it and raises
    KeyboardInterrupt. Raises InputError when a checkpoint to go on from has other settings, and
    when the loss diverges: is no longer finite, or DIVERGENCE_RATIO times what it was at first. Of
    several processes the first keeps checkpoints.
    """
    exam, partial = plan.exam, plan.checkpoint.path
    every = None if exam is None else exam.every
    optimization = Optimization(net, task, plan.seed, plan.steps, every)
    with deferred_interrupt() as interrupted:
        progress = optimization.begin(plan)
        before, start, kept = progress.seconds, time.perf_counter(), time.perf_counter()
        often = max(1, plan.steps // 200)
        while True:
            if exam and exam.due(progress.step, plan.steps, progress.exams):
                _examine(exam, net, optimization, progress, (plan, interrupted, show))
                progress.seconds = before + time.perf_counter() - start
            if progress.step == plan.steps or (exam and exam.enough(progress.exams)):
                break
            loss, stop = optimization.advance(progress.step, interrupted())
            now = time.perf_counter()
            stop = stop or (interrupted() and distributed.rank()[1] == 1)
            keep = stop or now - kept > CHECKPOINT_S
            progress.step += 1
            recorded = progress.step % often == 0 or progress.step == plan.steps
            # Reading the loss from a GPU at each step would leave it idle until the next step is
            # sent; but no checkpoint is kept of a loss that was not checked.
            if recorded or keep or loss.device.type == "cpu":
                _check(loss.item(), progress, partial)
            if recorded:
                progress.loss.append((progress.step, float(f"{loss.item():.4g}")))
            progress.seconds = before + now - start
            show(progress if exam is None else exam.shown(progress))
            if distributed.first() and keep:
                plan.checkpoint.keep(net, optimization.optimizer, progress)
                kept = now
            if stop:
                raise KeyboardInterrupt(f"{partial} keeps step {progress.step} of {plan.steps}")
    net.eval()
    return progress


def _examine(
    exam: Exam,
    net: nn.Module,
    optimization: Optimization,
    progress: Progress,
    of: tuple[Plan, Callable[[], bool], Callable[[Progress], None]],
) -> None:
    """Take an exam, after a checkpoint from which it can be taken again, and record it."""
    plan, interrupted, show = of
    if distributed.first():
        plan.checkpoint.keep(net, optimization.optimizer, progress)

    def runs(step: int) -> None:
        show(replace(progress, doing=f"exam, step {step} of its runs; after "))
        if interrupted() and distributed.rank()[1] == 1:
            where = f"step {progress.step} of {plan.steps}"
            raise KeyboardInterrupt(f"{plan.checkpoint.path} keeps {where}")

    net.eval()
    home = distributed.decided(lambda: exam.taken(runs))
    net.train()
    progress.exams.append((progress.step, home))


def _check(loss: float, progress: Progress, partial: Path) -> None:
    """Raises InputError when the loss diverged.

    It then is no number, or DIVERGENCE_RATIO times the greatest of the first DIVERGENCE_WINDOW
    recorded ones; one batch alone may be an easy one.
    """
    first = [abs(value) for _, value in progress.loss[:DIVERGENCE_WINDOW]]
    if math.isfinite(loss) and (
        len(first) < DIVERGENCE_WINDOW or loss <= DIVERGENCE_RATIO * max(first)
    ):
        return
    raise InputError(
        f"training diverged at step {progress.step}, its loss is {loss:.3g}; the checkpoint before "
        f"it is kept in {partial}"
    )
