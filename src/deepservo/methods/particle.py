"""Particle-filter DVS (Bateux & Marchand 2016): many poses are tried in the current picture, the
best steers, DVS finishes.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.registration import fronto, resize
from deepservo.features.unseen_pixels import continued
from deepservo.geometry import se3
from deepservo.images.sampler import build_pyramid, sample_covered
from deepservo.methods.base import Controller
from deepservo.methods.direct import PhotometricServo
from deepservo.scene import sampling

SIZE = 56  # pixels of the small pictures' longer side, in which poses are tried
TRIED, PARTICLES = 4000, 200  # at the first step, all over the workspace; then
# Deviations from step to step [m at 0.6 m, rad] at the worst match; less where the match is better.
MOVE = (0.03, 0.03, 0.02, math.radians(3), math.radians(3), math.radians(9))
SHARP = 20.0  # of the weights exp(-SHARP SSD / variance of the goal)
NEAR = (0.01, math.radians(1.0))  # [m at 0.6 m, rad] under which DVS takes over


class ParticleServo(Controller):
    """A particle is a `T_goal_cam`; the plane faces the goal's camera at `depth` [m].

    Random numbers depend on the step alone, so a run does not depend on those beside it.
    """

    def __init__(
        self, camera: Camera, depth: float = 0.6, gain: float = 0.1, seed: int = 0
    ) -> None:
        super().__init__(camera)
        self.dvs = PhotometricServo(camera, depth)
        self.small = camera.within(SIZE)
        self.depth, self.gain, self.seed = depth, gain, seed
        self.faster = self.dvs.gain / gain
        unit = torch.tensor([depth / 0.6] * 3 + [1.0] * 3, dtype=torch.float64)
        self.move = torch.tensor(MOVE, dtype=torch.float64) * unit
        self.near = (NEAR[0] * depth / 0.6, NEAR[1])

    def is_refining(self, n: int) -> Tensor:
        """1 where DVS has taken over."""
        return self.state["near"].expand(n).to(torch.int8)

    def select_runs(self, index: Tensor) -> None:
        """Go on with these runs alone, in DVS too."""
        super().select_runs(index)
        self.dvs.select_runs(index)

    def _set_goal(self, goal: Tensor) -> None:
        self.dvs.set_goal(goal)
        self.step = 0
        self.state = {"goal": resize(goal, self.small)}

    def _velocity(self, image: Tensor) -> Tensor:
        if self.step == 0:
            first = sampling.workspace(TRIED, torch.Generator().manual_seed(self.seed), self.depth)
            first = se3.inverse(sampling.fronto_parallel(self.depth)) @ first
            first[0] = torch.eye(4, dtype=first.dtype)  # it may be home
            self.state["Ts_goal_cam"] = first.expand(len(image), -1, 4, 4)
            self.state["v_cam"] = torch.zeros(len(image), 6, dtype=torch.float64)
            self.state["near"] = torch.zeros(len(image), dtype=torch.bool)
        state, v_cam = self.state, torch.zeros(len(image), 6, dtype=torch.float64)
        far = (~state["near"]).nonzero().flatten()
        if len(far):
            v_cam[far] = self._filter(image, far)
        near = state["near"].nonzero().flatten()
        if len(near):
            self.dvs.gain = self.faster * self.gain
            v_cam[near] = self.dvs.velocity_of(image[near], near, len(image))
        state["v_cam"] = v_cam
        self.step += 1
        return v_cam

    def _filter(self, image: Tensor, runs: Tensor) -> Float[Tensor, "k 6"]:
        """Move the particles of some runs with the camera, weigh them, steer by the best, and draw
        them anew by weight.
        """
        state, small = self.state, resize(continued(image[runs]), self.small)
        goal = state["goal"].expand(len(image), 1, self.small.height, self.small.width)[runs, 0]
        Ts = state["Ts_goal_cam"][runs]
        if self.step:
            Ts = Ts @ se3.exp(state["v_cam"][runs] * self.dt)[:, None]
        cost = torch.stack([self._cost(*each) for each in zip(small, Ts, goal, strict=True)])
        best = cost.argmin(1)
        T = Ts[torch.arange(len(runs)), best]
        weights = torch.softmax(-SHARP * cost.double(), 1)
        combs = ((torch.arange(PARTICLES) + 0.5) / PARTICLES).double().repeat(len(runs), 1)
        drawn = torch.searchsorted(weights.cumsum(1), combs)
        drawn = drawn.clamp(max=Ts.shape[1] - 1)
        drawn[:, 0] = best
        worst = cost.amin(1).double().clamp(max=1)[:, None, None]
        drawn_Ts = Ts.gather(1, drawn[:, :, None, None].expand(-1, -1, 4, 4)) @ self._spread(worst)
        state["Ts_goal_cam"] = state["Ts_goal_cam"][:, :PARTICLES].clone()
        state["Ts_goal_cam"][runs] = drawn_Ts
        metres, radians = se3.distance(T, torch.eye(4, dtype=torch.float64))
        state["near"] = state["near"].clone()
        state["near"][runs] = (metres < self.near[0]) & (radians < self.near[1])
        return control.pbvs(T, self.gain)

    def _spread(self, share: Float[Tensor, "b 1 1"]) -> Float[Tensor, "b n 4 4"]:
        """Small motions, the first of them none."""
        noise = torch.randn(
            PARTICLES,
            6,
            generator=torch.Generator().manual_seed(self.seed + self.step),
            dtype=torch.float64,
        )
        noise[0] = 0
        return se3.exp(noise * self.move * share)

    def _cost(
        self, image: Float[Tensor, "1 h w"], Ts: Float[Tensor, "n 4 4"], goal: Float[Tensor, "h w"]
    ) -> Float[Tensor, " n"]:
        """Mean square difference of the image, as each particle sees it from the goal, in variances
        of the goal; 2 where it is not seen.
        """
        plane = fronto(self.depth)
        T = se3.inverse(Ts)
        Hs = (
            self.small.K
            @ (T[:, :3, :3] + T[:, :3, 3:] * (plane[:, None, :3] / plane[:, 3, None, None]))
            @ self.small.K_inv
        )
        warped, coverage = sample_covered(
            build_pyramid(image[None], antialias=False),
            Hs,
            (self.small.height, self.small.width),
            None,
        )
        seen = coverage > 0.999
        apart = (warped[:, 0] - goal).square() / goal[~goal.isnan()].var().clamp(min=1e-6)
        return torch.where(seen, apart, 2.0).nanmean((1, 2))
