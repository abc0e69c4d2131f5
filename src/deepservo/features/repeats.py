"""Other poses from which a goal would look as it does: before tiles, bricks, holes in a sheet.

There the pictures agree nearly everywhere, and only some blocks of the goal *tell* the goal's pose
from the other one: those that do not agree with what the other pose shows in their place. What is
seen from there is in the goal's picture, as far as both see the same. Where the other pose sees
beyond the picture nothing is known, and a block there tells something only if it is *odd*: alike at
hardly any other pose, as the border of a board is. A goal of which some other pose has no telling
blocks, as before a board that fills the view, can never be told from it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from deepservo.features.estimation import read
from deepservo.features.evidence import AGREES, DIFFERS, FLAT, UNKNOWN, Evidence
from deepservo.features.pairs import Goals
from deepservo.features.registration import Registration, Schedule, Views
from deepservo.features.registration_step import BLOCKS
from deepservo.features.self_likeness import guesses, likeliest_plane
from deepservo.geometry import se3

# The picture is laid out on its plane at the finest level whose larger side is no longer.
GUESS_SIDE = 200
GUESS_SCHEDULE: Schedule = ((2, 4), (1, 8))
KEPT_SCHEDULE: Schedule = ((2, 0), (1, 0))
# Of the textured blocks that both poses show, the share that is alike, and how many.
MIN_ALIKE_SHARE, MIN_ALIKE = 1 / 3, 20
SOME_ALIKE_SHARE = 0.2  # the same where the plane may be another
MOSTLY_ALIKE = 2 / 3  # of those that say first which blocks are alike at hardly any other
SHIFT_ANGLE = math.radians(20)  # below it a pose is a shift, above it a turn
MIN_APART = 0.02  # of the depth, or rad: between two poses
KEPT = 48  # of each goal: those that are hardest to tell from its own
# Deviation of grey levels that are taken for noise: fainter texture tells nothing.
LEAST_NOISE = 0.01
# Blocks that differ tell something where so many are side by side. A lone one may be chance.
MIN_GROUP = 2
BY_CHANCE = 2  # odd blocks that are alike at a pose that is not like them
# Of the blocks that tell the goal's pose, how many must agree, and their share of those shown.
MIN_TELLING, MIN_TELLING_SHARE = 6, 0.6
RATE = 0.1  # of a picture in the means of such counts
NO_BLOCKS = torch.zeros(0, BLOCKS**2, dtype=torch.int8)

Told = Float[Tensor, "r 2 k"]


@dataclass
class Repeats:
    """Of G goals (1 for all runs, or one each) the K other poses from which they look alike.

    It knows no pose beyond what the goal's picture shows: a second picture of the same kind, out of
    its sight, is not found, nor are patterns finer than 4 pixels of a picture of about 160.

    T_goal_cam: the poses that a picture of the goal may be taken for, float64; the identity where
    a goal has fewer. telling: the blocks, row by row, that tell the goal's pose from them. kept:
    which of the K there are.
    """

    T_goal_cam: Float[Tensor, "g k 4 4"]
    telling: Bool[Tensor, "g k n"]
    kept: Bool[Tensor, "g k"]

    @classmethod
    def of(cls, registration: Registration) -> "Repeats":
        """From the goals of a registration, with their planes or maps of depth.

        Where there is no map, a goal whose parts are alike is put on the plane on which they are
        most so: by a plane that is only assumed, far tiles would be smaller than near ones.
        """
        goals = max(len(registration.levels[0].image), len(registration.plane))
        found = [_of_goal(*registration.of_goal(i, LEAST_NOISE)) for i in range(goals)]
        most = max(len(T) for T, _ in found)
        T = torch.eye(4, dtype=torch.float64).repeat(len(found), most, 1, 1)
        telling = torch.zeros(len(found), most, BLOCKS**2, dtype=torch.bool)
        kept = torch.zeros(len(found), most, dtype=torch.bool)
        for i, (poses, tell) in enumerate(found):
            n = len(poses)
            T[i, :n], telling[i, :n], kept[i, :n] = poses, tell, True
        return cls(T, telling, kept)

    def select_runs(self, index: Int64[Tensor, " r"]) -> None:
        """Keep the goals of these runs alone; one goal that serves all runs stays."""
        if len(self.kept) > 1:
            self.T_goal_cam, self.telling = self.T_goal_cam[index], self.telling[index]
            self.kept = self.kept[index]

    def none_told(self, n: int) -> Told:
        """Of n runs, before their first pictures."""
        return torch.full((n, 2, self.kept.shape[1]), torch.nan)

    def told(
        self, alike: Int8[Tensor, "r n"], runs: Int64[Tensor, " r"], before: Told
    ) -> tuple[Told, Bool[Tensor, " r"]]:
        """How many of the telling blocks agree, and are shown, in the mean of the pictures so far,
        and which runs' pictures can so have been taken from none of the other poses.

        alike: of the blocks, as in `Evidence`, of pictures registered near the goal's own pose, at
        full size. runs: their numbers. before: the means of these runs without these pictures, NaN
        where they are the first. (What covers one picture's telling blocks leaves others'.)
        """
        if not self.kept.shape[1]:
            return before, torch.ones(len(runs), dtype=torch.bool)
        goals = runs if len(self.kept) > 1 else torch.zeros_like(runs)
        telling, kept = self.telling[goals], self.kept[goals]
        compared = (telling & (alike != UNKNOWN)[:, None]).sum(2)
        # Where the other pose shows texture and the goal none, none must be seen.
        agree = (telling & ((alike == AGREES) | (alike == FLAT))[:, None]).sum(2)
        now = torch.stack([agree, compared], 1).float()
        told = torch.where(before.isnan(), now, before + RATE * (now - before))
        agree, compared = told.unbind(1)
        apart = (agree >= MIN_TELLING) & (agree >= MIN_TELLING_SHARE * compared)
        return told, (apart | ~kept).all(1)


def _of_goal(own: Registration, views: Views) -> tuple[Float[Tensor, "k 4 4"], Bool[Tensor, "k n"]]:
    """The other poses of one goal, and the blocks that tell the goal's from them.

    own: the registration of the goal's picture, the only one of `views`, to itself.
    """
    small = next((each for each in own.levels if _side(each) <= GUESS_SIDE), own.levels[-1])
    T, _ = _estimated(own, views, guesses(small), GUESS_SCHEDULE, SOME_ALIKE_SHARE)
    # A turn alone says little of the plane, and the search takes longer than all else.
    shifted = torch.diagonal(T[:, :3, :3], 0, 1, 2).sum(1) > 1 + 2 * math.cos(SHIFT_ANGLE)
    if shifted.any() and small.map is None:
        own.set_plane(likeliest_plane(small))
        small = small.on(own.plane)
        T, _ = _estimated(own, views, guesses(small), GUESS_SCHEDULE)
    T = _distinct(torch.cat([T, se3.inverse(T)]), float(own.plane[0, 3]))
    T, found = _estimated(own, views, T, KEPT_SCHEDULE)
    agrees, differs = found.alike == AGREES, found.alike == DIFFERS
    # Odd blocks are alike at hardly any pose. Where there are poses from which most are alike,
    # these decide: what is a little alike upside down says nothing of tiles. From a pose of which
    # those in sight are not alike, those out of sight are not alike either.
    mostly = found.agree >= MOSTLY_ALIKE
    deciding = mostly if mostly.any() else ~mostly
    odd = differs[deciding].sum(0) > agrees[deciding].sum(0)
    unlike = (odd & agrees).sum(1) <= (odd & differs).sum(1).clamp(min=BY_CHANCE)
    telling = _grouped(differs) | (odd & (found.alike == UNKNOWN) & unlike[:, None])
    hardest = (telling.sum(1) - agrees.sum(1) / BLOCKS**2).argsort()[:KEPT]
    return T[hardest], telling[hardest]


def _grouped(blocks: Bool[Tensor, "k n"]) -> Bool[Tensor, "k n"]:
    """The blocks that have MIN_GROUP of their kind in the square of nine about them."""
    maps = blocks.view(-1, 1, BLOCKS, BLOCKS).float()
    around = 9 * torch.nn.functional.avg_pool2d(maps, 3, 1, 1).flatten(1)
    return blocks & (around > MIN_GROUP - 0.5)


def _side(goals: Goals) -> int:
    """The larger side of the pictures [px]."""
    return max(goals.camera.width, goals.camera.height)


def _estimated(
    own: Registration,
    views: Views,
    T: Float[Tensor, "k 4 4"],
    schedule: Schedule,
    least: float = MIN_ALIKE_SHARE,
) -> tuple[Float[Tensor, "r 4 4"], Evidence]:
    """The poses refined, and what the pictures say, of those from which a large part is alike."""
    if not len(T):
        nothing = torch.empty(0)
        return T, Evidence(nothing.view(0, 6, 6), *(nothing,) * 3, NO_BLOCKS)
    T, found = read(own, views, T, schedule, torch.zeros(len(T), dtype=torch.int64))
    large = (found.agree >= least) & (found.agree * found.blocks >= MIN_ALIKE)
    return T[large], found.pick(large)


def _distinct(T: Float[Tensor, "k 4 4"], distance: float) -> Float[Tensor, "r 4 4"]:
    """The poses that are neither near one before them nor near the goal's.

    distance: of the plane [m].
    """
    here = torch.eye(4, dtype=torch.float64)[None]
    poses = torch.cat([here, T])[:, :3] / torch.tensor([1, 1, 1, distance])
    near = torch.cdist(poses.flatten(1), poses.flatten(1)) < MIN_APART
    kept = torch.ones(len(poses), dtype=torch.bool)
    for i in range(len(poses)):
        kept[i + 1 :] &= ~(near[i, i + 1 :] & kept[i])
    return T[kept[1:]]
