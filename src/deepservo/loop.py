"""The closed loop. READ THIS FIRST: every other module serves one of its three lines.

while the camera still moves:
    image = world.observe()
    v_cam = controller.velocity(image)
    world.apply(v_cam, dt)
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo import moved
from deepservo.errors import check_positive
from deepservo.features.causes import Cause
from deepservo.images.pictures import as_images
from deepservo.images.undrawn import Undrawn
from deepservo.methods.base import Controller
from deepservo.methods.status import Phase, Reason, Status, Tolerance


class Ending(Enum):
    """How a run ended."""

    ARRIVED = "arrived"
    """At the goal, within the tolerance."""
    LOST = "lost"
    """The goal was not found again, or the camera came no nearer."""
    OUT_OF_TIME = "out of time"
    """Still moving after the last step."""
    STOPPED = "stopped"
    """At rest, and the method does not know that it has arrived."""


@dataclass(frozen=True)
class End:
    """How a run ended, and why, in words.

    status: after its last picture. arrived_at: the first step whose picture showed that the camera
    had arrived; None where none did. held_by: what kept its pose from being known better, where it
    ended beside its tolerance, or unsure of it.
    """

    ending: Ending
    reason: str
    status: Status
    arrived_at: int | None = None
    held_by: Cause | None = None


class World(Protocol):
    """One camera or B of them: what they see, and what moves them. A robot is a world too."""

    def observe(self) -> Float[Tensor, "b c h w"]:
        """What the cameras see now, in [0, 1]."""
        ...

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> Float[Tensor, "b 6"] | None:
        """Move at these twists [m/s, rad/s], each in its camera's frame, for dt seconds.

        What is returned are the twists at which the cameras really moved; None where that is not
        known.
        """
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
    """1 where the refinement steered, 0 where the coarse method did."""
    steps: Int[Tensor, " b"]
    ends: list[End]
    step_ms: Float[Tensor, " s"]
    """Time of one call to `velocity` for the whole batch [ms]."""
    dt: float
    max_steps: int
    tolerance: Tolerance
    """How near to the goal a run had to come."""

    @property
    def reason(self) -> list[str]:
        """Why each run ended, in words."""
        return [end.reason for end in self.ends]

    def cpu(self) -> "Trajectory":
        """With all tensors on the processor."""
        moved: dict[str, Any] = {
            name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


# A run has settled when ten steps in a row were all smaller than this [m, rad]: far below the
# published rule (0.1 mm and 0.01 deg), because at gain 0.1 the way that is left is ten times the
# step.
SETTLED = (3e-7, 1e-6)
SETTLED_STEPS = 10
# A method that sees too little holds still and looks again at each picture. After so long [s], and
# SETTLED_STEPS at least, the run ends.
PATIENCE_S = 2.0
# A run oscillates when its steps are as small as the published rule asks and no longer lead
# anywhere: their sum is a small share of the sum of their lengths, in translation and in rotation.
# The share is near 1 for a law that still converges; it is 0.18 for noise alone.
OSCILLATING = (1e-4, math.radians(0.01))
OSCILLATING_STEPS, OSCILLATING_SHARE = 30, 0.25


@torch.no_grad()
def servo(
    world: World,
    controller: Controller,
    goal: Float[Tensor, "b c h w"],
    max_steps: int | None = None,
    *,
    dt: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Steer every camera of `world` until it has arrived, is lost, rests, or has taken `max_steps`
    (None: the controller's own); `controller.set_goal` was called before. A lost run that searches
    (`controller.search`) goes on.

    goal: 1 or B pictures, for the reported image error alone. dt: seconds from one picture to the
    next. progress(step, runs still moving) is called after each step. Where no tolerance was asked
    for (`controller.tolerance`), runs that have arrived go on until they rest.
    """
    check_positive("the time from one picture to the next", dt, "of seconds")
    max_steps, controller.dt = max_steps or controller.max_steps, dt
    image, v_done = _seen(world, controller, goal), None
    log = _Log(_poses(world, len(image)), max_steps, dt, controller.tolerance)
    for step in range(max_steps):
        start = time.perf_counter()
        v_cam = controller.velocity(image, v_done)
        log.step_ms.append(1e3 * (time.perf_counter() - start))
        v_done = world.apply(v_cam, dt)
        n = len(log.active_runs)
        log.v_cam[step, log.active_runs] = v_cam.double()
        log.refining[step, log.active_runs] = controller.is_refining(n)
        log.image_error[step, log.active_runs] = _difference(image, log.of_active(goal))
        log.moved_to(_poses(world, n))
        ended = log.ended(controller)
        if ended.all():
            break
        if ended.any():
            index = (~ended).nonzero().flatten()
            log.active_runs = log.active_runs[index]
            world.select_runs(index)
            v_done = None if v_done is None else v_done[index]
            controller.select_runs(index)
        if progress:
            progress(step + 1, len(log.active_runs))
        image = _seen(world, controller, log.of_active(goal))
    return log.trajectory()


class _Log:
    """The record of B runs while they go on; `active_runs` are the numbers of those that do."""

    def __init__(
        self,
        T_world_cam: Float[Tensor, "b 4 4"],
        max_steps: int,
        dt: float,
        tolerance: Tolerance | None,
    ) -> None:
        B = len(T_world_cam)
        self.dt, self.max_steps, self.tolerance = dt, max_steps, tolerance or Tolerance()
        self.patience = max(SETTLED_STEPS, round(PATIENCE_S / dt))
        self.active_runs = torch.arange(B)
        self.Ts_world_cam = torch.empty(max_steps + 1, B, 4, 4, dtype=torch.float64)
        self.Ts_world_cam[0] = T_world_cam
        self.v_cam = torch.zeros(max_steps, B, 6, dtype=torch.float64)
        self.image_error = torch.full((max_steps, B), torch.nan)
        self.refining = torch.zeros(max_steps, B, dtype=torch.int8)
        self.steps = torch.zeros(B, dtype=torch.int64)
        self.arrived_at = list[int | None]([None] * B)
        self.ends = list[End | None]([None] * B)
        self.step_ms: list[float] = []

    def of_active(self, goal: Float[Tensor, "g c h w"]) -> Float[Tensor, "#b c h w"]:
        """The goal pictures of the active runs: one for all, or one each."""
        return goal if len(goal) == 1 else goal[self.active_runs]

    def moved_to(self, T_world_cam: Float[Tensor, "b 4 4"]) -> None:
        """The active runs are here now; the others stay."""
        n = len(self.step_ms)
        self.Ts_world_cam[n] = self.Ts_world_cam[n - 1]
        self.Ts_world_cam[n, self.active_runs] = T_world_cam
        self.steps[self.active_runs] += 1

    def ended(self, controller: Controller) -> Bool[Tensor, " b"]:
        """Which of the active runs end with this step, after recording why."""
        n, last = len(self.step_ms), len(self.step_ms) == self.max_steps
        recent = self.v_cam[max(0, n - OSCILLATING_STEPS) : n, self.active_runs] * self.dt
        settled, oscillating = _at_rest(recent)
        motion = (self.v_cam[max(0, n - self.patience) : n, self.active_runs] != 0).any(2)
        gave_up = ~motion.any(0) & (len(motion) == self.patience)
        settled &= motion[-SETTLED_STEPS:].any(0) | gave_up
        arrived = torch.tensor(controller.verdict.arrived, device=settled.device)
        for i in arrived.nonzero().flatten().tolist():
            run = int(self.active_runs[i])
            if self.arrived_at[run] is None:
                self.arrived_at[run] = n - 1
        # A run that need only be seen for a few more pictures goes on.
        arrives = torch.tensor(controller.verdict.arrives, device=settled.device)
        rests = (settled | oscillating) & ~arrives
        ended = rests | (arrived & (controller.tolerance is not None))
        ended = torch.ones_like(ended) if last else ended
        status = controller.status if ended.any() else []
        for i in ended.nonzero().flatten().tolist():
            words = f"still moving after {n} steps"
            if rests[i]:
                words = "settled" if settled[i] else "settled but for noise"
                words = f"held still for {self.patience * self.dt:g} s" if gave_up[i] else words
            beside = status[i].reason in {Reason.FAR, Reason.UNCERTAIN, Reason.DISAGREES}
            cause = controller.held_by(i) if beside else None
            otherwise = Ending.STOPPED if rests[i] else Ending.OUT_OF_TIME
            self._end(i, status[i], words, otherwise, cause)
        return ended

    def _end(
        self, i: int, status: Status, words: str, otherwise: Ending, cause: Cause | None
    ) -> None:
        """The active run of this number ends; words: how it moved. otherwise: the ending where the
        method knows none. cause: of what it is beside its tolerance.
        """
        run = int(self.active_runs[i])
        known = {Phase.ARRIVED: Ending.ARRIVED, Phase.LOST: Ending.LOST}
        parts = [status.sentence] if status.phase in known else [words, status.sentence]
        parts += [f"held there by {cause.value}"] if cause else []
        ending = known.get(status.phase, otherwise)
        self.ends[run] = End(ending, "; ".join(parts), status, self.arrived_at[run], cause)

    def trajectory(self) -> Trajectory:
        """All that was recorded, as long as the longest run."""
        n = len(self.step_ms)
        return Trajectory(
            self.Ts_world_cam[: n + 1].clone(),
            self.v_cam[:n].clone(),
            self.image_error[:n].clone(),
            self.refining[:n].clone(),
            self.steps,
            [end for end in self.ends if end is not None],
            torch.tensor(self.step_ms),
            self.dt,
            self.max_steps,
            self.tolerance,
        )


def _seen(
    world: World, controller: Controller, goals: Float[Tensor, "#b c h w"]
) -> Float[Tensor, "b c h w"] | Undrawn:
    """What the world's cameras see; bytes, as a camera's driver gives them, made grey levels.
    InputError where it is no picture.

    It is not drawn where neither the world nor the controller needs that.
    """
    if controller.measures_undrawn:
        # A world that observes in a way of its own has to draw.
        kind = next(each for each in type(world).__mro__ if "observe" in vars(each))
        undrawn = vars(kind).get("undrawn")
        if undrawn is not None and (images := undrawn(world, goals)) is not None:
            return images
    image: object = world.observe()
    if isinstance(image, Tensor) and image.is_floating_point():
        return image  # which the controller looks at itself
    return as_images(image, controller.camera, "what the world observes", controller.colour)


def _at_rest(moves: Float[Tensor, "s b 6"]) -> tuple[Bool[Tensor, " b"], Bool[Tensor, " b"]]:
    """Which runs have settled, and which oscillate, after their last motions (at most
    OSCILLATING_STEPS of them).
    """
    metres, radians = moves[..., :3].norm(dim=-1), moves[..., 3:].norm(dim=-1)
    settled = torch.zeros(moves.shape[1], dtype=torch.bool)
    if len(moves) >= SETTLED_STEPS:
        settled = ((metres < SETTLED[0]) & (radians < SETTLED[1]))[-SETTLED_STEPS:].all(0)
    if len(moves) < OSCILLATING_STEPS:
        return settled, torch.zeros_like(settled)
    whole = moves.sum(0)
    leads_nowhere = (whole[:, :3].norm(dim=1) < OSCILLATING_SHARE * metres.sum(0)) & (
        whole[:, 3:].norm(dim=1) < OSCILLATING_SHARE * radians.sum(0)
    )
    small = (metres < OSCILLATING[0]) & (radians < OSCILLATING[1])
    return settled, leads_nowhere & small.all(0)


def _difference(
    images: Float[Tensor, "b c h w"] | Undrawn, goals: Float[Tensor, "#b c h w"]
) -> Float[Tensor, " b"]:
    """Root mean square difference of grey levels where both pictures show something."""
    if isinstance(images, Undrawn):
        return images.error
    # A few pictures at a time stay in the processor's cache.
    there = goals.expand(len(images), -1, -1, -1)
    parts = [
        (image - goal).square().nanmean((1, 2, 3))
        for image, goal in zip(images.split(4), there.split(4), strict=True)
    ]
    return torch.cat(parts).sqrt()


def _poses(world: World, n: int) -> Float[Tensor, "n 4 4"]:
    """The true poses where the world knows them, NaN where it does not (a real robot)."""
    T_world_cam = getattr(world, "T_world_cam", None)
    if T_world_cam is None:
        return torch.full((n, 4, 4), torch.nan, dtype=torch.float64)
    return T_world_cam.clone()


def __getattr__(name: str) -> Any:
    return moved.attribute(__name__, name)
