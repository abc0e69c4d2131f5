"""The image on a linear basis: s = P (I - mean), L = P L_I, of DCT or PCA (Marchand 2019, 2020)."""

import math
from collections.abc import Callable
from ctypes import Structure

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.errors import InputError
from deepservo.features.luminance import Luminance

# Of projection.c: components are padded to multiples of the first; columns of a picture at most.
LANES, MAX_WIDTH = 16, 4096


class Arguments(Structure):
    """What `projection_runs` of projection.c reads and writes."""

    _fields_ = native.fields(
        "* images basis inverse_depth camera out", "i64 runs", "i32 columns w h border"
    )


class Projection:
    """k numbers of an image inside the border of `luminance`.

    basis: orthonormal rows, one number a pixel. mean: the image that has s = 0; black when not
    given.
    """

    def __init__(
        self,
        luminance: Luminance,
        basis: Float[Tensor, "k p"],
        mean: Float[Tensor, " p"] | None = None,
    ) -> None:
        self.luminance, self.basis = luminance, basis
        self.offset = torch.zeros(len(basis)) if mean is None else basis @ mean
        self.columns = torch.nn.functional.pad(
            basis, (0, 0, 0, -len(basis) % LANES)
        ).mT.contiguous()

    def s(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """The features alone."""
        return self.luminance.s(images) @ self.basis.mT - self.offset

    def L(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> Float[Tensor, "b k 6"]:
        """Their interaction matrix for the depth Z [m] of each pixel, or (1, 1, 1): one for all."""
        return self.measure(images, depth)[1]

    def measure(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 6"]]:
        """s and L in one pass over the picture."""
        lib = (
            native.library()
            if images.device.type == "cpu" and len(depth) == 1 and images.shape[-1] <= MAX_WIDTH
            else None
        )
        if lib is None:
            return self.reference(images, depth)
        B, (h, w), columns = len(images), images.shape[-2:], self.columns.shape[1]
        images, out = images.float().contiguous(), torch.empty(B, 7, columns)
        inverse_depth = (1 / depth).float().expand(1, h, w).contiguous()
        intrinsics = self.luminance.camera.intrinsics
        arguments = Arguments(
            images=images.data_ptr(), basis=self.columns.data_ptr(),
            inverse_depth=inverse_depth.data_ptr(), camera=intrinsics.data_ptr(),
            out=out.data_ptr(), runs=B, columns=columns, w=w, h=h, border=self.luminance.border,
        )  # fmt: skip
        native.run(lib.projection_runs, arguments, (B + 1) // 2)
        out = out[..., : len(self.basis)]
        return out[:, 0] - self.offset, out[:, 1:].mT

    def reference(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 6"]]:
        """`measure` in plain torch, on any device."""
        return self.s(images), (self.luminance.columns(images, depth) @ self.basis.mT).mT


def zigzag(k: int) -> list[tuple[int, int]]:
    """The first k (row, column) of JPEG's zigzag over an unbounded table, low frequencies first."""
    order: list[tuple[int, int]] = []
    diagonal = 0
    while len(order) < k:
        rows = range(diagonal + 1) if diagonal % 2 else range(diagonal, -1, -1)
        order += [(row, diagonal - row) for row in rows]
        diagonal += 1
    return order[:k]


def dct_basis(k: int, height: int, width: int) -> Float[Tensor, "k p"]:
    """The first k images of the orthonormal DCT-II in zigzag order, the constant one first.

    Raises InputError where the picture is too small for k of them.
    """
    rows, columns = _cosines(height), _cosines(width)
    order = zigzag(k)
    if max(max(pair) for pair in order) >= min(height, width):
        raise InputError(f"dct: {k} coefficients are too many for {width} x {height} pixels")
    return torch.stack([torch.outer(rows(v), columns(u)).flatten() for v, u in order]).float()


def _cosines(n: int) -> Callable[[int], Tensor]:
    """The DCT-II's vector of length n, by frequency."""
    at = (torch.arange(n, dtype=torch.float64) + 0.5) * math.pi / n
    return lambda frequency: torch.cos(at * frequency) * math.sqrt((2 if frequency else 1) / n)


def pca_basis(
    grey: Float[Tensor, "n p"], k: int
) -> tuple[Float[Tensor, "k p"], Float[Tensor, " p"]]:
    """The k principal components of n images, and their mean.

    They are computed from the images' Gram matrix (n, n), as there are far fewer images than
    pixels. Each component's largest entry is positive. Raises InputError unless 1 <= k < n.
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
