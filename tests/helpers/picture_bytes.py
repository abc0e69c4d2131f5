"""Pictures of 8 or 16 bits made by code, and the bytes of files that hold them."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image

from deepservo.images.pictures import LUMA

H, W = 40, 56
RNG = np.random.default_rng(3)
LEVELS = {8: 255, 16: 65535}


def smooth(bits: int, channels: int) -> np.ndarray:
    """Blotches, so smooth that a JPEG of them is nearly exact. Rotated or mirrored they differ.
    Alpha is a channel of its own.
    """
    values = cv2.GaussianBlur(RNG.standard_normal((H, W, channels)), None, 5).reshape(
        H, W, channels
    )
    values = (values - values.min()) / np.ptp(values)
    return (values * LEVELS[bits]).astype(np.uint8 if bits == 8 else np.uint16)


def shown(pixels: np.ndarray) -> torch.Tensor:
    """The grey levels of such a picture over white, by the plain formula."""
    values = torch.from_numpy(pixels.astype(np.float64) / LEVELS[8 * pixels.dtype.itemsize])
    colours, alpha = (
        values[..., : (1 if values.shape[2] < 3 else 3)],
        values[..., -1:] if values.shape[2] in (2, 4) else 1.0,
    )
    grey = colours @ LUMA.double()[:, None] if colours.shape[2] == 3 else colours
    return (grey * alpha + 1 - alpha)[..., 0].float()


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as it is stored, so that a reader that obeys the orientation shows `pixels`. The
    lambdas follow Pillow's documentation.
    """
    undone: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1), 6: np.rot90, 7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }  # fmt: skip
    return np.ascontiguousarray(undone[orientation](pixels))


def png(pixels: np.ndarray, extra: bytes = b"") -> bytes:
    """A PNG file of 1 to 4 channels of 8 or 16 bits, put together by hand; `extra` chunks come
    before the pixels.
    """
    h, w, channels = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8) if pixels.dtype == np.uint16 else pixels
    raw = b"".join(b"\0" + row.tobytes() for row in rows.reshape(h, -1))
    head = struct.pack(
        ">IIBBBBB", w, h, 8 * pixels.dtype.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif(orientation: int) -> bytes:
    """Exif data with an orientation and nothing else."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def saved(pixels: np.ndarray, kind: str, orientation: int) -> bytes:
    """A file of that kind with an orientation tag."""
    if kind == "png":
        return png(pixels, chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0")))
    file = BytesIO()
    if kind == "tiff":
        described: dict[str, Any] = {"photometric": "rgb" if pixels.shape[2] > 2 else "minisblack"}
        described |= {"extrasamples": ["unassalpha"]} if pixels.shape[2] in (2, 4) else {}
        tifffile.imwrite(
            file,
            pixels.squeeze(),
            extratags=[(274, "H", 1, orientation, True)],
            planarconfig="contig",
            **described,
        )
    else:
        image = Image.fromarray(pixels.squeeze(), {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]])
        image.save(
            file,
            kind,
            exif=exif(orientation),
            **({"quality": 100, "subsampling": 0} if kind == "jpeg" else {"lossless": True}),
        )
    return file.getvalue()


RGBA8, RGBA16, GREY8, GREY16 = (
    smooth(8, 4),
    smooth(16, 4),
    smooth(8, 1)[..., 0],
    smooth(16, 1)[..., 0],
)
