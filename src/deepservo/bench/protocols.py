"""Test sets by name, poses from files, and one measured run of a controller on them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import memory
from deepservo.bench import metrics
from deepservo.bench.conditions import distinct
from deepservo.bench.sets import SETS
from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.loop import Simulator, Trajectory, World, servo
from deepservo.methods.base import Controller
from deepservo.methods.true_pose import TruePose
from deepservo.scene import PlanarScene

MOST = 10_000  # runs at once: their pictures stand in memory together
FARTHEST = 1e4  # metres
# Memory in grey pictures of float32, as measured: a run's own (what is seen, was seen, and the goal), and what a method works with.
A_RUN, FEW, WORKING = 3, 15, {"auto": 240, "sift": 100, "dfbvs": 80, "dct": 130, "pca": 1000}
SET_NAMES = ("lookat", "screw", "lookat-rz", "lookat-rz-perturbed", "gaussian")


@dataclass(frozen=True)
class Starts:
    """Where B runs start and end: poses (B, 4, 4), and goal pictures where they are not simply rendered at the goals."""

    name: str
    Ts_world_cam: Float[Tensor, "b 4 4"]
    Ts_world_goal: Float[Tensor, "b 4 4"] | None
    goal: Float[Tensor, "g 1 h w"]
    seed: int | None


def sampled(name: str, n: int, seed: int, scene: PlanarScene, camera: Camera, distance: float) -> Starts:
    """n starts of a set that asks nothing of the views, scaled to `distance`; InputError names the sets there are."""
    if name not in SET_NAMES:
        raise unknown("set", name, SET_NAMES)
    check_starts(n)
    (part,) = SETS[name]
    Ts_cam, Ts_goal = part.draw(n, torch.Generator().manual_seed(seed), distance, camera)
    return Starts(name, Ts_cam, Ts_goal, part.condition.goals(scene, camera, Ts_goal, seed, torch.arange(n)), seed)


def check_starts(n: int) -> None:
    """InputError where so many cannot be run at once."""
    if not 1 <= n <= MOST:
        raise InputError(f"{n} starts cannot be run at once; ask for 1 to {MOST}")


def check_memory(n: int, camera: Camera, method: str, remedy: str) -> None:
    """InputError, with the gigabytes, where n runs of a method at once would need more memory than there is."""
    working = next((pictures for name, pictures in WORKING.items() if method.startswith(name)), FEW)
    needed = 4 * camera.width * camera.height * (A_RUN * n + working)
    size = f"{camera.width} x {camera.height} pixels"
    memory.check(needed, f"{method} on {n} picture{'s' * (n > 1)} of {size} at once", remedy)


def goal_pictures(scene: PlanarScene, camera: Camera, Ts_world_goal: Float[Tensor, "b 4 4"]) -> Float[Tensor, "g 1 h w"]:
    """The goals rendered: one picture where all runs share one goal, else one each."""
    return scene.render(camera, distinct(Ts_world_goal))


def read_poses(path: Path) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"] | None]:
    """`T_world_cam` and, where the file has it, `T_world_goal`, (N, 4, 4) in metres, from an .npz file.

    Raises InputError for a missing or foreign file, a wrong shape, NaN, a matrix that is no rigid motion, or a camera behind
    the plane (z >= 0) or farther away than FARTHEST.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("T_world_cam", "T_world_goal") if name in file}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give an .npz file of poses, written with numpy.savez") from None
    except Exception as error:  # a foreign or corrupt file fails anywhere in zipfile, zlib and numpy, and in any way
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read as an .npz file of poses ({why}); write it with numpy.savez") from None
    if "T_world_cam" not in found:
        raise InputError(f"{path}: holds no T_world_cam; write it with numpy.savez(file, T_world_cam=..., T_world_goal=...)")
    poses = {name: check_poses(np.asarray(value), f"{path}: {name}") for name, value in found.items()}
    cam, goal = poses["T_world_cam"], poses.get("T_world_goal")
    if goal is not None and len(goal) == 1:
        goal = goal.expand(len(cam), 4, 4)
    if goal is not None and len(goal) != len(cam):
        raise InputError(f"{path}: T_world_cam has {len(cam)} poses and T_world_goal {len(goal)}; give one goal for all, or one each")
    return cam, goal


def check_poses(Ts: np.ndarray, what: str) -> Float[Tensor, "n 4 4"]:
    """The poses as float64; InputError, naming `what`, where they cannot be a camera's before the plane."""
    poses = check_rigid(Ts, what)
    behind = poses[:, 2, 3] >= 0
    if behind.any():
        k = int(behind.nonzero()[0])
        raise InputError(f"{what}[{k}] has z = {float(poses[k, 2, 3]):g}: behind the plane z = 0; the camera's z must be negative")
    return poses


def check_rigid(Ts: np.ndarray, what: str) -> Float[Tensor, "n 4 4"]:
    """The poses as float64; InputError, naming `what`, where they are no rigid motions in metres."""
    if Ts.dtype.kind not in "fiu" or Ts.ndim != 3 or Ts.shape[1:] != (4, 4) or not 1 <= len(Ts) <= MOST:
        raise InputError(f"{what} has shape {Ts.shape} of {Ts.dtype}; give numbers of shape (N, 4, 4), N from 1 to {MOST}")
    poses = torch.from_numpy(Ts.astype(np.float64))
    finite = torch.isfinite(poses).flatten(1).all(1)
    if not finite.all():
        raise InputError(f"{what}[{int((~finite).nonzero()[0])}] holds NaN or infinite values; give finite ones")
    R, bottom = poses[:, :3, :3], torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    off = (R @ R.mT - torch.eye(3, dtype=torch.float64)).abs().flatten(1).amax(1)
    rigid = (off < 1e-4) & (torch.linalg.det(R) > 0) & ((poses[:, 3] - bottom).abs().amax(1) < 1e-6)
    if not rigid.all():
        raise InputError(
            f"{what}[{int((~rigid).nonzero()[0])}] is not a rigid motion; give a rotation, a translation and the last row 0 0 0 1"
        )
    far = poses[:, :3, 3].abs().amax(1) > FARTHEST
    if far.any():
        raise InputError(f"{what}[{int(far.nonzero()[0])}] lies over {FARTHEST:g} m away; give metres")
    return poses


def measure(
    controller: Controller,
    method: str,
    scene: PlanarScene,
    scene_name: str,
    starts: Starts,
    budget: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    world: World | None = None,
    dt: float = 1.0,
) -> tuple[Trajectory, dict[str, Any]]:
    """Run a controller from the starts, in the simulator or in another `world` that stands there, and make its row of results.json."""
    metrics.reset_peak()
    begin = time.perf_counter()
    world = world or Simulator(scene, controller.camera, starts.Ts_world_cam)
    controller.pace(dt)
    controller.set_goal(starts.goal)
    if isinstance(controller, TruePose):
        if starts.Ts_world_goal is None:
            raise InputError("pbvs: the goal's pose is unknown; give T_world_goal in the poses file")
        controller.follow(world, starts.Ts_world_goal)
    trajectory = servo(world, controller, starts.goal, budget, dt, progress)
    seconds = time.perf_counter() - begin
    row = metrics.row(
        trajectory, starts.Ts_world_goal, controller.camera, method=method, set=starts.name, scene=scene_name,
        gain=controller.gain, seed=starts.seed, seconds=seconds,
    )  # fmt: skip
    return trajectory, row
