"""Which descriptors of two pictures are nearest to each other."""

import ctypes
from ctypes import Structure
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo import native

MAX_DISTANCE_RATIO = 0.85  # of the nearest descriptor's distance to the next nearest's (Lowe 2004)
FARTHEST = torch.finfo(torch.float32).max


class Neighbours(NamedTuple):
    """Of n descriptors among m others, and of these among the n; the first of several as near.

    Distances are squared Euclidean ones, or Hamming's between descriptors of bits; second: to the
    nearest but one, FARTHEST where there is one other alone.
    """

    nearest: Int[Tensor, " n"]
    back: Int[Tensor, " m"]
    first: Float[Tensor, " n"]
    second: Float[Tensor, " n"]


class Arguments(Structure):
    """What `neighbours` of neighbours.c reads and writes."""

    _fields_ = native.fields(
        "* lengths other_lengths products bits other_bits row",
        "* nearest back first second back_first",
        "i32 n m words",
    )


def match(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the mutual nearest neighbours of two sets of descriptors (n, d), (m, d).

    Distances are Euclidean, or Hamming's between descriptors of bytes.
    """
    if len(a) == 0 or len(b) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    found = nearest(a, b)
    mutual = (found.back[found.nearest] == torch.arange(len(a))).nonzero().flatten()
    return mutual.numpy(), found.nearest[mutual].numpy()


def match_by_ratio(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`match`, without matches whose distance is over MAX_DISTANCE_RATIO of the next nearest.

    Where two pictures share little, most of the other matches are wrong.
    """
    if len(a) < 2 or len(b) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    found = nearest(b, a)
    mutual = found.back[found.nearest] == torch.arange(len(b))
    distinct = found.first < MAX_DISTANCE_RATIO**2 * found.second
    index = (mutual & distinct).nonzero().flatten()
    return found.nearest[index].numpy(), index.numpy()


def nearest(a: np.ndarray, b: np.ndarray) -> Neighbours:
    """Of descriptors (n, d) among (m, d): vectors, or bytes of bits; none of them empty."""
    lib, bits = native.library(), a.dtype == np.uint8
    if lib is None:
        return nearest_reference(a, b)
    n, m = len(a), len(b)
    found = Neighbours(
        torch.empty(n, dtype=torch.int32), torch.zeros(m, dtype=torch.int32), *torch.empty(2, n)
    )
    arguments = Arguments(
        n=n, m=m, nearest=found.nearest.data_ptr(), back=found.back.data_ptr(),
        first=found.first.data_ptr(), second=found.second.data_ptr(),
    )  # fmt: skip
    room = torch.empty(2, m)
    arguments.row, arguments.back_first = (each.data_ptr() for each in room)
    if bits:
        own, others = _words(a), np.ascontiguousarray(_words(b).T)
        arguments.bits, arguments.other_bits = own.ctypes.data, others.ctypes.data
        arguments.words = own.shape[1]
    else:
        first, second = (torch.from_numpy(each).float() for each in (a, b))
        lengths, other_lengths = first.square().sum(1), second.square().sum(1)
        products = first @ second.mT
        arguments.lengths, arguments.other_lengths, arguments.products = (
            each.data_ptr() for each in (lengths, other_lengths, products)
        )
    # On the thread that calls it: pictures are matched side by side.
    lib.neighbours(ctypes.byref(arguments), 0, n)
    return found._replace(nearest=found.nearest.long(), back=found.back.long())


def nearest_reference(a: np.ndarray, b: np.ndarray) -> Neighbours:
    """`nearest` in plain torch."""
    first, second = _vectors(a), _vectors(b)
    apart = first.square().sum(1)[:, None] + second.square().sum(1) - 2 * (first @ second.mT)
    near = apart.argmin(1, keepdim=True)
    least, back = apart.gather(1, near)[:, 0], apart.argmin(0)
    return Neighbours(near[:, 0], back, least, apart.scatter_(1, near, FARTHEST).amin(1))


def _vectors(descriptors: np.ndarray) -> Float[Tensor, "n d"]:
    """Descriptors as vectors; of bytes their bits, whose squared distance is Hamming's distance.

    All numbers of SIFT and ORB are whole, so that float32 holds their sums exactly.
    """
    return torch.from_numpy(
        np.unpackbits(descriptors, axis=1) if descriptors.dtype == np.uint8 else descriptors
    ).float()


def _words(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors (n, d) of bytes in words of 64 bits (n, w); what lacks is zero in all."""
    return np.pad(descriptors, ((0, 0), (0, -descriptors.shape[1] % 8))).view(np.uint64)
