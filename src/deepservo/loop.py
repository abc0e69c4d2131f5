"""The closed loop. READ THIS FIRST: everything else answers a question that this page asks.

while the camera is not home:  image = world.observe();  v_cam = controller.velocity(image);
world.apply(v_cam, dt)
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo import moved
from deepservo.errors import check_positive
from deepservo.images.pictures import as_images
from deepservo.methods.base import Controller


class World(Protocol):
    """A camera, or B of them, that can be looked through and moved. The simulator and a robot are
    worlds.
    """

    def observe(self) -> Float[Tensor, "b c h w"]:
        """What the cameras see now, in [0, 1]."""
        ...

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> None:
        """Move at these twists [m/s, rad/s], each in its camera's frame, for dt seconds."""
        ...

    def select_runs(self, index: Tensor) -> None:
        """Go on with these cameras alone."""
        ...


@dataclass(frozen=True)
class Trajectory:
    """B runs of at most S steps. After a run's last step its pose is repeated and its velocity is
    zero.
    """

    Ts_world_cam: Float[Tensor, "s_plus_1 b 4 4"]
    v_cam: Float[Tensor, "s b 6"]
    image_error: Float[Tensor, "s b"]
    """Root mean square difference to the goal picture, in grey levels of [0, 1]; NaN after the last
    step.
    """
    refining: Int[Tensor, "s b"]
    """1 where the photometric finish steered, 0 where the coarse method did."""
    steps: Int[Tensor, " b"]
    reason: list[str]
    """Why each run stopped, in words."""
    step_ms: Float[Tensor, " s"]
    """Time of one call to `velocity` for the whole batch [ms]."""
    dt: float
    max_steps: int

    def cpu(self) -> "Trajectory":
        """With all tensors on the processor."""
        moved: dict[str, Any] = {
            name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


# A run has settled when ten steps in a row were all smaller than this [m, rad]: far below the
# published rule (0.1 mm and 0.01 deg), because at gain 0.1 what is left to go is ten times the
# step.
SETTLED = (3e-7, 1e-6)
SETTLED_STEPS = 10
# A method that sees too little holds still and looks again at each picture; after so long, and
# SETTLED_STEPS at least, it gives up.
HELD_S = 2.0
# A run hovers when it has settled by the published rule and its steps no longer lead anywhere:
# their sum is a small share of their lengths', of moving and of turning alike. A law that still
# converges has a share near 1; noise alone would have 0.18.
HOVERING = (1e-4, math.radians(0.01))
HOVERING_STEPS, HOVERING_SHARE = 30, 0.25


@torch.no_grad()
def servo(
    world: World,
    controller: Controller,
    goal: Float[Tensor, "b c h w"],
    max_steps: int | None = None,
    dt: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Steer every camera of `world` until it has settled, hovers, or has taken max_steps; the
    controller's goal is set already.

    `goal` (1 or B images) is only for the reported image error. `progress(step, runs still moving)`
    is called each step.
    """
    check_positive("the time from one picture to the next", dt, "of seconds")
    max_steps, controller.dt, patience = (
        max_steps or controller.max_steps,
        dt,
        max(SETTLED_STEPS, round(HELD_S / dt)),
    )
    image = _seen(world, controller)
    B = len(image)
    active_runs, steps, reason = torch.arange(B), torch.zeros(B, dtype=torch.int64), [""] * B
    Ts, v = (
        torch.empty(max_steps + 1, B, 4, 4, dtype=torch.float64),
        torch.zeros(max_steps, B, 6, dtype=torch.float64),
    )
    error, refining = (
        torch.full((max_steps, B), torch.nan),
        torch.zeros(max_steps, B, dtype=torch.int8),
    )
    Ts[0], times = _poses(world, B), []
    for step in range(max_steps):
        start = time.perf_counter()
        v_cam = controller.velocity(image)
        times.append(1e3 * (time.perf_counter() - start))
        world.apply(v_cam, dt)
        v[step, active_runs], refining[step, active_runs] = (
            v_cam.double(),
            controller.is_refining(len(active_runs)),
        )
        error[step, active_runs] = _difference(image, goal if len(goal) == 1 else goal[active_runs])
        Ts[step + 1] = Ts[step]
        Ts[step + 1, active_runs] = _poses(world, len(active_runs))
        steps[active_runs] += 1
        settled, hovering = _rests(
            v[max(0, step + 1 - HOVERING_STEPS) : step + 1, active_runs] * dt
        )
        moved = (v[max(0, step + 1 - patience) : step + 1, active_runs] != 0).any(2)
        settled &= moved[-SETTLED_STEPS:].any(0) | (len(moved) == patience) & ~moved.any(0)
        done, last = settled | hovering, step == max_steps - 1
        words = controller.status(len(active_runs)) if last or done.any() else []
        for i in (torch.ones_like(done) if last else done).nonzero().flatten().tolist():
            rested = f"held still for {patience * dt:g} s" if not moved[:, i].any() else "settled"
            why = (
                rested
                if settled[i]
                else "settled but for noise"
                if hovering[i]
                else f"still moving after {max_steps} steps"
            )
            reason[int(active_runs[i])] = f"{why}; {words[i]}" if words[i] else why
        if last or done.all():
            break
        if done.any():
            index = (~done).nonzero().flatten()
            active_runs = active_runs[index]
            world.select_runs(index)
            controller.select_runs(index)
        if progress:
            progress(step + 1, len(active_runs))
        image = _seen(world, controller)
    n = len(times)
    return Trajectory(
        Ts[: n + 1].clone(),
        v[:n].clone(),
        error[:n].clone(),
        refining[:n].clone(),
        steps,
        reason,
        torch.tensor(times),
        dt,
        max_steps,
    )


def _seen(world: World, controller: Controller) -> Float[Tensor, "b c h w"]:
    """What the world's cameras see; bytes, as a camera's driver gives them, made grey levels.
    InputError where it is no picture.
    """
    image: object = world.observe()
    if isinstance(image, Tensor) and image.is_floating_point():
        return image  # which the controller looks at itself
    return as_images(image, controller.camera, "what the world observes", controller.colour)


def _rests(moves: Float[Tensor, "s b 6"]) -> tuple[Tensor, Tensor]:
    """Which runs have settled, and which hover, after their last (at most HOVERING_STEPS)
    motions.
    """
    metres, radians = moves[..., :3].norm(dim=-1), moves[..., 3:].norm(dim=-1)
    settled = torch.zeros(moves.shape[1], dtype=torch.bool)
    if len(moves) >= SETTLED_STEPS:
        settled = ((metres < SETTLED[0]) & (radians < SETTLED[1]))[-SETTLED_STEPS:].all(0)
    if len(moves) < HOVERING_STEPS:
        return settled, torch.zeros_like(settled)
    whole = moves.sum(0)
    nowhere = (whole[:, :3].norm(dim=1) < HOVERING_SHARE * metres.sum(0)) & (
        whole[:, 3:].norm(dim=1) < HOVERING_SHARE * radians.sum(0)
    )
    return settled, nowhere & ((metres < HOVERING[0]) & (radians < HOVERING[1])).all(0)


def _difference(
    images: Float[Tensor, "b c h w"], goals: Float[Tensor, "#b c h w"]
) -> Float[Tensor, " b"]:
    """Root mean square difference where both see something, a few pictures at a time: they stay in
    the processor's cache.
    """
    there = goals.expand(len(images), -1, -1, -1)
    parts = [
        (image - goal).square().nanmean((1, 2, 3))
        for image, goal in zip(images.split(4), there.split(4), strict=True)
    ]
    return torch.cat(parts).sqrt()


def _poses(world: World, n: int) -> Float[Tensor, "n 4 4"]:
    """The true poses where the world knows them, NaN where it does not (a real robot)."""
    known = getattr(world, "T_world_cam", None)
    return (
        known.clone()
        if known is not None
        else torch.full((n, 4, 4), torch.nan, dtype=torch.float64)
    )


def __getattr__(name: str) -> Any:
    return moved.attribute(__name__, name)
