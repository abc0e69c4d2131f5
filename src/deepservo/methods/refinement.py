"""A method that takes over from a coarse one near the goal: by grey levels, or by edges."""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import check_positive
from deepservo.features.goal_depth import GoalDepth, Known
from deepservo.methods.base import Controller

MAX_MISSES = 3  # pictures in a row without agreement, after which the coarse method steers again
REVIEW_INTERVAL = 5  # steps from one search for a better pose to the next
MIN_AGREEMENT_GAIN = 0.02  # agreement by which another pose must be better to replace a tracked one


class Refinement(Controller):
    """A method that takes over from a `coarse` one, run by run.

    Where `state["tracking"]` is set its own pose steers. depth: of the goal's scene, for both; None
    where it is the coarse method's.
    """

    uses_motion = True

    def __init__(self, coarse: Controller, depth: Known, gain: float) -> None:
        self.coarse, self.own_gain = coarse, gain
        super().__init__(coarse.camera, coarse.goal_depth if depth is None else depth)

    @property
    def goal_depth(self) -> GoalDepth:  # type: ignore[override]
        """What is known of the goal's depth, by both methods."""
        return self.coarse.goal_depth

    @goal_depth.setter
    def goal_depth(self, value: GoalDepth) -> None:
        self.coarse.goal_depth = value

    def _follow(self, n: int, v_done: Float[Tensor, "b 6"] | None) -> None:
        super()._follow(n, v_done)
        self.coarse.T_start_cam, self.coarse.picture_number = self.T_start_cam, self.picture_number

    @property
    def gain(self) -> float:  # type: ignore[override]
        """The refinement's, per second. Setting it sets the coarse method's too."""
        return self.own_gain

    @gain.setter
    def gain(self, value: float) -> None:
        self.own_gain = self.coarse.gain = value

    @property
    def dt(self) -> float:  # type: ignore[override]
        """Seconds from one picture to the next, for both methods."""
        return self.coarse.dt

    @dt.setter
    def dt(self, value: float) -> None:
        self.coarse.dt = value

    def scale_gain(self, dt: float) -> None:
        """Scale the gain of either method for pictures dt seconds apart."""
        check_positive("dt", dt, "of seconds")
        self.own_gain *= self.gain_dt / dt
        self.gain_dt = dt
        self.coarse.scale_gain(dt)

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone, here and in the coarse method."""
        super().select_runs(index)
        self.coarse.select_runs(index)

    def is_refining(self, n: int) -> Tensor:
        """(n,) int8: 1 where the refinement steers."""
        return self.state["tracking"].expand(n).to(torch.int8)
