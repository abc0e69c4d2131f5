"""How the fuzzer changes an input: in the terms of its format, so that the code behind the
container's checks is reached too.

A PNG's chunk is changed and its checksum is right again, an array of an .npz file is packed anew, a
number in a text becomes another number. In one input of six bytes are changed instead.
"""

import io
import json
import random
import re
import struct
import warnings
import zipfile
from typing import Any

import cv2
import numpy as np

from benchmarks.robustness.fuzzing.picture_changes import Mutate, change_picture

# The endings that files of a kind have; the first byte of an input chooses one.
ENDINGS = {
    "pictures": ("png", "jpg", "tif", "webp", "bmp"),
    "cameras": ("yaml", "xml", "json", "ini", "txt"),
    "poses": ("npz",),
    "meshes": ("obj", "stl", "ply"),
    "models": ("safetensors",),
}
NUMBERS = (
    *("0", "-0", "1", "-1", "2", "3", "8", "0.5", "-0.4", "1e-9", "1e9", "1e308", "1e400"),
    *("nan", "-inf", "640.", "65536", "4294967296"),
)
WORDS = ("", "~", "null", "[]", "{}", "\t", "# ", "é", '"', "---", "true", "!!x", "&a", "a b")
VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 0.5, 2**31, 2**63, 1e300, "", "cnn", [], [0], {}, "nan"),
    float("inf"),
)
NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
MATERIALS = b"\n#== a.mtl\n"  # between a mesh and its materials in one input


def changed(kind: str, data: bytes, rng: random.Random, mutate: Mutate) -> bytes:
    """An input of a kind, changed."""
    if len(data) < 2 or rng.random() < 1 / 6:
        return mutate(data)
    if kind == "commands":
        return _command_line(data, rng)
    first, body = data[:1], data[1:]
    if rng.random() < 0.1:
        first = bytes([rng.randrange(256)])
    ending = ENDINGS[kind][first[0] % len(ENDINGS[kind])]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                body = _file(kind, ending, body, rng, mutate)
    except Exception:  # a body that was broken before has no structure to keep
        return mutate(data)
    return first + body


def _file(kind: str, ending: str, body: bytes, rng: random.Random, mutate: Mutate) -> bytes:
    if kind == "models":
        if rng.random() < 0.8:
            return body[:1] + _header(body[1:], rng)
        return bytes([rng.randrange(256)]) + body[1:]
    if kind == "poses":
        return _arrays(body, rng, mutate)
    if kind == "pictures":
        return change_picture(ending, body, rng, mutate)
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
        return b"\n".join(_line_changed(body.split(b"\n"), rng))
    new = rng.choice(("utf-16", "utf-8-sig", "\r\n", "\r", "\t", "latin-1"))
    if new in ("utf-16", "utf-8-sig", "latin-1"):
        return body.decode("utf-8", "replace").encode(new, "replace")
    return body.replace(b" ", b"\t") if new == "\t" else body.replace(b"\n", new.encode())


def _line_changed(lines: list[bytes], rng: random.Random) -> list[bytes]:
    """A line lost, doubled, moved or continued, or its words changed."""
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
    else:
        words = lines[at].split(b" ")
        if what == 4:
            words[rng.randrange(len(words))] = rng.choice((*WORDS, *NUMBERS)).encode()
        else:
            words += rng.sample(words, rng.randrange(len(words) + 1))
        lines[at] = b" ".join(words)
    return lines


def _number(body: bytes, rng: random.Random) -> bytes:
    """One number replaced: by one near it in half of the cases."""
    found = list(NUMBER.finditer(body))
    if not found:
        return body + rng.choice(NUMBERS).encode()
    at = rng.choice(found)
    old = float(at[0])
    near = (old + 1, old - 1, old * rng.uniform(0.5, 2), -old, old / 10, old + rng.gauss(0, 0.01))
    whole = at[0].isdigit() and rng.random() < 0.8
    if rng.random() < 0.3:
        new = rng.choice(NUMBERS)
    else:
        new = f"{rng.choice(near):.0f}" if whole else repr(rng.choice(near))
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
        if body.startswith(b"ply"):
            return body[:at] + body[at - 16 :]
        return body[:80] + count + body[84:]
    special = (0, 1, -1, 1e-9, 1e9, 1e38, float("nan"), float("inf"))
    new = struct.pack("<f", rng.choice((*special, rng.gauss(0, 0.1), rng.gauss(0, 100))))
    return body[:at] + new + body[at + 4 :]


def _arrays(body: bytes, rng: random.Random, mutate: Mutate) -> bytes:
    """The arrays of an .npz file, one of them changed, under another name or as a broken file."""
    with np.load(io.BytesIO(body)) as file:
        arrays = {name: file[name] for name in file.files[:4]}
    name = rng.choice(sorted(arrays))
    array, packed = arrays[name], io.BytesIO()
    what = rng.randrange(10)
    if what == 7:
        arrays[rng.choice(("T_world_goal", "T_object_cam", "T_world_cam", "T", "../x"))] = array
    elif what == 9:  # the file in the archive, not the array
        file = io.BytesIO()
        np.save(file, array)
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{name}.npy", mutate(file.getvalue()))
        return packed.getvalue()
    else:
        arrays[name] = _array(array, what, rng)
    (np.savez if rng.random() < 0.5 else np.savez_compressed)(packed, **arrays)
    return packed.getvalue()


def _array(array: np.ndarray, what: int, rng: random.Random) -> np.ndarray:
    """An array moved as poses move, or of another length, kind, shape, value or scale."""
    if what <= 2 and array.ndim >= 2:
        turn = cv2.Rodrigues(np.array([rng.gauss(0, 0.3) for _ in range(3)]))[0]
        move = np.eye(4)
        move[:3, :3], move[:3, 3] = turn, [rng.gauss(0, 0.1) for _ in range(3)]
        return array @ move
    if what == 3:
        return np.repeat(array, rng.choice((0, 1, 2, 5)), 0)
    if what == 4:
        return array.astype(rng.choice(("f4", "f2", "i4", "u1", "c8", "?", ">f8", "U4")))
    if what == 5:
        views = (array[0], array[None], array.swapaxes(-1, -2), array[..., :3], array.ravel())
        return rng.choice((*views, array[:, :0]))
    if what == 6 and array.size:
        array = array.copy()
        array.flat[rng.randrange(array.size)] = rng.choice(
            (np.nan, np.inf, 0, 1, -1, 1e5, rng.gauss(0, 1))
        )
        return array
    return array * rng.choice((1000.0, 0.001, -1.0, 1.0001)) if what == 8 else array


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
    """A value changed, lost or copied from elsewhere, or a name changed."""
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
        place = rng.choice(places)
        other = place[0][place[1]]
        holder[key] = None if isinstance(other, dict | list) else other
    elif what < 0.8 and isinstance(old, int | float) and not isinstance(old, bool):
        near = (old + 1, old - 1, old * 2, -old, old * rng.uniform(0.5, 1.5), old // 2, 0)
        holder[key] = type(old)(rng.choice(near))
    else:
        holder[key] = rng.choice(VALUES)
    return value


# Command lines: bytes that choose words


def _command_line(data: bytes, rng: random.Random) -> bytes:
    """A word lost, added, moved or replaced: half of the time by one that stands near it in the
    list, among words of its kind.
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
        near = rng.random() < 0.5
        words[at] = (words[at] + rng.randint(-6, 6)) % 256 if near else rng.randrange(256)
    return bytes(words)
