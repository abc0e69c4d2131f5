"""What a user wants who has one picture and no time: SIFT where it works, a network that knows no scene in particular where not."""

import torch
from torch import Tensor

from deepservo.errors import InputError
from deepservo.features import keypoints
from deepservo.features.keypoints import Matched
from deepservo.methods.cnn_pair import PairServo

ENOUGH = 25  # of SIFT's matches agree: wrong homographies had fewer
FEW = 12  # under which SIFT's are not believed either: of a wall of bricks, so many may agree at the wrong place
TEXTURE = 1 / 255  # deviation of a picture's grey levels under which there is nothing to steer by
NEITHER, SIFT, CELLS = range(3)


class AutoServo(PairServo):
    """SIFT's matches where enough of them agree, cells matched by a PairNet where not; neither, and it holds still.

    Raises InputError from `set_goal` where the goal's picture has nearly no texture.
    """

    def evidence(self, n: int) -> list[str]:
        """What was chosen at the last look, and why."""
        state = (self.state[name].expand(n).tolist() for name in ("chosen", "sift", "cells"))
        return [self._words(*each) for each in zip(*state, strict=True)]

    @staticmethod
    def _words(chosen: int, sift: int, cells: int) -> str:
        if chosen == SIFT:
            return f"by SIFT, {sift} matches agree"
        had = f"{sift} of SIFT's matches" if sift else "none of SIFT's matches"
        if chosen == CELLS:
            return f"by the network, {cells} cells agree and {had}"
        return f"nothing in common with the goal: {cells or 'no'} cells and {had} agree"

    def _set_goal(self, goal: Tensor) -> None:
        check_texture(goal)
        super()._set_goal(goal)
        self.goals = [keypoints.detect(picture[0]) for picture in goal]
        self.state |= {name: torch.zeros(len(goal), dtype=torch.int64) for name in ("chosen", "sift", "cells")}

    def _match(self, image: Tensor) -> list[Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        found = keypoints.homographies(image, [self.goals[k] for k in index])
        sift = torch.tensor([_count(f) for f in found])
        cells, chosen = torch.zeros_like(sift), torch.where(sift >= FEW, SIFT, NEITHER)
        doubted = (sift < ENOUGH).nonzero().flatten().tolist()
        if doubted:
            for i, other in zip(doubted, self._match_cells(image[doubted], [index[i] for i in doubted]), strict=True):
                cells[i] = _count(other)
                if other is not None:
                    found[i], chosen[i] = other, CELLS
        self.state |= {"sift": sift, "cells": cells, "chosen": chosen}
        return [f if c else None for f, c in zip(found, chosen.tolist(), strict=True)]


def _count(found: Matched | None) -> int:
    return 0 if found is None else len(found.goal_px)


def check_texture(goal: Tensor) -> None:
    """InputError where goals (G, 1, h, w) are nearly all of one grey."""
    least = float(torch.nn.functional.avg_pool2d(goal, 4).flatten(1).std(1).min())  # noise is no texture
    if least < TEXTURE:
        raise InputError(
            f"the goal picture has nearly no texture (its grey levels differ by {255 * least:.1f} of 255): there is nothing to steer by; "
            "light it, or choose a place with something to see"
        )
