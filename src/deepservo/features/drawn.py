"""A known object drawn as the camera would see it from a pose that is believed, under its light.

    I = albedo * (c . Y(n)),    c = argmin sum rho(I_view - albedo * (c . Y(n)))

`Y` are the nine spherical harmonics of the surface's normal n up to the second order, which tell
nearly all of how a matt surface is lit by far lamps (Ramamoorthi and Hanrahan 2001). c is fitted to
each view, robustly: shadows and reflections are left out. About the object the drawing shows what
the view shows, so that an outline has the same two sides in both.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from deepservo.camera import Camera
from deepservo.images.raster import raster

SAMPLES = 3  # a side of a pixel: drawings are averaged over them
MANY_PIXELS = 300_000  # a shape that covers so many is drawn at their centres alone
SHARP_COSINE = 0.8  # of the angle between a face and its corner's mean normal: a sharper edge
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as in `images.pictures.grey`
MIN_INNER = 50  # pixels inside the outline that light is fitted to
FIT_PIXELS = 4000  # at most so many
# Of the harmonics in each pass of the fit: few cannot take a shadow for light from elsewhere.
ORDERS = (0, 1, 1, 1, 2, 2, 2)
MIN_DEVIATION = 0.01  # grey level: least robust deviation of the fit
RIDGE = 1e-3  # of the harmonics of the first and second order
SPREAD = 2.0  # px: deviation of the Gaussian by which a background is continued
INWARD = 3  # px: the object's own pixels begin so far inside the outline that is believed


class HasSurface(Protocol):
    """What a mesh has: see `worlds.meshes.Mesh`."""

    @property
    def vertices(self) -> Float[np.ndarray, "n 3"]:
        """In the object's frame [m]."""

    @property
    def faces(self) -> Int[np.ndarray, "m 3"]:
        """Counter-clockwise as seen from outside."""

    @property
    def uv(self) -> Float[np.ndarray, "n 2"] | None:
        """Of each vertex in the picture, from the left and from below, 0 to 1."""

    @property
    def picture(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """The texture."""

    @property
    def colour(self) -> tuple[int, int, int]:
        """Where there is no picture."""


@dataclass(frozen=True)
class Shape:
    """A textured surface in some frame.

    corners: of each triangle [m], counter-clockwise as seen from outside. normals: at them. texels:
    their places in the first of `albedo` [px]. albedo: grey levels in [0, 1], at their own size and
    halved again and again.
    """

    corners: Float[np.ndarray, "m 3 3"]
    normals: Float[np.ndarray, "m 3 3"]
    texels: Float[np.ndarray, "m 3 2"]
    albedo: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, mesh: HasSurface, T_object_frame: Float[np.ndarray, "4 4"]) -> "Shape":
        """The surface of a mesh in a frame whose pose in the object's frame is given."""
        corners = mesh.vertices[mesh.faces]
        if mesh.picture is None or mesh.uv is None:
            albedo = np.full((1, 1), np.dot(mesh.colour, LUMA) / 255, np.float32)
            texels = np.zeros((len(corners), 3, 2))
        else:
            albedo = (mesh.picture @ np.array(LUMA) / 255).astype(np.float32)
            h, w = albedo.shape
            u, v = mesh.uv[mesh.faces].transpose(2, 0, 1)
            texels = np.stack([u * w, (1 - v) * h], -1) - 0.5
        normals = _corner_normals(mesh.vertices, mesh.faces)
        shape = cls(corners, normals, texels, _halved(albedo))
        return shape.seen_from(T_object_frame)

    def seen_from(self, T_frame_cam: Float[np.ndarray, "4 4"]) -> "Shape":
        """The same in the frame of a camera at this pose."""
        R, t = T_frame_cam[:3, :3], T_frame_cam[:3, 3]
        return replace(self, corners=(self.corners - t) @ R, normals=self.normals @ R)


def _halved(picture: Float[np.ndarray, "h w"]) -> tuple[np.ndarray, ...]:
    """The picture, and smaller ones, each of half the size before."""
    levels = [picture]
    while min(levels[-1].shape) > 1:
        h, w = levels[-1].shape
        half = ((w + 1) // 2, (h + 1) // 2)
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(levels)


def _corner_normals(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]
) -> Float[np.ndarray, "m 3 3"]:
    """Unit normals at each face's corners: of all faces there, or the face's own at sharp edges.

    A face counts by its angle at the corner, so that it does not matter how a flat side is cut into
    triangles.
    """
    corners = vertices[faces]
    sides = _unit(np.roll(corners, -1, 1) - corners)  # from each corner to the next
    own = _unit(np.cross(sides[:, 0], sides[:, 1]))
    angles = np.arccos((sides * -np.roll(sides, 1, 1)).sum(2).clip(-1, 1))
    place = np.unique(vertices, axis=0, return_inverse=True)[1].ravel()[faces]
    total = np.zeros((len(vertices), 3))
    for k in range(3):
        np.add.at(total, place[:, k], angles[:, k, None] * own)
    mean = _unit(total[place])
    smooth = (mean * own[:, None]).sum(2, keepdims=True) > SHARP_COSINE
    return np.where(smooth, mean, own[:, None])


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)


@dataclass(frozen=True)
class Drawing:
    """What a camera sees of a shape, without light: means over each pixel.

    depth: Z of the pixel's centre [m], infinite beside the shape. cover: the share of the pixel
    that the shape covers. lit: the covered share of the picture under each harmonic alone.
    """

    depth: Float[np.ndarray, "h w"]
    cover: Float[np.ndarray, "h w"]
    lit: Float[np.ndarray, "h w 9"]

    @classmethod
    def of(cls, shape: Shape, camera: Camera) -> "Drawing":
        """A shape in the camera's frame, drawn by that camera."""
        h, w = camera.height, camera.width
        depth = np.full((h, w), np.inf, np.float32)
        cover, lit = np.zeros((h, w), np.float32), np.zeros((h, w, 9), np.float32)
        left, top, right, bottom = _box(shape, camera)
        if left >= right or top >= bottom:
            return cls(depth, cover, lit)
        k = SAMPLES if (right - left) * (bottom - top) < MANY_PIXELS else 1
        box = (slice(top, bottom), slice(left, right))
        fine = Camera(
            k * (right - left), k * (bottom - top), k * camera.fx, k * camera.fy,
            k * (camera.cx - left) + (k - 1) / 2, k * (camera.cy - top) + (k - 1) / 2,
        )  # fmt: skip
        shading = harmonics(shape.normals)
        near, out = raster(fine, shape.corners, np.concatenate([shading, shape.texels], 2))
        there = np.isfinite(near)
        paint = _painted(shape.albedo, out[..., 9:], there)
        share, mean = (
            cv2.resize(each, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
            for each in (there.astype(np.float32), paint[..., None] * out[..., :9])
        )
        depth[box], cover[box], lit[box] = near[k // 2 :: k, k // 2 :: k], share, mean
        return cls(depth, cover, lit)

    def under_the_light_of(self, view: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """The picture of the shape, lit as in the view, and before what the view shows about it."""
        light = self.light(view)
        beside = (cv2.dilate(self.cover, _disc(INWARD)) == 0) & np.isfinite(view)
        background = (1 - self.cover) * _spread(view, beside)
        return (self.lit @ light.astype(np.float32) + background).astype(np.float32)

    def light(self, view: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "9"]:
        """c of the view's light; that of ambient light alone where too little is seen of it."""
        inner = (cv2.erode(self.cover, _disc(1)) > 0.999) & np.isfinite(view)
        rows, levels = self.lit[inner].astype(float), view[inner].astype(float)
        if len(rows) < MIN_INNER:
            return np.eye(9)[0] * 0.5 / harmonics(np.zeros(3))[0]
        every = -(-len(rows) // FIT_PIXELS)
        rows, levels = rows[::every], levels[::every]
        ridge = RIDGE * (rows[:, 0] ** 2).sum() * np.diag([0.0, *[1.0] * 8])
        weights, light = np.ones(len(rows)), np.zeros(9)
        for order in ORDERS:
            n = (order + 1) ** 2
            weighted = rows[:, :n] * weights[:, None]
            light[:n] = np.linalg.solve(
                weighted.T @ rows[:, :n] + ridge[:n, :n], weighted.T @ levels
            )
            off = levels - rows @ light
            scale = max(MIN_DEVIATION, 1.4826 * float(np.median(np.abs(off))))
            weights = 1 / (1 + (off / (2 * scale)) ** 2) ** 2
        return light


def harmonics(n: Float[np.ndarray, "*k 3"]) -> Float[np.ndarray, "*k 9"]:
    """The real spherical harmonics of the zeroth, first and second order, but for their factors.

    n: unit vectors.
    """
    x, y, z = np.moveaxis(n, -1, 0)
    return np.stack(
        [np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1
    )


def _painted(
    albedo: tuple[np.ndarray, ...],
    texels: Float[np.ndarray, "h w 2"],
    there: Bool[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w"]:
    """The albedo at each sample, 0 where none is `there`.

    It is taken of the level whose texels are about as far apart as the samples are. A texture
    repeats beyond its borders.
    """
    some, known = texels[::8], there[::8]
    steps = np.linalg.norm(np.diff(some, axis=1)[known[:, 1:] & known[:, :-1]], axis=1)
    wide = float(np.median(steps)) if len(steps) else 1.0
    level = albedo[min(len(albedo) - 1, round(np.log2(max(1.0, wide))))]
    (h, w), (full_h, full_w) = level.shape, albedo[0].shape
    x, y = (texels[..., 0] + 0.5) * (w / full_w) - 0.5, (texels[..., 1] + 0.5) * (h / full_h) - 0.5
    return there * cv2.remap(level, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _box(shape: Shape, camera: Camera) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that the shape can cover; none behind a camera."""
    Z = np.maximum(shape.corners[..., 2], 1e-3)
    px = shape.corners[..., :2] / Z[..., None] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    size = np.array([camera.width, camera.height])
    low = np.floor(px.min((0, 1))).clip(0, size).astype(int)
    high = (np.ceil(px.max((0, 1))) + 1).clip(0, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _disc(radius: int) -> UInt8[np.ndarray, "k k"]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)


def _spread(
    view: Float[np.ndarray, "h w"], there: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """The view, continued a few pixels from where it counts to where it does not."""
    known = there.astype(np.float32)
    levels = np.where(there, view, 0).astype(np.float32)
    weight = cv2.GaussianBlur(known, (0, 0), SPREAD)
    near = cv2.GaussianBlur(levels, (0, 0), SPREAD) / np.maximum(weight, 1e-6)
    return np.where(there, view, near)
