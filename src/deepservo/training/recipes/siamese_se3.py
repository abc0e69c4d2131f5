"""Felton et al. 2021: EfficientNet-B3, one scene and several, the published table's variants."""

from dataclasses import replace

from deepservo.images.pictures import BUNDLED
from deepservo.training.recipes.experiment import Experiment

SE3 = Experiment(
    paper="Siame-se(3) (Felton 2021), Table I: EfficientNet-B3, velocities of se(3), four weights",
    method="siamese-se3",
    steps=20_000,
    methods=("siamese-se3", "siamese-se3+dvs", "dvs", "dct"),
    sets={"gaussian": 1000, "lookat": 500, "screw": 500, "lookat-rz": 500},
)
_VARIANT = replace(SE3, methods=("siamese-se3",), sets={"gaussian": 1000})
TWO_WEIGHTS = replace(_VARIANT, paper="Siame-se(3) (Felton 2021), Table I: two weights", loss="two")
POSES = replace(
    _VARIANT,
    paper="Siame-se(3) (Felton 2021), Table I: poses of SE(3)",
    method="siamese-SE3",
    methods=("siamese-SE3",),
)
POINTS = replace(
    _VARIANT,
    paper="Siame-se(3) (Felton 2021): the law of four points",
    method="siamese-ibvs",
    methods=("siamese-ibvs",),
)
SEVERAL = replace(
    _VARIANT,
    paper="Siame-se(3) (Felton 2021), Fig. 3: one network of several scenes",
    scenes=BUNDLED,
)
