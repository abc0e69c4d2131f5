"""AEVS (Felton 2022): servoing on what an autoencoder's encoder makes of the picture, Levenberg-Marquardt (Eq. 10, 11, 18)."""

import copy

from deepservo.camera import Camera
from deepservo.features.latent import Latent
from deepservo.features.luminance import Where
from deepservo.methods.direct import FeatureServo
from deepservo.nets.resnet import Encoder, folded

HOLD, DECAY = 50, 0.9  # Damping is for the way: what z says of the directions in which it hardly moves is lost in it.


def latent_servo(camera: Camera, encoder: Encoder, depth: float = 0.6, interaction: Where = "mean") -> FeatureServo:
    """The law of `dvs` on z and L_z, damped for HOLD steps; interaction: L_z at the current picture, the goal's, or their mean."""
    features = Latent(camera, folded(copy.deepcopy(encoder)))
    return FeatureServo(camera, features, depth, interaction, hold=HOLD, decay=DECAY)
