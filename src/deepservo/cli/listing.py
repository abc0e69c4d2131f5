"""What `deepservo list` does: the names of methods, sets, scenes, worlds and recipes, each with
what it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

METHOD_LINES = {
    "dvs": "grey levels, pixel by pixel (DVS)",
    "dct": "the picture's first DCT coefficients; dct-K: K of them",
    "pca": "principal components of pictures of the scene; pca-K: K of them",
    "orb": "ORB matches and image-based servoing",
    "sift": "SIFT matches, a homography and pose-based servoing",
    "particle": "many poses tried in the picture, then dvs",
    "pbvs": "the simulator's true pose: the reference",
    "cnn": "CNN-VS 2018: a network answers the camera's pose in one scene",
    "aevs": "AEVS 2022: what an autoencoder makes of the picture",
    "mlvs": "MLVS 2023: pictures and poses in one latent space; mlvs-K: from K neighbours",
    "siamese-se3": "Siame-se(3) 2021: a network answers the velocity",
    "siamese-SE3": "the same network answers the pose",
    "siamese-ibvs": "the same network answers the velocity of image-based servoing",
    "cnn-pair": "cells that a network matches, in scenes it never saw",
    "dfbvs": "DFBVS 2022: learned keypoints, for goals with depth",
    "dfbvs-sift": "DFBVS on SIFT keypoints",
    "photometric": "registration of the whole picture from the goal's own pose",
    "auto": "SIFT where it works, a network where not, and a photometric refinement: needs no "
    "training",
}
REFINEMENT_LINES = {
    "+dvs": "behind the name of any other method but pbvs: near the goal, photometric registration "
    "takes over",
    "+edges": "behind the same names: near the goal, the edges of a goal with depth take over",
    "+auto": "behind the same names: auto, which asks this method where its own ways fail",
}
SET_LINES = {
    "lookat": "AEVS's cameras that look at the goal's middle",
    "screw": "AEVS's translations along and rotations about the optical axis",
    "lookat-rz": "MLVS's: lookat, rolled about the optical axis",
    "lookat-rz-perturbed": "the same with the goal's picture covered, dimmed and noisy",
    "gaussian": "Siame-se(3)'s starts, normally distributed about the goal",
    "near": "gaussian's, half as far and turned, for what one RGB-D picture shows",
    "gaussian-perturbed": "gaussian under a wandering lamp, a fifth covered",
    "unseen": "gaussian and lookat-rz, plain and perturbed, for scenes never seen",
    "batches": "CNN-VS's ten batches, each a step farther away",
    "batches-perturbed": "batches under a wandering lamp, a fifth covered",
    "overlap": "starts by the share of the goal that they see",
    "steps": "AEVS's offsets, 2 to 40 cm",
    "published-starts": "the starts of the papers' runs on robots",
    "hard-texture": "pictures with little or repeated texture",
    "hard-light": "exposure, a wandering lamp, highlights, shadows, in the view alone",
    "hard-blur": "defocus, noise and motion blur",
    "hard-occlusion": "10 to 60 % of the view covered",
    "hard-size": "a camera of 96 to 32 pixels, its pictures enlarged",
    "hard-overlap": "starts that share 5 to 30 % with their goal",
    "hard-model": "depth, focal length, tilt believed wrongly; hills on the plane",
    "solid-steps": "boxes on the plane; by what is known of depth: a good or a bad map, a wrong "
    "number, nothing",
    "solid-clutter": "twenty balls, cones and boxes that hide each other; by what is known of "
    "depth",
    "solid-tilt": "planes tilted by up to 60 deg; by what is known of depth",
}
WORLD_LINES = {
    "simulator": "free-flying cameras before a plane",
    "gantry": "cameras carried by a gantry with joints, in MuJoCo",
    "gantry-lights": "the same under lamps that wander",
}


@dataclass(frozen=True)
class List:
    """Name the methods, sets, scenes, worlds and recipes that there are, each with what it is."""

    def run(self) -> None:
        """Print one table for each kind."""
        from deepservo.bench.scenes import MADE, NAMES
        from deepservo.cli.console import console
        from deepservo.methods import METHODS, discover
        from deepservo.training.recipes import EXPERIMENTS

        discover()
        scenes = {name: "made by code" if name in MADE else "of scikit-image" for name in NAMES}
        for title, lines in (
            ("methods", {name: method_line(name) for name in METHODS}),
            ("refinements", REFINEMENT_LINES),
            ("sets", SET_LINES),
            ("scenes", scenes),
            ("worlds", WORLD_LINES),
            ("recipes", {name: EXPERIMENTS[name].paper for name in EXPERIMENTS}),
        ):
            console.print(_table(title, lines))


def method_line(name: str) -> str:
    """What a coarse method is; one of another package is described by its own first line."""
    from deepservo.methods import METHODS, trained_as

    own = (METHODS[name].__doc__ or "of another package").splitlines()[0]
    return f"{METHOD_LINES.get(name, own)}{'; trained for a scene' if trained_as(name) else ''}"


def _table(title: str, lines: Mapping[str, str]) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, line in lines.items():
        table.add_row(name, line)
    return table
