"""What a user wants who has one picture and no time: SIFT where it works, a network that knows no
scene in particular where not.
"""

from typing import Any

import torch
from torch import Tensor

from deepservo.errors import InputError
from deepservo.features import keypoints
from deepservo.features.keypoints import Matched
from deepservo.features.unseen_pixels import continued
from deepservo.methods.cnn_pair import PairServo
from deepservo.methods.keypoint import ENOUGH

TEXTURE = 1 / 255  # deviation of a picture's grey levels under which there is nothing to steer by
NOTHING, SIFT, CELLS, FINE = range(4)


class AutoServo(PairServo):
    """SIFT's matches where enough of them agree, cells matched by a PairNet where not, a finer SIFT
    where neither; and else it holds still.

    Raises InputError from `set_goal` where the goal's picture has nearly no texture.
    """

    def status(self, n: int) -> list[str]:
        """What was chosen at the last look, and why."""
        return [
            _words(*each)
            for each in zip(
                self.state["chosen"].expand(n).tolist(),
                self.state["agree"].expand(n, -1).tolist(),
                strict=True,
            )
        ]

    def _set_goal(self, goal: Tensor) -> None:
        check_texture(goal)
        super()._set_goal(goal)
        self.goals = [keypoints.detect(picture[0]) for picture in goal]
        self.fine_goals = [keypoints.detect_fine(picture[0]) for picture in goal]
        self._forget(len(goal))

    def _forget(self, n: int) -> None:
        """What was chosen, and how many matches agreed each way: -1 where it was not tried."""
        self.state |= {"chosen": torch.zeros(n, dtype=torch.int64), "agree": torch.full((n, 4), -1)}

    def _match(self, image: Tensor) -> list[Matched | None]:
        n = len(image)
        last = self.state["chosen"].expand(n).tolist()
        found: list[Matched | None] = [None] * n
        self._forget(n)
        fine = [
            i for i in range(n) if last[i] == FINE
        ]  # it costs most, and the others would fail before it once more
        left = self._told(FINE, fine, self._look(FINE, image, fine), found)
        rest = [i for i in range(n) if i in left or i not in fine]
        looking = keypoints.begun(image[rest], self._of(self.goals, rest, n))
        again = [
            i for i in rest if last[i] == CELLS
        ]  # while SIFT looks, the network does, where it was needed at the last step
        cells = dict(zip(again, self._look(CELLS, image, again), strict=True))
        doubted = self._told(SIFT, rest, [each.result() for each in looking], found)
        late = [i for i in doubted if i not in cells]
        cells |= dict(zip(late, self._look(CELLS, image, late), strict=True))
        doubted = self._told(CELLS, doubted, [cells[i] for i in doubted], found)
        late = [i for i in doubted if i not in fine]
        self._told(FINE, late, self._look(FINE, image, late), found)
        return found

    def _look(self, way: int, image: Tensor, runs: list[int]) -> list[Matched | None]:
        """Match these runs in one way."""
        if not runs:
            return []
        if way == CELLS:
            return self._match_cells(
                image[runs], self._of(list(range(len(self.goals))), runs, len(image))
            )
        return keypoints.homographies(
            image[runs], self._of(self.fine_goals, runs, len(image)), "fine"
        )

    def _of(self, goals: list[Any], runs: list[int], n: int) -> list[Any]:
        """The goals of these of n runs."""
        index = self.state["goal"].expand(n).tolist()
        return [goals[index[i]] for i in runs]

    def _told(
        self, way: int, runs: list[int], matched: list[Matched | None], found: list[Matched | None]
    ) -> list[int]:
        """Remember what was found; the runs that are still in doubt."""
        for i, each in zip(runs, matched, strict=True):
            self.state["agree"][i, way] = 0 if each is None else len(each.goal_px)
            if each is not None:
                found[i], self.state["chosen"][i] = each, way
        least = ENOUGH if way == SIFT else 1
        return [i for i in runs if self.state["agree"][i, way] < least]


def _words(chosen: int, agree: list[int]) -> str:
    _, sift, cells, fine = agree
    if chosen == NOTHING:
        return (
            "nothing in common with the goal: neither SIFT's matches nor the network's cells agree"
        )
    why = f", where {sift or 'none'} of SIFT's did" if 0 <= sift < ENOUGH else ""
    if chosen == SIFT:
        return f"by SIFT: {sift} matches agree"
    return (
        f"by the network: {cells} cells agree{why}"
        if chosen == CELLS
        else f"by SIFT at twice the size: {fine} matches agree{why}"
    )


def check_texture(goal: Tensor) -> None:
    """InputError where goals (G, 1, h, w) are nearly all of one grey."""
    least = float(
        torch.nn.functional.avg_pool2d(continued(goal), 4).flatten(1).std(1).min()
    )  # noise is no texture
    if least < TEXTURE:
        raise InputError(
            f"the goal picture has nearly no texture (its grey levels differ by {255 * least:.1f} "
            "of 255): there is nothing to steer by; "
            "light it, or choose a place with something to see"
        )
