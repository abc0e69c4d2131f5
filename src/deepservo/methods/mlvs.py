"""MLVS (Felton 2023): pictures and poses are embedded in one latent space.

The error is that of the pictures' embeddings, its interaction matrix that of the poses'.
"""

import copy
from dataclasses import dataclass
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
from deepservo.methods.located import Located, unusual_embeddings
from deepservo.nets.metric import MetricNet, PoseEncoder
from deepservo.nets.resnet import folded
from deepservo.scene import Scene, sampling, taught
from deepservo.scene.reference import to_reference, to_world

# The search for a pose: among so many random poses of the workspace the nearest are taken, and from
# each of them Levenberg-Marquardt with this mu does so many iterations.
SEARCHED_POSES = 20_000
SEARCH_STARTS = 4
SEARCH_ITERATIONS = 6
SEARCH_DAMPING = 1e-3
# A goal that agrees with the learned picture by more than this is embedded itself, and not what the
# learned scene shows at its pose.
CLEAN_AGREEMENT = 0.9
USUAL_COUNT = 128  # pictures of the scene that measure how near an embedding usually is to a pose's


class PoseSearch:
    """Finds the poses whose embedding is nearest to a given one, by Levenberg-Marquardt on phi.

    It takes the place of MLVS's bank of a million poses. Poses are `T_ref_cam` in units of the
    scene's distance.
    """

    def __init__(self, phi: PoseEncoder, seed: int = 0) -> None:
        self.phi = phi
        self.poses = to_reference(
            sampling.workspace(SEARCHED_POSES, torch.Generator().manual_seed(seed), 1.0), 1.0
        )
        self.embedded = phi(self.poses)

    def __call__(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b 4 4"]:
        """`T_ref_cam` of each embedding z."""
        nearest = torch.cdist(z, self.embedded).topk(SEARCH_STARTS, largest=False).indices
        T = self.poses[nearest].flatten(0, 1)
        wanted = z.repeat_interleave(SEARCH_STARTS, 0)
        for _ in range(SEARCH_ITERATIONS):
            found, L = self.phi.measure(T)
            H, g = control.normal_equations(L, found - wanted)
            T = T @ se3.exp(control.levenberg_marquardt(H, g, 1.0, SEARCH_DAMPING))
        best = (self.phi(T) - wanted).norm(dim=1).view(-1, SEARCH_STARTS).argmin(1)
        return T.view(-1, SEARCH_STARTS, 4, 4)[torch.arange(len(z)), best]


@dataclass(frozen=True)
class Neighbours:
    """The published L (Eq. 13): the mean over so many nearest poses of a bank about the goal.

    weights: `inverse` to the distances of the embeddings, as in the public code, or proportional to
    them, as `printed`.
    """

    count: int
    weights: Literal["inverse", "printed"] = "inverse"


class MetricServo(Located):
    """`v = -gain L^+ (z_I - z_goal)` (Eq. 14), with L of the pose whose embedding is nearest.

    distance: the scene's unit of length [m]. neighbours: as published, L is a mean over the nearest
    poses of a bank instead. With `scene`, the goal's pose is searched for there; where the goal's
    picture is lit, noisy or covered, what the learned scene shows at that pose is embedded instead.
    """

    def __init__(
        self,
        camera: Camera,
        net: MetricNet,
        distance: float,
        scene: Scene | None = None,
        *,
        gain: float = 0.1,
        neighbours: Neighbours | None = None,
    ) -> None:
        super().__init__(camera, distance, scene)
        self.gain, self.neighbours = gain, neighbours
        self.features = Latent(camera, folded(net.images), windows=9)
        self.phi = copy.deepcopy(net.poses).eval().requires_grad_(False)
        self.pose_search = PoseSearch(self.phi)
        self.usual = None if scene is None else self._apart(self._own_pictures(scene))

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` whose embedding is nearest to that of each picture."""
        return to_world(self.pose_search(self.features.s(continued(images))), self.distance)

    def unusual(self, n: int) -> list[str]:
        """Words on each goal whose embedding is far from that of any pose; else ""."""
        return (
            super().unusual(n)
            if self.usual is None
            else unusual_embeddings(self.state["apart"].expand(n), self.usual)
        )

    def _own_pictures(self, scene: Scene) -> Float[Tensor, "b k"]:
        """z of some pictures of the scene."""
        scene = taught.simplified(scene, self.camera, self.distance)
        Ts = taught.workspace(scene, USUAL_COUNT, torch.Generator().manual_seed(1), self.distance)
        return torch.cat(
            [self.features.s(taught.shown(scene, self.camera, part)) for part in Ts.split(32)]
        )

    def _apart(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """How far each embedding is from the nearest embedding of a pose."""
        return (self.phi(self.pose_search(z)) - z).norm(dim=1)

    def _set_goal(self, goal: Tensor) -> None:
        super()._set_goal(goal)
        shown = self.rendered_goal(goal, CLEAN_AGREEMENT)
        self.state["goal"], self.goal_has_unseen = shown, has_unseen(shown)
        self.state["z"] = self.features.s(continued(shown))
        self.state["apart"] = self._apart(self.state["z"])
        if self.neighbours is not None:
            self.bank = Bank(self.phi, to_reference(self.state["T_world_goal"], self.distance)[0])

    def _velocity(self, image: Tensor) -> Tensor:
        if self.goal_has_unseen or has_unseen(image):
            image, goal = completed(image, self.state["goal"])
            self.state["z"] = self.features.s(goal)
        z = self.features.s(image)
        L = self._L(z).double()
        L[..., :3] /= self.distance
        return control.gauss_newton(
            *control.normal_equations(L, (z - self.state["z"]).double()), self.gain
        )

    def _L(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k 6"]:
        """L of each embedding, for lengths in units of the distance."""
        if self.neighbours is None:
            return self.phi.measure(self.pose_search(z))[1]
        index, apart = self.bank.nearest(z, self.neighbours.count)
        weights = apart if self.neighbours.weights == "printed" else 1 / apart.clamp(min=1e-9)
        _, L = self.phi.measure(self.bank.poses(self.bank.r[index]))
        return torch.einsum("bn,bnij->bij", weights / weights.sum(1, keepdim=True), L)
