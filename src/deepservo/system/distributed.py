"""Several processes, on one machine or many, that `torchrun` started: who is who, and what they
must agree on.
"""

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepservo.errors import InputError

T = TypeVar("T")


def rank() -> tuple[int, int]:
    """This process's number, and how many there are; 0 of 1 without torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        # Read later, as the first step of an optimizer does, its functions' defaults would hold the
        # group for ever: see `release`.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), world) if world > 1 else (0, 1)


def on_device() -> AbstractContextManager[object]:
    """In the block torch's default device is this process's GPU, where there is one. (Even naming
    the processor would slow every call.)
    """
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else nullcontext()
    )


def wait() -> None:
    """Wait until the GPU, where there is one, has done all its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def first() -> bool:
    """Whether this process writes: the only one, or the first of several."""
    return rank()[0] == 0


def release() -> None:
    """Leave the group of processes.

    gloo's threads let go of the last tensors a little later than they answer. One that does so
    while the interpreter is being torn down aborts the process; so they must end here, with the
    group.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def share_threads() -> None:
    """Share the cores with the processes beside this one on the machine."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if beside > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // beside))


def decided(work: Callable[[], T]) -> T:
    """What `work` gives in the first process, in all of them; an InputError too. The others do not
    do it.
    """
    number, world = rank()
    if world == 1:
        return work()
    answer: list[Any] = [None, None]
    if number == 0:
        try:
            answer = [work(), None]
        except InputError as error:
            answer = [None, error]
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return cast(T, answer[0])


def gathered(value: T) -> list[T]:
    """Every process's value, in the first; nothing in the others."""
    number, world = rank()
    received: list[T | None] | None = [None] * world if number == 0 else None
    dist.gather_object(value, received)
    return [each for each in received or [] if each is not None]


def same(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give all processes the first one's weights and optimizer."""
    if rank()[1] > 1:
        weights, state = decided(lambda: (net.state_dict(), optimizer.state_dict()))
        net.load_state_dict(weights)
        optimizer.load_state_dict(state)


def mean(net: nn.Module, loss: Tensor | None, stop: bool) -> tuple[Tensor, bool]:
    """Make the gradients of `net` the mean over all processes; the mean loss, and whether any of
    them asks to stop.

    Raises OutOfMemoryError in all of them where one had no loss, for want of memory: the others
    would wait for it.
    """
    world = rank()[1]
    if world == 1:
        assert loss is not None
        return loss, stop
    learned = [p for p in net.parameters() if p.requires_grad]
    sums = torch.zeros(3, device=learned[0].device)
    sums[1], sums[2] = float(stop), float(loss is None)
    if loss is not None:
        sums[0] = loss
    # Of the same length in each: in one whose memory was full some have no gradient yet.
    flat = torch.cat(
        [sums, *((p if p.grad is None else p.grad).detach().reshape(-1).float() for p in learned)]
    )
    dist.all_reduce(flat)
    flat /= world
    if flat[2] > 0:
        raise torch.cuda.OutOfMemoryError
    start = len(sums)
    for p in learned:
        if p.grad is not None:
            p.grad.copy_(flat[start : start + p.numel()].view(p.shape))
        start += p.numel()
    return flat[0], bool(flat[1] > 0)
