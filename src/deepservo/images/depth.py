"""Depths of a goal's scene: nothing, one number, or a map, from arrays and files."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.picture_files import decode

Depth = float | Float[np.ndarray, "h w"] | Tensor | str | Path | None
"""Z [m] from the goal's camera: one number; of each pixel, 0 or NaN where unknown, or the file of
such a map; or None.

A map of whole numbers is in millimetres, as the 16-bit pictures of RGB-D cameras are.
"""
MAX_METRES = 100.0  # a map whose median is farther is in millimetres by mistake
SAME_ASPECT = 1.02  # largest ratio of the ratios of a map's sides and of the camera's
SAME_SURFACE = 1.05  # largest ratio of two depths that are mixed: they are on one surface


def read_depth(file: Path) -> Float[Tensor, "h w"]:
    """The map of a file, Z [m], NaN where unknown.

    A `.npy` file holds metres, or whole numbers of millimetres; a PNG or TIFF of 16 bits holds
    millimetres. Raises InputError for a file that is missing, cannot be read, or is no map.
    """
    if not file.is_file():
        raise InputError(
            f"{file}: no such file; give a number of metres, a .npy file of metres, or a 16-bit "
            "PNG of millimetres"
        )
    if file.suffix.lower() == ".npy":
        try:
            Z = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{file}: cannot be read as an array ({type(error).__name__}); save it with "
                "numpy.save"
            ) from None
    else:
        Z = decode(file)
        if Z.dtype != np.uint16 and Z.dtype.kind != "f":
            raise InputError(
                f"{file}: is a picture of {8 * Z.dtype.itemsize} bits; a map of depth is a PNG of "
                "16 bits in millimetres, or a .npy file of metres"
            )
    return _metres(Z, str(file))


def as_depth(
    depth: object, camera: Camera, what: str = "the depth"
) -> tuple[float | None, Float[Tensor, "m h w"] | None]:
    """One number [m], of a map its median, and the map at the camera's size, NaN where unknown.

    depth: a Depth, or maps (m, h, w), one a goal; a text is a number, or else the path of a file.
    A map of another size, of the same field of view, is resampled. `what` begins the message of an
    error about numbers and arrays, and a file's path that about files. Raises InputError where it
    is no positive number, or no map of the camera's view that is somewhere known and nowhere
    behind the camera.
    """
    if depth is None:
        return None, None
    if isinstance(depth, Path) or (isinstance(depth, str) and not is_number(depth)):
        depth, what = read_depth(Path(depth)), str(depth)
    if not isinstance(depth, np.ndarray | Tensor | list | tuple) or not np.ndim(depth):
        return _number(depth, what), None
    try:
        array = depth.numpy(force=True) if isinstance(depth, Tensor) else np.asarray(depth)
    except ValueError:
        array = np.zeros(0, object)
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "fiu":
        raise InputError(
            f"{what} must be metres, one number or (h, w), not {array.dtype} of shape {array.shape}"
        )
    maps = [_metres(Z, what) for Z in (array[None] if array.ndim == 2 else array)]
    h, w = maps[0].shape
    if not 1 / SAME_ASPECT < (w / h) / (camera.width / camera.height) < SAME_ASPECT:
        raise InputError(
            f"{what} is {w} x {h} pixels and the camera's pictures are {camera.width} x "
            f"{camera.height}; give a map of the same view"
        )
    Z = torch.stack([resampled(each, camera.height, camera.width) for each in maps])
    return float(Z.nanmedian()), Z


def is_number(text: str) -> bool:
    """Whether a text is a number, and not the path of a file."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(depth: object, what: str) -> float:
    try:
        metres = float(depth)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a positive number of metres, not {depth!r}") from None
    if not 0 < metres < float("inf"):
        raise InputError(f"{what} must be a positive number of metres, not {metres:g}")
    return metres


def _metres(Z: np.ndarray, what: str) -> Float[Tensor, "h w"]:
    """A map in metres, NaN where unknown; see `as_depth` for what is refused."""
    if Z.ndim != 2 or Z.dtype.kind not in "fiu" or min(Z.shape) < 2:
        raise InputError(
            f"{what} is {Z.dtype} of shape {Z.shape}; give metres of each pixel, (h, w)"
        )
    metres = Z / 1000 if Z.dtype.kind in "iu" else Z.astype(float)
    known = np.isfinite(metres) & (metres != 0)
    if (metres[known] < 0).any():
        raise InputError(
            f"{what}: {(metres[known] < 0).sum()} pixels are behind the camera (under 0 m); Z is "
            "positive in front of it, and 0 or NaN where unknown"
        )
    if not known.any():
        raise InputError(f"{what} is known nowhere: all {Z.size} pixels are 0, NaN or infinite")
    middle = float(np.median(metres[known]))
    if middle > MAX_METRES:
        raise InputError(
            f"{what} has a scene {middle:.4g} m away; are these millimetres? give metres, or whole "
            "numbers of millimetres"
        )
    return torch.from_numpy(np.where(known, metres, np.nan))


def resampled(Z: Float[Tensor, "h w"], height: int, width: int) -> Float[Tensor, "height width"]:
    """The map at another size: each pixel the mean of those about it that are on its surface.

    Depths on two sides of an edge are not mixed.
    """
    if Z.shape == (height, width):
        return Z
    h, w = Z.shape
    y, x = ((torch.arange(n) + 0.5) * m / n - 0.5 for n, m in ((height, h), (width, w)))
    nearest = Z[y.round().long().clamp(0, h - 1)][:, x.round().long().clamp(0, w - 1)]
    total, count = torch.zeros(2, height, width, dtype=Z.dtype).unbind(0)
    # As wide as a pixel of the coarser of the two maps.
    reach_y, reach_x = max(1.0, h / height), max(1.0, w / width)
    for dy in range(-round(reach_y), round(reach_y) + 1):
        for dx in range(-round(reach_x), round(reach_x) + 1):
            row, column = y.round() + dy, x.round() + dx
            weight = (1 - (row - y).abs() / reach_y).clamp(min=0)[:, None] * (
                1 - (column - x).abs() / reach_x
            ).clamp(min=0)
            near = Z[row.long().clamp(0, h - 1)][:, column.long().clamp(0, w - 1)]
            ratio = near / nearest
            weight = weight * ((ratio < SAME_SURFACE) & (ratio > 1 / SAME_SURFACE))
            total, count = total + weight * near.nan_to_num(), count + weight
    return torch.where(count > 0, total / count, nearest)
