"""The closed loop. READ THIS FIRST: everything else answers a question that this page asks.

while the camera is not home:  image = world.observe();  v_cam = controller.velocity(image);  world.apply(v_cam, dt)
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo.camera import Camera
from deepservo.geometry import se3
from deepservo.methods.base import Controller
from deepservo.scene import PlanarScene


class World(Protocol):
    """A camera, or B of them, that can be looked through and moved. The simulator and a robot are worlds."""

    def observe(self) -> Float[Tensor, "b c h w"]:
        """What the cameras see now, in [0, 1]."""
        ...

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> None:
        """Move at these twists [m/s, rad/s], each in its camera's frame, for dt seconds."""
        ...

    def keep(self, index: Tensor) -> None:
        """Go on with these cameras alone."""
        ...


class Simulator:
    """B free-flying cameras before a scene: `T_world_cam <- T_world_cam exp(v_cam dt)`."""

    def __init__(self, scene: PlanarScene, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]) -> None:
        self.scene, self.camera, self.T_world_cam = scene, camera, T_world_cam.double()

    def observe(self) -> Float[Tensor, "b c h w"]:
        """The scene rendered."""
        return self.scene.render(self.camera, self.T_world_cam)

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> None:
        """Move along the exponential of the twist."""
        self.T_world_cam = self.T_world_cam @ se3.exp(v_cam.double() * dt)

    def keep(self, index: Tensor) -> None:
        """Go on with these cameras alone."""
        self.T_world_cam = self.T_world_cam[index]


@dataclass(frozen=True)
class Trajectory:
    """B runs of at most S steps. After a run's last step its pose is repeated and its velocity is zero."""

    Ts_world_cam: Float[Tensor, "s_plus_1 b 4 4"]
    v_cam: Float[Tensor, "s b 6"]
    image_error: Float[Tensor, "s b"]
    """Root mean square difference to the goal picture, in grey levels of [0, 1]; NaN after the last step."""
    stage: Int[Tensor, "s b"]
    """1 where the photometric finish steered, 0 where the coarse method did."""
    steps: Int[Tensor, " b"]
    reason: list[str]
    """Why each run stopped, in words."""
    step_ms: Float[Tensor, " s"]
    """Time of one call to `velocity` for the whole batch [ms]."""
    dt: float
    budget: int


# A run has settled when ten steps in a row were all smaller than this [m, rad]: far below the published rule (0.1 mm and
# 0.01 deg), because at gain 0.1 what is left to go is ten times the step.
SETTLED = (3e-7, 1e-6)
SETTLED_STEPS = 10


@torch.no_grad()
def servo(
    world: World,
    controller: Controller,
    goal: Float[Tensor, "b c h w"],
    budget: int | None = None,
    dt: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Steer every camera of `world` until it has settled or spent its budget; the controller's goal is set already.

    `goal` (1 or B images) is only for the reported image error. `progress(step, runs still going)` is called each step.
    """
    budget, controller.dt = budget or controller.budget, dt
    image = world.observe()
    B = len(image)
    going, steps, reason = torch.arange(B), torch.zeros(B, dtype=torch.int64), [""] * B
    pose, small = _poses(world, B), torch.zeros(B, dtype=torch.int64)
    poses, times = [pose], []
    twists: list[Tensor] = []
    errors: list[Tensor] = []
    stages: list[Tensor] = []
    for step in range(budget):
        start = time.perf_counter()
        v_cam = controller.velocity(image)
        times.append(1e3 * (time.perf_counter() - start))
        world.apply(v_cam, dt)
        twist, error, stage = torch.zeros(B, 6, dtype=torch.float64), torch.full((B,), torch.nan), torch.zeros(B, dtype=torch.int8)
        twist[going], stage[going] = v_cam.double(), controller.stage(len(going))
        error[going] = _difference(image, goal if len(goal) == 1 else goal[going])
        pose = pose.clone()
        pose[going] = _poses(world, len(going))
        poses.append(pose)
        twists.append(twist)
        errors.append(error)
        stages.append(stage)
        steps[going] += 1
        still = (v_cam[:, :3].norm(dim=1) * dt < SETTLED[0]) & (v_cam[:, 3:].norm(dim=1) * dt < SETTLED[1])
        small[going] = torch.where(still, small[going] + 1, 0)
        done = small[going] >= SETTLED_STEPS
        last = step == budget - 1
        words = controller.evidence(len(going))
        for i in (torch.ones_like(done) if last else done).nonzero().flatten().tolist():
            why = "settled" if done[i] else f"budget of {budget} steps spent"
            reason[int(going[i])] = f"{why}; {words[i]}" if words[i] else why
        if last or done.all():
            break
        if done.any():
            index = (~done).nonzero().flatten()
            going = going[index]
            world.keep(index)
            controller.keep(index)
        if progress:
            progress(step + 1, len(going))
        image = world.observe()
    return Trajectory(
        torch.stack(poses), torch.stack(twists), torch.stack(errors), torch.stack(stages), steps, reason, torch.tensor(times), dt, budget
    )  # fmt: skip


def _difference(images: Float[Tensor, "b c h w"], goals: Float[Tensor, "#b c h w"]) -> Float[Tensor, " b"]:
    """Root mean square difference, a few pictures at a time: they stay in the processor's cache."""
    there = goals.expand(len(images), -1, -1, -1)
    parts = [(image - goal).square().mean((1, 2, 3)) for image, goal in zip(images.split(4), there.split(4), strict=True)]
    return torch.cat(parts).sqrt()


def _poses(world: World, n: int) -> Float[Tensor, "n 4 4"]:
    """The true poses where the world knows them, NaN where it does not (a real robot)."""
    known = getattr(world, "T_world_cam", None)
    return known.clone() if known is not None else torch.full((n, 4, 4), torch.nan, dtype=torch.float64)
