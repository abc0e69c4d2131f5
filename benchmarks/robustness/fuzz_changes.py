"""How `fuzz.py` changes an input: in the terms of its format, so that what is behind the
container's checks is reached too.

A PNG's chunk is changed and its checksum is right again, an array of an .npz file is packed anew, a
number in a text becomes another number. One input of six has bytes changed instead, as the fuzzer
itself would.
"""

import io
import json
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

Bytes = Callable[[bytes], bytes]
"""Changes bytes without a look at what they mean."""

NUMBERS = (
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "3",
    "8",
    "0.5",
    "-0.4",
    "1e-9",
    "1e9",
    "1e308",
    "1e400",
    "nan",
    "-inf",
    "640.",
    "65536",
    "4294967296",
)
WORDS = ("", "~", "null", "[]", "{}", "\t", "# ", "é", '"', "---", "true", "!!x", "&a", "a b")
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    0.5,
    2**31,
    2**63,
    1e300,
    "",
    "cnn",
    [],
    [0],
    {},
    "nan",
    float("inf"),
)
NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
PARTED = b"\n#== a.mtl\n"  # between a mesh and its materials in one input


def changed(
    kind: str, data: bytes, rng: random.Random, some: Bytes, endings: tuple[str, ...]
) -> bytes:
    """An input of a kind (as `fuzz_kinds` has them), changed."""
    if len(data) < 2 or rng.random() < 1 / 6:
        return some(data)
    if kind == "commands":
        return _line(data, rng)
    first, body = data[:1], data[1:]
    if rng.random() < 0.1:
        first = bytes([rng.randrange(256)])
    ending = endings[first[0] % len(endings)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                body = _file(kind, ending, body, rng, some)
    except Exception:  # a body that was broken before has no structure to keep
        return some(data)
    return first + body


def _file(kind: str, ending: str, body: bytes, rng: random.Random, some: Bytes) -> bytes:
    if kind == "models":
        return (
            body[:1] + _header(body[1:], rng)
            if rng.random() < 0.8
            else bytes([rng.randrange(256)]) + body[1:]
        )
    if kind == "poses":
        return _arrays(body, rng, some)
    if kind == "pictures":
        if rng.random() < 0.4:
            return _picture(ending, rng)
        change = {"png": _chunk, "jpg": _segment}.get(ending)
        return change(body, rng, some) if change else _bytes_near_the_end(body, rng)
    if ending in ("stl", "ply") and b"\0" in body:
        return _packed(body, rng)
    return _text(body, rng)


# Texts: cameras, meshes, materials


def _text(body: bytes, rng: random.Random) -> bytes:
    """Mostly a number or a line; now and then the encoding or the ends of lines."""
    choice = rng.random()
    if choice < 0.55:
        return _number(body, rng)
    if choice < 0.9:
        lines = body.split(b"\n")
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        what = rng.randrange(6)
        if what == 0:
            del lines[at]
        elif what == 1:
            lines.insert(other, lines[at])
        elif what == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 3:
            lines[at] += rng.choice(WORDS).encode()
        elif what == 4:
            words = lines[at].split(b" ")
            words[rng.randrange(len(words))] = rng.choice((*WORDS, *NUMBERS)).encode()
            lines[at] = b" ".join(words)
        else:
            words = lines[at].split(b" ")
            words += rng.sample(words, rng.randrange(len(words) + 1))
            lines[at] = b" ".join(words)
        return b"\n".join(lines)
    new = rng.choice(("utf-16", "utf-8-sig", "\r\n", "\r", "\t", "latin-1"))
    if new in ("utf-16", "utf-8-sig", "latin-1"):
        return body.decode("utf-8", "replace").encode(new, "replace")
    return body.replace(b" ", b"\t") if new == "\t" else body.replace(b"\n", new.encode())


def _number(body: bytes, rng: random.Random) -> bytes:
    """One number replaced: by one near it in half of the cases."""
    found = list(NUMBER.finditer(body))
    if not found:
        return body + rng.choice(NUMBERS).encode()
    at = rng.choice(found)
    old = float(at[0])
    near = (old + 1, old - 1, old * rng.uniform(0.5, 2), -old, old / 10, old + rng.gauss(0, 0.01))
    whole = at[0].isdigit() and rng.random() < 0.8
    new = (
        rng.choice(NUMBERS)
        if rng.random() < 0.3
        else f"{rng.choice(near):.0f}"
        if whole
        else repr(rng.choice(near))
    )
    return body[: at.start()] + new.encode() + body[at.end() :]


# Packed numbers


def _packed(body: bytes, rng: random.Random) -> bytes:
    """A float in a binary mesh becomes another, or rows are cut or doubled behind its head."""
    head = body.find(b"end_header\n") + 11 if body.startswith(b"ply") else 84
    if body.startswith(b"ply") and rng.random() < 0.3:
        return _text(body[:head], rng) + body[head:]
    at = head + rng.randrange(max(1, (len(body) - head - 4) // 4)) * 4
    if rng.random() < 0.2:
        count = struct.pack("<I", rng.choice((0, 1, 2, 11, 13, 10**6, 2**32 - 1)))
        return (
            body[:80] + count + body[84:]
            if not body.startswith(b"ply")
            else body[:at] + body[at - 16 :]
        )
    new = struct.pack(
        "<f",
        rng.choice(
            (
                0,
                1,
                -1,
                1e-9,
                1e9,
                1e38,
                float("nan"),
                float("inf"),
                rng.gauss(0, 0.1),
                rng.gauss(0, 100),
            )
        ),
    )
    return body[:at] + new + body[at + 4 :]


def _arrays(body: bytes, rng: random.Random, some: Bytes) -> bytes:
    """The arrays of an .npz file: moved as poses move, or of another shape, kind, value or name;
    packed anew.
    """
    with np.load(io.BytesIO(body)) as file:
        arrays = {name: file[name] for name in file.files[:4]}
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    what = rng.randrange(10)
    if what <= 2 and array.ndim >= 2:
        turn = cv2.Rodrigues(np.array([rng.gauss(0, 0.3) for _ in range(3)]))[0]
        move = np.eye(4)
        move[:3, :3], move[:3, 3] = turn, [rng.gauss(0, 0.1) for _ in range(3)]
        array = array @ move
    elif what == 3:
        array = np.repeat(array, rng.choice((0, 1, 2, 5)), 0)
    elif what == 4:
        array = array.astype(rng.choice(("f4", "f2", "i4", "u1", "c8", "?", ">f8", "U4")))
    elif what == 5:
        array = rng.choice(
            (
                array[0],
                array[None],
                array.swapaxes(-1, -2),
                array[..., :3],
                array.ravel(),
                array[:, :0],
            )
        )
    elif what == 6 and array.size:
        array = array.copy()
        array.flat[rng.randrange(array.size)] = rng.choice(
            (np.nan, np.inf, 0, 1, -1, 1e5, rng.gauss(0, 1))
        )
    elif what == 7:
        arrays[rng.choice(("T_world_goal", "T_object_cam", "T_world_cam", "T", "../x"))] = array
    elif what == 8:
        array = array * rng.choice((1000.0, 0.001, -1.0, 1.0001))
    elif what == 9:  # the file in the archive, not the array
        file = io.BytesIO()
        np.save(file, array)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{name}.npy", some(file.getvalue()))
        return packed.getvalue()
    arrays[name] = array
    packed = io.BytesIO()
    (np.savez if rng.random() < 0.5 else np.savez_compressed)(packed, **arrays)
    return packed.getvalue()


# Models: the head of a safetensors file


def _header(head: bytes, rng: random.Random) -> bytes:
    """The JSON that says what a model is, or that of its tensors, whose places follow each other
    again.
    """
    tensors = json.loads(head)
    if rng.random() < 0.7:
        metadata = json.loads(tensors["__metadata__"]["deepservo"])
        tensors["__metadata__"]["deepservo"] = json.dumps(_json(metadata, rng))
    else:
        rest = _json({name: each for name, each in tensors.items() if name != "__metadata__"}, rng)
        tensors = {"__metadata__": tensors["__metadata__"], **rest}
        if rng.random() < 0.8:
            _laid_out(tensors)
    return json.dumps(tensors).encode()


def _laid_out(tensors: dict[str, Any]) -> None:
    end = 0
    sizes = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
    for name, each in tensors.items():
        if name != "__metadata__":
            size = sizes[each["dtype"]]
            for side in each["shape"]:
                size *= side
            each["data_offsets"] = [end, end + size]
            end += size


def _json(value: Any, rng: random.Random) -> Any:
    """One thing in it changed: a value, or a name that is lost, doubled or another."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        keys = each.keys() if isinstance(each, dict) else range(len(each))
        places += [(each, key) for key in keys]
        waiting += [each[key] for key in keys if isinstance(each[key], dict | list)]
    if not places:
        return value
    # A list of two hundred losses would else be changed nearly always.
    holders = list({id(holder): holder for holder, _ in places}.values())
    holder = rng.choice(holders)
    key = rng.choice([key for each, key in places if each is holder])
    old, what = holder[key], rng.random()
    if what < 0.1:
        del holder[key]
    elif what < 0.2 and isinstance(holder, dict):
        holder[f"{key}x"] = old
    elif what < 0.3:
        other = rng.choice(places)
        holder[key] = (
            other[0][other[1]] if not isinstance(other[0][other[1]], dict | list) else None
        )
    elif what < 0.8 and isinstance(old, int | float) and not isinstance(old, bool):
        near = (old + 1, old - 1, old * 2, -old, old * rng.uniform(0.5, 1.5), old // 2, 0)
        holder[key] = type(old)(rng.choice(near))
    else:
        holder[key] = rng.choice(VALUES)
    return value


# Pictures


def levels(rng: random.Random) -> np.ndarray:
    """A smooth picture of any small size, of one to four channels, in 8 or 16 bits."""
    shape = (rng.choice((1, 2, 7, 36)), rng.choice((1, 3, 8, 40)), rng.choice((1, 3, 4)))
    numbers = np.random.default_rng(rng.randrange(2**32))
    kind, most = rng.choice((("u1", 255), ("u2", 65535), ("u2", 1023), ("u2", 4095)))
    return (
        (cv2.GaussianBlur(numbers.random(shape), None, 2).reshape(shape) * most)
        .astype(kind)
        .squeeze(2 if shape[2] == 1 else ())
    )


def _picture(ending: str, rng: random.Random) -> bytes:
    """A whole picture of the kind, written in one of the ways that its format knows."""
    pixels, file = levels(rng), io.BytesIO()
    small = (pixels >> 8).astype("u1") if pixels.dtype == np.uint16 else pixels
    if ending == "tif":
        options: dict[str, Any] = {
            "photometric": "rgb" if pixels.ndim == 3 else rng.choice(("minisblack", "miniswhite"))
        }
        options |= {
            "compression": rng.choice((None, "zlib", "packbits", "lzw", "zstd")),
            "bigtiff": rng.random() < 0.2,
        }
        options |= {"byteorder": rng.choice("<>"), "rowsperstrip": rng.choice((None, 1, 5))}
        if options["compression"] in ("zlib", "lzw", "zstd"):
            options["predictor"] = rng.random() < 0.5
        if pixels.ndim == 3 and rng.random() < 0.5:
            pixels, options["planarconfig"] = (
                np.ascontiguousarray(np.moveaxis(pixels, -1, 0)),
                "separate",
            )
        if pixels.shape[0 if "planarconfig" in options else -1] == 4 and pixels.ndim == 3:
            options["extrasamples"] = [rng.choice(("unspecified", "assocalpha", "unassalpha"))]
        if rng.random() < 0.3:
            options["extratags"] = [(274, 3, 1, rng.randrange(10), True)]
        if rng.random() < 0.15:
            pixels = pixels.astype(rng.choice(("f4", "i2", "u4", "f8", "i1")))
        tifffile.imwrite(file, pixels, **options)
        return file.getvalue()
    if ending == "png" and pixels.dtype == np.uint16:
        return cv2.imencode(".png", pixels)[1].tobytes()
    picture = Image.fromarray(small)
    mode = rng.choice(
        {
            "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
            "jpg": ("L", "RGB", "CMYK"),
            "webp": ("RGB", "RGBA"),
            "bmp": ("1", "L", "P", "RGB"),
        }[ending]
    )
    picture = (
        picture.convert("RGB").convert(mode) if mode in ("P", "CMYK") else picture.convert(mode)
    )
    exif = Image.Exif()
    exif[0x0112] = rng.randrange(12)
    ways = {
        "jpg": {
            "quality": rng.choice((5, 75, 100)),
            "progressive": rng.random() < 0.3,
            "subsampling": rng.randrange(3),
            "exif": exif,
        },
        "png": {"exif": exif, "optimize": rng.random() < 0.3},
        "webp": {"lossless": rng.random() < 0.5, "exif": exif},
    }
    picture.save(file, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **ways.get(ending, {}))
    return file.getvalue()


def _chunk(body: bytes, rng: random.Random, some: Bytes) -> bytes:
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
        new = rng.choice(
            (
                b"gAMA",
                b"sBIT",
                b"tRNS",
                b"eXIf",
                b"pHYs",
                b"iCCP",
                b"PLTE",
                b"zTXt",
                b"acTL",
                b"abCD",
            )
        )
        chunks.insert(1, (new, rng.randbytes(rng.choice((0, 1, 4, 6, 9, 30)))))
    elif name == b"IDAT" and what < 5:
        chunks[k] = (name, zlib.compress(some(zlib.decompress(data))))
    elif name == b"IHDR":
        width, height, *rest = struct.unpack(">IIBBBBB", data)
        field = rng.randrange(5)
        values = [width, height, *rest]
        values[field if field < 4 else 6] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 39, 255))
        chunks[k] = (name, struct.pack(">IIBBBBB", *values))
    else:
        chunks[k] = (name, some(data))
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return body[:8] + b"".join(parts)


def _segment(body: bytes, rng: random.Random, some: Bytes) -> bytes:
    """A JPEG with a segment before its picture that is new, lost or changed."""
    segments, at = [], 2
    while at + 4 <= len(body) and body[at] == 0xFF and body[at + 1] != 0xDA:
        (size,) = struct.unpack(">H", body[at + 2 : at + 4])
        segments.append(body[at : at + 2 + size])
        at += 2 + size
    k = rng.randrange(len(segments))
    what = rng.randrange(4)
    if what == 0:
        data = some(rng.choice(segments)[4:])[:4000]
        segments.insert(
            k,
            bytes([0xFF, rng.choice((0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xDD, 0xDB))])
            + struct.pack(">H", len(data) + 2)
            + data,
        )
    elif what == 1:
        data = some(segments[k][4:])[:4000]
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


# Command lines: bytes that choose words


def _line(data: bytes, rng: random.Random) -> bytes:
    """A word lost, doubled, moved or another: half of the time one that stands near it in the list,
    where its like are.
    """
    words = bytearray(data[:24])
    at = rng.randrange(len(words))
    what = rng.randrange(5)
    if what == 0:
        del words[at]
    elif what == 1:
        words.insert(at, rng.randrange(256))
    elif what == 2:
        words[at], words[-1] = words[-1], words[at]
    else:
        words[at] = (
            (words[at] + rng.randint(-6, 6)) % 256 if rng.random() < 0.5 else rng.randrange(256)
        )
    return bytes(words)
