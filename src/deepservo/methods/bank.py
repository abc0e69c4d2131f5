"""MLVS's bank: embeddings of a million poses about the goal's.

Among them a picture's nearest neighbours are searched. The bank is divided into the cells of a
k-means clustering, and only the cells nearest to a query are searched. `benchmarks/methods/bank.py`
compares this with a search of all poses, and with `mlvs.PoseSearch`, which has no bank.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo.geometry import se3
from deepservo.nets.metric import PoseEncoder

# A grid of poses about the goal's: this many along each of six axes, over +- this much of t
# [distances] and theta u [rad].
GRID = 10
REACH = (*[0.4 / 0.6] * 3, math.pi / 3, math.pi / 3, 2 * math.pi / 3)
# Random poses near the goal's, beside the grid.
NEAR_COUNT = 10_000
NEAR_REACH = (*[0.04 / 0.6] * 3, *[math.radians(5)] * 3)
# The clustering: cells, poses that it is computed from, iterations.
CELLS, SAMPLE, ROUNDS = 256, 20_000, 8
PROBED_CELLS = 8  # cells that are searched: 99 % of the fifty nearest poses are in them
EMBEDDED_AT_ONCE = 50_000  # poses


class Bank:
    """Poses about the goal's, and their embeddings.

    They are on a grid in (t, theta u), and more of them are near the goal's. T_goal: `T_ref_goal`
    in units of the scene's distance, as all poses of the bank are `T_ref_cam`.
    """

    def __init__(
        self, phi: PoseEncoder, T_goal: Float[Tensor, "4 4"], seed: int = 0, grid: int = GRID
    ) -> None:
        g = torch.Generator().manual_seed(seed)
        axes = torch.cartesian_prod(*[torch.linspace(-reach, reach, grid) for reach in REACH])
        near = (2 * torch.rand(NEAR_COUNT, 6, generator=g) - 1) * torch.tensor(NEAR_REACH)
        r_goal = torch.cat([T_goal[:3, 3], se3.so3_log(T_goal[:3, :3])]).float()
        self.r = r_goal + torch.cat([axes, near])
        embedded = torch.cat([phi(self.poses(r)) for r in self.r.split(EMBEDDED_AT_ONCE)])
        self.centres = _clustered(embedded[torch.randperm(len(embedded), generator=g)[:SAMPLE]])
        cells = torch.cat(
            [torch.cdist(part, self.centres).argmin(1) for part in embedded.split(EMBEDDED_AT_ONCE)]
        )
        order = cells.argsort(stable=True)
        self.r, self.embedded = self.r[order], embedded[order]
        self.squares = self.embedded.square().sum(1)
        self.begins = torch.cat(
            [
                torch.zeros(1, dtype=torch.int64),
                torch.bincount(cells, minlength=len(self.centres)).cumsum(0),
            ]
        )

    def poses(self, r: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
        """`T_ref_cam` of r = (t, theta u)."""
        return se3.transform(se3.so3_exp(r[..., 3:]), r[..., :3])

    def nearest(
        self, z: Float[Tensor, "b k"], K: int, probed: int = PROBED_CELLS
    ) -> tuple[Int[Tensor, "b n"], Float[Tensor, "b n"]]:
        """Numbers of the K poses whose embeddings are nearest to z, and their distances.

        probed: how many cells are searched.
        """
        cells = (
            torch.cdist(z, self.centres).topk(min(probed, len(self.centres)), largest=False).indices
        )
        indices, distances = zip(
            *(self._among(one, mine, K) for one, mine in zip(z, cells.tolist(), strict=True)),
            strict=True,
        )
        return torch.stack(indices), torch.stack(distances)

    def _among(self, z: Float[Tensor, " k"], cells: list[int], K: int) -> tuple[Tensor, Tensor]:
        """`nearest` for one query, in these cells."""
        parts = [slice(int(self.begins[c]), int(self.begins[c + 1])) for c in cells]
        squares = torch.cat([self.squares[p] - 2 * (self.embedded[p] @ z) for p in parts])
        least = squares.topk(K, largest=False)
        index = torch.cat([torch.arange(p.start, p.stop) for p in parts])[least.indices]
        return index, (least.values + z.square().sum()).clamp(min=0).sqrt()

    def exact(
        self, z: Float[Tensor, "b k"], K: int
    ) -> tuple[Int[Tensor, "b n"], Float[Tensor, "b n"]]:
        """`nearest` by a search of all poses."""
        found = (self.squares - 2 * z @ self.embedded.mT).topk(K, largest=False)
        return found.indices, (found.values + z.square().sum(1, keepdim=True)).clamp(min=0).sqrt()


def _clustered(embedded: Float[Tensor, "n k"]) -> Float[Tensor, "c k"]:
    """Centres of k-means' cells (Lloyd's algorithm)."""
    centres = embedded[:CELLS].clone()
    for _ in range(ROUNDS):
        of = torch.cdist(embedded, centres).argmin(1)
        count = torch.bincount(of, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, of, embedded)
        centres = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], centres)
    return centres
