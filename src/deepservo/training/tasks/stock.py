"""Pictures that all cores make by code beforehand, kept on the device where a network learns.

A GPU learns from hundreds of pictures while a core draws one: it would wait for `pair.Textures`,
which draws each step's pictures in that step.
"""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from deepservo.scene.textures import texture
from deepservo.training.tasks.pair import TEXTURE
from deepservo.training.tasks.task import generator

MAX_PICTURES_PER_BATCH = 32
CHUNK = 8  # pictures that a process draws at a time


@dataclass(frozen=True)
class Stock:
    """Pictures on one device, of which each step shows some (`pair.Pictures`)."""

    pictures: UInt8[Tensor, "n 1 h w"]
    shown: int = MAX_PICTURES_PER_BATCH
    """Pictures a step: a divisor of the batch."""

    def at(self, seed: int, step: int) -> Float[Tensor, "s 1 h w"]:
        """See `pair.Pictures`."""
        which = torch.randint(len(self.pictures), (self.shown,), generator=generator(seed, step))
        return self.pictures[which].float() / 255


def draw(
    n: int, seed: int, show: Callable[[int], None] = lambda done: None
) -> UInt8[Tensor, "n 1 h w"]:
    """n pictures, on the default device; picture k is a function of (seed, k).

    `show` is called with the number drawn so far.
    """
    found = np.empty((n, 1, *TEXTURE), np.uint8)
    with ProcessPoolExecutor(_cores(), multiprocessing.get_context("spawn")) as pool:
        for k, picture in enumerate(pool.map(_picture, [seed] * n, range(n), chunksize=CHUNK)):
            found[k] = picture
            show(k + 1)
    return torch.from_numpy(found).to(torch.get_default_device())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _picture(seed: int, k: int) -> UInt8[np.ndarray, "1 h w"]:
    return (255 * texture(TEXTURE, generator(seed, k)) + 0.5).byte().numpy()
