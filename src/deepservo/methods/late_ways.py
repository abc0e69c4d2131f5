"""Ways to the goal that take long: where a camera's next picture comes before they are done, they
go on beside the loop.

Each is begun with a picture, and answers after a fixed time, whether it was done before or has to
be waited for: so a run is the same on any machine. Its matches are of the picture that it was begun
with, and the camera's own motion since then leads from their pose to the camera's.
"""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from deepservo.features.two_views import Matched

WAITED_FOR = 0.2  # of the time from one picture to the next, that may go into one way
LATEST = 5  # pictures, by which an answer may be taken late, as a method is not always asked


@dataclass(frozen=True)
class Begun:
    """A way that goes on since the picture of this number, which was taken there.

    due: the number of the picture with which it answers.
    """

    way: int
    job: "Future[Any]"
    picture: int
    T_start_cam: Float[np.ndarray, "4 4"]
    due: int


@dataclass
class Late:
    """The late ways of one run: what goes on; which is tried next; the last one that answered, and
    its matches. failed: whether all have, since the last answer.
    """

    next_way: int
    begun: Begun | None = None
    last: Begun | None = None
    matched: Matched | None = None
    failed: bool = False

    def forget(self, picture: int) -> None:
        """What goes on, where nobody has asked for it for too long."""
        if self.begun is not None and picture > self.begun.due + LATEST:
            self.begun = None

    def take(self, begun: Begun, matched: Matched | None) -> None:
        """This is what a way has answered."""
        self.begun, self.last, self.matched = None, begun, matched

    def kept(self, picture: int, way: int) -> Matched | None:
        """The last answer, where it is of this way, until the next one of it is due."""
        last = self.last
        recent = last is not None and last.way == way and picture <= 2 * last.due - last.picture + 1
        return self.matched if recent else None


def pictures(seconds: float, dt: float) -> int:
    """With the how manieth picture from now what takes so long answers, with dt [s] from one to the
    next: with this one, where the loop can wait for it.
    """
    return 0 if seconds <= WAITED_FOR * dt else math.ceil(seconds / dt - 1e-6)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Beside those that the loop waits for."""
    return ThreadPoolExecutor(threads, thread_name_prefix="deepservo-late")


def begin(work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    """The work, on one of as many threads as torch uses."""
    return _pool(torch.get_num_threads()).submit(work, *arguments)
