"""Whether pictures agree with the goal's at full size, for methods that do not look themselves.

It takes time, so it is done near the goal alone, and in one picture of several.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deepservo import control
from deepservo.features.causes import Cause, cause
from deepservo.features.estimation import estimate
from deepservo.features.evidence import Evidence, place_variance
from deepservo.features.fusion import Fused, fuse
from deepservo.features.goal_depth import GoalDepth
from deepservo.features.near_goal import FULL_SIZE_SCHEDULE
from deepservo.features.registration import Registration, Schedule, Views
from deepservo.features.repeats import Repeats
from deepservo.geometry import se3
from deepservo.images.pictures import grey
from deepservo.images.undrawn import Undrawn
from deepservo.methods.status import Tolerance
from deepservo.methods.verdict import MIN_AGREEING, Belief, errors

INTERVAL = 5  # pictures from one that is looked at to the next
HELD = 2 * INTERVAL  # pictures, for which holds what was seen where the next looks find nothing
NEAR = 4.0  # tolerances from the goal, within which they are looked at
# The pose is found from the one that the method tells, or from the last one that was found, or at
# first from where the method's velocity has the camera be.
FIRST_SCHEDULE: Schedule = ((2, 8), (1, 3), (0, 2))
# A method's velocity may be small far from the goal, as photometric ones are. So pictures have to
# agree a little first, as `Registration.compare` has it: within NEAR they do by 0.3 to 0.9, half
# covered by 0.15 to 0.5, and elsewhere by 0.03 in the median, and in one of 100 by more than this.
LEAST_AGREEMENT = 0.12


class Inspection:
    """Of the runs to one goal, or to one goal each.

    registration: to the goals; where the method has none, it is made at the first picture. repeats:
    the other poses from which the goals look alike.
    """

    def __init__(self) -> None:
        self.goal: tuple[Tensor, GoalDepth] | None = None
        self.registration: Registration | None = None
        self.repeats: Repeats | None = None
        self.seen: Belief | None = None  # its misses: pictures since the one that it is from
        self.seen_fused: Fused | None = None  # its poses, of all looks
        self.told = torch.empty(0)  # `Repeats.told` of all looks
        self.fused: Fused | None = None  # of methods that tell their pose
        self.now: Views | None = None  # of the next pictures, where the method has made them
        self.last: _Pictures | None = None

    def start(self, goal: Float[Tensor, "g c h w"], depth: GoalDepth) -> None:
        """Begin with these goals, NaN where nothing is seen."""
        self.goal, self.registration, self.repeats = (goal, depth), None, None
        self.seen = self.seen_fused = self.fused = self.last = None

    def held_by(self, run: int, T_goal_cam: Float[Tensor, "4 4"]) -> Cause | None:
        """What keeps the pose of this run from being known better, by its last picture; None where
        there is none.
        """
        if self.last is None or self.registration is None:
            return None
        with _on_processor():
            part, views = self.last.of(torch.tensor([run]), self.registration)
            return cause(part, views, T_goal_cam.cpu(), 0)

    def use(self, registration: Registration) -> None:
        """Compare pictures by this registration to the goals."""
        self.registration, self.repeats = registration, Repeats.of(registration)

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone."""
        index = index.cpu()
        if self.seen is not None:
            self.seen, self.told = self.seen.pick(index), self.told[index]
        self.last = None
        self.fused = self.fused and self.fused.pick(index)
        self.seen_fused = self.seen_fused and self.seen_fused.pick(index)
        if self.registration is not None and self.repeats is not None:
            self.registration.select_runs(index)
            self.repeats.select_runs(index)

    def completed(
        self,
        belief: Belief,
        images: Float[Tensor, "b c h w"] | Undrawn,
        way: Float[Tensor, "b 6"],
        motion: Float[Tensor, "b 6"] | None,
        tolerance: Tolerance,
    ) -> Belief:
        """The belief, with what was seen where the method has not compared the pictures.

        way: the method's velocity over its gain. motion: of the cameras since their pictures
        before, velocities times seconds; None where these are the first ones.
        """
        if self.goal is None:  # of a method that needs none
            return belief
        self.last, self.now = _Pictures(images, self.now), None
        with _on_processor():
            belief = belief.cpu()
            if self.registration is None:  # the camera stands still yet: it takes time
                self.use(_registration(*self.goal))
            told, T = belief.T_goal_cam.isfinite().all((1, 2)), belief.T_goal_cam
            if not told.all():
                T = T.where(told[:, None, None], control.pose_of_pbvs(way.double().cpu(), 1.0))
            near = belief.recognised & belief.agree.isnan() & _near(T, tolerance)
            if not near.any():
                self.seen = self.seen_fused = self.fused = None
                return belief
            moved = torch.eye(4, dtype=torch.float64).expand(len(near), 4, 4)
            if motion is not None:
                moved = se3.exp(motion.double().cpu())
            if self.seen is None:
                never = torch.full_like(belief.misses, HELD)
                self.seen = replace(Belief.nothing(len(near)), misses=never)
                self.seen_fused = Fused.nothing(self.seen.T_goal_cam)
                assert self.repeats is not None
                self.told = self.repeats.none_told(len(near))
            else:
                misses = torch.where(near, self.seen.misses + 1, HELD)
                T_seen = self.seen.T_goal_cam @ moved
                self.seen = replace(self.seen, T_goal_cam=T_seen, misses=misses)
            due = near & (self.seen.misses % INTERVAL == 0)
            if due.any():
                self._look(due.nonzero().flatten(), T, told)
            belief = self._fuse(belief, moved, near & told)
            return _joined(belief, self.seen, near)

    def _fuse(
        self, belief: Belief, motion: Float[Tensor, "b 4 4"], near: Bool[Tensor, " b"]
    ) -> Belief:
        """The belief with poses from all pictures near the goal, of methods that tell them."""
        if not near.any():
            self.fused = None
            return belief
        T, C = belief.T_goal_cam, belief.covariance
        found = fuse(self.fused or Fused.nothing(T), motion, T, C)
        within = near[:, None, None]
        self.fused = found._replace(own=found.own.where(within, torch.nan))
        return replace(
            belief,
            T_goal_cam=found.T_goal_cam.where(within, T),
            covariance=found.covariance.where(within, C),
        )

    def _look(
        self,
        due: Int64[Tensor, " d"],
        T_goal_cam: Float[Tensor, "b 4 4"],
        told: Bool[Tensor, " b"],
    ) -> None:
        """Compare the pictures of the runs that are due with their goals'.

        Where they do not agree, what was seen before holds for a while.
        """
        seen, repeats, last = self.seen, self.repeats, self.last
        assert seen is not None and repeats is not None and last is not None
        assert self.registration is not None
        registration, views = last.of(due, self.registration)
        held = ((seen.agree > MIN_AGREEING) & (seen.misses < HELD))[due]
        start = seen.T_goal_cam[due].where(held[:, None, None], T_goal_cam[due])
        known, unknown = told[due] | held, (~told[due] & ~held).nonzero().flatten()
        if len(unknown):
            glance = registration.compare(views, start[unknown], unknown)
            alike = glance.agreement > LEAST_AGREEMENT
            elsewhere, unknown = due[unknown[~alike]], unknown[alike]
            seen.agree[elsewhere] = seen.blocks[elsewhere] = 0.0
            seen.misses[elsewhere] = 0
        for which, schedule in (
            (known.nonzero().flatten(), FULL_SIZE_SCHEDULE),
            (unknown, FIRST_SCHEDULE),
        ):
            if not len(which):
                continue
            T, found = estimate(registration, views, start[which], schedule, which)
            taken = (found.agree > MIN_AGREEING) | ~held[which]
            T, found, runs = T[taken], found.pick(taken), due[which[taken]]
            self._take(runs, T, found)
            before = self.told[runs].where(held[which[taken], None, None], torch.nan)
            self.told[runs], seen.told_apart[runs] = repeats.told(found.alike, runs, before)

    def _take(self, runs: Int64[Tensor, " r"], T: Float[Tensor, "r 4 4"], found: Evidence) -> None:
        """What the last picture of these runs shows, together with those before."""
        seen, whole = self.seen, self.seen_fused
        assert seen is not None and whole is not None
        here = torch.eye(4, dtype=torch.float64).expand(len(T), 4, 4)
        before = whole.pick(runs)._replace(T_goal_cam=seen.T_goal_cam[runs])
        fused = fuse(before, here, T, found.covariance)
        for values, each in zip(whole[1:], fused[1:], strict=True):
            values[runs] = each
        seen.T_goal_cam[runs], seen.covariance[runs] = fused.T_goal_cam, fused.covariance
        seen.agree[runs], seen.blocks[runs], seen.misses[runs] = found.agree, found.blocks, 0


@dataclass(frozen=True)
class _Pictures:
    """Of all runs, and what a method has made of them, where it has."""

    images: Float[Tensor, "b c h w"] | Undrawn
    views: Views | None

    def of(
        self, runs: Int64[Tensor, " r"], registration: Registration
    ) -> tuple[Registration, Views]:
        """The registration to the goals of these runs alone, and the views of these."""
        if self.views is not None:
            return registration.part(runs), self.views.pick(runs)
        there = runs if isinstance(self.images, Undrawn) else runs.to(self.images.device)
        images = grey(self.images[there]).float().cpu()
        return registration.part(runs), registration.views(images)


def _on_processor() -> AbstractContextManager[Any]:
    """Whatever device the method is on. A torch.device takes time, and so is entered at need."""
    elsewhere = torch.get_default_device().type != "cpu"
    return torch.device("cpu") if elsewhere else nullcontext()


def _registration(goal: Float[Tensor, "g c h w"], depth: GoalDepth) -> Registration:
    """To the goals, by what is known of their depth."""
    made = Registration(depth.camera, grey(goal).float().cpu(), depth.planes(len(goal)))
    if (inverse := depth.inverse()) is not None:
        made.set_depth(inverse)
    return made


def _joined(belief: Belief, seen: Belief, near: Bool[Tensor, " b"]) -> Belief:
    """The belief with what was seen of runs near the goal; their poses only where pictures agree,
    and where the method's own is not surer.
    """
    held = near & (seen.agree > MIN_AGREEING) & (seen.misses < HELD)
    found = held & ~(place_variance(seen.covariance) >= place_variance(belief.covariance))
    return replace(
        belief,
        T_goal_cam=seen.T_goal_cam.where(found[:, None, None], belief.T_goal_cam),
        covariance=seen.covariance.where(found[:, None, None], belief.covariance),
        agree=seen.agree.where(near, belief.agree),
        blocks=seen.blocks.where(near, belief.blocks),
        told_apart=torch.where(near, seen.told_apart, belief.told_apart),
        compared=torch.where(near, seen.misses == 0, belief.compared),
        misses=seen.misses.where(found, belief.misses),
    )


def _near(T_goal_cam: Float[Tensor, "b 4 4"], tolerance: Tolerance) -> Bool[Tensor, " b"]:
    """Which poses are within NEAR tolerances of the goal; not one that is NaN."""
    measured = [errors(T) for T in T_goal_cam.tolist()]
    return torch.tensor(
        [
            metres <= NEAR * tolerance.metres and radians <= NEAR * tolerance.radians
            for metres, radians in measured
        ]
    )
