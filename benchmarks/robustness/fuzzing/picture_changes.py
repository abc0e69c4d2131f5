"""How the fuzzer changes a picture: its pixels, its format's options, its chunks and segments."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

Mutate = Callable[[bytes], bytes]
"""Changes bytes, whatever they mean."""
MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "jpg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "bmp": ("1", "L", "P", "RGB"),
}
CHUNKS = (
    *(b"gAMA", b"sBIT", b"tRNS", b"eXIf", b"pHYs"),
    *(b"iCCP", b"PLTE", b"zTXt", b"acTL", b"abCD"),
)


def change_picture(ending: str, body: bytes, rng: random.Random, mutate: Mutate) -> bytes:
    """A new picture, or the picture of this body changed in the terms of its format."""
    if rng.random() < 0.4:
        return _picture(ending, rng)
    change = {"png": _chunk, "jpg": _segment}.get(ending)
    return change(body, rng, mutate) if change else _bytes_near_the_end(body, rng)


def levels(rng: random.Random) -> np.ndarray:
    """A smooth picture of any small size, of one to four channels, in 8 or 16 bits."""
    shape = (rng.choice((1, 2, 7, 36)), rng.choice((1, 3, 8, 40)), rng.choice((1, 3, 4)))
    numbers = np.random.default_rng(rng.randrange(2**32))
    kind, most = rng.choice((("u1", 255), ("u2", 65535), ("u2", 1023), ("u2", 4095)))
    smooth = cv2.GaussianBlur(numbers.random(shape), None, 2).reshape(shape)
    return (smooth * most).astype(kind).squeeze(2 if shape[2] == 1 else ())


def _picture(ending: str, rng: random.Random) -> bytes:
    """A whole picture, written in one of the ways that its format has."""
    pixels, file = levels(rng), io.BytesIO()
    small = (pixels >> 8).astype("u1") if pixels.dtype == np.uint16 else pixels
    if ending == "tif":
        return _tiff(pixels, rng)
    if ending == "png" and pixels.dtype == np.uint16:
        return cv2.imencode(".png", pixels)[1].tobytes()
    picture = Image.fromarray(small)
    mode = rng.choice(MODES[ending])
    picture = picture.convert("RGB") if mode in ("P", "CMYK") else picture
    picture = picture.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = rng.randrange(12)
    ways = {
        "jpg": {
            "quality": rng.choice((5, 75, 100)), "progressive": rng.random() < 0.3,
            "subsampling": rng.randrange(3), "exif": exif,
        },
        "png": {"exif": exif, "optimize": rng.random() < 0.3},
        "webp": {"lossless": rng.random() < 0.5, "exif": exif},
    }  # fmt: skip
    picture.save(file, "jpeg" if ending == "jpg" else ending, **ways.get(ending, {}))
    return file.getvalue()


def _tiff(pixels: np.ndarray, rng: random.Random) -> bytes:
    grey = ("minisblack", "miniswhite")
    options: dict[str, Any] = {"photometric": "rgb" if pixels.ndim == 3 else rng.choice(grey)}
    options["compression"] = rng.choice((None, "zlib", "packbits", "lzw", "zstd"))
    options["bigtiff"] = rng.random() < 0.2
    options["byteorder"], options["rowsperstrip"] = rng.choice("<>"), rng.choice((None, 1, 5))
    if options["compression"] in ("zlib", "lzw", "zstd"):
        options["predictor"] = rng.random() < 0.5
    if pixels.ndim == 3 and rng.random() < 0.5:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        options["planarconfig"] = "separate"
    if pixels.shape[0 if "planarconfig" in options else -1] == 4 and pixels.ndim == 3:
        options["extrasamples"] = [rng.choice(("unspecified", "assocalpha", "unassalpha"))]
    if rng.random() < 0.3:
        options["extratags"] = [(274, 3, 1, rng.randrange(10), True)]
    if rng.random() < 0.15:
        pixels = pixels.astype(rng.choice(("f4", "i2", "u4", "f8", "i1")))
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def _chunk(body: bytes, rng: random.Random, mutate: Mutate) -> bytes:
    """A PNG, one of its chunks changed, lost, doubled or new, with right lengths and checksums."""
    chunks, at = [], 8
    while at + 12 <= len(body):
        (size,) = struct.unpack(">I", body[at : at + 4])
        chunks.append((body[at + 4 : at + 8], body[at + 8 : at + 8 + size]))
        at += 12 + size
    k = rng.randrange(len(chunks))
    name, data = chunks[k]
    what = rng.randrange(6)
    if what == 0:
        del chunks[k]
    elif what == 1:
        chunks.insert(k, chunks[k])
    elif what == 2:
        new = rng.choice(CHUNKS)
        chunks.insert(1, (new, rng.randbytes(rng.choice((0, 1, 4, 6, 9, 30)))))
    elif name == b"IDAT" and what < 5:
        chunks[k] = (name, zlib.compress(mutate(zlib.decompress(data))))
    elif name == b"IHDR":
        width, height, *rest = struct.unpack(">IIBBBBB", data)
        field = rng.randrange(5)
        values = [width, height, *rest]
        values[field if field < 4 else 6] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 39, 255))
        chunks[k] = (name, struct.pack(">IIBBBBB", *values))
    else:
        chunks[k] = (name, mutate(data))
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return body[:8] + b"".join(parts)


def _segment(body: bytes, rng: random.Random, mutate: Mutate) -> bytes:
    """A JPEG with a segment before its picture that is new, lost or changed."""
    segments, at = [], 2
    while at + 4 <= len(body) and body[at] == 0xFF and body[at + 1] != 0xDA:
        (size,) = struct.unpack(">H", body[at + 2 : at + 4])
        segments.append(body[at : at + 2 + size])
        at += 2 + size
    k = rng.randrange(len(segments))
    what = rng.randrange(4)
    if what == 0:
        data = mutate(rng.choice(segments)[4:])[:4000]
        marker = bytes([0xFF, rng.choice((0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xDD, 0xDB))])
        segments.insert(k, marker + struct.pack(">H", len(data) + 2) + data)
    elif what == 1:
        data = mutate(segments[k][4:])[:4000]
        segments[k] = segments[k][:2] + struct.pack(">H", len(data) + 2) + data
    elif what == 2:
        del segments[k]
    else:
        return body[:2] + b"".join(segments) + _bytes_near_the_end(body[at:], rng)
    return body[:2] + b"".join(segments) + body[at:]


def _bytes_near_the_end(body: bytes, rng: random.Random) -> bytes:
    """One byte of the second half, where the pixels are."""
    at = rng.randrange(len(body) // 2, len(body))
    return body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
