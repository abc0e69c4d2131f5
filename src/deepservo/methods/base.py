"""What every method is: a Controller."""

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo import moved
from deepservo.camera import Camera
from deepservo.errors import InputError, check_positive
from deepservo.images.pictures import as_images


class Controller:
    """Steers one camera, or B at once, home to a goal picture.

    A method overrides `_set_goal` and `_velocity`; both get float32 images (B, 1, H, W) of
    `camera`, or (B, 3, H, W) with `colour`. What it remembers of each run stands in `state`,
    tensors whose first axis is the run (or of length 1, shared by all), so that finished runs can
    be dropped by `select_runs`.
    """

    gain: float = 0.1
    dt: float = 1.0
    """Seconds from one picture to the next; the loop sets it."""
    colour: bool = False
    """Whether it looks at colours, and not at grey levels."""
    max_steps: int = 300
    """Steps a run may take by the published rules (benchmarks)."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.state: dict[str, Tensor] = {}
        self.goal_count = 0  # one for all runs, or one each; none before set_goal
        self.gain_dt = 1.0  # seconds between the pictures that the gain is for

    @torch.no_grad()
    def set_goal(self, image: object) -> None:
        """The picture to come home to: (B, C, H, W) or (1, C, H, W) in [0, 1], or (H, W[, C])
        uint8.

        Raises InputError when its size is not the camera's or it is no picture.
        """
        self.state, goal = {}, as_images(image, self.camera, "the goal picture", self.colour)
        self._set_goal(goal)
        self.goal_count = len(goal)

    @torch.no_grad()
    def velocity(self, image: object) -> Float[Tensor, "b 6"]:
        """`v_cam` [m/s, rad/s] in the camera frame, float64, for what the camera sees now (formats
        as in set_goal).

        Raises InputError before `set_goal`, where the method needs it; for a picture that does not
        fit the camera or the number of goals; and where the gain is no positive number.
        """
        images = as_images(image, self.camera, "the camera's picture", self.colour)
        if self.goal_count not in (0, 1, len(images)):
            raise InputError(
                f"there are {self.goal_count} goals for {len(images)} pictures; give one goal for "
                "all of them, or one each"
            )
        check_positive("the gain", self.gain, "per second")
        try:
            return self._velocity(images)
        except (
            AttributeError,
            KeyError,
        ) as error:  # what _set_goal remembers; a method that needs no goal goes on
            if self.goal_count:
                raise
            raise InputError(
                "the goal is not known yet; call set_goal(image) before velocity(image)"
            ) from error

    def scale_gain(self, dt: float) -> None:
        """Make the gain one a second for pictures dt seconds apart: the same share of the way from
        one to the next as when dt was 1.

        Told the same dt again, it changes nothing. InputError where dt is no positive number.
        """
        check_positive("dt", dt, "of seconds")
        self.gain *= self.gain_dt / dt
        self.gain_dt = dt

    def select_runs(self, index: Tensor) -> None:
        """Go on with these runs alone."""
        if self.goal_count > 1:
            self.goal_count = len(index)
        self.state = {k: v if len(v) == 1 else v[index] for k, v in self.state.items()}

    def velocity_of(self, image: object, index: Tensor, n: int) -> Float[Tensor, "k 6"]:
        """`velocity` for some of n runs, for what their cameras see now; the others' state is not
        touched.
        """
        part = copy.copy(self)
        part.select_runs(index)
        v_cam = part.velocity(image)
        for name, values in part.state.items():
            if values is not self.state.get(
                name
            ):  # what is remembered for the first time is 0 for the others
                before = self.state.get(name, torch.zeros_like(values[:1]))
                self.state[name] = before.expand(n, *values.shape[1:]).clone()
                self.state[name][index] = values
        return v_cam

    def reference_goal(
        self, goal: Float[Tensor, "g 1 h w"]
    ) -> tuple[Float[Tensor, "g 1 h w"], Float[Tensor, "g 4"]] | None:
        """What is at the goals' poses, as a method knows it that knows the scene: pictures no worse
        than `goal`, and the plane.

        Planes [n, d] are in each goal's frame, `n . p = d` [m]. None where the method knows no more
        than the caller.
        """
        return None

    def pose_consistency(
        self, T_goal_cam: Float[Tensor, "r 4 4"], runs: Tensor
    ) -> Int[Tensor, " r"]:
        """Whether what it saw last tells that these poses of `runs` (r,) are right: 1, that they
        are wrong: -1, or neither: 0.
        """
        return torch.zeros(len(runs), dtype=torch.int64)

    def is_refining(self, n: int) -> Tensor:
        """(n,) int8: 1 for runs in a photometric finish, 0 for the others."""
        return torch.zeros(n, dtype=torch.int8)

    def status(self, n: int) -> list[str]:
        """A few words a run on what the controller believes; empty when it has nothing to say."""
        return [""] * n

    def __getattr__(self, name: str) -> Any:
        return moved.of_controller(self, name)

    def _set_goal(self, goal: Tensor) -> None:
        raise NotImplementedError

    def _velocity(self, image: Tensor) -> Tensor:
        raise NotImplementedError


class SingleController(Controller):
    """A method that looks at one picture at a time, for one camera, and remembers whatever it likes
    in itself.

    A method overrides `start` and `step`. Where B cameras are steered at once, each run has a copy
    of its own, made as the run begins; networks are shared.
    """

    def __init__(self, camera: Camera) -> None:
        super().__init__(camera)
        self._runs: list[SingleController] = []

    def start(self, goal: Float[np.ndarray, "h w *c"]) -> None:
        """A run begins: its goal picture, (h, w) grey or, with `colour`, (h, w, 3), float32 in [0,
        1], NaN where nothing is seen.
        """
        raise NotImplementedError

    def step(self, image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "6"]:
        """`v_cam` [m/s, rad/s] for what the camera sees now, a picture as in `start`."""
        raise NotImplementedError

    def select_runs(self, index: Tensor) -> None:
        """Go on with these runs alone."""
        super().select_runs(index)
        self._runs = [self._runs[i] for i in index.tolist()] if self._runs else []

    def velocity_of(self, image: object, index: Tensor, n: int) -> Float[Tensor, "k 6"]:
        """`velocity` for some of n runs, for what their cameras see now; the others' copies are not
        touched.
        """
        self._begin(n)
        some = copy.copy(self)
        some._runs = self._runs
        some.select_runs(index)
        return some.velocity(image)

    def _set_goal(self, goal: Tensor) -> None:
        self._runs, self._goals = [], goal

    def _velocity(self, image: Tensor) -> Tensor:
        self._begin(len(image))
        found = []
        for run, picture in zip(self._runs, image, strict=True):
            run.gain, run.dt = self.gain, self.dt
            v_cam = np.asarray(run.step(_as_array(picture)), float)
            if v_cam.shape != (6,) or not np.isfinite(v_cam).all():
                raise InputError(
                    f"{type(self).__name__}.step must answer six finite numbers, not "
                    f"{v_cam.tolist()}"
                )
            found.append(torch.from_numpy(v_cam))
        return torch.stack(found)

    def _begin(self, n: int) -> None:
        """A copy for each run, where there are none yet."""
        if self._runs:
            return
        shared = {
            id(value): value
            for value in vars(self).values()
            if isinstance(value, torch.nn.Module | Tensor)
        }
        runs = [copy.deepcopy(self, dict(shared)) for _ in range(n)]
        for run, goal in zip(runs, self._goals.expand(n, -1, -1, -1), strict=True):
            run.start(_as_array(goal))
        self._runs = runs


def _as_array(picture: Float[Tensor, "c h w"]) -> Float[np.ndarray, "h w *c"]:
    """(h, w), or (h, w, 3) in colour."""
    return np.ascontiguousarray(
        picture.permute(1, 2, 0).cpu().numpy().squeeze(2)
        if len(picture) == 1
        else picture.permute(1, 2, 0).cpu()
    )


class Refinement(Controller):
    """A method that takes over from a `coarse` one, run by run: `state["tracking"]` tells where its
    own pose steers.
    """

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

    def scale_gain(self, dt: float) -> None:
        """Each stage's own gain."""
        check_positive("dt", dt, "of seconds")
        self.own_gain *= self.gain_dt / dt
        self.gain_dt = dt
        self.coarse.scale_gain(dt)

    def select_runs(self, index: Tensor) -> None:
        """Go on with these runs alone, here and in the coarse method."""
        super().select_runs(index)
        self.coarse.select_runs(index)

    def is_refining(self, n: int) -> Tensor:
        """1 where the finish steers."""
        return self.state["tracking"].expand(n).to(torch.int8)
