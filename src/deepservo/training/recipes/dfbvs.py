"""Adrian et al. 2022: the network that finds keypoints."""

from deepservo.images.pictures import BUNDLED
from deepservo.training.recipes.experiment import Experiment, Scale

KEYPOINTS = Experiment(
    paper="DFBVS (Adrian 2022), section IV: keypoints, self-supervised",
    method="keypoints",
    steps=16_000,
    methods=("dfbvs",),
    sets={"gaussian": 20},
    scenes=BUNDLED,
    scale=Scale(batch=64, rate=3e-3, stock=4096),
)
