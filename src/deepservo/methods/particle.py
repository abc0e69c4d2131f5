"""Particle-filter DVS (Bateux & Marchand 2016).

Of many poses the one that explains the current picture best steers, and DVS refines.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.pairs import homographies
from deepservo.features.pyramid import resize
from deepservo.features.registration import fronto
from deepservo.features.unseen_pixels import continued
from deepservo.geometry import se3
from deepservo.images.depth import Depth
from deepservo.images.sampler import build_pyramid, sample_covered
from deepservo.methods.base import Controller
from deepservo.methods.direct import PhotometricServo
from deepservo.scene import sampling

SIDE = 56  # px: longer side of the reduced pictures in which poses are compared
FIRST_PARTICLES = 4000  # at the first step, all over the workspace
PARTICLES = 200  # at the other steps
# Deviations of the particles' motion from step to step [m at 0.6 m, rad] at the worst match; less
# where the match is better.
MOTION = (0.03, 0.03, 0.02, math.radians(3), math.radians(3), math.radians(9))
WEIGHT_SHARPNESS = 20.0  # of the weights exp(-WEIGHT_SHARPNESS SSD / variance of the goal)
DVS_REACH = (0.01, math.radians(1.0))  # m at 0.6 m, rad: nearer to the goal DVS takes over


class ParticleServo(Controller):
    """A particle is a `T_goal_cam`; the plane faces the goal's camera at `depth` [m].

    Random numbers depend on the seed and the step alone, so that a run does not depend on the
    others of its batch.
    """

    def __init__(
        self, camera: Camera, depth: Depth = None, gain: float = 0.1, seed: int = 0
    ) -> None:
        super().__init__(camera, depth)
        self.dvs = PhotometricServo(camera, depth)
        self.small = camera.within(SIDE)
        self.gain, self.seed = gain, seed
        self.dvs_gain_ratio = self.dvs.gain / gain

    def is_refining(self, n: int) -> Tensor:
        """(n,) int8: 1 where DVS has taken over."""
        return self.state["near"].expand(n).to(torch.int8)

    def select_runs(self, index: Tensor) -> None:
        """Keep these runs alone, in DVS too."""
        super().select_runs(index)
        self.dvs.select_runs(index)

    def _set_goal(self, goal: Tensor) -> None:
        self.dvs.set_goal(goal, self.goal_depth)
        self.step, self.depth = 0, self.goal_depth.number
        unit = torch.tensor([self.depth / 0.6] * 3 + [1.0] * 3, dtype=torch.float64)
        self.motion = torch.tensor(MOTION, dtype=torch.float64) * unit
        self.dvs_reach = (DVS_REACH[0] * self.depth / 0.6, DVS_REACH[1])
        self.state = {"goal": resize(goal, self.small)}

    def _velocity(self, image: Tensor) -> Tensor:
        if self.step == 0:
            random = torch.Generator().manual_seed(self.seed)
            first = sampling.workspace(FIRST_PARTICLES, random, self.depth)
            first = se3.inverse(sampling.fronto_parallel(self.depth)) @ first
            first[0] = torch.eye(4, dtype=first.dtype)  # the goal's own pose
            self.state["Ts_goal_cam"] = first.expand(len(image), -1, 4, 4)
            self.state["v_cam"] = torch.zeros(len(image), 6, dtype=torch.float64)
            self.state["near"] = torch.zeros(len(image), dtype=torch.bool)
        state, v_cam = self.state, torch.zeros(len(image), 6, dtype=torch.float64)
        far = (~state["near"]).nonzero().flatten()
        if len(far):
            v_cam[far] = self._filter(image, far)
        near = state["near"].nonzero().flatten()
        if len(near):
            self.dvs.gain = self.dvs_gain_ratio * self.gain
            v_cam[near] = self.dvs.velocity_of(image[near], near, len(image))
        state["v_cam"] = v_cam
        self.step += 1
        return v_cam

    def _filter(self, image: Tensor, runs: Tensor) -> Float[Tensor, "k 6"]:
        """PBVS on the best particles of these runs.

        The particles move with the camera, are weighted by the current pictures, and drawn anew by
        their weights.
        """
        state, small = self.state, resize(continued(image[runs]), self.small)
        goal = state["goal"].expand(len(image), 1, self.small.height, self.small.width)[runs, 0]
        Ts = state["Ts_goal_cam"][runs]
        if self.step:
            Ts = Ts @ se3.exp(state["v_cam"][runs] * self.dt)[:, None]
        cost = torch.stack([self._cost(*each) for each in zip(small, Ts, goal, strict=True)])
        best = cost.argmin(1)
        T = Ts[torch.arange(len(runs)), best]
        weights = torch.softmax(-WEIGHT_SHARPNESS * cost.double(), 1)
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
        state["near"][runs] = (metres < self.dvs_reach[0]) & (radians < self.dvs_reach[1])
        return control.pbvs(T, self.gain)

    def _spread(self, share: Float[Tensor, "b 1 1"]) -> Float[Tensor, "b n 4 4"]:
        """Small random motions, the first of them none; share: of the deviations MOTION."""
        random = torch.Generator().manual_seed(self.seed + self.step)
        noise = torch.randn(PARTICLES, 6, generator=random, dtype=torch.float64)
        noise[0] = 0
        return se3.exp(noise * self.motion * share)

    def _cost(
        self, image: Float[Tensor, "1 h w"], Ts: Float[Tensor, "n 4 4"], goal: Float[Tensor, "h w"]
    ) -> Float[Tensor, " n"]:
        """Mean square difference of the image, warped to the goal by each pose, from the goal.

        It is in variances of the goal; a pixel that is not seen counts 2.
        """
        Hs = homographies(Ts, fronto(self.depth), self.small, self.small)
        warped, coverage = sample_covered(
            build_pyramid(image[None], antialias=False),
            Hs,
            (self.small.height, self.small.width),
            None,
        )
        seen = coverage > 0.999
        apart = (warped[:, 0] - goal).square() / goal[~goal.isnan()].var().clamp(min=1e-6)
        return torch.where(seen, apart, 2.0).nanmean((1, 2))
