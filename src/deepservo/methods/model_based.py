"""The refinement for goals with depth, by the edges of the object.

A coarse method brings the camera near first.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control, native
from deepservo.errors import InputError
from deepservo.features.drawn import Drawing, Shape
from deepservo.features.drawn_edges import NEAR, TRACKING, View, register_drawn, search_drawn
from deepservo.features.edges import (
    FIRST_GUESS_REACHES,
    MIN_POINTS,
    TRACKING_REACHES,
    Edges,
    Fit,
)
from deepservo.geometry import se3
from deepservo.images.depth import Depth
from deepservo.methods.base import Controller
from deepservo.methods.refinement import (
    MAX_MISSES,
    MIN_AGREEMENT_GAIN,
    REVIEW_INTERVAL,
    Refinement,
)
from deepservo.methods.verdict import Belief

# Agreement is the share of the goal's edges that are seen in their places.
AGREEMENT_TO_TRACK = 0.6  # above this agreement a pose is tracked,
AGREEMENT_TO_KEEP_TRACKING = 0.5  # and above this one it goes on being tracked
AGREEMENT_NOT_REVIEWED = 0.85  # above this agreement no better pose is looked for
SEARCH_INTERVAL = 15  # steps from one search for a known shape to the next, while it is not found
MIN_COMMON_SHARE = 0.8  # of the goal's pixels of the object and of the drawn ones


class EdgeServo(Refinement):
    """`coarse`, until enough of the goal's edges are seen in their places.

    Then PBVS on the pose that the edges give. depth: of the goal picture, unknown where there is no
    object. `set_goal` raises InputError where the goal picture has too few edges.

    shape: the object in the goal camera's frame, where its mesh is known; InputError where that is
    not where the depth shows it. Its edges are then drawn anew in each view, from the pose that is
    believed and under the view's light: outlines of rounded objects are no points of them, and
    light moves where such an outline seems to be.
    """

    def __init__(
        self,
        coarse: Controller,
        depth: Depth = None,
        gain: float = 0.1,
        shape: Shape | None = None,
    ) -> None:
        super().__init__(coarse, depth, gain)
        self.shape = shape
        if shape is not None:
            drawn = np.isfinite(Drawing.of(shape, self.camera).depth)
            there = np.isfinite(self.goal_depth.maps(1)[0].numpy())
            if (drawn & there).sum() < MIN_COMMON_SHARE * (drawn | there).sum():
                raise InputError(
                    "the mesh is not where the goal's depth shows the object; give the mesh and "
                    "the pose that the goal was rendered from"
                )

    def _set_goal(self, goal: Tensor) -> None:
        self.coarse.set_goal(goal)
        self.step = 0
        maps = self.goal_depth.maps(len(goal)).numpy()
        self.edges = [
            Edges(self.camera, picture[0].numpy(), Z)
            for picture, Z in zip(goal, maps, strict=True)
            if not self.shape
        ]
        self.state = {
            "goal": torch.arange(len(goal)),
            "T_goal_cam": torch.eye(4, dtype=torch.float64).repeat(len(goal), 1, 1),
            "tracking": torch.zeros(len(goal), dtype=torch.bool),
            "misses": torch.zeros(len(goal), dtype=torch.int64),
            "agreement": torch.zeros(len(goal)),
            "covariance": torch.full((len(goal), 6, 6), torch.nan, dtype=torch.float64),
        }

    def belief(self, n: int) -> Belief:
        """The pose that the edges give where it steers; before that the coarse method's."""
        tracking, coarse = self.state["tracking"].expand(n), self.coarse.belief(n)
        T, C = (self.state[name].expand(n, -1, -1) for name in ("T_goal_cam", "covariance"))
        agreement, misses = (self.state[name].expand(n) for name in ("agreement", "misses"))
        measured = tracking & (misses == 0)
        return replace(
            coarse,
            recognised=coarse.recognised | tracking,
            refining=tracking,
            by_pose=coarse.by_pose | tracking,
            T_goal_cam=T.where(tracking[:, None, None], coarse.T_goal_cam),
            covariance=C.where(tracking[:, None, None], coarse.covariance),
            agreement=agreement,
            agree=agreement.where(measured, torch.nan),
            blocks=torch.full((n,), MIN_POINTS).where(measured, torch.nan),
            misses=misses,
        )

    def words(self, n: int) -> list[str]:
        """Which of the two methods steers, how many edges agree, and the coarse method's status."""
        state = zip(
            self.state["tracking"].expand(n).tolist(),
            self.state["agreement"].expand(n).tolist(),
            self.coarse.words(n),
            strict=True,
        )
        names = ("coarse method", "edge refinement")
        return [
            f"{names[tracking]}, {100 * share:.0f} % of the edges agree{', ' * bool(more)}{more}"
            for tracking, share, more in state
        ]

    def _velocity(self, image: Tensor) -> Tensor:
        n = len(image)
        self.state = {
            name: values.expand(n, *values.shape[1:]).clone() for name, values in self.state.items()
        }
        state = self.state
        views = list(_pool().map(View.of, image[:, 0].numpy()))
        predicted = state["T_goal_cam"] @ self.motion
        tracked = state["tracking"].nonzero().flatten().tolist()
        for i, fit in self._fits(tracked, views, predicted, TRACKING_REACHES):
            self._judge(i, fit, AGREEMENT_TO_KEEP_TRACKING, predicted[i])
        self.step += 1
        reviewed = ~state["tracking"]
        if self.step % REVIEW_INTERVAL == 0:
            reviewed |= state["agreement"] < AGREEMENT_NOT_REVIEWED
        v_coarse = torch.zeros(n, 6, dtype=torch.float64)
        runs = reviewed.nonzero().flatten()
        if len(runs):
            v_coarse[runs] = self.coarse.velocity_of(image[runs], runs, n)
            guess = control.pose_of_pbvs(v_coarse, self.coarse.gain)
            # Velocity zero is no pose: the coarse method holds still where it has found none.
            moving = [i for i in runs.tolist() if v_coarse[i].any()]
            for i, fit in self._fits(moving, views, guess, FIRST_GUESS_REACHES):
                better = fit.agreement > state["agreement"][i] + MIN_AGREEMENT_GAIN
                if not state["tracking"][i] or better:
                    self._judge(i, fit, AGREEMENT_TO_TRACK, guess[i])
            rejected = self.coarse.pose_consistency(state["T_goal_cam"][runs], runs) < 0
            state["tracking"][runs] &= ~rejected
        self._search(views)
        return torch.where(
            state["tracking"][:, None], control.pbvs(state["T_goal_cam"], self.gain), v_coarse
        )

    def _search(self, views: list[View]) -> None:
        """Look for a known shape in the views of runs that are not tracked, now and then."""
        shape, camera = self.shape, self.camera
        if shape is None or self.step % SEARCH_INTERVAL != 1:
            return
        lost = (~self.state["tracking"]).nonzero().flatten().tolist()
        found = _pool().map(lambda i: search_drawn(shape, camera, views[i]), lost)
        for i, fit in zip(lost, found, strict=True):
            self._judge(i, fit, AGREEMENT_TO_TRACK, self.state["T_goal_cam"][i])

    def _fits(
        self,
        runs: list[int],
        views: list[View],
        T_goal_cam: Float[Tensor, "n 4 4"],
        reaches: tuple[float, ...],
    ) -> Iterable[tuple[int, Fit]]:
        """Each of these runs with its pose registered from the guess `T_goal_cam`."""

        def fit(i: int) -> Fit:
            guess, view = T_goal_cam[i].numpy(), views[i]
            if self.shape is not None:
                passes = TRACKING if reaches == TRACKING_REACHES else NEAR
                return register_drawn(self.shape, self.camera, view, guess, passes)
            edges = self.edges[int(self.state["goal"][i])]
            return edges.register(view.slopes, guess, reaches)

        return zip(runs, _pool().map(fit, runs), strict=True)

    def _judge(self, i: int, fit: Fit, least: float, guess: Float[Tensor, "4 4"]) -> None:
        """Track run i at the fitted pose where more than `least` of the edges agree.

        Where they do not, a tracked run goes on at its guess, for MAX_MISSES pictures at most.
        """
        state, agrees = self.state, fit.agreement > least
        state["agreement"][i] = fit.agreement
        state["misses"][i] = 0 if agrees else state["misses"][i] + 1
        state["tracking"][i] = agrees or (
            bool(state["tracking"][i]) and int(state["misses"][i]) < MAX_MISSES
        )
        T, C = torch.from_numpy(fit.T_goal_cam), torch.from_numpy(fit.covariance)
        to_goal = se3.adjoint(T)
        state["T_goal_cam"][i] = T if agrees else guess
        state["covariance"][i] = to_goal @ C @ to_goal.mT


def _pool() -> ThreadPoolExecutor:
    return native.pool(torch.get_num_threads())
