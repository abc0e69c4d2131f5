"""Whether a run has arrived, or is lost: decided from what its method has measured.

A run has *arrived* where the pictures agree at full size, the estimated pose with its deviation
lies within the tolerance, and the camera moves by less than the tolerance from one picture to the
next, in ARRIVED_PICTURES pictures in a row of those that were compared; then for as long as the
estimate is no more than its deviation beyond the tolerance, and both are within LEAVES tolerances.
It is *lost* where nothing of the goal was recognised for LOST_AFTER seconds, or the estimated
distance has found no new least in PATIENCE time constants of the law.
"""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo.features.goal_depth import GoalDepth
from deepservo.images.undrawn import Undrawn, some_pixels
from deepservo.methods.search import Search
from deepservo.methods.status import Phase, Reason, Status, Tolerance

ARRIVED_PICTURES = 5  # in a row, of those that were compared
LEAVES = 1.5  # tolerances, up to which a run that has arrived has done so: estimates fluctuate
# Of the textured blocks, the share that agrees at least; and how many they are. A cover may hide
# more than half of the goal; of another scene hardly one block in twenty agrees.
MIN_AGREEING, MIN_BLOCKS = 0.35, 20
# Seconds without anything recognised, and pictures at least: a single bad one says nothing.
LOST_AFTER, LOST_PICTURES = 0.8, 5
LEAST_SEEN = 0.15  # of the goal, that a camera has in view which has not left it
PATIENCE = 10.0  # time constants of the law, `1 / gain`
NEARER = 0.99  # of the least distance so far: a new least
SCALE_DEVIATION = 0.5
USUAL = Tolerance()
UNSURE = 2.0  # deviations, by which the estimated distance may be too large
# A camera is frozen that gives one picture so often in a row while it moves by more [m, rad].
FROZEN_PICTURES, FROZEN_MOVE = 3, 1e-5
LEAST_CONTRAST = 4 / 255  # of the grey levels of a picture that shows nothing


@dataclass(frozen=True)
class Belief:
    """What a method has measured in the last picture of each of B runs.

    recognised: whether anything of the goal was, and sure: whether it can be nothing else.
    refining: whether a refinement steers. by_pose: whether the law takes the camera straight along
    the pose, so that it comes nearer with each step. T_goal_cam and covariance as in `Status`, NaN
    where the method tells none, and not finite where a direction is not known at all. agreement: of
    the pictures, NaN where they were not compared. agree, blocks: as in `Evidence`, at full size;
    NaN elsewhere. told_apart: whether they can be of no other place of a pattern that repeats.
    compared: whether they are of the last picture, and not of one a few pictures before. misses:
    pictures since the one that the pose is from.
    """

    recognised: Bool[Tensor, " b"]
    sure: Bool[Tensor, " b"]
    refining: Bool[Tensor, " b"]
    by_pose: Bool[Tensor, " b"]
    T_goal_cam: Float[Tensor, "b 4 4"]
    covariance: Float[Tensor, "b 6 6"]
    agreement: Float[Tensor, " b"]
    agree: Float[Tensor, " b"]
    blocks: Float[Tensor, " b"]
    told_apart: Bool[Tensor, " b"]
    compared: Bool[Tensor, " b"]
    misses: Int[Tensor, " b"]

    @classmethod
    def nothing(cls, n: int) -> "Belief":
        """Of a method that tells nothing."""
        return cls(
            recognised=torch.ones(n, dtype=torch.bool),
            sure=torch.ones(n, dtype=torch.bool),
            refining=torch.zeros(n, dtype=torch.bool),
            by_pose=torch.zeros(n, dtype=torch.bool),
            T_goal_cam=torch.full((n, 4, 4), torch.nan, dtype=torch.float64),
            covariance=torch.full((n, 6, 6), torch.nan, dtype=torch.float64),
            agreement=torch.full((n,), torch.nan),
            agree=torch.full((n,), torch.nan),
            blocks=torch.full((n,), torch.nan),
            told_apart=torch.ones(n, dtype=torch.bool),
            compared=torch.ones(n, dtype=torch.bool),
            misses=torch.zeros(n, dtype=torch.int64),
        )

    def of_unknown_scale(self) -> "Belief":
        """The same before a scene at a distance of which nothing was told: translations may be
        longer or shorter by SCALE_DEVIATION of what they are believed to be.
        """
        t = torch.nn.functional.pad(SCALE_DEVIATION * self.T_goal_cam[:, :3, 3], (0, 3))
        return replace(self, covariance=self.covariance + t[:, :, None] * t[:, None])

    def cpu(self) -> "Belief":
        """In the processor's memory."""
        return Belief(**{f.name: getattr(self, f.name).cpu() for f in fields(self)})

    def pick(self, index: Tensor) -> "Belief":
        """Of these runs."""
        return Belief(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass
class _Run:
    """What is remembered of one run. It is counted in plain numbers: of few runs that takes a tenth
    of the time that arrays do.
    """

    pixels: bytes = b""  # of the last picture
    blank: bool = False
    same: int = 0  # pictures in a row that are as the one before, though the camera moved
    recognised: bool = False
    seen: bool = False  # ever
    T_last: Any = None  # the pose when the goal was recognised last, where one was told
    unseen: int = 0  # pictures in a row in which nothing was recognised
    near: bool = False
    sure: bool = False
    agrees: bool = False
    told_apart: bool = False
    within: int = 0  # pictures in a row that show an arrival
    least: float = math.inf  # distance so far [m]
    no_nearer: int = 0  # pictures since it was found
    diverged: bool = False
    late: bool = False  # lost, since the goal was not recognised for so long
    lost: bool = False
    search: Search = field(default_factory=Search)

    @property
    def useless(self) -> bool:
        """Whether the last picture says nothing."""
        return self.blank or self.same >= FROZEN_PICTURES

    @property
    def frozen(self) -> bool:
        """Whether the camera gives one picture though it moves. A blank one may stay as it is."""
        return self.same >= FROZEN_PICTURES and not self.blank

    def start_over(self) -> None:
        """Forget how near to the goal it has been: a search has led the camera elsewhere."""
        self.least, self.no_nearer, self.diverged = math.inf, 0, False


class Verdict:
    """Judges runs picture by picture, by the tolerance that somebody `asked` for, or by the usual
    one.
    """

    def __init__(self) -> None:
        self.asked: Tolerance | None = None
        self.dt = 1.0
        self.start()

    @property
    def tolerance(self) -> Tolerance:
        """How near to the goal a run has to come."""
        return self.asked or USUAL

    def start(self) -> None:
        """Forget all runs."""
        self.runs: list[_Run] = []
        self.belief: Belief | None = None

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone."""
        if self.runs:
            self.runs = [self.runs[i] for i in index.tolist()]
        self.belief = self.belief and self.belief.pick(index)

    def look(
        self,
        images: Float[Tensor, "b c h w"] | Undrawn,
        v_last: Float[Tensor, "b 6"] | None,
        dt: float,
    ) -> None:
        """Whether the pictures can be used: they show something, and are new. v_last: the twists
        since the pictures before.
        """
        self._begin(len(images))
        some = images.some if isinstance(images, Undrawn) else some_pixels(images).cpu()
        for i, (run, contrast) in enumerate(zip(self.runs, contrasts(some), strict=True)):
            run.blank, pixels = contrast < LEAST_CONTRAST, some[i].numpy().tobytes()
            same, run.pixels = pixels == run.pixels, pixels
            if not same:
                run.same = 0
                continue
            frozen = run.same >= FROZEN_PICTURES  # by now the camera may stand still
            moved = v_last is not None and float(v_last[i].abs().max()) * dt > FROZEN_MOVE
            run.same = run.same + 1 if frozen or moved else 0

    def judge(
        self, belief: Belief, v_cam: Float[Tensor, "b 6"], times: tuple[float, float]
    ) -> Float[Tensor, "b 6"]:
        """The twists, zero where a run is lost or the goal is not recognised in its picture.

        times: from one picture to the next, and the law's time constant [s].
        """
        self._begin(len(v_cam))
        self.belief, self.dt = belief, times[0]
        measured = zip(
            belief.recognised.tolist(),
            belief.T_goal_cam.tolist(),
            torch.diagonal(belief.covariance, 0, 1, 2).tolist(),
            belief.agree.tolist(),
            belief.blocks.tolist(),
            belief.told_apart.tolist(),
            belief.compared.tolist(),
            belief.by_pose.tolist(),
            v_cam.tolist(),
            strict=True,
        )
        for run, each in zip(self.runs, measured, strict=True):
            self._judge(run, each, times)
        still = [run.lost or not run.recognised for run in self.runs]
        if not any(still):
            return v_cam
        return v_cam.masked_fill(torch.tensor(still, device=v_cam.device)[:, None], 0.0)

    def _begin(self, n: int) -> None:
        """Forget what was before, where there are other runs now."""
        if len(self.runs) != n:
            self.runs = [_Run() for _ in range(n)]

    def _judge(self, run: _Run, measured: tuple[Any, ...], times: tuple[float, float]) -> None:
        recognised, T, variances, agree, blocks, run.told_apart, compared, by_pose, v_cam = measured
        dt, constant = times
        run.recognised = recognised and not run.useless
        run.unseen = 0 if run.recognised else run.unseen + 1
        run.seen |= run.recognised
        metres, radians = errors(T)
        if run.recognised and metres >= 0:  # not NaN
            run.T_last = T
        most, widest = self.tolerance.metres, self.tolerance.radians
        run.near = metres <= most and radians <= widest
        deviations = math.sqrt(sum(variances[:3])), math.sqrt(sum(variances[3:]))
        run.sure = run.near and metres + deviations[0] <= most and radians + deviations[1] <= widest
        run.agrees = agree > MIN_AGREEING and blocks >= MIN_BLOCKS
        slow = math.hypot(*v_cam[:3]) * dt <= most and math.hypot(*v_cam[3:]) * dt <= widest
        arrives = run.agrees and run.told_apart and slow and run.recognised
        if run.within >= ARRIVED_PICTURES:
            for error, deviation, limit in zip(
                (metres, radians), deviations, (most, widest), strict=True
            ):
                arrives &= error - deviation <= limit
                arrives &= max(error, deviation) <= LEAVES * limit
        else:
            arrives &= run.sure
        run.within = run.within + compared if arrives else 0
        # An estimate that fluctuates about the tolerance gets no nearer either.
        unsure = metres - UNSURE * deviations[0] <= most
        nearer = run.near or unsure or not by_pose or not metres >= NEARER * run.least
        run.least = metres if nearer and metres < run.least else run.least
        run.no_nearer = 0 if nearer else run.no_nearer + 1
        run.diverged |= run.no_nearer * dt > PATIENCE * constant
        run.late = run.unseen * dt >= LOST_AFTER and run.unseen >= LOST_PICTURES
        run.lost = run.diverged or run.late

    @property
    def arrived(self) -> list[bool]:
        """Which runs have arrived."""
        return [run.within >= ARRIVED_PICTURES for run in self.runs]

    @property
    def arrives(self) -> list[bool]:
        """Which runs will have arrived if a few more pictures show what the last one did."""
        return [0 < run.within < ARRIVED_PICTURES for run in self.runs]

    @property
    def next_arrives(self) -> list[bool]:
        """Which runs will have arrived if the next picture shows what the last ones did."""
        return [run.within == ARRIVED_PICTURES - 1 for run in self.runs]

    @property
    def lost(self) -> list[bool]:
        """Which runs are lost."""
        return [run.lost for run in self.runs]

    def statuses(self, words: list[str], depth: GoalDepth) -> list[Status]:
        """The status of each run; words: the method's own on each. depth: of the goals."""
        if self.belief is None:
            return [Status(Phase.SEARCHING, Reason.NO_PICTURE, Reason.NO_PICTURE.value)]
        return [self._status(i, each, depth) for i, each in enumerate(words)]

    def _status(self, i: int, words: str, depth: GoalDepth) -> Status:
        belief = self.belief
        assert belief is not None
        T, C, agreement = belief.T_goal_cam[i], belief.covariance[i], float(belief.agreement[i])
        has_pose = bool(T.isfinite().all())
        run = self.runs[i]
        phase, reason = phase_of(run, bool(belief.refining[i]), has_pose)
        if (phase, reason) == (Phase.LOST, Reason.NOT_RECOGNISED) and run.T_last is not None:
            T_last = torch.tensor(run.T_last, dtype=torch.float64)
            leaves = depth.share_seen(T_last) < LEAST_SEEN
            reason = Reason.LEFT if leaves else Reason.CHANGED
        status = Status(
            phase=phase,
            reason=reason,
            sentence="",
            T_goal_cam=T if has_pose else None,
            covariance=C if bool(C.isfinite().all()) else None,
            agreement=None if math.isnan(agreement) else agreement,
            age=float(belief.misses[i]) * self.dt if has_pose else None,
        )
        words = run.search.sentence(words)
        return replace(status, sentence=sentence(status, self.tolerance, words))


def phase_of(run: _Run, refining: bool, has_pose: bool) -> tuple[Phase, Reason]:
    """How far a run is, and why it is no farther."""
    if run.search.active:
        return Phase.SEARCHING, Reason.SEARCHES
    if run.lost:
        causes = {
            Reason.BLANK: run.blank,
            Reason.FROZEN: run.useless,
            Reason.DIVERGED: run.diverged,
            Reason.NOT_RECOGNISED: True,
        }
        return Phase.LOST, next(reason for reason, holds in causes.items() if holds)
    if run.within >= ARRIVED_PICTURES:
        return Phase.ARRIVED, Reason.WITHIN_TOLERANCE
    phase = Phase.APPROACHING if run.seen else Phase.SEARCHING
    doubts = {
        Reason.BLANK: run.blank,
        Reason.FROZEN: run.useless,
        Reason.NOT_RECOGNISED: not run.recognised,
        Reason.NO_POSE: not has_pose,
        Reason.FAR: not run.near,
        Reason.UNCERTAIN: not run.sure,
        Reason.DISAGREES: not run.agrees,
        Reason.REPEATS: not run.told_apart,
        Reason.MOVING: True,
    }
    reason = next(reason for reason, holds in doubts.items() if holds)
    return Phase.REFINING if refining else phase, reason


def errors(T_goal_cam: list[list[float]]) -> tuple[float, float]:
    """Distance [m] and angle [rad] from the goal; NaN where there is no pose."""
    metres = math.hypot(*(row[3] for row in T_goal_cam[:3]))
    # |R - 1| = 2 sqrt(2) sin(angle / 2)
    turn = [T_goal_cam[i][j] - (i == j) for i in range(3) for j in range(3)]
    return metres, 2 * math.asin(min(1.0, math.hypot(*turn) / math.sqrt(8)))


def contrasts(pixels: Float[Tensor, "b n"]) -> list[float]:
    """The range of each picture's grey levels, of the pixels that are seen; 0 where none is."""
    low, high = torch.aminmax(pixels, dim=1)
    if low.isnan().any():
        unseen = pixels.isnan()
        low = pixels.masked_fill(unseen, torch.inf).amin(1)
        high = torch.maximum(low, pixels.masked_fill(unseen, -torch.inf).amax(1))
        low = low.where(high < torch.inf, high)
    return (high - low).nan_to_num(0.0).tolist()


def sentence(status: Status, tolerance: Tolerance, words: str) -> str:
    """The status in words, with its numbers; words: the method's own."""
    parts = [f"{status.phase.value}: {status.reason.value}"]
    if status.phase is not Phase.LOST and status.most_mm is not None:
        parts.append(
            f"{status.mm:.2g} mm and {status.deg:.2g} deg from the goal, with 95 % no more than "
            f"{status.most_mm:.2g} mm and {status.most_deg:.2g} deg; asked for: "
            f"{tolerance.mm:g} mm and {tolerance.deg:g} deg"
        )
    return "; ".join([*parts, words] if words else parts)
