"""The image on a linear basis: s = P (I - mean), L = P L_I. DCT and PCA are two bases (Marchand 2019, 2020)."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import InputError
from deepservo.features.luminance import Luminance


class Projection:
    """k numbers of an image inside the border of `luminance`; basis (k, pixels) with orthonormal rows, mean (pixels,)."""

    def __init__(self, luminance: Luminance, basis: Float[Tensor, "k p"], mean: Float[Tensor, " p"] | None = None) -> None:
        self.luminance, self.basis, self.mean = luminance, basis, mean

    def s(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """The features alone."""
        grey = self.luminance.s(images)
        return (grey if self.mean is None else grey - self.mean) @ self.basis.mT

    def L(self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]) -> Float[Tensor, "b k 6"]:
        """Their interaction matrix, for the depth [m] of each pixel (a map, or (1, 1, 1) for one depth)."""
        return (self.luminance.columns(images, depth) @ self.basis.mT).mT


def zigzag(k: int) -> list[tuple[int, int]]:
    """The first k (row, column) of JPEG's zigzag over an unbounded table: from low frequencies to high ones."""
    order: list[tuple[int, int]] = []
    diagonal = 0
    while len(order) < k:
        rows = range(diagonal + 1) if diagonal % 2 else range(diagonal, -1, -1)
        order += [(row, diagonal - row) for row in rows]
        diagonal += 1
    return order[:k]


def dct_basis(k: int, height: int, width: int) -> Float[Tensor, "k p"]:
    """The first k images of the orthonormal DCT-II in zigzag order, the constant one first."""
    rows, columns = _cosines(height), _cosines(width)
    order = zigzag(k)
    if max(max(pair) for pair in order) >= min(height, width):
        raise InputError(f"dct: {k} coefficients are too many for {width} x {height} pixels")
    return torch.stack([torch.outer(rows(v), columns(u)).flatten() for v, u in order]).float()


def _cosines(n: int) -> Callable[[int], Tensor]:
    """The DCT-II's vector of length n, by frequency."""
    at = (torch.arange(n, dtype=torch.float64) + 0.5) * math.pi / n
    return lambda frequency: torch.cos(at * frequency) * math.sqrt((2 if frequency else 1) / n)


def pca_basis(grey: Float[Tensor, "n p"], k: int) -> tuple[Float[Tensor, "k p"], Float[Tensor, " p"]]:
    """The k directions in which the images vary most, and their mean; signs so that each row's largest entry is positive.

    By the images' Gram matrix (n, n), because there are far fewer images than pixels.
    """
    if not 1 <= k < len(grey):
        raise InputError(f"pca: {k} components cannot be learned from {len(grey)} pictures")
    mean = grey.mean(0)
    centred = grey - mean
    values, vectors = torch.linalg.eigh((centred @ centred.mT).double())
    order = values.argsort(descending=True)[:k]
    basis = (vectors[:, order] / values[order].clamp(min=1e-12).sqrt()).float().mT @ centred
    basis = torch.nn.functional.normalize(basis, dim=1)
    largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
    return basis * largest.sign(), mean
