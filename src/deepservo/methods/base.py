"""What every method is: a Controller.

It is a SingleController for one picture at a time, or a Refinement of another method
(`refinement.py`).
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo import moved
from deepservo.camera import Camera
from deepservo.errors import InputError, check_positive
from deepservo.features.causes import Cause
from deepservo.features.goal_depth import GoalDepth, Known
from deepservo.geometry import se3
from deepservo.images.pictures import as_images
from deepservo.images.undrawn import Undrawn
from deepservo.methods.inspection import Inspection
from deepservo.methods.search import Law, Searching
from deepservo.methods.status import Status, Tolerance
from deepservo.methods.verdict import Belief, Verdict


@dataclass(frozen=True)
class Reference:
    """Goals as a method knows them that has learned the scene, for what refines by them.

    picture: of each goal, where the camera's is not clean another. planes: [n, d] in each goal's
    frame, `n . p = d` [m]. inverse_depth: 1 / Z [1/m] of each pixel, 0 where unknown; None before a
    plane.
    """

    picture: Float[Tensor, "g 1 h w"]
    planes: Float[Tensor, "g 4"]
    inverse_depth: Float[Tensor, "g h w"] | None = None


class Controller(Searching):
    """Steers one camera, or B at once, to where a goal picture was taken.

    A method overrides `_set_goal` and `_velocity`; both get float32 images (B, 1, H, W) of
    `camera` in [0, 1], or (B, 3, H, W) with `colour`, NaN where a pixel shows nothing. What it
    remembers of each run is in `state`: tensors whose first axis is the run (or of length 1, shared
    by all runs), so that `select_runs` can drop finished runs.

    depth: of the goal's scene, of whatever is known of it: see `images.depth.Depth`. It is kept in
    `goal_depth`. Raises InputError where it is none.
    """

    gain: float = 0.1
    """Per second."""
    dt: float = 1.0
    """Seconds from one picture to the next; the loop sets it."""
    colour: bool = False
    """Whether the method takes pictures in colour, and not grey levels."""
    max_steps: int = 300
    """Steps a run may take by the published rules (benchmarks)."""
    looks: bool = True
    """Whether it steers by what pictures show: then it commands zero where they show nothing."""
    measures_undrawn: bool = False
    """Whether pictures may be `Undrawn`: grey ones without unseen pixels."""
    uses_motion: bool = False
    """Whether the method needs `motion` and `T_start_cam`."""

    def __init__(self, camera: Camera, depth: Known = None) -> None:
        self.camera, self.goal_depth = camera, GoalDepth.of(depth, camera)
        self.state: dict[str, Tensor] = {}
        self.verdict, self.inspection = Verdict(), Inspection()
        self.goal_count = 0  # one for all runs, or one each; none before set_goal
        self.gain_dt = 1.0  # seconds from one picture to the next that the gain is scaled for
        # (B, 4, 4): the motion of each camera since its last picture and since its first one, where
        # `uses_motion`; and the twists answered for the last picture.
        self.motion = torch.eye(4, dtype=torch.float64)[None]
        self.T_start_cam: Tensor | None = None
        self.picture_number = 0  # since set_goal, where `uses_motion`
        self.v_last: Tensor | None = None

    @torch.no_grad()
    def set_goal(self, image: object, depth: Known = None) -> None:
        """The goal picture: (B, C, H, W) or (1, C, H, W) in [0, 1], or (H, W[, C]) uint8.

        depth: of its scene, where it is another than was known before; also maps (B, H, W), one for
        each goal. Raises InputError when the picture's size is not the camera's, it is no picture,
        or the depth is none of this camera's or of another number of goals.
        """
        self.state, goal = {}, as_images(image, self.camera, "the goal picture", self.colour)
        self.T_start_cam, self.v_last, self.picture_number = None, None, 0
        self.verdict.start()
        if depth is not None:
            self.goal_depth = GoalDepth.of(depth, self.camera, "the goal's depth")
        self.goal_depth.check_goals(len(goal))
        self.inspection.start(goal, self.goal_depth)
        self._set_goal(goal)
        self.goal_count = len(goal)

    @torch.no_grad()
    def velocity(
        self, image: object, v_done: Float[Tensor, "b 6"] | None = None
    ) -> Float[Tensor, "b 6"]:
        """`v_cam` [m/s, rad/s] in the camera frame, float64, for the camera's picture now.

        The picture's formats are those of `set_goal`. v_done: the twists at which the cameras have
        really moved since the last picture, as the robot says; None: those answered then. Raises
        InputError before `set_goal`, where the method needs it; for a picture that does not fit the
        camera or the number of goals; and where the gain is no positive number.
        """
        images: Tensor | Undrawn
        if isinstance(image, Undrawn):
            images = image
        else:
            images = as_images(image, self.camera, "the camera's picture", self.colour)
        if self.goal_count not in (0, 1, len(images)):
            raise InputError(
                f"there are {self.goal_count} goals for {len(images)} pictures; give one goal for "
                "all of them, or one each"
            )
        check_positive("the gain", self.gain, "per second")
        self._follow(len(images), v_done)
        v_cam, belief = self._answer(images), self.belief(len(images))
        v_done = self.v_last if v_done is None else v_done
        if self.looks:
            self.verdict.look(images, v_done, self.dt)
            motion = None if v_done is None else v_done * self.dt
            way, tolerance = v_cam / self.gain, self.verdict.tolerance
            belief = self.inspection.completed(belief, images, way, motion, tolerance)
        if self.goal_depth.metres is None:
            belief = belief.of_unknown_scale()
        v_cam = self.verdict.judge(belief, v_cam, (self.dt, 1 / self.gain))
        law = Law(self.search, self.camera, self.goal_depth.metres)
        self.v_last = law.steer(self.verdict.runs, v_cam, v_done, self.dt)
        return self.v_last

    @property
    def status(self) -> list[Status]:
        """What is believed of each run after its last picture."""
        belief = self.verdict.belief
        words = [] if belief is None else self.words(len(belief.recognised))
        return self.verdict.statuses(words, self.goal_depth)

    def held_by(self, run: int) -> Cause | None:
        """What keeps the pose of this run from being known better, by its last picture: it takes as
        long as a step. None where the pose is not known, or the pictures were not compared.
        """
        belief = self.verdict.belief
        if belief is None or not belief.T_goal_cam[run].isfinite().all():
            return None
        return self.inspection.held_by(run, belief.T_goal_cam[run])

    @property
    def tolerance(self) -> Tolerance | None:
        """How near to the goal a run has to come, where somebody asked for it: `loop.servo` then
        ends runs there. Where nobody did, a run has arrived within `Tolerance()`.
        """
        return self.verdict.asked

    @tolerance.setter
    def tolerance(self, value: Tolerance | None) -> None:
        self.verdict.asked = value

    def _follow(self, n: int, v_done: Float[Tensor, "b 6"] | None) -> None:
        """Keep what the cameras have done since their last and since their first picture."""
        if not self.uses_motion:
            return
        self.picture_number += 1
        v_done = self.v_last if v_done is None else v_done
        if v_done is None or self.T_start_cam is None:
            self.motion = self.T_start_cam = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
        else:
            self.motion = se3.exp(v_done.double() * self.dt)
            self.T_start_cam = self.T_start_cam @ self.motion

    def _answer(self, images: Float[Tensor, "b c h w"] | Undrawn) -> Float[Tensor, "b 6"]:
        try:
            if isinstance(images, Undrawn):
                return self._velocity_of_undrawn(images)
            return self._velocity(images)
        except (AttributeError, KeyError) as error:
            # What _set_goal would have remembered is missing; a method that needs no goal goes on.
            if self.goal_count:
                raise
            raise InputError(
                "the goal is not known yet; call set_goal(image) before velocity(image)"
            ) from error

    def scale_gain(self, dt: float) -> None:
        """Scale the gain for pictures dt seconds apart.

        Each step then is the same share of the way as with dt = 1 s. A second call with the same dt
        changes nothing. InputError where dt is no positive number.
        """
        check_positive("dt", dt, "of seconds")
        self.gain *= self.gain_dt / dt
        self.gain_dt = dt

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone: their numbers (r,) among those steered so far."""
        if self.goal_count > 1:
            self.goal_count = len(index)
        if self.T_start_cam is not None:
            self.T_start_cam = self.T_start_cam[index]
        if self.v_last is not None:
            self.v_last = self.v_last[index]
        self.verdict.select_runs(index)
        self.inspection.select_runs(index)
        self.state = {k: v if len(v) == 1 else v[index] for k, v in self.state.items()}

    def velocity_of(self, image: Tensor, index: Tensor, n: int) -> Float[Tensor, "k 6"]:
        """`velocity` of the runs `index` (k,) among n, for their cameras' pictures (k, C, H, W).

        The other runs' state is not touched. `T_start_cam` of all was set by the caller.
        """
        part = copy.copy(self)
        part.verdict, part.inspection = Verdict(), Inspection()
        part.select_runs(index)
        v_cam = part._answer(image)
        for name, values in part.state.items():
            if values is not self.state.get(name):
                # What is remembered for the first time is 0 for the other runs.
                before = self.state.get(name, torch.zeros_like(values[:1]))
                self.state[name] = before.expand(n, *values.shape[1:]).clone()
                self.state[name][index] = values
        return v_cam

    @property
    def witnesses(self) -> "tuple[Controller, ...]":
        """The methods that may know the way, in the order in which a refinement asks them."""
        return (self,)

    def velocity_by(
        self, witness: "Controller", image: Tensor, index: Tensor, n: int
    ) -> Float[Tensor, "k 6"]:
        """`velocity_of` by one of the `witnesses`."""
        return self.velocity_of(image, index, n)

    def choose(self, number: Int[Tensor, " k"], index: Tensor, n: int) -> None:
        """Say which of the `witnesses` has told the way in the runs `index` (k,) among n."""

    def reference_goal(self, goal: Float[Tensor, "g 1 h w"]) -> Reference | None:
        """The goals as the method knows them; None where it has no model of the scene."""
        return None

    def depth_found(self, run: int) -> Float[Tensor, "h w"] | None:
        """Inverse depth of the goal's pixels [1/m] that the method has found in this run.

        None where it has found none: before a plane, or where the depth is known.
        """
        return None

    def finds_depth(self, n: int) -> Bool[Tensor, " n"]:
        """In which of n runs the next pictures tell more of the depth than those so far."""
        return torch.zeros(n, dtype=torch.bool)

    def pose_consistency(
        self, T_goal_cam: Float[Tensor, "r 4 4"], runs: Tensor
    ) -> Int[Tensor, " r"]:
        """1 where the last picture's measurements confirm these poses, -1 where they reject them.

        0 where they decide neither. runs: of the poses.
        """
        return torch.zeros(len(runs), dtype=torch.int64)

    def is_refining(self, n: int) -> Tensor:
        """(n,) int8: 1 for runs that a refinement steers, 0 for the others."""
        return torch.zeros(n, dtype=torch.int8)

    def belief(self, n: int) -> Belief:
        """What the method has measured in the last picture of each of n runs."""
        return Belief.nothing(n)

    def words(self, n: int) -> list[str]:
        """A few words on each of n runs, such as how many matches agree, or ""."""
        return [""] * n

    def __getattr__(self, name: str) -> Any:
        return moved.of_controller(self, name)

    def _set_goal(self, goal: Tensor) -> None:
        raise NotImplementedError

    def _velocity(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def _velocity_of_undrawn(self, images: Undrawn) -> Tensor:
        raise NotImplementedError


class SingleController(Controller):
    """A method for one camera and one picture at a time.

    It keeps its state in its own attributes. A method overrides `start` and `step`. Where B cameras
    are steered at once, each run has a copy of the controller, made as the run begins; networks and
    tensors are shared.
    """

    def __init__(self, camera: Camera, depth: Known = None) -> None:
        super().__init__(camera, depth)
        self._runs: list[SingleController] = []

    def start(self, goal: Float[np.ndarray, "h w *c"]) -> None:
        """Begin a run with its goal picture, (h, w) grey or, with `colour`, (h, w, 3).

        It is float32 in [0, 1], NaN where nothing is seen.
        """
        raise NotImplementedError

    def step(self, image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "6"]:
        """`v_cam` [m/s, rad/s] in the camera frame for the camera's picture now, as in `start`."""
        raise NotImplementedError

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone."""
        super().select_runs(index)
        self._runs = [self._runs[i] for i in index.tolist()] if self._runs else []

    def velocity_of(self, image: Tensor, index: Tensor, n: int) -> Float[Tensor, "k 6"]:
        """`velocity` of the runs `index` among n; the other runs' copies are not touched."""
        self._begin(n)
        some = copy.copy(self)
        some.verdict, some.inspection, some._runs = Verdict(), Inspection(), self._runs
        some.select_runs(index)
        return some._answer(image)

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
        """Make a copy for each of n runs, where there are none yet."""
        if self._runs:
            return
        shared = {
            id(value): value
            for value in vars(self).values()
            if isinstance(value, torch.nn.Module | Tensor | Verdict | Inspection)
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
