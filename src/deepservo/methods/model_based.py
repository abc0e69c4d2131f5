"""The finish for goals with depth: keypoints bring the camera near, the object's edges bring it
home.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control, native
from deepservo.features.edges import FAR, NEAR, Edges, Fit, Slopes
from deepservo.geometry import se3
from deepservo.methods.base import Controller, Refinement

AGREE = 0.6  # share of the edges in their places above which a pose is trusted
HOLD = 0.5  # and goes on being trusted
PATIENCE = 3  # pictures without agreement before the coarse method steers again
SURE = 0.85  # agreement above which no other pose is looked for
REVIEW = 5  # pictures from one look for a better pose to the next
BETTER = 0.02  # agreement by which it must be better


class EdgeServo(Refinement):
    """`coarse`, until the edges that the goal has are seen where its pose has them; then PBVS on
    the pose that they give.

    depth: Z [m] of the goal picture, (h, w), not finite where there is no object.
    """

    def __init__(
        self, coarse: Controller, depth: Float[np.ndarray, "h w"], gain: float = 0.1
    ) -> None:
        super().__init__(coarse, gain)
        self.depth = depth

    def _set_goal(self, goal: Tensor) -> None:
        self.coarse.set_goal(goal)
        self.step = 0
        self.edges = [Edges(self.camera, picture[0].numpy(), self.depth) for picture in goal]
        self.state = {
            "goal": torch.arange(len(goal)),
            "T_goal_cam": torch.eye(4, dtype=torch.float64).repeat(len(goal), 1, 1),
            "v_cam": torch.zeros(len(goal), 6, dtype=torch.float64),
            "tracking": torch.zeros(len(goal), dtype=torch.bool),
            "misses": torch.zeros(len(goal), dtype=torch.int64),
            "agreement": torch.zeros(len(goal)),
        }

    def status(self, n: int) -> list[str]:
        """Which stage steers, how many of the edges agree, and what the coarse method says."""
        state = zip(
            self.state["tracking"].expand(n).tolist(),
            self.state["agreement"].expand(n).tolist(),
            strict=True,
        )
        told = zip(state, self.coarse.status(n), strict=True)
        stages = ("steered by the coarse method", "steered by edges")
        return [
            f"{stages[trusted]}, {100 * agree:.0f} % of them agree{', ' * bool(more)}{more}"
            for (trusted, agree), more in told
        ]

    def _velocity(self, image: Tensor) -> Tensor:
        n = len(image)
        self.state = {
            name: values.expand(n, *values.shape[1:]).clone() for name, values in self.state.items()
        }
        state, views = (
            self.state,
            list(_pool().map(lambda picture: Slopes.of(picture[0].numpy()), image)),
        )
        guess = state["T_goal_cam"] @ se3.exp(state["v_cam"] * self.dt)
        for i, fit in self._fits(
            state["tracking"].nonzero().flatten().tolist(), views, guess, NEAR
        ):
            self._judge(i, fit, HOLD, guess[i])
        self.step += 1
        unsure = ~state["tracking"] | (self.step % REVIEW == 0) & (state["agreement"] < SURE)
        v_coarse, doubted = state["v_cam"].clone(), unsure.nonzero().flatten()
        if len(doubted):
            v_coarse[doubted] = self.coarse.velocity_of(image[doubted], doubted, n)
            believed = control.pose_of_pbvs(v_coarse, self.coarse.gain)
            moving = [
                i for i in doubted.tolist() if v_coarse[i].any()
            ]  # a method that holds still knows no pose
            for i, fit in self._fits(moving, views, believed, FAR):
                if not state["tracking"][i] or fit.agreement > state["agreement"][i] + BETTER:
                    self._judge(i, fit, AGREE, believed[i])
        state["v_cam"] = torch.where(
            state["tracking"][:, None], control.pbvs(state["T_goal_cam"], self.gain), v_coarse
        )
        return state["v_cam"]

    def _fits(
        self,
        runs: list[int],
        views: list[Slopes],
        T_goal_cam: Float[Tensor, "n 4 4"],
        reaches: tuple[float, ...],
    ) -> Iterable[tuple[int, Fit]]:
        """Each of these runs, and its pose registered from where it is believed to be."""

        def fit(i: int) -> Fit:
            return self.edges[int(self.state["goal"][i])].register(
                views[i], T_goal_cam[i].numpy(), reaches
            )

        return zip(runs, _pool().map(fit, runs), strict=True)

    def _judge(self, i: int, fit: Fit, least: float, guess: Float[Tensor, "4 4"]) -> None:
        """Trust the pose of run i where enough edges agree. To a run that is trusted a few misses
        are forgiven, at its guess.
        """
        state, agrees = self.state, fit.agreement > least
        state["agreement"][i] = fit.agreement
        state["misses"][i] = 0 if agrees else state["misses"][i] + 1
        state["tracking"][i] = agrees or (
            bool(state["tracking"][i]) and int(state["misses"][i]) < PATIENCE
        )
        state["T_goal_cam"][i] = torch.from_numpy(fit.T_goal_cam) if agrees else guess


def _pool() -> ThreadPoolExecutor:
    return native.pool(torch.get_num_threads())
