"""Rounded objects, as fruit, stones and toy animals are: textured meshes made by code.

Each is the zero level of a smooth field, so that its outlines are rims, which move over the surface
as a camera moves. z is up from where it stands.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, UInt8
from skimage.measure import marching_cubes

from deepservo.scene.textures import texture
from deepservo.worlds.meshes import Mesh

MM = 1e-3
GRID = 2.0  # mm: the grid on which a field's zero level is looked for
# mm of the grid about an object: no round number, so that no grid point is on a surface.
MARGIN = 3 * GRID + 0.137
EXACT_STEPS = 3  # Newton's steps that bring a vertex onto the zero level
DIFFERENCE = 1e-3  # mm: for the gradients of fields
TEXTURE_SIDE = 768  # px
Points = Float[np.ndarray, "*n 3"]
Levels = Float[np.ndarray, "*n"]


@dataclass(frozen=True)
class Rounded:
    """A rounded object.

    field: negative inside, about the distance from the surface [mm], of points [mm] in the object's
    frame but for its height. low, high: corners of a box about it [mm]. kind: of its texture (see
    `scene.textures`). contrast: of the texture, 1 for all greys. tint: red, green and blue of white
    paint, 0 to 255. seed: of the texture.
    """

    field: Callable[[Points], Levels]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    kind: str
    contrast: float
    tint: tuple[int, int, int]
    seed: int

    def mesh(self) -> Mesh:
        """The closed surface; its lowest point is at z = 0."""
        vertices, faces = _zero_level(self.field, np.array(self.low), np.array(self.high))
        uv = _from_above(vertices)
        vertices = vertices - [0, 0, vertices[:, 2].min()]
        return Mesh(MM * vertices, faces, uv, self._picture())

    def _picture(self) -> UInt8[np.ndarray, "h w 3"]:
        size = (TEXTURE_SIDE, TEXTURE_SIDE)
        levels = texture(size, torch.Generator().manual_seed(self.seed), self.kind)[0].numpy()
        paint = 0.72 + self.contrast * (levels - levels.mean())
        return (paint.clip(0.08, 1)[..., None] * self.tint).round().astype(np.uint8)


def _zero_level(
    field: Callable[[Points], Levels], low: np.ndarray, high: np.ndarray
) -> tuple[Float[np.ndarray, "n 3"], np.ndarray]:
    """Vertices [mm] on the field's zero level, and faces (m, 3) that are seen from outside."""
    axes = [np.arange(a - MARGIN, b + MARGIN, GRID) for a, b in zip(low, high, strict=True)]
    values = field(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    vertices, faces, _, _ = marching_cubes(values, 0.0, spacing=(GRID,) * 3)
    vertices = vertices.astype(float) + low - MARGIN
    for _ in range(EXACT_STEPS):
        slope = np.stack(
            [
                (field(vertices + step) - field(vertices - step)) / (2 * DIFFERENCE)
                for step in DIFFERENCE * np.eye(3)
            ],
            -1,
        )
        vertices = vertices - field(vertices)[:, None] * slope / (slope**2).sum(1, keepdims=True)
    return vertices, faces.astype(np.int64)


def _from_above(vertices: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Texture coordinates without a seam: straight up is the picture's middle, down its rim."""
    x, y, z = (vertices - (vertices.min(0) + vertices.max(0)) / 2).T
    side = np.hypot(x, y)
    share = np.arctan2(side, z) / (2 * np.pi) / np.maximum(side, 1e-9)
    return 0.5 + np.stack([x * share, y * share], -1)


def _ball(points: Points, at: tuple[float, float, float], radius: float) -> Levels:
    return np.linalg.norm(points - at, axis=-1) - radius


def _egg(
    points: Points, at: tuple[float, float, float], radii: tuple[float, float, float]
) -> Levels:
    """About the distance from an ellipsoid."""
    scaled = (points - at) / np.array(radii)
    length = np.linalg.norm(scaled, axis=-1)
    slope = np.linalg.norm(scaled / np.array(radii), axis=-1)
    return length * (length - 1) / np.maximum(slope, 1e-9)


def _joined(blend: float, *fields: Levels) -> Levels:
    """The union of bodies; their seams are rounded over about `blend` [mm]."""
    return -blend * np.logaddexp.reduce([-each / blend for each in fields], axis=0)


def _pear(points: Points) -> Levels:
    return _joined(7.0, _ball(points, (-20, 0, 27), 27), _ball(points, (26, 4, 16), 16))


def _stone(points: Points) -> Levels:
    x, y, z = np.moveaxis(points / 13.0, -1, 0)
    lumps = np.sin(x + 0.4) * np.cos(1.1 * y) + np.sin(1.3 * z - 0.7 * x + 1) * np.sin(0.8 * y + 2)
    return _egg(points, (0, 0, 24), (48, 37, 24)) - 2.2 * lumps


def _bean(points: Points) -> Levels:
    """A tube about an arc, thinner towards its ends."""
    bend, half = 42.0, 1.0  # mm, rad
    x, y = points[..., 0], points[..., 1] + bend
    angle = np.arctan2(x, y).clip(-half, half)
    core = np.stack([bend * np.sin(angle), bend * (np.cos(angle) - 1), 0 * angle + 17], -1)
    return np.linalg.norm(points - core, axis=-1) - (17 - 5 * (angle / half) ** 2)


def _calf(points: Points) -> Levels:
    legs = [_egg(points, (x, y, 12), (8, 7, 15)) for x in (-26, 22) for y in (-13, 13)]
    ears = [_egg(points, (38, y, 50), (4, 6, 7)) for y in (-13, 13)]
    body = _egg(points, (-4, 0, 30), (38, 21, 19))
    head, muzzle = _egg(points, (38, 0, 40), (17, 14, 13)), _egg(points, (52, 0, 35), (9, 9, 8))
    return _joined(2.5, body, head, muzzle, *legs, *ears)


ROUNDED: Mapping[str, Rounded] = MappingProxyType(
    {
        "pear": Rounded(_pear, (-48, -28, 0), (43, 28, 55), "leaves", 1.0, (235, 220, 120), 3),
        "stone": Rounded(_stone, (-53, -42, -5), (53, 42, 53), "mixed", 1.0, (215, 210, 205), 5),
        "bean": Rounded(_bean, (-52, -42, 0), (52, 18, 34), "leaves", 1.0, (225, 150, 125), 7),
        "calf": Rounded(_calf, (-43, -22, -4), (62, 22, 58), "clouds", 0.1, (240, 235, 225), 11),
    }
)
"""By name."""


@cache
def rounded_mesh(name: str) -> Mesh:
    """The mesh of one of ROUNDED, made once."""
    return ROUNDED[name].mesh()
