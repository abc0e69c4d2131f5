"""Several methods that may each know the way to one goal: `auto`, with whatever it is given.

`CoarseToFine` asks them one after the other, the cheapest first, until the pictures agree at a
pose: see `Controller.witnesses`.
"""

from collections.abc import Sequence
from dataclasses import fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.goal_depth import GoalDepth, Known
from deepservo.features.pyramid import resize
from deepservo.images.pictures import grey
from deepservo.methods.base import Controller, Reference
from deepservo.methods.verdict import Belief


class Witnesses(Controller):
    """Methods for one goal, in the order in which they are asked.

    Each is made for a camera of its own, to whose size pictures are reduced for it. depth: of the
    goal's scene; each is told what it is at its size. Depths are found, and poses checked, by the
    first one's matches.
    """

    uses_motion = True

    def __init__(self, camera: Camera, depth: Known, witnesses: Sequence[Controller]) -> None:
        self._witnesses = tuple(witnesses)
        super().__init__(camera, depth)
        self.gain = self._witnesses[0].gain
        self.colour = any(each.colour for each in witnesses)

    @property
    def witnesses(self) -> tuple[Controller, ...]:
        """The methods."""
        return self._witnesses

    @property
    def goal_depth(self) -> GoalDepth:  # type: ignore[override]
        """What is known of the goal's depth, by all of them."""
        return self._depth

    @goal_depth.setter
    def goal_depth(self, value: GoalDepth) -> None:
        self._depth = value
        for each in self._witnesses:
            each.goal_depth = value.seen_by(each.camera)

    def velocity_by(
        self, witness: Controller, image: Tensor, index: Tensor, n: int
    ) -> Float[Tensor, "k 6"]:
        """`velocity_of` by this one of them, at this controller's gain."""
        witness.dt, witness.T_start_cam = self.dt, self.T_start_cam
        witness.picture_number = self.picture_number
        v_cam = witness.velocity_of(_seen_by(witness, image), index, n)
        return v_cam * (self.gain / witness.gain)

    def choose(self, number: Int[Tensor, " k"], index: Tensor, n: int) -> None:
        """Say which of them has told the way in the runs `index` (k,) among n."""
        self.state["chosen"] = self.state["chosen"].expand(n).clone()
        self.state["chosen"][index] = number

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone, in all of them."""
        super().select_runs(index)
        for each in self._witnesses:
            each.select_runs(index)

    def reference_goal(self, goal: Float[Tensor, "g 1 h w"]) -> Reference | None:
        """Of the first that has a model of the scene."""
        known = (each.reference_goal(goal) for each in self._witnesses)
        return next((each for each in known if each is not None), None)

    def depth_found(self, run: int) -> Float[Tensor, "h w"] | None:
        """By the first one's matches."""
        return self._witnesses[0].depth_found(run)

    def finds_depth(self, n: int) -> Bool[Tensor, " n"]:
        """By the first one's matches."""
        return self._witnesses[0].finds_depth(n)

    def pose_consistency(
        self, T_goal_cam: Float[Tensor, "r 4 4"], runs: Tensor
    ) -> Int[Tensor, " r"]:
        """With the first one's matches."""
        return self._witnesses[0].pose_consistency(T_goal_cam, runs)

    def belief(self, n: int) -> Belief:
        """Of each run that of the method which has told its way."""
        told, chosen = [each.belief(n) for each in self._witnesses], self._chosen(n)
        return Belief(
            **{
                f.name: torch.stack([getattr(each, f.name) for each in told])[chosen, range(n)]
                for f in fields(Belief)
            }
        )

    def words(self, n: int) -> list[str]:
        """Of each run those of the method which has told its way."""
        told = [each.words(n) for each in self._witnesses]
        return [told[k][i] for i, k in enumerate(self._chosen(n).tolist())]

    def _chosen(self, n: int) -> Int[Tensor, " n"]:
        return self.state["chosen"].expand(n)

    def _set_goal(self, goal: Tensor) -> None:
        for each in self._witnesses:
            each.set_goal(_seen_by(each, goal))
        self.state = {"chosen": torch.zeros(1, dtype=torch.int64)}


def _seen_by(witness: Controller, images: Tensor) -> Tensor:
    """The pictures in the size that a method takes, and in its colours."""
    return resize(images if witness.colour else grey(images), witness.camera)
