"""The finish for goals with depth: keypoints bring the camera near, the object's edges bring it home."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control, native
from deepservo.features.edges import FAR, NEAR, Edges, Fit, Slopes
from deepservo.geometry import se3
from deepservo.methods.base import Controller

AGREE = 0.6  # share of the edges in their places above which a pose is trusted
HOLD = 0.5  # and goes on being trusted
PATIENCE = 3  # pictures without agreement before the coarse method steers again
SURE = 0.85  # agreement above which no other pose is looked for
REVIEW = 5  # pictures from one look for a better pose to the next
BETTER = 0.02  # agreement by which it must be better


class EdgeServo(Controller):
    """`coarse`, until the edges that the goal has are seen where its pose has them; then PBVS on the pose that they give.

    depth: Z [m] of the goal picture, (h, w), not finite where there is no object.
    """

    def __init__(self, coarse: Controller, depth: Float[np.ndarray, "h w"], gain: float = 0.1) -> None:
        super().__init__(coarse.camera)
        self.coarse, self.depth, self.gain = coarse, depth, gain

    def _set_goal(self, goal: Tensor) -> None:
        self.coarse.set_goal(goal)
        self.step = 0
        self.edges = [Edges(self.camera, picture[0].numpy(), self.depth) for picture in goal]
        self.state = {
            "goal": torch.arange(len(goal)),
            "T_goal_cam": torch.eye(4, dtype=torch.float64).repeat(len(goal), 1, 1),
            "v_cam": torch.zeros(len(goal), 6, dtype=torch.float64),
            "trusted": torch.zeros(len(goal), dtype=torch.bool),
            "misses": torch.zeros(len(goal), dtype=torch.int64),
            "agreement": torch.zeros(len(goal)),
        }

    def pace(self, dt: float) -> None:
        """As of the coarse method."""
        super().pace(dt)
        self.coarse.pace(dt)

    def keep(self, index: Tensor) -> None:
        """Go on with these runs alone, here and in the coarse method."""
        super().keep(index)
        self.coarse.keep(index)

    def stage(self, n: int) -> Tensor:
        """1 where the edges steer."""
        return self.state["trusted"].expand(n).to(torch.int8)

    def evidence(self, n: int) -> list[str]:
        """Which stage steers, how many of the edges agree, and what the coarse method says."""
        state = zip(self.state["trusted"].expand(n).tolist(), self.state["agreement"].expand(n).tolist(), strict=True)
        told = zip(state, self.coarse.evidence(n), strict=True)
        stages = ("steered by the coarse method", "steered by edges")
        return [f"{stages[trusted]}, {100 * agree:.0f} % of them agree{', ' * bool(more)}{more}" for (trusted, agree), more in told]

    def _velocity(self, image: Tensor) -> Tensor:
        n = len(image)
        self.state = {name: values.expand(n, *values.shape[1:]).clone() for name, values in self.state.items()}
        state, pool = self.state, native.pool(torch.get_num_threads())
        views = list(pool.map(lambda picture: Slopes.of(picture[0].numpy()), image))
        guess, followed = state["T_goal_cam"] @ se3.exp(state["v_cam"] * self.dt), state["trusted"].nonzero().flatten()
        for i, fit in zip(followed.tolist(), pool.map(lambda i: self._fit(i, views, guess[i], NEAR), followed.tolist()), strict=True):
            self._judge(i, fit, HOLD, guess[i])
        self.step += 1
        unsure = ~state["trusted"] | (self.step % REVIEW == 0) & (state["agreement"] < SURE)
        v_coarse, doubted = state["v_cam"].clone(), unsure.nonzero().flatten()
        if len(doubted):
            v_coarse[doubted] = self.coarse.velocity_of(image[doubted], doubted, n)
            believed = control.pose_of_pbvs(v_coarse, self.coarse.gain)
            moving = [i for i in doubted.tolist() if v_coarse[i].any()]  # a method that holds still knows no pose
            for i, fit in zip(moving, pool.map(lambda i: self._fit(i, views, believed[i], FAR), moving), strict=True):
                if not state["trusted"][i] or fit.agreement > state["agreement"][i] + BETTER:
                    self._judge(i, fit, AGREE, believed[i])
        state["v_cam"] = torch.where(state["trusted"][:, None], control.pbvs(state["T_goal_cam"], self.gain), v_coarse)
        return state["v_cam"]

    def _fit(self, i: int, views: list[Slopes], T_goal_cam: Float[Tensor, "4 4"], reaches: tuple[float, ...]) -> Fit:
        return self.edges[int(self.state["goal"][i])].register(views[i], T_goal_cam.numpy(), reaches)

    def _judge(self, i: int, fit: Fit, least: float, guess: Float[Tensor, "4 4"]) -> None:
        """Trust the pose of run i where enough edges agree. To a run that is trusted a few misses are forgiven, at its guess."""
        state, agrees = self.state, fit.agreement > least
        state["agreement"][i] = fit.agreement
        state["misses"][i] = 0 if agrees else state["misses"][i] + 1
        state["trusted"][i] = agrees or (bool(state["trusted"][i]) and int(state["misses"][i]) < PATIENCE)
        state["T_goal_cam"][i] = torch.from_numpy(fit.T_goal_cam) if agrees else guess
