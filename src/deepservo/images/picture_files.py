"""Pixels of picture files, with their orientation, alpha, bits and photometric kind.

Damaged files are refused.
"""

import logging
import os
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from deepservo.errors import InputError
from deepservo.system import memory

ORIENTATION = 0x0112  # tag of EXIF and of TIFF
SMALLER = "make it smaller"  # what to do with a picture that needs too much memory
# Memory for each pixel of a picture while it is decoded: its channels, as read and in float32.
BYTES_PER_PIXEL = 24
# First bytes of a file, by its format.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JPEG = b"\xff\xd8"
PNG = b"\x89PNG\r\n\x1a\n"
# Beginnings of libjpeg's messages about damage.
JPEG_DAMAGE = (
    "Corrupt JPEG data",
    "Premature end of JPEG file",
    "Invalid JPEG",
    "Unsupported marker type",
)
# TIFF's compressions that tifffile itself decodes: none, deflate (two numbers), PackBits, LZMA.
TIFFFILE_COMPRESSIONS = (1, 8, 32946, 32773, 34925)
JPEG_COMPRESSION = 7
# TIFF's photometric interpretations by their numbers: those that are read, and others' names.
GREY_INVERTED, GREY, RGB, PALETTE = range(4)
YCBCR = 6
OTHER_PHOTOMETRIC = {
    5: "CMYK",
    YCBCR: "YCbCr",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
PREMULTIPLIED, ALPHA = 1, 2  # kinds of TIFF's extra samples
# Pillow's modes that are converted, and to what.
CONVERTED_MODES = {"1": "L", "P": "RGB", "YCbCr": "RGB", "RGBX": "RGB", "RGBa": "RGBA"}
_stderr = threading.Lock()


def decode(path: Path) -> np.ndarray:
    """The pixels of a picture file, upright: (h, w) or (h, w, 2 to 4), grey or RGB, or with alpha.

    They are unsigned integers, or floats in [0, 1]. Raises InputError where the file is no picture,
    is damaged, is of a kind that is not read, or needs more memory than there is.
    """
    data = path.read_bytes()
    with warnings.catch_warnings():
        # Pillow's, about size and odd tags; InputError is raised for what matters.
        warnings.simplefilter("ignore")
        pixels = _tiff(path, data) if data[:4] in TIFF else _other(path, data)
    if not pixels.size:
        raise damaged(path, "it has no pixels")
    return pixels


def damaged(path: Path, why: object) -> InputError:
    """The error to raise for a damaged picture file."""
    said = " ".join(str(why).split()) or type(why).__name__
    return InputError(
        f"{path}: cannot be read as a picture: the file is damaged ({said}); copy or save it again"
    )


def _other(path: Path, data: bytes) -> np.ndarray:
    """The pixels of a PNG, JPEG, WebP or BMP file."""
    try:
        with Image.open(BytesIO(data)) as picture:
            memory.check(
                BYTES_PER_PIXEL * picture.width * picture.height,
                f"{path}: a picture of {picture.width} x {picture.height} pixels",
                SMALLER,
            )
            turn = picture.getexif().get(ORIENTATION, 1)
            if data[:8] == PNG:
                _check_png(path, data)
            else:
                picture.load()  # stricter than OpenCV about what is missing
    except (Image.UnidentifiedImageError, Image.DecompressionBombError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise InputError(f"{path}: {error}; {SMALLER}") from None
        raise InputError(
            f"{path}: cannot be read as a picture; give a PNG, JPEG, TIFF or WebP file"
        ) from None
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders fail on foreign bytes in any way
        raise damaged(path, error) from None
    pixels, said = _by_opencv(data)
    if said:
        raise damaged(path, said)
    if pixels is None:
        raise damaged(path, "its pixels cannot be decoded")
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = cv2.cvtColor(
            pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        )
    return upright(pixels, turn)


def _check_png(path: Path, data: bytes) -> None:
    """InputError where a PNG's checksum is wrong, or its chunks or pixels end too early."""
    at, packed, kind = 8, [], b""
    while kind != b"IEND":
        head = data[at : at + 8]
        if len(head) < 8:
            raise damaged(path, "it ends too early")
        size, kind = struct.unpack(">I4s", head)
        body = data[at + 8 : at + 8 + size]
        if len(body) < size or data[at + 8 + size : at + 12 + size] != struct.pack(
            ">I", zlib.crc32(kind + body)
        ):
            raise damaged(
                path, f"the checksum of its part {kind.decode('latin-1')} at byte {at} is wrong"
            )
        if kind == b"IDAT":
            packed.append(body)
        at += 12 + size
    unpacked = zlib.decompressobj()
    try:
        for body in packed:
            rest = body
            while rest:
                unpacked.decompress(rest, 1 << 20)
                rest = unpacked.unconsumed_tail
    except zlib.error as error:
        raise damaged(path, error) from None
    if not unpacked.eof:
        raise damaged(path, "its pixels end too early")


def _by_opencv(data: bytes) -> tuple[np.ndarray | None, str]:
    """Pixels by OpenCV, BGR and not rotated, and libjpeg's messages about damage.

    libjpeg writes those to standard error alone.
    """
    with _said() as said:
        try:
            pixels = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
            )
        except cv2.error:
            pixels = None
    lines = (
        [line for line in said().splitlines() if line.startswith(JPEG_DAMAGE)]
        if data[:2] == JPEG
        else []
    )
    return pixels, "; ".join(lines)


@contextmanager
def _said() -> Iterator[Callable[[], str]]:
    """Captures what C code writes to standard error; the function returns it after the block."""
    with _stderr, tempfile.TemporaryFile() as file:
        found = b""
        try:
            kept = os.dup(2)
        except OSError:  # a process without one
            yield lambda: ""
            return
        try:
            os.dup2(file.fileno(), 2)
            yield lambda: found.decode("utf-8", "replace").strip()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            found = file.read()


def _tiff(path: Path, data: bytes) -> np.ndarray:
    """The pixels of the first picture of a TIFF file."""
    log = logging.getLogger("tifffile")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            return _tiff_page(path, data, file.pages[0])
    except InputError:
        raise
    except Exception as error:  # tifffile fails on foreign bytes in any way
        raise damaged(path, error) from None
    finally:
        log.setLevel(level)


def _tiff_page(path: Path, data: bytes, page: Any) -> np.ndarray:
    w, h = page.imagewidth, page.imagelength
    samples, photometric = page.samplesperpixel, int(page.photometric)
    memory.check(
        BYTES_PER_PIXEL * w * h * max(1, samples // 4),
        f"{path}: a picture of {w} x {h} pixels",
        SMALLER,
    )
    if page.imagedepth != 1:
        raise InputError(f"{path}: is a TIFF volume of {page.imagedepth} layers; give one picture")
    compression = int(page.compression)
    jpeg_in_colour = compression == JPEG_COMPRESSION and photometric in (RGB, YCBCR)
    if jpeg_in_colour or compression not in TIFFFILE_COMPRESSIONS:
        return _tiff_by_pillow(path, data, page)
    if photometric not in (GREY_INVERTED, GREY, RGB, PALETTE):
        kind = OTHER_PHOTOMETRIC.get(photometric, f"photometric interpretation {photometric}")
        raise InputError(f"{path}: is a TIFF file in {kind}; save it as grey or RGB")
    pixels = page.asarray()
    if int(page.planarconfig) == 2 and samples > 1:
        pixels = np.moveaxis(pixels.reshape(samples, h, w), 0, -1)
    pixels = _full_range(path, page, pixels.reshape(h, w, samples))
    return upright(_photometric(path, page, pixels), _turn(page))


def _full_range(path: Path, page: Any, pixels: np.ndarray) -> np.ndarray:
    """Pixels as floats in [0, 1] where the file's greatest level is less than their type's."""
    if pixels.dtype.kind not in "bu" or int(page.photometric) == PALETTE:
        return pixels
    tag = page.tags.get("MaxSampleValue")
    most = 2**page.bitspersample - 1 if tag is None else int(np.max(tag.value))
    if pixels.dtype.kind == "b" or most == np.iinfo(pixels.dtype).max:
        return pixels
    if not 0 < most <= np.iinfo(pixels.dtype).max or pixels.max() > most:
        raise damaged(path, f"it says that {most} is its greatest level and has {pixels.max()}")
    return pixels.astype(np.float32) / np.float32(most)


def _photometric(path: Path, page: Any, pixels: np.ndarray) -> np.ndarray:
    """Pixels as grey or RGB, and alpha where one of the extra samples is: (h, w, 1 to 4)."""
    photometric, colours = int(page.photometric), 3 if int(page.photometric) == RGB else 1
    if pixels.shape[2] < colours:
        raise damaged(path, f"it is RGB and has {pixels.shape[2]} samples a pixel")
    if photometric == PALETTE:
        return _coloured(path, page, pixels)
    most: Any = (
        True
        if pixels.dtype.kind == "b"
        else 1
        if pixels.dtype.kind == "f"
        else np.iinfo(pixels.dtype).max
    )
    shown = pixels[..., :colours]
    if photometric == GREY_INVERTED:
        shown = ~shown if pixels.dtype.kind == "b" else most - shown
    extra = [int(kind) for kind in page.extrasamples]
    kind, at = next(
        ((kind, k) for k, kind in enumerate(extra) if kind in (PREMULTIPLIED, ALPHA)), (0, 0)
    )
    if not kind:
        return shown
    alpha = pixels[..., colours + at, None]
    if kind == PREMULTIPLIED:
        share = alpha / np.float64(most)
        both = np.concatenate(
            [np.minimum(shown / np.float64(most) / np.maximum(share, 1e-9), 1), share], -1
        )
        return both.astype(np.float32)
    return np.concatenate([shown, alpha], -1)


def _coloured(path: Path, page: Any, pixels: np.ndarray) -> np.ndarray:
    """The colours in [0, 1] of pixels that number a palette's colours."""
    if page.colormap is None or pixels.dtype.kind != "u":
        raise damaged(path, "its palette is missing")
    most = 65535 if np.max(page.colormap) > 255 else 255  # some programs write 8 bits
    colours = np.asarray(page.colormap, np.float32) / most
    return np.moveaxis(colours, 0, -1)[pixels[..., 0].clip(max=colours.shape[1] - 1)]


def _tiff_by_pillow(path: Path, data: bytes, page: Any) -> np.ndarray:
    """Upright pixels that libtiff alone decompresses, by Pillow: 8 bits, or 16 of grey."""
    name = getattr(page.compression, "name", str(page.compression))
    extra = [int(kind) for kind in page.extrasamples]
    if np.max(page.bitspersample) > (8 if page.samplesperpixel > 1 else 16) or any(
        kind not in (PREMULTIPLIED, ALPHA) for kind in extra
    ):
        raise InputError(
            f"{path}: its compression, {name}, is not read for {page.bitspersample} bits a "
            "sample; save it uncompressed"
        )
    with Image.open(BytesIO(data)) as file:
        file.load()
        mode = CONVERTED_MODES.get(file.mode)
        picture = file if mode is None else file.convert(mode)
        if picture.mode not in ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "F"):
            raise InputError(
                f"{path}: a TIFF file of mode {picture.mode} and compression {name} is not read; "
                "save it uncompressed"
            )
        pixels = np.asarray(picture)
    return pixels.astype(np.uint16) if picture.mode.startswith("I;16") else pixels


def _turn(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return 1 if tag is None else int(tag.value)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture rotated and mirrored by EXIF's orientation, 1 to 8; else unchanged."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
