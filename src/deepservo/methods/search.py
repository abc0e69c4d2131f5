"""How a lost run looks for the goal: bounded motions, off where nobody asks for them.

A search begins when a run is lost because the goal is not recognised. It visits poses one after the
other, which are laid out in the frame of the pose at which the goal was last recognised (or of the
first picture): "back-off" those on the way that the camera has come since, and then one farther
from the scene; "spiral" turns about that pose, and then the pose itself. Then it commands zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import unknown
from deepservo.geometry import se3

LAWS = ("hold", "back-off", "spiral")
SPEED, TURN = 0.05, 0.2  # m/s and rad/s, at most
TIME = 20.0  # s, of one search at most
BACK_SHARE, BACK_METRES = 0.3, 0.1  # way back: of the goal's depth; where no depth is known [m]
SPIRAL_POSES = 48
SPIRAL_TIME = 0.95 * TIME  # s, in which it is back in its middle: what is left is for rounding
REACHED = 1e-3  # s: a pose is reached that is nearer than this
FOUND_AGAIN = 1.0  # s in which the goal has to be recognised, until a search is forgotten
HERE = torch.eye(4, dtype=torch.float64)


@dataclass
class Search:
    """What is remembered of one run since the goal was last recognised.

    T_seen_cam: where the camera is, in the frame of where it was then. trail: the poses from there
    to here, before the search. way: poses that are still to be visited; None before a search, empty
    after it.
    """

    T_seen_cam: Float[Tensor, "4 4"] = HERE
    trail: list[Tensor] = field(default_factory=list)
    way: list[Tensor] | None = None
    seconds: float = 0.0  # in which it searched
    unseen: float = 0.0  # s in which the goal was not recognised
    was_lost: bool = False
    again: float = 0.0  # s in which the goal is recognised again
    active: bool = False  # whether the camera now moves by it

    def sentence(self, words: str) -> str:
        """How the search went, before the method's own words."""
        found = f"found again after {self.unseen:.2g} s" if self.again else ""
        ended = "the search has ended without finding it" if self.way == [] else ""
        return "; ".join(filter(None, [found or ended, words]))

    def step(self, dt: float, turns_alone: bool) -> Float[Tensor, "6"]:
        """The twist towards the next pose, within the bounds; zero when the search has ended."""
        if self.seconds + dt > TIME:
            self.way = []
        while self.way:
            twist = se3.log(se3.inverse(self.T_seen_cam) @ self.way[0])
            if turns_alone:
                twist[:3] = 0.0
            v, w = twist.split([3, 3])
            seconds = max(float(v.norm()) / SPEED, float(w.norm()) / TURN)
            # What is reached in this step is passed by, but for the last pose.
            if seconds > (dt if len(self.way) > 1 else REACHED):
                self.seconds, self.active = self.seconds + dt, True
                return twist / max(seconds, dt)
            self.way.pop(0)
        return torch.zeros(6, dtype=torch.float64)


class Run(Protocol):
    """A run as `Verdict` has judged it. late: lost, since the goal is not recognised."""

    search: Search
    recognised: bool
    late: bool

    @property
    def frozen(self) -> bool:
        """Whether its camera gives one picture for ever."""

    def start_over(self) -> None:
        """Forget how near to the goal the run has been."""


@dataclass(frozen=True)
class Law:
    """How lost runs search. name: one of LAWS, or None. metres: to the goal's scene, where known.

    "hold" commands zero, as None does.
    """

    name: str | None
    camera: Camera
    metres: float | None

    def steer(
        self,
        runs: Sequence[Run],
        v_cam: Float[Tensor, "b 6"],
        v_done: Float[Tensor, "b 6"] | None,
        dt: float,
    ) -> Float[Tensor, "b 6"]:
        """The twists, with those of the search where a run is lost.

        v_cam: zero where the goal is not recognised. v_done: at which the cameras have moved since
        the last pictures, None before the first ones. dt: seconds from one picture to the next.
        """
        for run in runs:
            _count(run, dt)
        away = [i for i, run in enumerate(runs) if run.search.unseen]
        if self.name in {None, "hold"} or not away:
            return v_cam
        v_cam = v_cam.clone()
        still = torch.zeros(len(runs), 6, dtype=torch.float64)
        moved = se3.exp((still if v_done is None else v_done.cpu().double())[away] * dt)
        for i, motion in zip(away, moved, strict=True):
            runs[i].search.T_seen_cam = runs[i].search.T_seen_cam @ motion
            if not runs[i].recognised:
                v_cam[i] = self._step(runs[i], dt).to(v_cam)
        return v_cam

    def _step(self, run: Run, dt: float) -> Float[Tensor, "6"]:
        """The twist of a run in whose picture the goal is not recognised."""
        search = run.search
        if search.way is None:
            search.trail.append(search.T_seen_cam)
        if search.way is None and run.late:
            search.way = self._poses(search.trail)
        # A camera that gives one picture for ever would not see where it goes.
        if not run.late or run.frozen:
            return torch.zeros(6, dtype=torch.float64)
        twist = search.step(dt, turns_alone=self.name == "spiral")
        if search.active:
            run.start_over()
        return twist

    def _poses(self, trail: list[Tensor]) -> list[Tensor]:
        """What a search visits, in the frame of the pose at which the goal was last recognised."""
        if self.name == "spiral":
            return [*self._spiral(), HERE]
        back = HERE.clone()
        back[2, 3] = -(BACK_METRES if self.metres is None else BACK_SHARE * self.metres)
        return [*reversed(trail), HERE, back]

    def _spiral(self) -> Float[Tensor, "k 4 4"]:
        """One turn about the middle, outward to the camera's field of view, or as far as there is
        time for. The area grows evenly with the angle, so that each direction is looked into.
        """
        camera = self.camera
        share = torch.arange(1, SPIRAL_POSES + 1, dtype=torch.float64) / SPIRAL_POSES
        angle, radius = 2 * math.pi * share, share.sqrt()
        tilt = 2 * math.atan2(camera.height / 2, camera.fy) * radius * angle.sin()
        pan = 2 * math.atan2(camera.width / 2, camera.fx) * radius * angle.cos()
        turns = torch.stack([tilt, pan], 1)
        around = torch.cat([0 * turns[:1], turns, 0 * turns[:1]])
        seconds = float(around.diff(dim=0).norm(dim=1).sum()) / TURN
        turns = turns * min(1.0, SPIRAL_TIME / seconds)
        nothing = torch.zeros(SPIRAL_POSES, 1, dtype=torch.float64)
        return se3.exp(torch.cat([nothing.expand(-1, 3), turns, nothing], 1))


def _count(run: Run, dt: float) -> None:
    """How long the goal is away, or found again. A search is forgotten when it was found for a
    while: one picture that looks like the goal would allow all the way once more.
    """
    search = run.search
    search.active = False
    if not run.recognised:
        search.unseen, search.again = search.unseen + dt, 0.0
        search.was_lost |= run.late
    elif search.was_lost and search.again < FOUND_AGAIN:
        search.again += dt
    elif search.unseen:
        run.search = Search()


class Searching:
    """What a controller's lost runs do: the part of `Controller` that is set from outside."""

    _search_law: str | None = None

    @property
    def search(self) -> str | None:
        """How lost runs look for the goal: "back-off", "spiral", or "hold": zero, as None.

        Raises InputError where it is set to another word.
        """
        return self._search_law

    @search.setter
    def search(self, value: str | None) -> None:
        if value is not None and value not in LAWS:
            raise unknown("search", str(value), LAWS)
        self._search_law = value
