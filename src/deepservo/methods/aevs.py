"""AEVS (Felton 2022): an autoencoder's latent vector of the picture as features.

The law is Levenberg-Marquardt (Eq. 10, 11, 18).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.latent import Latent, seen_by
from deepservo.features.luminance import Where
from deepservo.features.registration import SAME_PLACE_AGREEMENT, Schedule
from deepservo.features.unseen_pixels import continued
from deepservo.geometry import se3
from deepservo.images.depth import Depth
from deepservo.methods.direct import Damping, FeatureServo
from deepservo.methods.located import GOALS_AT_ONCE, Located, unusual_embeddings
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import Encoder, folded
from deepservo.scene import Scene, taught

# The first steps alone are damped. Damping suppresses the motions that hardly change z, such as
# orbits about the point that the camera looks at; held longer, the camera creeps aside until the
# scene is out of view.
DAMPING = Damping(mu=3e-3, hold=5, decay=0.9)
GALLERY_SIZE = 8192  # pictures of the learned scene that are encoded
USUAL_COUNT = 128  # more of them, which measure how far the nearest of the gallery usually is
ENCODED_AT_ONCE = 256  # pictures
MIN_CONTRAST = 1e-3  # least deviation of grey levels that a picture's contrast is scaled from
# The poses of the nearest pictures in z, of a view and of a goal, are registered on the first
# schedule; of those, as many as the last number says, that agree best, are registered finely.
CANDIDATES, GOAL_CANDIDATES = 32, 256
CANDIDATE_SCHEDULE: Schedule = ((3, 8),)
BEST_CANDIDATES = 4


class Gallery:
    """Encoded pictures of the learned scene from poses all over the workspace, searched by z.

    All are scaled to one mean and deviation of grey levels: an encoder that learned in one light
    encodes a darker picture of the same pose otherwise.
    """

    def __init__(self, camera: Camera, features: Latent, scene: Scene, distance: float) -> None:
        random = torch.Generator().manual_seed(0)
        scene = taught.simplified(scene, camera, distance)
        self.poses = taught.workspace(scene, GALLERY_SIZE + USUAL_COUNT, random, distance)
        self.features, z = features, []
        small = seen_by(camera, features.size)
        some = taught.shown(scene, small, self.poses[:ENCODED_AT_ONCE])
        self.light = some.mean(), some.std()
        with torch.no_grad(), half_precision():
            for part in self.poses.split(ENCODED_AT_ONCE):
                seen = self._evened(taught.shown(scene, small, part))
                z.append(
                    features.encoder(seen.contiguous(memory_format=torch.channels_last)).float()
                )
        self.embedded, others = torch.cat(z).split([GALLERY_SIZE, USUAL_COUNT])
        self.usual = torch.cdist(others, self.embedded).amin(1)

    def nearest(
        self, images: Float[Tensor, "b 1 h w"], n: int
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 4 4"]]:
        """The distances in z of the n nearest pictures, and their `T_world_cam`."""
        apart, index = torch.cdist(
            self.features.s(self._evened(continued(images))), self.embedded
        ).topk(n, largest=False)
        return apart, self.poses[index]

    def _evened(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        mean = images.mean((1, 2, 3), keepdim=True)
        deviation = images.std((1, 2, 3), keepdim=True).clamp(min=MIN_CONTRAST)
        return (images - mean) / deviation * self.light[1] + self.light[0]


def latent_servo(
    camera: Camera, encoder: Encoder, depth: Depth = None, interaction: Where = "mean"
) -> FeatureServo:
    """The law of `dvs` on z and L_z, damped at the first steps.

    depth: of the goal's scene. interaction: L_z of the current picture, the goal's, or their mean.
    """
    features = Latent(camera, folded(encoder))
    return FeatureServo(camera, features, depth, interaction=interaction, damping=DAMPING)


class AutoEncoderServo(Located):
    """`latent_servo` in its learned scene; its status tells whether the goal was learned.

    distance: the scene's unit of length [m]. depth: of the goal's scene.

    With `recognise`, for `aevs+dvs`, it steers by PBVS wherever its pose is recognised: z tells
    distant places apart where L_z, a local derivative, no longer points to the goal. The poses of
    the pictures in the gallery that are nearest in z are registered to the learned picture, and the
    one that agrees best is the camera's. Elsewhere the law steers.
    """

    def __init__(
        self,
        camera: Camera,
        encoder: Encoder,
        distance: float,
        scene: Scene,
        depth: Depth = None,
        *,
        recognise: bool = False,
    ) -> None:
        super().__init__(camera, distance, scene)
        self.law, self.recognise = latent_servo(camera, encoder, depth), recognise
        self.goal_depth = self.law.goal_depth
        if not recognise:
            self.gain, self.max_steps = self.law.gain, self.law.max_steps
        features = self.law.features
        assert isinstance(features, Latent)
        self.features, self.gallery = features, Gallery(camera, features, scene, distance)

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` of each picture, recognised among those of the gallery.

        The nearest in z are registered to the learned picture, and the one that agrees best is
        taken.
        """
        return self._recognised(images, CANDIDATES)

    def predict_goal(self, goal: Float[Tensor, "g 1 h w"]) -> Float[Tensor, "g 4 4"]:
        """As `predict`, of more candidates."""
        parts = goal.split(GOALS_AT_ONCE)
        return torch.cat([self._recognised(part, GOAL_CANDIDATES) for part in parts])

    def _recognised(
        self, images: Float[Tensor, "b 1 h w"], candidates: int
    ) -> Float[Tensor, "b 4 4"]:
        run, level = torch.arange(len(images))[:, None], CANDIDATE_SCHEDULE[0][0]
        T = self.gallery.nearest(images, candidates)[1]
        T, agreement = self.registered(images, T, CANDIDATE_SCHEDULE, level)
        T, agreement = self.registered(images, T[run, agreement.topk(BEST_CANDIDATES).indices])
        return T[run[:, 0], agreement.argmax(1)]

    def unusual(self, n: int) -> list[str]:
        """Words on each goal whose z is far from all that was learned; else ""."""
        return unusual_embeddings(self.state["apart"].expand(n), self.gallery.usual)

    def _set_goal(self, goal: Tensor) -> None:
        if self.recognise:
            super()._set_goal(goal)
        else:  # for the status alone
            T, agreement = self.registered(goal, self.predict_goal(goal))
            self.state = {
                "T_world_goal": T,
                "agreement": agreement,
                "found": agreement > SAME_PLACE_AGREEMENT,
            }
        self.law.set_goal(goal, self.goal_depth)
        self.state |= {**self.law.state, "apart": self.gallery.nearest(goal, 1)[0][:, 0]}

    def _velocity(self, image: Tensor) -> Tensor:
        # The law's own state still has the runs that have ended.
        self.law.state = {name: self.state[name] for name in self.law.state}
        self.law.goal_count = self.goal_count
        if not self.recognise:
            self.law.gain = self.gain
            return self.law._velocity(image)
        T, agreement = self.registered(image, self.predict(image))
        v_pose = control.pbvs(se3.inverse(self.state["T_world_goal"]) @ T, self.gain)
        v_law = self.gain / self.law.gain * self.law._velocity(image)
        self.state["sure"] = agreement > SAME_PLACE_AGREEMENT
        recognised = self.state["sure"] & self.state["found"]
        return torch.where(recognised[:, None], v_pose, v_law)
