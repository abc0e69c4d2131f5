"""Felton et al. 2022: ResNet-18 autoencoders under both losses."""

from dataclasses import replace

from deepservo.training.recipes.experiment import Experiment

FREQUENCY = Experiment(
    paper="AEVS (Felton 2022), Table I: ResNet-18, loss of frequencies",
    method="aevs",
    steps=20_000,
    methods=("aevs", "aevs+dvs", "dvs", "dct", "pca"),
    sets={"lookat": 500, "screw": 500, "lookat-rz": 500, "steps": 25},
    loss="frequency",
)
PIXEL = replace(
    FREQUENCY,
    paper="AEVS (Felton 2022), Table I: loss of pixels",
    loss="pixel",
    methods=("aevs",),
    sets={"lookat": 500, "screw": 500},
)
