"""Felton et al. 2023: pictures and poses in one latent space."""

from deepservo.training.recipes.experiment import Experiment

TABLE = Experiment(
    paper="MLVS (Felton 2023), Table I: ResNet-34, clean and perturbed",
    method="mlvs",
    steps=5_000,
    methods=("mlvs", "mlvs-50", "mlvs+dvs"),
    sets={"lookat-rz": 500, "lookat-rz-perturbed": 500},
)
