"""Scenes by name: pictures that come with scikit-image, and some made by code, each 0.8 m wide."""

import torch

from deepservo.errors import unknown
from deepservo.images.pictures import OFFERED, bundled
from deepservo.scene import PlanarScene
from deepservo.scene.textures import texture

WIDTH = 0.8  # metres
SIZE = (600, 800)
MADE = ("faint", "tiles", "strokes", "clouds", "leaves", "mixed")
NAMES = (*OFFERED, *MADE)


def scene_of(name: str) -> PlanarScene:
    """The scene of that name; InputError, with the nearest names, where there is none."""
    if name in MADE:
        return PlanarScene(texture(SIZE, torch.Generator().manual_seed(0), name), WIDTH)
    if name not in OFFERED:
        raise unknown("scene", name, NAMES)
    return PlanarScene(bundled(name), WIDTH)
