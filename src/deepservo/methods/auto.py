"""`auto`, which needs no training.

It matches by SIFT where enough matches agree, elsewhere by a network that matches cells of any
scene.
"""

from dataclasses import replace

import torch
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import keypoints, two_views
from deepservo.features.late_pose import LatePose
from deepservo.features.two_views import MAX_ERROR, MIN_INLIERS, Candidates, Explain, Matched
from deepservo.features.unseen_pixels import continued
from deepservo.methods.cnn_pair import Described, PairServo
from deepservo.methods.keypoint import RELIABLE_MATCHES
from deepservo.methods.late_ways import Begun, Late, begin, pictures

MOST_PIXELS = 130_000  # of the pictures in which the way to the goal is found
MIN_TEXTURE = 1 / 255  # least deviation of a goal's grey levels
NOTHING, SIFT, CELLS, FINE = range(4)  # how a picture is matched; FINE: SIFT at twice the size
# Seconds, after which a late way answers; and how many more where it has to look at the goal first.
AFTER, DESCRIBING = {CELLS: 1 / 30, FINE: 0.1}, {CELLS: 0.1, FINE: 1 / 15}


class AutoServo(PairServo):
    """Servoing on SIFT's matches, or on cells matched by a PairNet.

    Where fewer than RELIABLE_MATCHES of SIFT's agree, a solid is looked for that explains them, and
    cells are matched; where that fails too, SIFT at twice the size; else the velocity is zero.
    These are late ways (`late_ways`), but for cells that were matched in the picture before too.
    `set_goal` raises InputError where the goal picture has nearly no texture.
    """

    pose_type = LatePose
    late: list[Late]  # of each run
    goal_of: list[int]  # the number of each run's goal
    described: dict[tuple[int, int], int]  # by way and goal: the picture by which it is looked at

    def words(self, n: int) -> list[str]:
        """By what each run's last picture was matched, and how many matches agreed."""
        chosen = self.state["chosen"].expand(n).tolist()
        agree = self.state["agree"].expand(n, -1).tolist()
        failed = [late.failed for late in self.late] or [True] * n
        return [_words(*each) for each in zip(chosen, agree, failed, strict=True)]

    def _agreeing_matches(self, n: int) -> Tensor:
        chosen, agree = self.state["chosen"].expand(n), self.state["agree"].expand(n, -1)
        exact = agree.gather(1, chosen[:, None])[:, 0]
        return torch.where(chosen == CELLS, 1, exact * (chosen != NOTHING))

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone, and what goes on for them."""
        super().select_runs(index)
        self.late = [self.late[i] for i in index.tolist()] if self.late else []

    def _set_goal(self, goal: Tensor) -> None:
        check_texture(goal)
        super()._set_goal(goal)
        self.goals = [keypoints.detect(picture[0]) for picture in goal]
        self.fine_goals = Described(goal, lambda picture: keypoints.detect_fine(picture[0]))
        self.late, self.described = [], {}
        self._reset(len(goal))

    def _points_of_goal(self, goal: int) -> int:
        return self._first_point(FINE, goal) + keypoints.FINE_COUNT

    def _first_point(self, way: int, goal: int) -> int:
        """The number of the first of the goal's points that are matched in this way."""
        sift = len(self.goals[goal][0])
        return {SIFT: 0, CELLS: sift, FINE: sift + self.cells.count}[way]

    def _begin(self, n: int) -> None:
        super()._begin(n)
        self.late = self.late or [Late(CELLS) for _ in range(n)]

    def _reset(self, n: int) -> None:
        """Begin a step: nothing is chosen, and -1 matches agree: no way was tried yet."""
        self.state |= {"chosen": torch.zeros(n, dtype=torch.int64), "agree": torch.full((n, 4), -1)}

    def _match(self, image: Tensor) -> list[Matched | None]:
        n = len(image)
        self.goal_of = self.state["goal"].expand(n).tolist()
        again = [i for i, way in enumerate(self.state["chosen"].expand(n).tolist()) if way == CELLS]
        found: list[Matched | None] = [None] * n
        self._reset(n)
        pending = keypoints.start_matches(
            image,
            [self.goals[k] for k in self.goal_of],
            [self._explained(SIFT, i) for i in range(n)],
        )
        # While SIFT runs, the network does too where it was needed at the last step.
        cells = dict(
            zip(again, self._likely(image[again], [self.goal_of[i] for i in again]), strict=True)
        )
        left = []
        for i, job in enumerate(pending):
            self._record(SIFT, i, job.result(), found)
            if self.state["agree"][i, SIFT] >= RELIABLE_MATCHES:
                continue
            if i in cells:
                matched = self.cells.agreeing(cells[i], self._explained(CELLS, i))
                self._record(CELLS, i, matched, found)
                self.late[i].next_way = FINE if matched is None else CELLS
            if self.state["chosen"][i] != CELLS:
                left.append(i)
        for _ in AFTER:  # each late way at most once
            for i in left:
                self.late[i].forget(self.picture_number)
                self.late[i].begun = self.late[i].begun or self._begun(image[i], i)
            left = [i for i in left if self._goes_on(i, found)]
        return found

    def _goes_on(self, i: int, found: list[Matched | None]) -> bool:
        """Take what has begun for a run, where it answers with this picture: whether the next way
        is to begin, since it found nothing.
        """
        late, now = self.late[i], self.picture_number
        begun = late.begun
        assert begun is not None
        if now < begun.due:
            if (matched := late.kept(now, FINE)) is not None:
                self._record(FINE, i, matched, found)
            elif not late.failed:  # a few of SIFT's matches are followed where nothing else is left
                found[i], self.state["chosen"][i] = None, NOTHING
            return False
        way, matched = self._answer_of(begun, i)
        self._record(way, i, matched, found)
        late.take(begun, matched)
        if matched is not None:
            late.next_way, late.failed = begun.way, False
            return False
        late.next_way = FINE if begun.way == CELLS else CELLS
        late.failed |= begun.way == FINE
        return True

    def _begun(self, image: Tensor, i: int) -> Begun:
        """The next way of a run, begun with this picture."""
        pose, now, goal = self.poses[i], self.picture_number, self.goal_of[i]
        assert isinstance(pose, LatePose)
        way = self.late[i].next_way
        job = begin(
            self._fine_beside if way == FINE else self._cells_beside, image, goal, pose.unexplained
        )
        described = now + pictures(DESCRIBING[way], self.dt)
        begins = max(now, self.described.setdefault((way, goal), described))
        return Begun(way, job, now, pose.T_start_cam, begins + pictures(AFTER[way], self.dt))

    def _answer_of(self, begun: Begun, i: int) -> tuple[int, Matched | None]:
        """What a way has found for a run, and which of the goal's points it is of."""
        told, pose = begun.job.result(), self.poses[i]
        assert isinstance(pose, LatePose)
        explained = self._explained(begun.way, i)
        with pose.at(begun.T_start_cam):
            if begun.way == FINE:
                return FINE, explained(told, MAX_ERROR, MIN_INLIERS)
            looked, solid, likely = told
            if looked:
                pose.looked(solid)
            if solid is not None:
                return SIFT, solid
            return CELLS, self.cells.agreeing(likely, explained)

    def _cells_beside(
        self, image: Tensor, goal: int, unexplained: Candidates | None
    ) -> tuple[bool, Matched | None, list[Candidates]]:
        """Whether a solid was looked for, the solid, and the likely matches of cells."""
        solid = None if unexplained is None else two_views.rigid(unexplained, self.camera)
        likely = [] if solid is not None else self._likely(image[None], [goal])[0]
        return unexplained is not None, solid, likely

    def _fine_beside(self, image: Tensor, goal: int, _: Candidates | None) -> Candidates:
        return keypoints.fine_candidates(self.fine_goals[goal], image)

    def _pose(self, i: int, found: Matched) -> tuple[Tensor, Tensor]:
        late, pose = self.late[i], self.poses[i]
        if late.last is None or late.matched is not found:
            return super()._pose(i, found)
        assert isinstance(pose, LatePose)
        with pose.at(late.last.T_start_cam):
            return super()._pose(i, found)

    def _motion_since(self, i: int) -> Tensor:
        measured = self.poses[i].measured
        assert measured is not None
        return torch.from_numpy(measured.since)

    def _explained(self, way: int, i: int) -> Explain:
        """What decides which matches of one way agree, by their numbers among all ways' points."""
        pose, first = self.poses[i], self._first_point(way, self.goal_of[i])

        def explain(candidates: Candidates, max_error: float, least: int) -> Matched | None:
            numbered = replace(candidates, index=candidates.index + first)
            return pose.explain(numbered, max_error, least)

        return explain

    def _record(
        self, way: int, i: int, matched: Matched | None, found: list[Matched | None]
    ) -> None:
        """Put the matches of a run, of this way, into `found`."""
        self.state["agree"][i, way] = 0 if matched is None else len(matched.goal_px)
        if matched is not None:
            found[i], self.state["chosen"][i] = matched, way


def _words(chosen: int, agree: list[int], failed: bool) -> str:
    """A run's status; agree: how many matches agreed in each way, -1 where it was not tried.
    failed: whether all ways have.
    """
    _, sift, cells, fine = agree
    if chosen == NOTHING and failed:
        return (
            "nothing in common with the goal: neither SIFT's matches nor the network's cells agree"
        )
    if chosen == NOTHING:
        return "too few of SIFT's matches agree; slower ways are tried"
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
