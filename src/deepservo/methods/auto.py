"""`auto`, which needs no training.

It matches by SIFT where enough matches agree, elsewhere by a network that matches cells of any
scene.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import keypoints
from deepservo.features.two_views import Matched
from deepservo.features.unseen_pixels import continued
from deepservo.methods.cnn_pair import Described, PairServo
from deepservo.methods.keypoint import RELIABLE_MATCHES

MOST_PIXELS = 130_000  # of the pictures in which the way to the goal is found
MIN_TEXTURE = 1 / 255  # least deviation of a goal's grey levels
NOTHING, SIFT, CELLS, FINE = range(4)  # how a picture is matched; FINE: SIFT at twice the size


class AutoServo(PairServo):
    """Servoing on SIFT's matches, or on cells matched by a PairNet.

    Cells are matched where fewer than RELIABLE_MATCHES of SIFT's agree; where those fail too, SIFT
    at twice the size; else the velocity is zero. `set_goal` raises InputError where the goal
    picture has nearly no texture.
    """

    def words(self, n: int) -> list[str]:
        """By what each run's last picture was matched, and how many matches agreed."""
        chosen = self.state["chosen"].expand(n).tolist()
        agree = self.state["agree"].expand(n, -1).tolist()
        return [_words(*each) for each in zip(chosen, agree, strict=True)]

    def _agreeing_matches(self, n: int) -> Tensor:
        chosen, agree = self.state["chosen"].expand(n), self.state["agree"].expand(n, -1)
        exact = agree.gather(1, chosen[:, None])[:, 0]
        return torch.where(chosen == CELLS, 1, exact * (chosen != NOTHING))

    def _set_goal(self, goal: Tensor) -> None:
        check_texture(goal)
        super()._set_goal(goal)
        self.goals = [keypoints.detect(picture[0]) for picture in goal]
        self.fine_goals = Described(goal, lambda picture: keypoints.detect_fine(picture[0]))
        self._reset(len(goal))

    def _points_of_goal(self, goal: int) -> int:
        return self._first_point(FINE, goal) + keypoints.FINE_COUNT

    def _first_point(self, way: int, goal: int) -> int:
        """The number of the first of the goal's points that are matched in this way."""
        sift = len(self.goals[goal][0])
        return {SIFT: 0, CELLS: sift, FINE: sift + self.cells.count}[way]

    def _reset(self, n: int) -> None:
        """Begin a step: nothing is chosen, and -1 matches agree: no way was tried yet."""
        self.state |= {"chosen": torch.zeros(n, dtype=torch.int64), "agree": torch.full((n, 4), -1)}

    def _match(self, image: Tensor) -> list[Matched | None]:
        n = len(image)
        last = self.state["chosen"].expand(n).tolist()
        found: list[Matched | None] = [None] * n
        self._reset(n)
        # FINE is first where it was needed at the last step: the other ways would fail again.
        fine = [i for i in range(n) if last[i] == FINE]
        failed = self._record(FINE, fine, self._match_by(FINE, image, fine), found)
        rest = [i for i in range(n) if i in failed or i not in fine]
        explain = self._explain()
        pending = keypoints.start_matches(
            image[rest], self._of(self.goals, rest, n), [explain[i] for i in rest]
        )
        # While SIFT runs, the network does too where it was needed at the last step.
        again = [i for i in rest if last[i] == CELLS]
        cells = dict(zip(again, self._match_by(CELLS, image, again), strict=True))
        failed = self._record(SIFT, rest, [each.result() for each in pending], found)
        late = [i for i in failed if i not in cells]
        cells |= dict(zip(late, self._match_by(CELLS, image, late), strict=True))
        failed = self._record(CELLS, failed, [cells[i] for i in failed], found)
        late = [i for i in failed if i not in fine]
        self._record(FINE, late, self._match_by(FINE, image, late), found)
        return found

    def _match_by(self, way: int, image: Tensor, runs: list[int]) -> list[Matched | None]:
        """Match the pictures of these runs in one way, CELLS or FINE."""
        if not runs:
            return []
        if way == CELLS:
            goals = self._of(list(range(len(self.goals))), runs, len(image))
            return self._match_cells(image[runs], goals, runs)
        goals, explain = self._of(self.fine_goals, runs, len(image)), self._explain()
        jobs = keypoints.start_matches(image[runs], goals, [explain[i] for i in runs], "fine")
        return [job.result() for job in jobs]

    def _of(self, goals: list[Any] | Described, runs: list[int], n: int) -> list[Any]:
        """The goals of these of n runs."""
        index = self.state["goal"].expand(n).tolist()
        return [goals[index[i]] for i in runs]

    def _record(
        self, way: int, runs: list[int], matched: list[Matched | None], found: list[Matched | None]
    ) -> list[int]:
        """Put the matches of these runs into `found`, and return the runs with too few of them."""
        for i, each in zip(runs, matched, strict=True):
            self.state["agree"][i, way] = 0 if each is None else len(each.goal_px)
            if each is not None:
                first = self._first_point(way, int(self.state["goal"].expand(len(found))[i]))
                found[i] = replace(each, index=each.index + first)
                self.state["chosen"][i] = way
        least = RELIABLE_MATCHES if way == SIFT else 1
        return [i for i in runs if self.state["agree"][i, way] < least]


def _words(chosen: int, agree: list[int]) -> str:
    """A run's status; agree: how many matches agreed in each way, -1 where it was not tried."""
    _, sift, cells, fine = agree
    if chosen == NOTHING:
        return (
            "nothing in common with the goal: neither SIFT's matches nor the network's cells agree"
        )
    why = f", where {sift or 'none'} of SIFT's did" if 0 <= sift < RELIABLE_MATCHES else ""
    if chosen == SIFT:
        return f"by SIFT: {sift} matches agree"
    return (
        f"by the network: {cells} cells agree{why}"
        if chosen == CELLS
        else f"by SIFT at twice the size: {fine} matches agree{why}"
    )


def reduced(camera: Camera) -> Camera:
    """The camera of pictures that are halved until they have no more than MOST_PIXELS."""
    while camera.width * camera.height > MOST_PIXELS:
        camera = camera.resize(camera.width // 2, camera.height // 2)
    return camera


def check_texture(goal: Tensor) -> None:
    """InputError where one of the goals (G, 1, h, w) has nearly one grey level."""
    smoothed = torch.nn.functional.avg_pool2d(continued(goal), 4)  # noise is no texture
    least = float(smoothed.flatten(1).std(1).min())
    if least < MIN_TEXTURE:
        raise InputError(
            f"the goal picture has nearly no texture (its grey levels differ by {255 * least:.1f} "
            "of 255): there is nothing to steer by; "
            "light it, or choose a place with something to see"
        )
