"""What a controller believes of a run, in one form for every method."""

import functools
import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import check_positive
from deepservo.geometry import se3

CONFIDENCE = 0.95  # of the bounds that are told
SAMPLES = 512  # of the estimate's distribution, by which bounds are found
PASSED = round(CONFIDENCE * SAMPLES)  # the number of the sample at the bound, by size


class Phase(Enum):
    """How far a run is."""

    SEARCHING = "searching"
    """The goal has not been recognised yet, or a lost run moves to find it."""
    APPROACHING = "approaching"
    """A coarse method steers."""
    REFINING = "refining"
    """A refinement steers: the pictures themselves agree."""
    ARRIVED = "arrived"
    """The camera is at the goal, within the tolerance asked for."""
    LOST = "lost"
    """The goal was not recognised for some time, or the camera gets no nearer. Zero is commanded,
    until the goal is found again.
    """


class Reason(Enum):
    """Why a run is in its phase."""

    NO_PICTURE = "no picture was given yet"
    BLANK = "the picture shows nothing"
    FROZEN = "the picture does not change while the camera moves"
    NOT_RECOGNISED = "nothing in common with the goal"
    LEFT = "the camera has turned or gone away from what the goal shows"
    CHANGED = "the goal is covered, or the scene is another one now"
    FAR = "farther from the goal than the tolerance"
    UNCERTAIN = "the pose is not known to the tolerance"
    REPEATS = "another place of the pattern would look the same"
    DISAGREES = "too much of the picture looks different"
    MOVING = "within the tolerance, for too few pictures"
    WITHIN_TOLERANCE = "within the tolerance"
    NO_POSE = "the method does not tell the pose"
    DIVERGED = "the camera gets no nearer to the goal"
    SEARCHES = "looks for the goal"


@dataclass(frozen=True)
class Tolerance:
    """How near to the goal a run has to come: distance [mm] and angle [deg], both.

    Raises InputError where one of them is no positive number.
    """

    mm: float = 1.0
    deg: float = 0.1

    def __post_init__(self) -> None:
        check_positive("the tolerance", self.mm, "of millimetres")
        check_positive("the tolerance", self.deg, "of degrees")

    @property
    def metres(self) -> float:
        """The distance [m]."""
        return 1e-3 * self.mm

    @property
    def radians(self) -> float:
        """The angle [rad]."""
        return math.radians(self.deg)


@dataclass(frozen=True)
class Status:
    """What a controller believes of one run after its last picture.

    T_goal_cam: the estimated pose, (4, 4) float64. covariance: (6, 6), of the twist xi to the true
    pose, `T_true = exp(xi) T_goal_cam`, translation [m] before rotation [rad], in the goal's frame.
    agreement: of the two pictures, up to 1. age: of the picture that the pose is from [s]. What is
    not known is None.
    """

    phase: Phase
    reason: Reason
    sentence: str
    T_goal_cam: Float[Tensor, "4 4"] | None = None
    covariance: Float[Tensor, "6 6"] | None = None
    agreement: float | None = None
    age: float | None = None

    @property
    def mm(self) -> float | None:
        """The estimated distance from the goal [mm]."""
        return None if self.T_goal_cam is None else 1e3 * float(self.T_goal_cam[:3, 3].norm())

    @property
    def deg(self) -> float | None:
        """The estimated angle from the goal [deg]."""
        if self.T_goal_cam is None:
            return None
        return math.degrees(float(se3.so3_log(self.T_goal_cam[:3, :3]).norm()))

    @property
    def most_mm(self) -> float | None:
        """The distance from the goal is this or less [mm], with a probability of 95 %."""
        return None if self._bounds is None else 1e3 * self._bounds[0]

    @property
    def most_deg(self) -> float | None:
        """The angle from the goal is this or less [deg], with a probability of 95 %."""
        return None if self._bounds is None else math.degrees(self._bounds[1])

    @functools.cached_property
    def _bounds(self) -> tuple[float, float] | None:
        if self.T_goal_cam is None or self.covariance is None:
            return None
        metres, radians = bounds(self.T_goal_cam[None], self.covariance[None])
        return float(metres), float(radians)


def bounds(
    T_goal_cam: Float[Tensor, "r 4 4"], covariance: Float[Tensor, "r 6 6"]
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """What distance from the goal [m] and angle [rad] do not pass, with a probability of 95 %.

    NaN where the covariance is not finite. They are quantiles of SAMPLES draws.
    """
    known = covariance.isfinite().all((1, 2)) & T_goal_cam.isfinite().all((1, 2))
    C = torch.where(known[:, None, None], covariance, 0.0)
    here = torch.eye(4, dtype=torch.float64, device=T_goal_cam.device)
    T = torch.where(known[:, None, None], T_goal_cam, here)
    # Of one run, as it is called for most, numpy takes a fifth of torch's time.
    values, vectors = np.linalg.eigh(C.numpy())
    errors = _draws() @ (vectors * np.sqrt(np.maximum(values, 0))[:, None]).swapaxes(1, 2)
    middles = torch.cat([T[:, :3, 3], se3.so3_log(T[:, :3, :3])], 1).numpy()
    squares = np.square(errors + middles[:, None])
    metres, radians = (
        torch.from_numpy(np.sqrt(np.partition(part.sum(2), PASSED, 1)[:, PASSED]))
        for part in (squares[..., :3], squares[..., 3:])
    )
    return metres.where(known, torch.nan), radians.where(known, torch.nan)


@functools.cache
def _draws() -> Float[np.ndarray, "k 6"]:
    """Of the standard normal distribution, the same ones always."""
    return np.random.default_rng(0).standard_normal((SAMPLES, 6))
