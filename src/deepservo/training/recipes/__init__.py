"""The experiments at full scale by name, the most valuable first."""

from collections.abc import Mapping
from types import MappingProxyType

from deepservo.training.recipes import aevs, cnn_vs, dfbvs, mlvs, siamese_se3
from deepservo.training.recipes.experiment import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "unseen": cnn_vs.UNSEEN,
        "mlvs": mlvs.TABLE,
        "aevs": aevs.FREQUENCY,
        "aevs-pixel": aevs.PIXEL,
        "siamese-se3": siamese_se3.SE3,
        "siamese-two-weights": siamese_se3.TWO_WEIGHTS,
        "siamese-SE3": siamese_se3.POSES,
        "siamese-ibvs": siamese_se3.POINTS,
        "siamese-scenes": siamese_se3.SEVERAL,
        "keypoints": dfbvs.KEYPOINTS,
        "cnn": cnn_vs.ONE_SCENE,
    }
)
