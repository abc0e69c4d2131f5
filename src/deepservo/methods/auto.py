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
        self.state |= {"chosen": torch.zeros(len(goal), dtype=torch.int64), "agree": torch.zeros(len(goal), 4, dtype=torch.int64)}

    def _match(self, image: Tensor) -> list[Matched | None]:
        index = self.state["goal"].expand(len(image)).tolist()
        found = keypoints.homographies(image, [self.goals[k] for k in index])
        agree = torch.zeros(len(image), 4, dtype=torch.int64)
        agree[:, SIFT] = torch.tensor([_count(each) for each in found])
        chosen = torch.where(agree[:, SIFT] > 0, SIFT, NOTHING)
        doubted = (agree[:, SIFT] < ENOUGH).nonzero().flatten().tolist()
        for way in (CELLS, FINE):
            if not doubted:
                break
            pictures, goals = image[doubted], [index[i] for i in doubted]
            if way == CELLS:
                others = self._match_cells(pictures, goals)
            else:
                others = keypoints.homographies(pictures, [self.fine_goals[k] for k in goals], "fine")
            for i, other in zip(doubted, others, strict=True):
                agree[i, way] = _count(other)
                if other is not None:
                    found[i], chosen[i] = other, way
            doubted = [i for i, other in zip(doubted, others, strict=True) if other is None]
        self.state |= {"chosen": chosen, "agree": agree}
        return found


def _count(found: Matched | None) -> int:
    return 0 if found is None else len(found.goal_px)


def _words(chosen: int, agree: list[int]) -> str:
    _, sift, cells, fine = agree
    if chosen == NOTHING:
        return "nothing in common with the goal: neither SIFT's matches nor the network's cells agree"
    why = "" if sift >= ENOUGH else f", where {sift or 'none'} of SIFT's did"
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
