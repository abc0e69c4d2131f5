"""The published rules that judge a run, and its figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo.geometry import se3
from deepservo.loop import Ending, Trajectory

REFERENCE_GAIN = 0.1
REFERENCE_STEPS = 300  # after them 0.9^300 of the way is left
SHARES = 101  # of a path: 0, 1, .. 100 %
TURNS_ONLY = 1e-3  # m; a reference path shorter than this only turns
BOOTSTRAP = 1000
FAR_OFF = 3  # tolerances from the goal: an arrival there is a false one


def errors(
    Ts_world_cam: Float[Tensor, "*batch 4 4"], T_world_goal: Float[Tensor, "*batch 4 4"]
) -> tuple[Tensor, Tensor]:
    """Distance to the goal [m] and angle [rad]."""
    return se3.distance(T_world_goal, Ts_world_cam)


def converged(start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> Bool[Tensor, "*batch b"]:
    """Errors [m], [rad] both under 10 % of the start's, or under 1 cm and 1 deg."""
    relative = (end[0] < 0.1 * start[0]) & (end[1] < 0.1 * start[1])
    return relative | ((end[0] < 0.01) & (end[1] < math.radians(1)))


def converged_of(
    trajectory: Trajectory, T_world_goal: Float[Tensor, "b 4 4"] | None
) -> Bool[Tensor, " b"] | None:
    """Which runs converged; None where the goals' poses are unknown."""
    if T_world_goal is None:
        return None
    start, end = (errors(trajectory.Ts_world_cam[i], T_world_goal) for i in (0, -1))
    return converged(start, end)


def steps_to_converge(
    Ts: Float[Tensor, "s b 4 4"], T_world_goal: Float[Tensor, "b 4 4"]
) -> Int[Tensor, " b"]:
    """The first step from which a run stays within the rule to its end; of a run that did not
    converge, all steps and one.
    """
    metres, radians = errors(Ts, T_world_goal)
    within = converged((metres[0], radians[0]), (metres, radians))
    return len(Ts) - within.flip(0).long().cumprod(0).sum(0)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a rate."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p of McNemar's test on runs of which only one of two methods converged.

    won: runs in which only the first method converged. lost: only the second. 1 where both are 0.
    """
    n = won + lost
    tail = sum(math.comb(n, k) for k in range(min(won, lost) + 1))
    return min(1.0, tail / 2 ** (n - 1)) if n else 1.0


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of a mean by resampling; None without values."""
    if len(values) == 0:
        return None
    means = np.random.default_rng(seed).choice(values, (BOOTSTRAP, len(values))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def reference(
    T_start: Float[Tensor, "b 4 4"], T_goal: Float[Tensor, "b 4 4"], steps: int
) -> Float[Tensor, "s_plus_1 b 4 4"]:
    """The reference trajectory: true-pose PBVS at gain 0.1, one second a step, all steps at once.

    With R = exp(theta u) and t of `T_goal_cam`, a step leaves 0.9 theta, and (1 - 0.1 V) t, where V
    belongs to a turn of -0.1 theta about the same u: along u it is 1, and beside u a complex
    number. So t is a product of such numbers.
    """
    T = se3.inverse(T_goal) @ T_start
    turn, t = se3.so3_log(T[:, :3, :3]), T[:, :3, 3]
    theta = turn.norm(dim=1)
    up = torch.zeros_like(turn)
    up[:, 2] = 1
    u = torch.where((theta > 1e-12)[:, None], turn / theta.clamp(min=1e-12)[:, None], up)
    left = (1 - REFERENCE_GAIN) ** torch.arange(steps + 1, dtype=T.dtype)[:, None]
    phi = -REFERENCE_GAIN * left[:-1] * theta
    V = torch.complex(torch.sinc(phi / math.pi), phi / 2 * torch.sinc(phi / 2 / math.pi) ** 2)
    beside = torch.cat([torch.ones_like(V[:1]), (1 - REFERENCE_GAIN * V).cumprod(0)])
    along = (t * u).sum(1, keepdim=True) * u
    first, second = t - along, torch.linalg.cross(u, t)
    ts = left[..., None] * along + beside.real[..., None] * first + beside.imag[..., None] * second
    return torch.cat(
        [T_start[None], T_goal @ se3.transform(se3.so3_exp(left[1:, :, None] * turn), ts[1:])]
    )


def path_length(
    Ts: Float[Tensor, "s b 4 4"], steps: Int[Tensor, " b"] | None = None
) -> Float[Tensor, " b"]:
    """Length of each path [m], of its first `steps` steps where given."""
    lengths = (Ts[1:, :, :3, 3] - Ts[:-1, :, :3, 3]).norm(dim=-1)
    return (
        lengths.sum(0)
        if steps is None
        else (lengths * (torch.arange(len(lengths))[:, None] < steps)).sum(0)
    )


def at_shares(
    Ts: Float[Tensor, "s_plus_1 b 4 4"], moved: Float[Tensor, "s b"]
) -> Float[Tensor, "k b 4 4"]:
    """The poses where 0, 1, .. 100 % of each path are done, between two steps on the motion from
    one to the other.

    moved: how far each step went. A path without any motion stays at its last pose.
    """
    done = torch.cat([torch.zeros_like(moved[:1]), moved.cumsum(0)])
    share = (done / done[-1].clamp(min=1e-12)).T.contiguous()
    wanted = torch.linspace(0, 1, SHARES, dtype=share.dtype).repeat(len(share), 1)
    after = torch.searchsorted(share, wanted).clamp(1, len(moved))
    low, high = share.gather(1, after - 1), share.gather(1, after)
    part = ((wanted - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).T[..., None]
    run = torch.arange(len(share))
    first, second = Ts[after.T - 1, run], Ts[after.T, run]
    return first @ se3.exp(part * se3.log(se3.inverse(first) @ second))


def beside_reference(
    Ts: Float[Tensor, "s_plus_1 b 4 4"],
    T_world_goal: Float[Tensor, "b 4 4"],
    steps: Int[Tensor, " b"],
    at: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean distance [m], [rad] of each run to its reference and the ratio of their lengths;
    `steps`: of each run until it stopped.

    The ratio is NaN where the reference only turns.

    at "step": with the reference after as many steps. at "path": with the whole reference at equal
    share of the path, which is of its turning where the reference only turns.
    """
    true = reference(Ts[0], T_world_goal, len(Ts) - 1 if at == "step" else REFERENCE_STEPS)
    length = path_length(true, steps if at == "step" else None)
    ratio = torch.where(length > TURNS_ONLY, path_length(Ts) / length, torch.nan)
    if at == "step":
        apart = se3.distance(true, Ts)
        # Without the poses that are repeated while other runs go on.
        own = torch.arange(len(Ts))[:, None] <= steps
    else:
        moved = [se3.distance(path[:-1], path[1:]) for path in (true, Ts)]
        along = [torch.where(length > TURNS_ONLY, metres, radians) for metres, radians in moved]
        apart = se3.distance(
            *(at_shares(path, way) for path, way in zip((true, Ts), along, strict=True))
        )
        own = torch.ones_like(apart[0], dtype=torch.bool)
    metres, radians = ((a * own).sum(0) / own.sum(0) for a in apart)
    return metres, radians, ratio


@dataclass(frozen=True)
class Judged:
    """Runs beside their goals, one entry a run."""

    converged: np.ndarray
    mm: np.ndarray
    deg: np.ndarray
    settled: np.ndarray
    steps: np.ndarray
    ape_cm: np.ndarray
    ape_deg: np.ndarray
    length_ratio: np.ndarray
    ending: np.ndarray
    """`loop.Ending`, in words."""
    seen_mm: np.ndarray
    seen_deg: np.ndarray
    """Errors when the last picture was taken."""
    most_mm: np.ndarray
    most_deg: np.ndarray
    """What the last status has as the most that they are, with 95 %; NaN where it has none."""
    said_mm: np.ndarray
    said_deg: np.ndarray
    """Errors when the picture was taken that first showed an arrival; NaN where none did."""
    asked_mm: np.ndarray
    asked_deg: np.ndarray
    """How near to the goal it had to come."""

    @property
    def arrived(self) -> np.ndarray:
        """Which runs ended with an arrival."""
        return self.ending == Ending.ARRIVED.value

    @property
    def within(self) -> np.ndarray:
        """Which runs are within their tolerance at their ends."""
        return (self.seen_mm <= self.asked_mm) & (self.seen_deg <= self.asked_deg)

    @property
    def falsely_arrived(self) -> np.ndarray:
        """Which runs were said to have arrived, and were over FAR_OFF times the tolerance off."""
        most_mm, most_deg = FAR_OFF * self.asked_mm, FAR_OFF * self.asked_deg
        at_first = (self.said_mm > most_mm) | (self.said_deg > most_deg)
        at_end = (self.seen_mm > most_mm) | (self.seen_deg > most_deg)
        return at_first | (self.arrived & at_end)


def ape_at(gain: float, dt: float) -> str:
    """Whether a run is compared with its reference step by step ("step") or at equal shares of the
    path ("path"): with another gain it is elsewhere on the same path at each step.
    """
    return "step" if math.isclose(gain * dt, REFERENCE_GAIN) else "path"


def judge(trajectory: Trajectory, T_world_goal: Float[Tensor, "b 4 4"], gain: float) -> Judged:
    """What a row says of the poses, run by run."""
    Ts = trajectory.Ts_world_cam
    start, end = errors(Ts[0], T_world_goal), errors(Ts[-1], T_world_goal)
    metres, radians, ratio = beside_reference(
        Ts, T_world_goal, trajectory.steps, ape_at(gain, trajectory.dt)
    )
    return Judged(
        converged=converged(start, end).numpy(),
        mm=(1e3 * end[0]).numpy(),
        deg=end[1].rad2deg().numpy(),
        settled=_settled(trajectory).numpy(),
        steps=steps_to_converge(Ts, T_world_goal).numpy(),
        ape_cm=(100 * metres).numpy(),
        ape_deg=radians.rad2deg().numpy(),
        length_ratio=ratio.numpy(),
        **_told(trajectory, T_world_goal),
    )


def _told(trajectory: Trajectory, T_world_goal: Float[Tensor, "b 4 4"]) -> dict[str, np.ndarray]:
    """What the runs' statuses say, and the errors that are true then."""
    Ts, runs = trajectory.Ts_world_cam, torch.arange(len(trajectory.steps))
    first = torch.tensor(
        [-1 if end.arrived_at is None else end.arrived_at for end in trajectory.ends]
    )
    said, seen = (
        errors(Ts[steps.clamp(min=0), runs], T_world_goal)
        for steps in (first, trajectory.steps - 1)
    )
    most = [(end.status.most_mm, end.status.most_deg) for end in trajectory.ends]
    most_mm, most_deg = np.array(most, dtype=float).reshape(-1, 2).T
    said_mm, said_deg = (
        torch.where(first >= 0, each, torch.nan).numpy()
        for each in (1e3 * said[0], said[1].rad2deg())
    )
    return {
        "ending": np.array([end.ending.value for end in trajectory.ends]),
        "seen_mm": (1e3 * seen[0]).numpy(),
        "seen_deg": seen[1].rad2deg().numpy(),
        "most_mm": most_mm,
        "most_deg": most_deg,
        "said_mm": said_mm,
        "said_deg": said_deg,
        "asked_mm": np.full(len(said_mm), trajectory.tolerance.mm),
        "asked_deg": np.full(len(said_mm), trajectory.tolerance.deg),
    }


def _settled(trajectory: Trajectory) -> Bool[Tensor, " b"]:
    """Each of the last ten steps under 0.1 mm and 0.01 deg."""
    speed = trajectory.v_cam * trajectory.dt
    recent = [speed[max(0, k - 10) : k, i] for i, k in enumerate(trajectory.steps.tolist())]
    fastest = torch.stack(
        [torch.stack([v[:, :3].norm(dim=1).max(), v[:, 3:].norm(dim=1).max()]) for v in recent]
    )
    return (fastest[:, 0] < 1e-4) & (fastest[:, 1] < math.radians(0.01))


def _of(figure: Callable[[np.ndarray], Any], values: np.ndarray) -> float | None:
    return float(figure(values)) if len(values) else None


POSE_FIGURES: dict[str, Callable[[Judged], Any]] = {
    "converged": lambda runs: float(runs.converged.mean()),
    "converged_ci": lambda runs: wilson(int(runs.converged.sum()), len(runs.converged)),
    "strict": lambda runs: float(((runs.mm < 1) & (runs.deg < 0.1)).mean()),
    "settled": lambda runs: float(runs.settled.mean()),
    "end_mm_mean": lambda runs: _of(np.mean, runs.mm[runs.converged]),
    "end_mm_std": lambda runs: _of(np.std, runs.mm[runs.converged]),
    "end_mm_median": lambda runs: _of(np.median, runs.mm[runs.converged]),
    "end_mm_ci": lambda runs: bootstrap_mean(runs.mm[runs.converged]),
    "end_deg_mean": lambda runs: _of(np.mean, runs.deg[runs.converged]),
    "end_deg_std": lambda runs: _of(np.std, runs.deg[runs.converged]),
    "end_deg_median": lambda runs: _of(np.median, runs.deg[runs.converged]),
    "end_mm_median_all": lambda runs: float(np.median(runs.mm)),
    "ape_cm": lambda runs: _of(np.mean, runs.ape_cm[runs.converged]),
    "ape_deg": lambda runs: _of(np.mean, runs.ape_deg[runs.converged]),
    "length_ratio": lambda runs: _of(
        np.mean, runs.length_ratio[runs.converged & np.isfinite(runs.length_ratio)]
    ),
    "steps_median": lambda runs: _of(np.median, runs.steps[runs.converged]),
    "tolerance": lambda runs: [float(runs.asked_mm[0]), float(runs.asked_deg[0])],
    "false_arrivals": lambda runs: int(runs.falsely_arrived.sum()),
    "missed_arrivals": lambda runs: [
        int((runs.within & ~runs.arrived).sum()),
        int(runs.within.sum()),
    ],
    "bounds_hold": lambda runs: [
        _of(np.mean, (seen <= most)[runs.arrived])
        for seen, most in ((runs.seen_mm, runs.most_mm), (runs.seen_deg, runs.most_deg))
    ],
}


def endings(ending: np.ndarray) -> dict[str, float]:
    """The shares of the runs that arrived, and that were lost, as they themselves believe."""
    return {
        each.value: float((ending == each.value).mean()) for each in (Ending.ARRIVED, Ending.LOST)
    }


def figures(runs: Judged | None) -> dict[str, Any]:
    """Each of POSE_FIGURES; None where no pose is known."""
    return {name: None if runs is None else figure(runs) for name, figure in POSE_FIGURES.items()}
