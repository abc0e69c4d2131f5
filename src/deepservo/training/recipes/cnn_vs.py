"""Bateux et al. 2018: one scene; scenes never seen, by a network that finds matches, not poses."""

from deepservo.images.pictures import BUNDLED
from deepservo.training.recipes.experiment import Experiment, Scale

ONE_SCENE = Experiment(
    paper="CNN-VS (Bateux 2018), section V: AlexNet, one scene, 50 epochs of 11 000 poses",
    method="cnn",
    steps=11_000,
    methods=("cnn", "cnn+dvs"),
    sets={"lookat-rz": 500, "lookat-rz-perturbed": 500, "batches": 80},
)
UNSEEN = Experiment(
    paper="CNN-VS (Bateux 2018), section IV: scenes that were never learned",
    method="cnn-pair",
    steps=16_000,
    methods=("cnn-pair+dvs", "auto"),
    sets={"unseen": 25, "hard-light": 2, "hard-blur": 2, "hard-occlusion": 2},
    scenes=BUNDLED,
    scale=Scale(net={"width": 32, "numbers": 96}, batch=256, rate=3e-3, stock=4096),
)
