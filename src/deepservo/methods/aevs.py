"""AEVS (Felton 2022): servoing on what an autoencoder's encoder makes of the picture,
Levenberg-Marquardt (Eq. 10, 11, 18).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.latent import Latent, seen_by
from deepservo.features.luminance import Where
from deepservo.features.registration import AGREE
from deepservo.features.unseen_pixels import continued
from deepservo.geometry import se3
from deepservo.methods.direct import FeatureServo
from deepservo.methods.located import AT_ONCE, Located, strangeness
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import Encoder, folded
from deepservo.scene import PlanarScene, sampling

# Damping is for the first steps of the way: what z says of the directions in which it hardly moves,
# such as about the point that the camera looks at, is lost in it, and held longer it makes a camera
# creep aside until it sees the scene no more.
MU, HOLD, DECAY = 3e-3, 5, 0.9
KNOWN, MORE = (
    8192,
    128,
    # pictures of the learned scene that are encoded; more of them, to know how near the nearest
    # usually is
)
ENCODED = 256  # so many at once
FLAT = 1e-3  # deviation of a picture that is not stretched further
TRIED, TRIED_OF_GOAL = 32, 256  # the nearest of them are tried,
ROUGHLY, KEPT = ((3, 8),), 4  # so at first, and those that agree best once more


class Gallery:
    """Pictures of the learned scene from all over the workspace, encoded: among them another one is
    looked up by its z.

    All in one light, the usual mean and deviation: an encoder that learned in one light has a
    darker picture elsewhere.
    """

    def __init__(
        self, camera: Camera, features: Latent, scene: PlanarScene, distance: float
    ) -> None:
        self.features, self.poses, z = (
            features,
            sampling.workspace(KNOWN + MORE, torch.Generator().manual_seed(0), distance),
            [],
        )
        small = seen_by(camera, features.size)
        some = scene.render(small, self.poses[:ENCODED])
        self.light = some.mean(), some.std()
        with torch.no_grad(), half_precision():
            for part in self.poses.split(ENCODED):
                seen = self._evened(scene.render(small, part))
                z.append(
                    features.encoder(seen.contiguous(memory_format=torch.channels_last)).float()
                )
        self.embedded, others = torch.cat(z).split([KNOWN, MORE])
        self.usual = torch.cdist(others, self.embedded).amin(1)

    def nearest(
        self, images: Float[Tensor, "b 1 h w"], n: int
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 4 4"]]:
        """How far in z the n nearest pictures are, and their `T_world_cam`."""
        apart, index = torch.cdist(
            self.features.s(self._evened(continued(images))), self.embedded
        ).topk(n, largest=False)
        return apart, self.poses[index]

    def _evened(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        mean, deviation = (
            images.mean((1, 2, 3), keepdim=True),
            images.std((1, 2, 3), keepdim=True).clamp(min=FLAT),
        )
        return (images - mean) / deviation * self.light[1] + self.light[0]


def latent_servo(
    camera: Camera, encoder: Encoder, depth: float = 0.6, interaction: Where = "mean"
) -> FeatureServo:
    """The law of `dvs` on z and L_z, damped for HOLD steps; interaction: L_z at the current
    picture, the goal's, or their mean.
    """
    features = Latent(camera, folded(encoder))
    return FeatureServo(camera, features, depth, interaction, mu=MU, hold=HOLD, decay=DECAY)


class AutoEncoderServo(Located):
    """`latent_servo` in its learned scene, where it says whether the goal is anything that the
    encoder has learned.

    With `recognise`, which is for the way to a photometric finish, it steers by the law only where
    it does not know where it is. z tells far-away places apart where L_z, read at one point, no
    longer says which way to go: the pictures of the gallery that are nearest in z are where a
    picture may have been taken, and the one is believed whose view of the learned scene agrees with
    it. From there it is PBVS.
    """

    def __init__(
        self,
        camera: Camera,
        encoder: Encoder,
        distance: float,
        scene: PlanarScene,
        depth: float = 0.6,
        recognise: bool = False,
    ) -> None:
        super().__init__(camera, distance, scene)
        self.law, self.recognise = latent_servo(camera, encoder, depth), recognise
        if not recognise:
            self.gain, self.max_steps = self.law.gain, self.law.max_steps
        features = self.law.features
        assert isinstance(features, Latent)
        self.features, self.gallery = features, Gallery(camera, features, scene, distance)

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` of each picture: of the nearest ones in z, registered to the learned
        picture, the one that agrees best.
        """
        return self._recognised(images, TRIED)

    def predict_goal(self, goal: Float[Tensor, "g 1 h w"]) -> Float[Tensor, "g 4 4"]:
        """Of more of them."""
        return torch.cat([self._recognised(part, TRIED_OF_GOAL) for part in goal.split(AT_ONCE)])

    def _recognised(self, images: Float[Tensor, "b 1 h w"], tried: int) -> Float[Tensor, "b 4 4"]:
        run = torch.arange(len(images))[:, None]
        T, agreement = self.registered(
            images, self.gallery.nearest(images, tried)[1], ROUGHLY, ROUGHLY[0][0]
        )
        T, agreement = self.registered(images, T[run, agreement.topk(KEPT).indices])
        return T[run[:, 0], agreement.argmax(1)]

    def strange(self, n: int) -> list[str]:
        """Whether the goal's z is far from all that was learned."""
        return strangeness(self.state["apart"].expand(n), self.gallery.usual)

    def _set_goal(self, goal: Tensor) -> None:
        if self.recognise:
            super()._set_goal(goal)
        else:  # it does not steer by it
            T, agreement = self.registered(goal, self.predict_goal(goal))
            self.state = {"T_world_goal": T, "agreement": agreement, "found": agreement > AGREE}
        self.law.set_goal(goal)
        self.state |= {**self.law.state, "apart": self.gallery.nearest(goal, 1)[0][:, 0]}

    def _velocity(self, image: Tensor) -> Tensor:
        self.law.state = {
            name: self.state[name] for name in self.law.state
        }  # of the runs that go on
        self.law.goal_count = self.goal_count
        if not self.recognise:
            self.law.gain = self.gain
            return self.law.velocity(image)
        T, agreement = self.registered(image, self.predict(image))
        placed = control.pbvs(se3.inverse(self.state["T_world_goal"]) @ T, self.gain)
        known = (agreement > AGREE) & self.state["found"]
        return torch.where(
            known[:, None], placed, self.gain / self.law.gain * self.law.velocity(image)
        )
