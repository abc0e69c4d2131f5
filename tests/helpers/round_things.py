"""Closed surfaces with known outlines, as meshes."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from deepservo.camera import Camera
from deepservo.features.drawn import Drawing, Shape
from deepservo.geometry import se3


@dataclass(frozen=True)
class Thing:
    """What a mesh has."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None = None
    picture: np.ndarray | None = None
    colour: tuple[int, int, int] = (150, 150, 150)


def egg(
    radii: tuple[float, float, float] = (0.05, 0.05, 0.05),
    fineness: int = 96,
    picture: np.ndarray | None = None,
) -> Thing:
    """An ellipsoid about its origin [m], with a picture wrapped about its z axis."""
    lon, lat = np.meshgrid(
        np.linspace(-np.pi, np.pi, 2 * fineness + 1),
        np.linspace(-np.pi / 2, np.pi / 2, fineness + 1),
    )
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    k = np.arange(lon.size).reshape(lon.shape)
    a, b, c, d = k[:-1, :-1], k[:-1, 1:], k[1:, 1:], k[1:, :-1]
    faces = np.concatenate([np.stack(three, -1).reshape(-1, 3) for three in ((a, b, c), (a, c, d))])
    uv = np.stack([lon / (2 * np.pi) + 0.5, lat / np.pi + 0.5], -1).reshape(-1, 2)
    return Thing(np.stack([x, y, z], -1).reshape(-1, 3) * radii, faces, uv, picture)


def box(size: float = 0.06) -> Thing:
    """A cube about its origin [m], whose corners are those of three faces each."""
    corners = (
        size
        / 2
        * np.array([[x, y, z] for z in (-1, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    )
    squares = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]
    return Thing(corners, np.array([t for a, b, c, d in squares for t in ((a, b, c), (a, c, d))]))


def patches(seed: int = 0) -> np.ndarray:
    """A picture of patches of grey."""
    g = np.random.default_rng(seed)
    small = g.integers(40, 250, (12, 24)).astype(np.uint8)
    return np.repeat(
        cv2.resize(small, (480, 240), interpolation=cv2.INTER_NEAREST)[..., None], 3, 2
    )


def facing(distance: float = 0.3) -> np.ndarray:
    """`T_object_cam` of a camera that looks at the origin from above, z up [m]."""
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[2, 3] = distance
    return T


def moved(*twist: float) -> np.ndarray:
    """A pose by its twist."""
    return se3.exp(torch.tensor(twist, dtype=torch.float64)).numpy()


def seen(
    shape: Shape, camera: Camera, T: np.ndarray, seed: int = 0, table: float = 0.75
) -> np.ndarray:
    """What the camera sees at the pose T: a lamp from somewhere above, noise, and a table."""
    g = np.random.default_rng(seed)
    light = np.zeros(9)
    light[0], light[1:4] = 0.45, g.uniform([-0.35, -0.35, -0.35], [0.35, 0.35, 0.1]) @ T[:3, :3]
    drawing = Drawing.of(shape.seen_from(T), camera)
    noise = g.normal(0, 0.01, (camera.height, camera.width))
    picture = drawing.lit @ light + (1 - drawing.cover) * table + noise
    return picture.clip(0, 1).astype(np.float32)
