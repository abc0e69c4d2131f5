"""MLVS (Felton 2023): pictures and poses meet in one latent space; the error is that of pictures,
its interaction matrix that of poses.
"""

import copy
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.latent import Latent
from deepservo.features.unseen_pixels import completed, continued, has_unseen
from deepservo.geometry import se3
from deepservo.methods.bank import Bank
from deepservo.methods.located import Located, strangeness
from deepservo.nets.metric import MetricNet, PoseEncoder
from deepservo.nets.resnet import folded
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.reference import to_reference, to_world

BANK = 20_000  # poses all over the workspace, among which the search for a pose begins
# agreement with the learned picture above which a goal's own picture is embedded: what is seen
# there is the truth
SPOTLESS = 0.9
OWN = 128  # pictures of the scene, to know how near the nearest pose's embedding usually is
BEGUN, ITERATIONS, DAMPING = (
    4,
    6,
    1e-3,
)  # of that search: from so many poses of the bank, so many steps, Levenberg-Marquardt


class PoseSearch:
    """The poses whose embedding is nearest to a given one, by Gauss-Newton on phi from the nearest
    of a small bank.

    It takes the place of MLVS's bank of a million poses. Poses are `T_ref_cam` in units of the
    scene's distance.
    """

    def __init__(self, phi: PoseEncoder, seed: int = 0) -> None:
        self.phi = phi
        self.poses = to_reference(
            sampling.workspace(BANK, torch.Generator().manual_seed(seed), 1.0), 1.0
        )
        self.embedded = phi(self.poses)

    def __call__(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b 4 4"]:
        """The poses found."""
        nearest = torch.cdist(z, self.embedded).topk(BEGUN, largest=False).indices
        T = self.poses[nearest].flatten(0, 1)
        wanted = z.repeat_interleave(BEGUN, 0)
        for _ in range(ITERATIONS):
            found, L = self.phi.measure(T)
            T = T @ se3.exp(
                control.levenberg_marquardt(
                    *control.normal_equations(L, found - wanted), 1.0, DAMPING
                )
            )
        best = (self.phi(T) - wanted).norm(dim=1).view(-1, BEGUN).argmin(1)
        return T.view(-1, BEGUN, 4, 4)[torch.arange(len(z)), best]


class MetricServo(Located):
    """`v = -gain L^+ (z_I - z_goal)` (Eq. 14), L that of the pose that looks most like the picture.

    neighbours: as published, L is the mean of that of so many nearest poses of a bank about the
    goal (Eq. 13). Weights are `inverse` to the distances of the embeddings, as in the public code,
    or proportional to them, as `printed`. With `scene`, the goal is looked for there, and z_goal is
    that of what the learned scene shows at its pose where the goal's own picture is lit, noisy or
    covered.
    """

    def __init__(
        self,
        camera: Camera,
        net: MetricNet,
        distance: float,
        scene: PlanarScene | None = None,
        gain: float = 0.1,
        neighbours: int | None = None,
        weights: Literal["inverse", "printed"] = "inverse",
    ) -> None:
        super().__init__(camera, distance, scene)
        self.gain, self.neighbours, self.weights = gain, neighbours, weights
        self.features = Latent(camera, folded(net.images), windows=9)
        self.phi = copy.deepcopy(net.poses).eval().requires_grad_(False)
        self.search = PoseSearch(self.phi)
        self.usual = None if scene is None else self._apart(self._own_pictures(scene))

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` whose embedding is nearest to that of each picture."""
        return to_world(self.search(self.features.s(continued(images))), self.distance)

    def strange(self, n: int) -> list[str]:
        """Whether the goal's embedding is far from that of any pose."""
        return (
            super().strange(n)
            if self.usual is None
            else strangeness(self.state["apart"].expand(n), self.usual)
        )

    def _own_pictures(self, scene: PlanarScene) -> Float[Tensor, "b k"]:
        """z of some pictures of the scene."""
        Ts = sampling.workspace(OWN, torch.Generator().manual_seed(1), self.distance)
        return torch.cat(
            [self.features.s(scene.render(self.camera, part)) for part in Ts.split(32)]
        )

    def _apart(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """How far these are from the embedding of any pose."""
        return (self.phi(self.search(z)) - z).norm(dim=1)

    def _set_goal(self, goal: Tensor) -> None:
        super()._set_goal(goal)
        shown = self.relearned(goal, SPOTLESS)
        self.state["goal"], self.gaps = shown, has_unseen(shown)
        self.state["z"] = self.features.s(continued(shown))
        self.state["apart"] = self._apart(self.state["z"])
        if self.neighbours is not None:
            self.bank = Bank(self.phi, to_reference(self.state["T_world_goal"], self.distance)[0])

    def _velocity(self, image: Tensor) -> Tensor:
        if self.gaps or has_unseen(image):
            image, goal = completed(image, self.state["goal"])
            self.state["z"] = self.features.s(goal)
        z = self.features.s(image)
        L = self._L(z).double()
        L[..., :3] /= self.distance
        return control.gauss_newton(
            *control.normal_equations(L, (z - self.state["z"]).double()), self.gain
        )

    def _L(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k 6"]:
        """For lengths in units of the distance."""
        if self.neighbours is None:
            return self.phi.measure(self.search(z))[1]
        index, apart = self.bank.nearest(z, self.neighbours)
        weights = apart if self.weights == "printed" else 1 / apart.clamp(min=1e-9)
        _, L = self.phi.measure(self.bank.poses(self.bank.r[index]))
        return torch.einsum("bn,bnij->bij", weights / weights.sum(1, keepdim=True), L)
