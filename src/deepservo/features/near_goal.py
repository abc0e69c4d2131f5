"""What pictures near the goal say of the pose, at full size, by no more work than each needs.

Most poses are predicted to a fraction of a pixel, and need one look at full size. Others are
found from coarse to fine, in a few iterations: what one picture leaves of the way, the next ones
go. Where little texture shows the way, all of these may stop short of it, each at nearly the same
place. So a pose that much depends on is found to its end.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deepservo.features.estimation import Estimated, estimate
from deepservo.features.evidence import Evidence
from deepservo.features.registration import Registration, Schedule, Views
from deepservo.geometry import se3

FULL_SIZE_SCHEDULE: Schedule = ((2, 0), (1, 2), (0, 1))
# Where a picture was seen within so many pixels of its prediction, the next begins at full size.
STEADY_SCHEDULE: Schedule = ((2, 0), (0, 1))
STEADY_PX = 0.1
THOROUGH_SCHEDULE: Schedule = ((2, 20), (1, 30), (0, 20))
BELIEVED = 3.0  # deviations, by which a pose found to its end may be from the predicted one


def near_goal(
    registration: Registration,
    views: Views,
    predicted: Float[Tensor, "r 4 4"],
    runs: Int64[Tensor, " r"],
    *,
    steady: Bool[Tensor, " r"],
    thorough: Bool[Tensor, " r"],
) -> tuple[Estimated, Bool[Tensor, " r"], Bool[Tensor, " r"]]:
    """`estimate` from the predicted poses; which of them were predicted well; and which of those
    that were found to their end are others than predicted.

    steady: of the pictures before, which were predicted well. thorough: which are found to the end.
    """
    left, parts = torch.ones_like(steady), []
    well, others = torch.zeros_like(steady), torch.zeros_like(steady)
    for schedule, begun in (
        (THOROUGH_SCHEDULE, thorough),
        (STEADY_SCHEDULE, steady),
        (FULL_SIZE_SCHEDULE, torch.ones_like(left)),
    ):
        part = (left & begun).nonzero().flatten()
        if not len(part):
            continue
        before = predicted[part]
        T, found = estimate(registration, views, before, schedule, runs[part])
        rough = registration.roughly_apart(T, before, runs[part])
        well[part] = rough < STEADY_PX / registration.cameras[0].width
        if schedule is THOROUGH_SCHEDULE:
            others[part] = _others(T, found, before)
        # Where the prediction was bad, it begins anew, coarse to fine.
        kept = well[part] | (schedule is not STEADY_SCHEDULE)
        left[part[kept]] = False
        parts.append((part[kept], T[kept], found.pick(kept)))
    order = torch.cat([part for part, *_ in parts]).argsort()
    T = torch.cat([T for _, T, _ in parts])[order]
    return (T, Evidence.joined([found for *_, found in parts]).pick(order)), well, others


def _others(
    T_goal_cam: Float[Tensor, "r 4 4"], found: Evidence, before: Float[Tensor, "r 4 4"]
) -> Bool[Tensor, " r"]:
    """Which poses are more than BELIEVED of their deviations from those before."""
    apart = se3.log(T_goal_cam @ se3.inverse(before)).square().unflatten(1, (2, 3)).sum(2)
    variance = torch.diagonal(found.covariance, 0, 1, 2).unflatten(1, (2, 3)).sum(2)
    return (apart > BELIEVED**2 * variance).any(1)
