"""The published rules of a run, and one row of results.json."""

import math
import platform
import resource
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.geometry import se3
from deepservo.loop import Trajectory

REFERENCE_GAIN = 0.1
BOOTSTRAP = 1000


def errors(Ts_world_cam: Float[Tensor, "*batch 4 4"], T_world_goal: Float[Tensor, "*batch 4 4"]) -> tuple[Tensor, Tensor]:
    """Distance to the goal [m] and angle [rad]."""
    return se3.distance(T_world_goal, Ts_world_cam)


def converged(start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> Bool[Tensor, " b"]:
    """Errors [m], [rad] both under 10 % of the start's, or under 1 cm and 1 deg."""
    relative = (end[0] < 0.1 * start[0]) & (end[1] < 0.1 * start[1])
    return relative | ((end[0] < 0.01) & (end[1] < math.radians(1)))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a rate."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of a mean by resampling; None of nothing."""
    if len(values) == 0:
        return None
    means = np.random.default_rng(seed).choice(values, (BOOTSTRAP, len(values))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def reference(T_start: Float[Tensor, "b 4 4"], T_goal: Float[Tensor, "b 4 4"], steps: int) -> Float[Tensor, "s_plus_1 b 4 4"]:
    """The reference trajectory: true-pose PBVS at gain 0.1, one second a step."""
    poses = [T_start]
    for _ in range(steps):
        poses.append(poses[-1] @ se3.exp(control.pbvs(se3.inverse(T_goal) @ poses[-1], REFERENCE_GAIN)))
    return torch.stack(poses)


def path_length(Ts: Float[Tensor, "s b 4 4"], steps: Int[Tensor, " b"] | None = None) -> Float[Tensor, " b"]:
    """Length of each path [m], of its first `steps` steps where given."""
    lengths = (Ts[1:, :, :3, 3] - Ts[:-1, :, :3, 3]).norm(dim=-1)
    return lengths.sum(0) if steps is None else (lengths * (torch.arange(len(lengths))[:, None] < steps)).sum(0)


def row(
    trajectory: Trajectory,
    T_world_goal: Float[Tensor, "b 4 4"] | None,
    camera: Camera,
    *,
    method: str,
    set: str,
    scene: str,
    gain: float,
    seed: int | None,
    seconds: float,
) -> dict[str, Any]:
    """One row of results.json; rates are fractions, ends in mm and deg; pose figures are None when no goal pose is known."""
    n = trajectory.v_cam.shape[1]
    ms = trajectory.step_ms.numpy()
    figures: dict[str, Any] = {"method": method, "set": set, "scene": scene, "n": n}
    poses = dict.fromkeys(
        [
            "converged",
            "converged_ci",
            "strict",
            "settled",
            "end_mm_mean",
            "end_mm_std",
            "end_mm_median",
            "end_mm_ci",
            "end_deg_mean",
            "end_deg_std",
            "end_deg_median",
            "end_mm_median_all",
            "ape_cm",
            "ape_deg",
            "length_ratio",
            "steps_median",
        ]
    )
    if T_world_goal is not None and bool(torch.isfinite(trajectory.Ts_world_cam).all()):
        poses |= _pose_figures(trajectory, T_world_goal)
    timing = {
        "time_s": seconds,
        "ms_per_step_p50": float(np.median(ms)),
        "ms_per_step_p99": float(np.quantile(ms, 0.99)),
        "steps_per_s": float(trajectory.steps.sum()) / max(seconds, 1e-9),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    last = trajectory.image_error[trajectory.steps - 1, torch.arange(n)]
    run = {"image_error_median": float(last.median()), "camera": asdict(camera), "gain": gain, "dt": trajectory.dt}
    return figures | poses | timing | run | {"budget": trajectory.budget, "seed": seed}


def _pose_figures(trajectory: Trajectory, T_world_goal: Tensor) -> dict[str, Any]:
    Ts, n = trajectory.Ts_world_cam, trajectory.v_cam.shape[1]
    start, end = errors(Ts[0], T_world_goal), errors(Ts[-1], T_world_goal)
    home = converged(start, end)
    hits = int(home.sum())
    mm, deg = (1e3 * end[0]).numpy(), torch.rad2deg(end[1]).numpy()
    good = home.numpy()
    true = reference(Ts[0], T_world_goal, len(Ts) - 1)
    apart_m, apart_rad = se3.distance(true, Ts)
    ratio = path_length(Ts) / path_length(true, trajectory.steps).clamp(min=1e-6)
    own = (torch.arange(len(Ts))[:, None] <= trajectory.steps).double()  # not the poses repeated while other runs go on
    speed = trajectory.v_cam * trajectory.dt
    recent = [speed[max(0, k - 10) : k, i] for i, k in enumerate(trajectory.steps.tolist())]
    fastest = torch.stack([torch.stack([v[:, :3].norm(dim=1).max(), v[:, 3:].norm(dim=1).max()]) for v in recent])
    settled = (fastest[:, 0] < 1e-4) & (fastest[:, 1] < math.radians(0.01))
    within = ((apart_m * own).sum(0) / own.sum(0), (apart_rad * own).sum(0) / own.sum(0))
    return {
        "converged": hits / n,
        "converged_ci": wilson(hits, n),
        "strict": float(((end[0] < 1e-3) & (end[1] < math.radians(0.1))).double().mean()),
        "settled": float(settled.double().mean()),
        "end_mm_mean": _or_none(mm[good], np.mean),
        "end_mm_std": _or_none(mm[good], np.std),
        "end_mm_median": _or_none(mm[good], np.median),
        "end_mm_ci": bootstrap_mean(mm[good]),
        "end_deg_mean": _or_none(deg[good], np.mean),
        "end_deg_std": _or_none(deg[good], np.std),
        "end_deg_median": _or_none(deg[good], np.median),
        "end_mm_median_all": float(np.median(mm)),
        "ape_cm": _or_none(100 * within[0].numpy()[good], np.mean),
        "ape_deg": _or_none(torch.rad2deg(within[1]).numpy()[good], np.mean),
        "length_ratio": _or_none(ratio.numpy()[good], np.mean),
        "steps_median": _or_none(trajectory.steps.numpy()[good], np.median),
    }


def _or_none(values: np.ndarray, figure: Any) -> float | None:
    return float(figure(values)) if len(values) else None


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
