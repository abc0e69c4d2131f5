"""The pose between two registered pictures, and how sure it is: the surest of several readings.

One reading is of the pictures as they are. Where lamps or shadows light the view otherwise than the
goal, another is of the view lit as the goal. Where a part of the picture looks different, a third
one is of the blocks alone that agree: what covers half of a picture passes for the picture itself,
since the median residual is then of the cover.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deepservo.features.evidence import AGREES, Evidence, evidence, place_variance
from deepservo.features.pairs import UNSEEN, Goals
from deepservo.features.registration import (
    COMPARISON_LEVEL,
    Registration,
    Schedule,
    Views,
)
from deepservo.features.registration_step import BLOCKS
from deepservo.features.relighting import light, relit

# Share of the picture's width: the views of nearer poses are lit as their goals are.
RELIT_WITHIN = 0.03
AS_IT_IS: Schedule = ((2, 0), (0, 0))  # compares without refining
# Of the textured blocks: where fewer agree, these are read alone, if they are enough.
MOST_AGREEING, LEAST_AGREEING = 0.8, 0.2

Estimated = tuple[Float[Tensor, "r 4 4"], Evidence]


def estimate(
    registration: Registration,
    views: Views,
    T_goal_cam: Float[Tensor, "r 4 4"],
    schedule: Schedule,
    runs: Int64[Tensor, " r"],
) -> Estimated:
    """Refined poses, and what the pictures of the schedule's last level say of them.

    Arguments as of `Registration.refine`.
    """
    T, found = read(registration, views, T_goal_cam, schedule, runs)
    of, lit = _relit(registration, views, T_goal_cam, runs)
    if len(of):
        views = lit
        other = read(registration, views, T_goal_cam[of], schedule, runs[of])
        T, found = _surer((T, found), other, of)
    of = (found.agree < MOST_AGREEING).nonzero().flatten()
    if not len(of):
        return T, found
    # A cover may have led the first reading away from where it began.
    begun = (
        T_goal_cam[of].double(),
        read(registration, views, T_goal_cam[of], AS_IT_IS, runs[of])[1],
    )
    T_of, seen = _more_alike((T[of], found.pick(of)), begun)
    enough = seen.agree > LEAST_AGREEING
    of, T_of, seen = of[enough], T_of[enough], seen.pick(enough)
    if len(of):
        alone, part = _of_blocks(registration, views, runs[of], seen.alike == AGREES)
        T_of, alike = read(alone, part, T_of, schedule, torch.arange(len(of)))
        T, found = _surer((T, found), (T_of, seen._replace(covariance=alike.covariance)), of)
    return T, found


def read(
    registration: Registration,
    views: Views,
    T_goal_cam: Float[Tensor, "r 4 4"],
    schedule: Schedule,
    runs: Int64[Tensor, " r"],
) -> Estimated:
    """`estimate` of the pictures as they are."""
    T, found, pairs = registration.registered(views, T_goal_cam, schedule, runs)
    return T, evidence(T, found, pairs)


def _surer(one: Estimated, other: Estimated, of: Int64[Tensor, " k"]) -> Estimated:
    """The first, and the second, which is of these poses, where its covariance is less. The blocks
    are of the reading in which more agree.
    """
    (T, found), (T_other, found_other) = one, other
    surer = place_variance(found_other.covariance) < place_variance(found.covariance[of])
    of, now = of[surer], (T_other[surer], found_other.pick(surer))
    _, blocks = _more_alike((T[of], found.pick(of)), now)
    taken = blocks._replace(covariance=now[1].covariance)
    return T.index_copy(0, of, now[0]), found.put(of, taken)


def _more_alike(one: Estimated, other: Estimated) -> Estimated:
    """Of each pose the one at which more blocks agree."""
    (T, found), (T_other, found_other) = one, other
    more = (found_other.agree > found.agree).nonzero().flatten()
    return T.index_copy(0, more, T_other[more]), found.put(more, found_other.pick(more))


def _relit(
    registration: Registration,
    views: Views,
    T_goal_cam: Float[Tensor, "r 4 4"],
    runs: Int64[Tensor, " r"],
) -> tuple[Int64[Tensor, " k"], Views]:
    """Which of the poses are near the goal before views that are lit otherwise in one place than in
    another; and the views, those lit as the goals.
    """
    level = registration.levels[COMPARISON_LEVEL]
    here = torch.eye(4, dtype=T_goal_cam.dtype)[None]
    near = registration.roughly_apart(T_goal_cam, here, runs) < RELIT_WITHIN
    of = (near & (level.camera == registration.cameras[COMPARISON_LEVEL])).nonzero().flatten()
    if not len(of):
        return of, views
    goals, seen = level.pick(runs[of]), views.pick(runs[of])
    noises = goals.noise, seen.noise / 2**COMPARISON_LEVEL
    found = light(goals.image, seen.levels[COMPARISON_LEVEL][:, 0], noises)
    of, found = of[found.differs], found.pick(found.differs)
    if not len(of):
        return of, views
    where = runs[of]
    levels = [each.index_copy(0, where, relit(each[where], found)) for each in views.levels]
    noise = views.noise[where] * found.median[:, None]
    return of, Views(levels, views.noise.index_copy(0, where, noise))


def _of_blocks(
    registration: Registration,
    views: Views,
    runs: Int64[Tensor, " k"],
    agrees: Bool[Tensor, "k n"],
) -> tuple[Registration, Views]:
    """The registration to the goals of these runs, of the blocks alone that agree, and the views of
    the runs.
    """
    part = registration.part(runs)
    part.levels = [_masked(level, agrees) for level in part.levels]
    return part, views.pick(runs)


def _masked(goals: Goals, agrees: Bool[Tensor, "k n"]) -> Goals:
    """The goals, unseen outside these blocks."""
    (h, w), k = goals.image.shape[-2:], len(agrees)
    rows, columns = (torch.arange(n) * BLOCKS // n for n in (h, w))
    shown = agrees.view(k, BLOCKS, BLOCKS)[:, rows][:, :, columns]
    gx, gy = (each.expand(k, h, w).contiguous() for each in (goals.gx, goals.gy))
    image = goals.image.expand(k, h, w).masked_fill(~shown, UNSEEN)
    return replace(goals, image=image, gx=gx, gy=gy)
