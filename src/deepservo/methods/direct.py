"""Direct servoing: features of the whole picture and a law.

DVS takes the grey levels, DCT-VS and PCA-VS project them on a few pictures.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.goal_depth import GoalDepth
from deepservo.features.luminance import SHARES, Luminance, NormalEquations, Where
from deepservo.features.projection import Projection, dct_basis, pca_basis
from deepservo.features.unseen_pixels import completed, continued, has_unseen
from deepservo.images.depth import Depth
from deepservo.images.undrawn import Undrawn
from deepservo.methods.base import Controller
from deepservo.scene import PlanarScene
from deepservo.scene.sampling import workspace

PCA_PICTURES = 1000  # pictures of the scene that the basis is learned from


class Features(Protocol):
    """What is measured in an image, and how it moves with the camera."""

    def s(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """The features alone, k of each picture."""
        ...

    def measure(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 6"]]:
        """The features and their interaction matrix.

        depth: Z [m] of each pixel, or (1, 1, 1): one for all.
        """
        ...


@dataclass(frozen=True)
class Damping:
    """Levenberg-Marquardt's mu (AEVS Eq. 18): constant for `hold` steps, then decaying."""

    mu: float = 0.01
    hold: int = 500
    decay: float = 0.995

    def at(self, step: int) -> float:
        """mu of a step, counted from 1."""
        return self.mu * self.decay ** max(0, step - self.hold)


class FeatureServo(Controller):
    """Features and a law: Levenberg-Marquardt, or Gauss-Newton where damping is None.

    depth: of the goal's scene; of the view's pixels the same is assumed. interaction: L of the
    current picture, of the goal's, or their mean (ESM). gain: per second. Raises InputError where
    depth is none.
    """

    max_steps = 1500

    def __init__(
        self,
        camera: Camera,
        features: Features,
        depth: Depth = None,
        *,
        interaction: Where = "mean",
        gain: float = 0.5,
        damping: Damping | None = Damping(),
    ) -> None:
        super().__init__(camera, depth)
        self.features = features
        self.interaction, self.gain, self.damping = interaction, gain, damping

    def _set_goal(self, goal: Tensor) -> None:
        self.state = {"goal": goal, "Z": self.goal_depth.whole()}
        self.state |= self._measure_goal(continued(goal))
        self.step, self.goal_has_unseen = 0, has_unseen(goal)

    def _velocity(self, image: Tensor) -> Tensor:
        if self.goal_has_unseen or has_unseen(image):
            image, goal = completed(image, self.state["goal"])
            self.state |= self._measure_goal(goal)
        return self._law(*self._normal_equations(image))

    def _law(self, H: Float[Tensor, "b 6 6"], g: Float[Tensor, "b 6"]) -> Float[Tensor, "b 6"]:
        self.step += 1
        if self.damping is None:
            return control.gauss_newton(H, g, self.gain)
        return control.levenberg_marquardt(H, g, self.gain, self.damping.at(self.step))

    def _measure_goal(self, goal: Tensor) -> dict[str, Tensor]:
        s, L = self.features.measure(goal, self.state["Z"])
        return {"s": s, "L": L}

    def _normal_equations(
        self, image: Tensor
    ) -> tuple[Float[Tensor, "b 6 6"], Float[Tensor, "b 6"]]:
        """`H = L^T L` and `g = L^T (s - s_goal)`."""
        of_current, of_goal = SHARES[self.interaction]
        s, L = (
            self.features.measure(image, self.state["Z"])
            if of_current
            else (self.features.s(image), torch.zeros(1))
        )
        L = (of_current * L + of_goal * self.state["L"]).double()
        e = (s - self.state["s"]).double()
        return control.normal_equations(L, e)


class PhotometricServo(FeatureServo):
    """DVS: the grey levels inside a border [px] are the features (Collewet & Marchand 2011).

    Before a scene of one depth, H and g are summed without L in memory. The law's arguments are
    those of FeatureServo.
    """

    def __init__(
        self,
        camera: Camera,
        depth: Depth = None,
        border: int = 10,
        *,
        interaction: Where = "mean",
        gain: float = 0.5,
        damping: Damping | None = Damping(),
    ) -> None:
        features = Luminance(camera, border)
        super().__init__(
            camera, features, depth, interaction=interaction, gain=gain, damping=damping
        )
        self.luminance = features

    def _set_goal(self, goal: Tensor) -> None:
        super()._set_goal(goal)
        self.measures_undrawn = self.goal_depth.Z is None and not self.goal_has_unseen

    def _measure_goal(self, goal: Tensor) -> dict[str, Tensor]:
        if self.goal_depth.Z is not None:
            return super()._measure_goal(goal)
        self.equations = NormalEquations(self.luminance, self.goal_depth.number)
        return {"shown": goal}

    def _normal_equations(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if self.goal_depth.Z is not None:
            return super()._normal_equations(image)
        return self.equations(image, self.state["shown"], self.interaction)

    def _velocity_of_undrawn(self, images: Undrawn) -> Tensor:
        return self._law(*self.equations(images, self.state["shown"], self.interaction))


def dct_servo(camera: Camera, depth: Depth = None, k: int = 32, border: int = 10) -> FeatureServo:
    """DCT-VS (Marchand 2020): the first k coefficients in zigzag order, inside a border [px]."""
    luminance = Luminance(camera, border)
    height, width = luminance.x.shape
    return FeatureServo(camera, Projection(luminance, dct_basis(k, height, width)), depth)


def pca_servo(
    camera: Camera,
    scene: PlanarScene,
    depth: Depth = None,
    k: int = 32,
    *,
    border: int = 10,
    seed: int = 0,
) -> FeatureServo:
    """PCA-VS (Marchand 2019): the k directions in which pictures of the scene vary most.

    There are PCA_PICTURES of them, from random poses all over the workspace.
    """
    luminance = Luminance(camera, border)
    number = GoalDepth.of(depth, camera).number
    poses = workspace(PCA_PICTURES, torch.Generator().manual_seed(seed), number)
    grey = torch.cat(
        [luminance.s(continued(scene.render(camera, part))) for part in poses.split(100)]
    )
    return FeatureServo(camera, Projection(luminance, *pca_basis(grey, k)), depth)
