"""What every method is: a Controller."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError, check_positive
from deepservo.images.pictures import as_images


class Controller:
    """Steers one camera, or B at once, home to a goal picture.

    A method overrides `_set_goal` and `_velocity`; both get float32 images (B, 1, H, W) of `camera`, or (B, 3, H, W) with `colour`.
    What it remembers of each run stands in `state`, tensors whose first axis is the run (or of length 1, shared by all), so that
    finished runs can be dropped by `keep`.
    """

    gain: float = 0.1
    dt: float = 1.0
    """Seconds from one picture to the next; the loop sets it."""
    colour: bool = False
    """Whether it looks at colours, and not at grey levels."""
    budget: int = 300
    """Steps a run may take by the published rules (benchmarks)."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.state: dict[str, Tensor] = {}
        self.goal_count = 0  # one for all runs, or one each; none before set_goal
        self.paced = 1.0  # seconds between the pictures that the gain is for

    @torch.no_grad()
    def set_goal(self, image: object) -> None:
        """The picture to come home to: (B, C, H, W) or (1, C, H, W) in [0, 1], or (H, W[, C]) uint8.

        Raises InputError when its size is not the camera's or it is no picture.
        """
        self.state, goal = {}, as_images(image, self.camera, "the goal picture", self.colour)
        self._set_goal(goal)
        self.goal_count = len(goal)

    @torch.no_grad()
    def velocity(self, image: object) -> Float[Tensor, "b 6"]:
        """`v_cam` [m/s, rad/s] in the camera frame, float64, for what the camera sees now (formats as in set_goal).

        Raises InputError before `set_goal`, where the method needs it; for a picture that does not fit the camera or the number
        of goals; and where the gain is no positive number.
        """
        images = as_images(image, self.camera, "the camera's picture", self.colour)
        if self.goal_count not in (0, 1, len(images)):
            raise InputError(f"there are {self.goal_count} goals for {len(images)} pictures; give one goal for all of them, or one each")
        check_positive("the gain", self.gain, "per second")
        try:
            return self._velocity(images)
        except (AttributeError, KeyError) as error:  # what _set_goal remembers; a method that needs no goal goes on
            if self.goal_count:
                raise
            raise InputError("the goal is not known yet; call set_goal(image) before velocity(image)") from error

    def pace(self, dt: float) -> None:
        """Make the gain one a second for pictures dt seconds apart: the same share of the way from one to the next as when dt was 1.

        Told the same dt again, it changes nothing. InputError where dt is no positive number.
        """
        check_positive("dt", dt, "of seconds")
        self.gain *= self.paced / dt
        self.paced = dt

    def keep(self, index: Tensor) -> None:
        """Go on with these runs alone."""
        if self.goal_count > 1:
            self.goal_count = len(index)
        self.state = {k: v if len(v) == 1 else v[index] for k, v in self.state.items()}

    def velocity_of(self, image: object, index: Tensor, n: int) -> Float[Tensor, "k 6"]:
        """`velocity` for some of n runs, for what their cameras see now; the others' state is not touched."""
        part = copy.copy(self)
        part.keep(index)
        v_cam = part.velocity(image)
        for name, values in part.state.items():
            if values is not self.state[name]:
                self.state[name] = self.state[name].expand(n, *values.shape[1:]).clone()
                self.state[name][index] = values
        return v_cam

    def goal_view(self, goal: Float[Tensor, "g 1 h w"]) -> tuple[Float[Tensor, "g 1 h w"], Float[Tensor, "g 4"]] | None:
        """What is at the goals' poses, as a method knows it that knows the scene: pictures no worse than `goal`, and the plane.

        Planes [n, d] are in each goal's frame, `n . p = d` [m]. None where the method knows no more than the caller.
        """
        return None

    def speaks_for(self, T_goal_cam: Float[Tensor, "r 4 4"], runs: Tensor) -> Int[Tensor, " r"]:
        """Whether what it saw last tells that these poses of `runs` (r,) are right: 1, that they are wrong: -1, or neither: 0."""
        return torch.zeros(len(runs), dtype=torch.int64)

    def stage(self, n: int) -> Tensor:
        """(n,) int8: 1 for runs in a photometric finish, 0 for the others."""
        return torch.zeros(n, dtype=torch.int8)

    def evidence(self, n: int) -> list[str]:
        """A few words a run on what the controller believes; empty when it has nothing to say."""
        return [""] * n

    def _set_goal(self, goal: Tensor) -> None:
        raise NotImplementedError

    def _velocity(self, image: Tensor) -> Tensor:
        raise NotImplementedError


class Finish(Controller):
    """A method that takes over from a `coarse` one, run by run: `state["trusted"]` tells where its own pose steers."""

    def __init__(self, coarse: Controller, gain: float) -> None:
        super().__init__(coarse.camera)
        self.coarse, self.own_gain = coarse, gain

    @property
    def gain(self) -> float:  # type: ignore[override]
        """Of the refinement, per second. Set, it is the coarse method's too."""
        return self.own_gain

    @gain.setter
    def gain(self, value: float) -> None:
        self.own_gain = self.coarse.gain = value

    @property
    def dt(self) -> float:  # type: ignore[override]
        """Seconds from one picture to the next, for both stages."""
        return self.coarse.dt

    @dt.setter
    def dt(self, value: float) -> None:
        self.coarse.dt = value

    def pace(self, dt: float) -> None:
        """Each stage's own gain."""
        check_positive("dt", dt, "of seconds")
        self.own_gain *= self.paced / dt
        self.paced = dt
        self.coarse.pace(dt)

    def keep(self, index: Tensor) -> None:
        """Go on with these runs alone, here and in the coarse method."""
        super().keep(index)
        self.coarse.keep(index)

    def stage(self, n: int) -> Tensor:
        """1 where the finish steers."""
        return self.state["trusted"].expand(n).to(torch.int8)
