"""The pose between two registered pictures, and how sure it is: the surest of several readings.

One reading is of the pictures as they are. Where lamps or shadows light the view otherwise than the
goal, another is of the view lit as the goal. Where a part of the picture looks different, a third
one is of the blocks alone that agree: what covers half of a picture passes for the picture itself,
since the median residual is then of the cover. Where one picture is blunter than the other, a last
one is of the other blurred as much.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deepservo.features.evidence import AGREES, Evidence, evidence, place_variance
from deepservo.features.pairs import UNSEEN, Goals, rows
from deepservo.features.registration import (
    COMPARISON_LEVEL,
    Registration,
    Schedule,
    Views,
)
from deepservo.features.registration_step import BLOCKS
from deepservo.features.relighting import light, relit
from deepservo.features.sharpness import blur_between, blurred, noise_left

# Share of the picture's width: the views of nearer poses are lit as their goals are, and as blunt.
ALIKE_WITHIN = 0.03
# Pictures are looked at for blur where the squares of their residuals are over so many times what
# noise makes of them, and are blurred from that deviation on [px].
MIN_EXCESS, MIN_BLUR = 5.0, 0.4
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
    best = read(registration, views, T_goal_cam, schedule, runs)
    of, lit = _relit(registration, views, T_goal_cam, runs)
    if len(of):
        views = lit
        best = _surer(best, read(registration, views, T_goal_cam[of], schedule, runs[of]), of)
    of = (best[1].agree < MOST_AGREEING).nonzero().flatten()
    if len(of):
        begun = T_goal_cam[of].double()
        now = best[0][of], best[1].pick(of)
        known, found = _of_agreeing(
            registration, views, begun, now, schedule=schedule, runs=runs[of]
        )
        best = _surer(best, found, of[known])
    if schedule[-1][0] == 0:
        of, found = _as_blunt(registration, views, (T_goal_cam, best[1]), schedule, runs)
        best = _surer(best, found, of) if len(of) else best
    return best


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


def _near(
    registration: Registration, T_goal_cam: Float[Tensor, "r 4 4"], runs: Int64[Tensor, " r"]
) -> Bool[Tensor, " r"]:
    """Which poses see the goal within ALIKE_WITHIN of where it does itself."""
    here = torch.eye(4, dtype=T_goal_cam.dtype)[None]
    return registration.roughly_apart(T_goal_cam, here, runs) < ALIKE_WITHIN


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
    near = _near(registration, T_goal_cam, runs)
    of = (near & (level.camera == registration.cameras[COMPARISON_LEVEL])).nonzero().flatten()
    if not len(of):
        return of, views
    where = runs[of]
    goals, seen = level.pick(where), rows(views.levels[COMPARISON_LEVEL], where)[:, 0]
    noises = goals.noise, views.noise[where] / 2**COMPARISON_LEVEL
    found = light(goals.image, seen, noises)
    if not found.differs.any():
        return of[:0], views
    of, found = of[found.differs], found.pick(found.differs)
    where = runs[of]
    levels = [each.index_copy(0, where, relit(each[where], found)) for each in views.levels]
    noise = views.noise[where] * found.median[:, None]
    return of, Views(levels, views.noise.index_copy(0, where, noise))


def _of_agreeing(
    registration: Registration,
    views: Views,
    begun: Float[Tensor, "r 4 4"],
    now: Estimated,
    *,
    schedule: Schedule,
    runs: Int64[Tensor, " r"],
) -> tuple[Int64[Tensor, " k"], Estimated]:
    """Readings of the blocks alone that agree, and of which of the poses they are: of those at
    which enough agree.

    begun: the poses from which those of `now` were found. A cover may have led away from them.
    """
    T, seen = _more_alike(now, (begun, read(registration, views, begun, AS_IT_IS, runs)[1]))
    of = (seen.agree > LEAST_AGREEING).nonzero().flatten()
    if not len(of):
        return of, (T[of], seen.pick(of))
    T, seen = T[of], seen.pick(of)
    alone, part = _of_blocks(registration, views, runs[of], seen.alike == AGREES)
    T, found = read(alone, part, T, schedule, torch.arange(len(of)))
    return of, (T, seen._replace(covariance=found.covariance))


def _as_blunt(
    registration: Registration,
    views: Views,
    begun: Estimated,
    schedule: Schedule,
    runs: Int64[Tensor, " r"],
) -> tuple[Int64[Tensor, " k"], Estimated]:
    """Readings of pictures of which one is blurred as much as the other is, and of which of the
    poses they are: of those near the goal, where light and covers leave much unexplained.

    begun: the poses from which to begin, and what was found from there so far. (A blunt picture may
    have led away from them.)
    """
    T, found = begun
    goals = registration.levels[0]
    unexplained = (found.excess > MIN_EXCESS) & (goals.camera == registration.cameras[0])
    of = unexplained.nonzero().flatten()
    of = of[_near(registration, T[of], runs[of])] if len(of) else of
    if not len(of):
        return of, begun
    goals, seen = goals.pick(runs[of]), views.pick(runs[of])
    image, noise = (each.expand(len(of), *each.shape[1:]) for each in (goals.image, goals.noise))
    variance = blur_between(image, seen.levels[0][:, 0], (noise, seen.noise))
    blunt = variance.abs() > MIN_BLUR**2
    of, variance = of[blunt], variance[blunt]
    if not len(of):
        return of, begun
    part, seen = registration.part(runs[of]), seen.pick(blunt.nonzero().flatten())
    deviation = variance.abs().sqrt()
    part.levels = [
        _blunt_goals(each, i, deviation, variance > 0) for i, each in enumerate(part.levels)
    ]
    seen = _blunt_views(seen, deviation, variance < 0)
    return of, read(part, seen, T[of], schedule, torch.arange(len(of)))


def _blunt_goals(
    goals: Goals, level: int, deviation: Float[Tensor, " k"], which: Bool[Tensor, " k"]
) -> Goals:
    """The goals, these blurred by this deviation of pixels at full size."""
    index = which.nonzero().flatten()
    if not len(index):
        return goals
    k, by = len(which), deviation[index] / 2**level
    parts = {}
    for name in ("image", "gx", "gy"):
        values = getattr(goals, name).expand(k, -1, -1)
        parts[name] = values.index_copy(0, index, blurred(values[index], by))
    left = torch.ones(k).index_copy(0, index, noise_left(deviation[index]))
    return replace(goals, **parts, noise=goals.noise * left[:, None])


def _blunt_views(views: Views, deviation: Float[Tensor, " k"], which: Bool[Tensor, " k"]) -> Views:
    """The views, these blurred by this deviation of pixels at full size."""
    index = which.nonzero().flatten()
    if not len(index):
        return views
    levels = [
        each.index_copy(0, index, blurred(each[index, 0], deviation[index] / 2**i)[:, None])
        for i, each in enumerate(views.levels)
    ]
    noise = views.noise[index] * noise_left(deviation[index])[:, None]
    return Views(levels, views.noise.index_copy(0, index, noise))


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
