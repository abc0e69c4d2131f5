"""What a user wants who has one picture and no time: SIFT where it works, a network that knows no scene in particular where not."""

import torch
from torch import Tensor

from deepservo.errors import InputError
from deepservo.features import keypoints
from deepservo.features.keypoints import Matched
from deepservo.methods.cnn_pair import PairServo
from deepservo.methods.keypoint import ENOUGH

TEXTURE = 1 / 255  # deviation of a picture's grey levels under which there is nothing to steer by
NOTHING, SIFT, CELLS, FINE = range(4)


class AutoServo(PairServo):
    """SIFT's matches where enough of them agree, cells matched by a PairNet where not, a finer SIFT where neither; and else it holds still.

    Raises InputError from `set_goal` where the goal's picture has nearly no texture.
    """

    def evidence(self, n: int) -> list[str]:
        """What was chosen at the last look, and why."""
        return [
            _words(*each) for each in zip(self.state["chosen"].expand(n).tolist(), self.state["agree"].expand(n, -1).tolist(), strict=True)
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
        last = self.state["chosen"].expand(n)
        found: list[Matched | None] = [None] * n
        self._forget(n)
        # FINE costs most: where it was needed at the last step, the others would fail before it once more.
        for order, runs in (((SIFT, CELLS, FINE), last != FINE), ((FINE, SIFT, CELLS), last == FINE)):
            doubted = runs.nonzero().flatten().tolist()
            for way in order:
                if doubted:
                    doubted = self._look(way, image, doubted, found)
        return found

    def _look(self, way: int, image: Tensor, runs: list[int], found: list[Matched | None]) -> list[int]:
        """Match these runs in one way, and remember what was found; those still in doubt."""
        pictures, goals = image[runs], [self.state["goal"].expand(len(image)).tolist()[i] for i in runs]
        if way == CELLS:
            matched = self._match_cells(pictures, goals)
        elif way == FINE:
            matched = keypoints.homographies(pictures, [self.fine_goals[k] for k in goals], "fine")
        else:
            matched = keypoints.homographies(pictures, [self.goals[k] for k in goals])
        for i, each in zip(runs, matched, strict=True):
            self.state["agree"][i, way] = count = 0 if each is None else len(each.goal_px)
            if count:
                found[i], self.state["chosen"][i] = each, way
        least = ENOUGH if way == SIFT else 1
        return [i for i in runs if self.state["agree"][i, way] < least]


def _words(chosen: int, agree: list[int]) -> str:
    _, sift, cells, fine = agree
    if chosen == NOTHING:
        return "nothing in common with the goal: neither SIFT's matches nor the network's cells agree"
    why = f", where {sift or 'none'} of SIFT's did" if 0 <= sift < ENOUGH else ""
    if chosen == SIFT:
        return f"by SIFT: {sift} matches agree"
    return f"by the network: {cells} cells agree{why}" if chosen == CELLS else f"by SIFT at twice the size: {fine} matches agree{why}"


def check_texture(goal: Tensor) -> None:
    """InputError where goals (G, 1, h, w) are nearly all of one grey."""
    least = float(torch.nn.functional.avg_pool2d(goal, 4).flatten(1).std(1).min())  # noise is no texture
    if least < TEXTURE:
        raise InputError(
            f"the goal picture has nearly no texture (its grey levels differ by {255 * least:.1f} of 255): there is nothing to steer by; "
            "light it, or choose a place with something to see"
        )
