"""The pose of a camera from its last picture and those before, along its known motion.

A pose that was believed, moved by the camera's motion, is as sure as the pictures behind it; the
last picture's own is another guess. Weighted by their covariances (Kalman 1960) they are

    d = log(T predicted^-1),   K = P (P + R)^-1,   T' = exp(K d) predicted,   P' = (1 - K) P

R and P are of what pictures do not have in common. They share the goal's picture, and the errors of
the model: how much of a picture's covariance C is its own is seen in how much the pictures differ,

    share' = share + rate (|z|^2 / 6 - share),   R = share C,   rate = max(RATE, 1 / pictures)

with `z = L^-1 d` and `C = L L^T`. The rest does not shrink with more pictures. Were all of a
picture's errors of that kind, the fused pose would have the covariance

    A' = M M^T,   M = (1 - K) A^1/2 + K L

and `A' = C` where that is surer: a picture that shows little takes nothing from those before. A
registration that begins at the predicted pose may not come all the way to the picture's own. Then d
has one sign picture after picture:

    lag' = lag + rate (z - lag),   P + l l^T for P,   covariance + LAG l l^T

with `l = L lag`, or `A^1/2 lag` where A is surer. It counts where the lag is larger than chance
would make it: `|lag|^2 / (6 share)` is `rate / (2 - rate)` in the mean of errors that are
independent, and here MIN_LAG times as much.

Before another scene than is assumed, such as a solid for a plane, pictures may show but a share of
the camera's motion, and of the way to the goal. With m the motion since some picture before, n the
way from the pose at that one, moved by m, to this one's own, D the sum of their R, and u = G m,
where a radian counts as LEVER,

    unseen = -u^T n / (u^T m),   deviation = sqrt(u^T D u) / (u^T m)

It is 0 where it is less than CHANCE of its deviations, and waits until the deviation is less than
DEVIATION; then m begins anew. Of two pictures in a row the less counts, since one may be off by
more than its deviations. It falls only after a motion as long as the way that may be left. As much
farther may the goal be, and as much less sure is it:

    (covariance + (unseen log(T'))(unseen log(T'))^T) / (1 - unseen)^2
"""

from ctypes import Structure
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo import native
from deepservo.features.evidence import place_variance
from deepservo.geometry import se3

FIRST_SHARE, LEAST_SHARE, MOST_SHARE = 0.5, 0.02, 4.0
RATE = 0.1
LAG, MIN_LAG = 8.0, 2.5
LEAST_COMMON = 0.05  # of A, or of share A where it is more: what pictures have in common at least
# Of share C or share A, which is less: P grows by that from picture to picture, so that what was
# seen long ago has no say.
FORGOTTEN = 0.02
MOTION_ERROR = 0.1  # share of the camera's motion that may not have been done
# Where the last picture is as many deviations from the belief, squared, it alone is believed.
SURPRISE = 40.0
DEVIATION, CHANCE, MOST_UNSEEN = 0.16, 3.0, 0.95  # a share of the motion; deviations; a share
NONE = -1.0  # of a share that is not known yet
LEVER = 0.5  # m: a turn of a radian counts as a way of so much
RUNS_A_THREAD = 64  # at least: one takes microseconds


class Fused(NamedTuple):
    """Of R runs, float64: the pose, the covariance of its error, P (NaN where none is known yet),
    A, share, lag [deviations], the number of pictures; of the picture from which m begins the
    pose, the same moved by m, and C; unseen by the last picture (NONE where it tells none), and as
    it counts.
    """

    T_goal_cam: Float[Tensor, "r 4 4"]
    covariance: Float[Tensor, "r 6 6"]
    own: Float[Tensor, "r 6 6"]
    alike: Float[Tensor, "r 6 6"]
    share: Float[Tensor, " r"]
    lag: Float[Tensor, "r 6"]
    pictures: Float[Tensor, " r"]
    first: Float[Tensor, "r 4 4"]
    first_now: Float[Tensor, "r 4 4"]
    first_covariance: Float[Tensor, "r 6 6"]
    last_unseen: Float[Tensor, " r"]
    unseen: Float[Tensor, " r"]

    @classmethod
    def nothing(cls, T_goal_cam: Float[Tensor, "r 4 4"]) -> "Fused":
        """Before the first picture."""
        n = len(T_goal_cam)
        C, own, alike, C_first = torch.full((4, n, 6, 6), torch.nan, dtype=torch.float64)
        first, first_now = torch.eye(4, dtype=torch.float64).repeat(2, n, 1, 1)
        share, pictures, unseen = torch.zeros(3, n, dtype=torch.float64)
        last_unseen = torch.full((n,), NONE, dtype=torch.float64)
        lag = torch.zeros(n, 6, dtype=torch.float64)
        begin = first, first_now, C_first, last_unseen, unseen
        return cls(T_goal_cam, C, own, alike, share, lag, pictures, *begin)

    def moved(self, motion: Float[Tensor, "r 4 4"]) -> "Fused":
        """After this motion of the cameras, in which no picture was used."""
        return self._replace(T_goal_cam=self.T_goal_cam @ motion, first_now=self.first_now @ motion)

    def pick(self, index: Tensor) -> "Fused":
        """Of these runs."""
        return Fused(*(each[index] for each in self))


class FusionArguments(Structure):
    """What `fusion_runs` of fusion.c reads and writes."""

    _fields_ = native.fields(
        "* motions seen poses covariances own alike shares lags pictures",
        "* first first_now first_covariances last_unseen unseen used",
    )


def fuse(
    before: Fused,
    motion: Float[Tensor, "r 4 4"],
    T_goal_cam: Float[Tensor, "r 4 4"],
    covariance: Float[Tensor, "r 6 6"],
) -> Fused:
    """The poses after pictures in which they are `T_goal_cam`, with that covariance.

    motion: of the cameras since the pictures before. A covariance that is not finite, or not
    positive definite, is left as it is, and the picture's pose too.
    """
    known = covariance.isfinite().all(2).all(1)
    used = known & before.own.isfinite().all(2).all(1)
    lib = native.library()
    if lib is None:
        return fuse_reference(before, motion, T_goal_cam, covariance)
    C = torch.where(known[:, None, None], covariance, 0.0)
    own, alike = (
        torch.where(used[:, None, None], each, 0.0) for each in (before.own, before.alike)
    )
    T, *rest = (
        each.clone(memory_format=torch.contiguous_format)
        for each in (before.T_goal_cam, *before[4:])
    )
    found = Fused(T, C, own, alike, *rest)
    motion, seen, flags = motion.contiguous(), T_goal_cam.contiguous(), used.to(torch.int8)
    arguments = FusionArguments(
        motions=motion.data_ptr(), seen=seen.data_ptr(), poses=T.data_ptr(),
        covariances=C.data_ptr(), own=own.data_ptr(), alike=alike.data_ptr(),
        shares=found.share.data_ptr(), lags=found.lag.data_ptr(),
        pictures=found.pictures.data_ptr(), first=found.first.data_ptr(),
        first_now=found.first_now.data_ptr(),
        first_covariances=found.first_covariance.data_ptr(),
        last_unseen=found.last_unseen.data_ptr(), unseen=found.unseen.data_ptr(),
        used=flags.data_ptr(),
    )  # fmt: skip
    native.run(lib.fusion_runs, arguments, len(known), RUNS_A_THREAD)
    if known.all():
        return found
    unknown = ~known[:, None, None]
    return found._replace(
        covariance=covariance.where(unknown, C),
        own=own.masked_fill(unknown, torch.nan),
        alike=alike.masked_fill(unknown, torch.nan),
    )


def fuse_reference(
    before: Fused,
    motion: Float[Tensor, "r 4 4"],
    T_goal_cam: Float[Tensor, "r 4 4"],
    covariance: Float[Tensor, "r 6 6"],
) -> Fused:
    """`fuse` in plain torch."""
    known = covariance.isfinite().all((1, 2))
    one = torch.eye(6, dtype=torch.float64).expand_as(covariance)
    C = covariance.where(known[:, None, None], 0.0)
    regular = torch.linalg.cholesky_ex(C).info == 0
    used = known & regular & before.own.isfinite().all((1, 2))
    root = torch.linalg.cholesky(C.where(regular[:, None, None], one))
    moved = before.moved(motion)
    predicted = moved.T_goal_cam
    d = se3.log(T_goal_cam @ se3.inverse(predicted))
    z = torch.linalg.solve_triangular(root, d[..., None], upper=False)[..., 0]
    pictures = torch.where(used, before.pictures + 1, 0.0)
    rate = (1 / pictures.clamp(min=1)).clamp(min=RATE)
    apart = (z.square().sum(1) / 6).clamp(max=2 * MOST_SHARE)
    share = before.share + rate * (apart - before.share)
    share = share.where(used, FIRST_SHARE).clamp(LEAST_SHARE, MOST_SHARE)
    lag = before.lag + rate[:, None] * (z - before.lag)
    lag = lag.where(used[:, None], 0.0)
    lags = lag.square().sum(1) / 6 > MIN_LAG * share * rate / (2 - rate)
    root_before, info = torch.linalg.cholesky_ex(before.alike.where(used[:, None, None], one))
    less_sure = used & (info == 0) & (place_variance(C) > place_variance(before.alike))
    surer = before.alike.where(less_sure[:, None, None], C)
    late = root_before.where(less_sure[:, None, None], root) @ lag[..., None]
    late = late @ late.mT * lags[:, None, None]
    R, done = share[:, None, None] * C, MOTION_ERROR * se3.log(motion)
    grown = FORGOTTEN * share[:, None, None] * surer
    P = before.own + grown + torch.diag_embed(done.square()) + late
    both = (P + R).where(used[:, None, None], one)
    K = torch.linalg.solve(both, P.where(used[:, None, None], one)).mT
    far = (d * torch.linalg.solve(both, d)).sum(1) >= SURPRISE
    fused = (used & ~far)[:, None, None]
    T = (se3.exp((K @ d[..., None])[..., 0]) @ predicted).where(fused, T_goal_cam)
    stays, shown = one - K, K @ root
    # (1 - K) P, which rounding leaves negative in that form where P is far larger than R.
    own = (stays @ P @ stays.mT + share[:, None, None] * shown @ shown.mT).where(fused, R)
    mixes = less_sure[:, None, None] & fused
    mixed = stays @ root_before.where(mixes, one) + shown
    alike = (mixed @ mixed.mT).where(mixes, C)
    common = torch.maximum(1 - share, LEAST_COMMON * share.clamp(min=1))[:, None, None]
    whole = own + common * alike + LAG * late
    *shares, begins = _unseen(moved._replace(share=share), T_goal_cam, C, (T, whole))
    last, unseen = (
        each.where(fused[:, 0, 0], none) for each, none in zip(shares, (NONE, 0.0), strict=True)
    )
    goes_on = fused & ~begins[:, None, None]
    first, first_now = (each.where(goes_on, T) for each in (moved.first, moved.first_now))
    C_first = moved.first_covariance.where(goes_on, C)
    hidden = (unseen[:, None] * se3.log(T))[..., None]
    whole = (whole + hidden @ hidden.mT) / (1 - unseen)[:, None, None].square()
    unknown = ~known[:, None, None]
    whole = covariance.where(unknown, whole)
    own, alike = (each.masked_fill(unknown, torch.nan) for each in (own, alike))
    begin = first, first_now, C_first, last, unseen
    return Fused(T, whole, own, alike, share, lag, pictures, *begin)


def _unseen(
    before: Fused,
    seen: Float[Tensor, "r 4 4"],
    C: Float[Tensor, "r 6 6"],
    fused: tuple[Float[Tensor, "r 4 4"], Float[Tensor, "r 6 6"]],
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"], Bool[Tensor, " r"]]:
    """The share of the motion since the first picture that the last one does not show, the share
    that counts, and whether m begins anew. seen, C: of the last picture; fused: of all.
    """
    m = se3.log(before.first_now @ se3.inverse(before.first))
    n = se3.log(seen @ se3.inverse(before.first_now))
    G = torch.tensor([1.0] * 3 + [LEVER**2] * 3, dtype=torch.float64)
    moved, unseen = (m * G * m).sum(1), -(m * G * n).sum(1)
    u = (G * m)[..., None]
    D = before.share[:, None, None] * (C + before.first_covariance)
    deviation = (u.mT @ D @ u).flatten().sqrt()
    unseen = (unseen / moved).where(unseen > CHANCE * deviation, 0.0).clamp(max=MOST_UNSEEN)
    left = ((se3.log(fused[0]).square() + torch.diagonal(fused[1], 0, 1, 2)) * G).sum(1).sqrt()
    far = moved.sqrt() * (1 - before.unseen) >= left
    ready = (deviation < DEVIATION * moved) & (far | (unseen >= before.unseen))
    begins = ready & (before.last_unseen >= 0)
    least = torch.minimum(unseen, before.last_unseen)
    last = unseen.where(ready & ~begins, NONE)
    return last, least.where(begins, before.unseen), begins
