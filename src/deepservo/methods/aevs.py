"""AEVS (Felton 2022): servoing on what an autoencoder's encoder makes of the picture, Levenberg-Marquardt (Eq. 10, 11, 18)."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.data import half_precision
from deepservo.data_latent import pictures
from deepservo.features.latent import Latent
from deepservo.features.luminance import Where
from deepservo.features.registration import AGREE
from deepservo.geometry import se3
from deepservo.methods.direct import FeatureServo
from deepservo.methods.located import Located
from deepservo.nets.resnet import Encoder, folded
from deepservo.scene import PlanarScene, sampling

HOLD, DECAY = 50, 0.9  # Damping is for the way: what z says of the directions in which it hardly moves is lost in it.
BANK, AT_ONCE = 8192, 256  # pictures of the learned scene among which one is looked up, so many of them encoded together
TRIED = 8  # the nearest of them are tried


def latent_servo(camera: Camera, encoder: Encoder, depth: float = 0.6, interaction: Where = "mean") -> FeatureServo:
    """The law of `dvs` on z and L_z, damped for HOLD steps; interaction: L_z at the current picture, the goal's, or their mean."""
    features = Latent(camera, folded(copy.deepcopy(encoder)))
    return FeatureServo(camera, features, depth, interaction, hold=HOLD, decay=DECAY)


class LatentPlace(Located):
    """AEVS before a photometric finish: looked up where it can be recognised, steered by the latent law where not.

    z tells far-away places apart where L_z, read at one point, no longer says which way to go. Pictures of the learned scene from all
    over the workspace are encoded once; the nearest of them to a picture in z are where it may have been taken, and the one is believed
    whose view of the learned scene agrees with it.
    """

    def __init__(self, camera: Camera, encoder: Encoder, distance: float, scene: PlanarScene, depth: float, gain: float = 0.1) -> None:
        super().__init__(camera, distance, scene)
        self.gain, self.law = gain, latent_servo(camera, encoder, depth)
        self.poses = sampling.workspace(BANK, torch.Generator().manual_seed(0), distance)
        features = self.law.features
        assert isinstance(features, Latent)
        self.features, z = features, []
        with torch.no_grad(), half_precision():
            for part in self.poses.split(AT_ONCE):
                seen = pictures(scene, camera, features.size, part)
                z.append(features.encoder(seen.contiguous(memory_format=torch.channels_last)).float())
        self.embedded = torch.cat(z)

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` of each picture: of the nearest ones in z, registered to the learned picture, the one that agrees best."""
        nearest = torch.cdist(self.features.s(images), self.embedded).topk(TRIED, largest=False).indices
        T, agreement = self.registered(images, self.poses[nearest])
        return T[torch.arange(len(images)), agreement.argmax(1)]

    def _set_goal(self, goal: Tensor) -> None:
        super()._set_goal(goal)
        self.law.set_goal(goal)
        self.state |= self.law.state

    def _velocity(self, image: Tensor) -> Tensor:
        self.law.state = {name: self.state[name] for name in self.law.state}  # of the runs that go on
        T, agreement = self.registered(image, self.predict(image))
        placed = control.pbvs(se3.inverse(self.state["T_world_goal"]) @ T, self.gain)
        known = (agreement > AGREE) & self.state["found"]
        return torch.where(known[:, None], placed, self.gain / self.law.gain * self.law.velocity(image))
