"""Triangles drawn with a pinhole camera: depth, and what their corners carry, at each pixel.

On a CPU with the compiled C the work is done by `raster.c`; `raster_reference` is the same
arithmetic in NumPy, for other machines and for the tests.
"""

from ctypes import Structure

import numpy as np
from jaxtyping import Float

from deepservo import native
from deepservo.camera import Camera

NEAREST = 1e-3  # m: a triangle with a corner nearer to the camera's plane is not drawn


class Arguments(Structure):
    """What `raster_rows` of raster.c reads and writes."""

    _fields_ = native.fields("* px depths given depth out", "i32 n channels h w")


def raster(
    camera: Camera, corners: Float[np.ndarray, "n 3 3"], given: Float[np.ndarray, "n 3 c"]
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w c"]]:
    """Z [m] of the nearest triangle at each pixel's centre, infinite beside all, and what it
    carries there, 0 beside all.

    corners: of each triangle, in the camera's frame [m], counter-clockwise as seen from outside;
    from inside it is not drawn. given: numbers that each corner carries, which vary linearly over
    the triangle.
    """
    there = (corners[..., 2] > NEAREST).all(1)
    corners, given = corners[there], np.ascontiguousarray(given[there], np.float64)
    Z = np.ascontiguousarray(corners[..., 2], np.float64)
    px = corners[..., :2] / Z[..., None] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    h, w, channels = camera.height, camera.width, given.shape[2]
    depth = np.full((h, w), np.inf, np.float32)
    out = np.zeros((h, w, channels), np.float32)
    lib = native.library()
    if lib is None:
        raster_reference(px, Z, given, depth, out)
        return depth, out
    px = np.ascontiguousarray(px)
    arguments = Arguments(
        px=px.ctypes.data, depths=Z.ctypes.data, given=given.ctypes.data, depth=depth.ctypes.data,
        out=out.ctypes.data, n=len(px), channels=channels, h=h, w=w,
    )  # fmt: skip
    native.run(lib.raster_rows, arguments, h, least=h)  # one thread: callers draw several at once
    return depth, out


def raster_reference(
    px: Float[np.ndarray, "n 3 2"],
    Z: Float[np.ndarray, "n 3"],
    given: Float[np.ndarray, "n 3 c"],
    depth: Float[np.ndarray, "h w"],
    out: Float[np.ndarray, "h w c"],
) -> None:
    """Draw triangles into `depth` and `out`, one after the other. px: of their corners."""
    h, w = depth.shape
    for (a, b, c), nearness, carried in zip(px, 1 / Z, given, strict=True):
        area = _turn(a, c, *b)
        if not area > 0:  # seen from inside, or on edge
            continue
        low, high = np.ceil(np.minimum(np.minimum(a, b), c)), np.maximum(np.maximum(a, b), c)
        west, north = np.maximum(low, 0).astype(int)
        east, south = np.minimum(np.floor(high), [w - 1, h - 1]).astype(int)
        x, y = np.meshgrid(np.arange(west, east + 1), np.arange(north, south + 1))
        share = np.stack([_turn(*two, x, y) / area for two in ((c, b), (a, c), (b, a))], -1)
        near = share * nearness
        z = 1 / np.where(near.sum(-1) > 0, near.sum(-1), np.nan)
        seen = (share >= 0).all(-1) & (z.astype(np.float32) < depth[y, x])
        depth[y[seen], x[seen]] = z[seen]
        out[y[seen], x[seen]] = z[seen, None] * (near[seen] @ carried)


def _turn(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Twice the area of the triangle a, b, (x, y), signed."""
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
