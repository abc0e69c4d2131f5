"""Cells of two pictures matched by the descriptors of `nets.pair`.

The matches are points that one scene explains.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.pyramid import resize
from deepservo.features.two_views import Candidates, Explain, Matched
from deepservo.features.unseen_pixels import continued
from deepservo.nets.pair import CELL, PairNet, cell_centres
from deepservo.nets.resnet import folded

# The network matches pictures with little roll between them, so a goal is described at this many
# angles evenly about the circle; a homography is fitted for the likeliest of them.
ROLLS = 12
MATCHED_ROLLS = 2
MIN_PROBABILITY = 0.05  # of a match that is used
# Neighbouring cells err alike: two pictures of different places have this many matches that agree
# once in a hundred times.
MIN_INLIERS = 32
INLIER_DISTANCE = 0.4  # share of a cell's side within which a match agrees with the homography


@dataclass(frozen=True)
class CellGoal:
    """A goal picture rotated to r angles.

    descriptors: of its cells. px: their places in the goal. within: which of them are within it.
    """

    descriptors: Float[Tensor, "r n p"]
    px: Float[Tensor, "r p 2"]
    within: Bool[Tensor, "r p"]


class Cells:
    """Describes and matches the cells of pictures of `camera`, resized to the network's size."""

    def __init__(self, net: PairNet, camera: Camera) -> None:
        self.net = folded(net)
        scale = net.size / max(camera.width, camera.height)
        self.small = camera.resize(
            *(max(4, round(side * scale / CELL)) * CELL for side in (camera.width, camera.height))
        )
        self.enlarged = torch.tensor(
            [camera.width / self.small.width, camera.height / self.small.height],
            dtype=torch.float64,
        )
        self.centres = cell_centres(self.small.height, self.small.width)
        # A goal is described in rotated squares, of so many cells each.
        self.side = math.ceil(math.hypot(self.small.width, self.small.height) / CELL) * CELL
        self.count = ROLLS * (self.side // CELL) ** 2

    @torch.no_grad()
    def goal(self, image: Float[Tensor, "1 h w"]) -> CellGoal:
        """The description of a goal picture, which is computed once."""
        reduced, w, h = resize(image[None], self.small), self.small.width, self.small.height
        small, seen = continued(reduced)[0, 0].numpy(), (~reduced.isnan())[0, 0].numpy()
        side = self.side
        centres, rolled, px, within = cell_centres(side, side).numpy(), [], [], []
        for k in range(ROLLS):
            to_rolled = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), 360 * k / ROLLS, 1.0)
            to_rolled[:, 2] += np.array([(side - w) / 2, (side - h) / 2])
            back = cv2.invertAffineTransform(to_rolled)
            rolled.append(
                cv2.warpAffine(
                    small,
                    to_rolled,
                    (side, side),
                    flags=cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )
            )
            at = centres @ back[:, :2].T + back[:, 2]
            px.append(at)
            u, v = at.round().astype(int).T
            within.append(
                ((at > -0.5) & (at < [w - 0.5, h - 0.5])).all(1)
                & seen[v.clip(0, h - 1), u.clip(0, w - 1)]
            )
        d = self.net(torch.from_numpy(np.stack(rolled))[:, None])
        return CellGoal(
            d.flatten(2),
            self._full(torch.from_numpy(np.stack(px))),
            torch.from_numpy(np.stack(within)),
        )

    @torch.no_grad()
    def describe(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b n q"]:
        """Unit descriptors of the q cells of the camera's pictures."""
        return self.net(continued(resize(images, self.small))).flatten(2)

    def seen(self, images: Float[Tensor, "b 1 h w"]) -> Bool[Tensor, "b q"]:
        """Which cells of the camera's pictures have no unseen pixel."""
        unseen = resize(images, self.small).isnan().float()
        return torch.nn.functional.max_pool2d(unseen, CELL).flatten(1) == 0

    def agreeing(self, likely: list[Candidates], explain: Explain) -> Matched | None:
        """Of the likely matches of each roll those that agree, of the roll with most of them.

        explain: decides which agree. None where fewer than MIN_INLIERS agree.
        """
        most = INLIER_DISTANCE * CELL * float(self.enlarged.max())
        found = [explain(each, most, MIN_INLIERS) for each in likely]
        return max(found, key=lambda matched: 0 if matched is None else len(matched.goal_px))

    @torch.no_grad()
    def likely(
        self, goal: CellGoal, view: Float[Tensor, "n q"], seen: Bool[Tensor, " q"] | None = None
    ) -> list[Candidates]:
        """The likely matches of the likeliest rolls. Their `index` counts the cells of all rolls.

        view: from `describe`. seen: which of its cells may match.
        """
        logits = self.net.similar(goal.descriptors, view)
        logits[..., :-1].masked_fill_(~goal.within[:, None], -torch.inf)
        p = logits.softmax(-1)[..., :-1]
        best, which = p.max(-1)
        best = best if seen is None else best * seen
        return [
            self._likely(goal.px[r], p[r], best[r], which[r], r)
            for r in best.sum(1).topk(MATCHED_ROLLS).indices.tolist()
        ]

    def _likely(
        self,
        px: Float[Tensor, "p 2"],
        p: Float[Tensor, "q p"],
        best: Float[Tensor, " q"],
        which: Int64[Tensor, " q"],
        roll: int,
    ) -> Candidates:
        """The likely matches of one roll.

        px: the goal's cells. p: probability of each for each cell of the view. best, which: the
        largest one, and whose. A match is put at the mean of the cells about the likeliest,
        weighted by their probabilities.
        """
        n = math.isqrt(p.shape[1])
        shift = torch.tensor([y * n + x for y in (-1, 0, 1) for x in (-1, 0, 1)])
        about = (which[:, None] + shift).clamp(0, n * n - 1)
        # Without the other end of a row of cells.
        apart = (px[about] - px[which][:, None]).norm(dim=-1)
        near = apart < 2.5 * CELL * self.enlarged.max()
        weights = p.gather(1, about).double() * near
        at = (weights[..., None] * px[about]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1e-9)
        likely = best > MIN_PROBABILITY
        return Candidates(
            at[likely].numpy(),
            self._full(self.centres)[likely].numpy(),
            (roll * n * n + which[likely]).numpy(),
        )

    def _full(self, px: Tensor) -> Tensor:
        """Pixels of the resized picture as pixels of the camera's."""
        return (px + 0.5) * self.enlarged - 0.5
