"""How the fuzzer uses an input of each kind: what is called with it, and what must hold."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.robustness.fuzzing.changes import ENDINGS, MATERIALS
from benchmarks.robustness.fuzzing.command_lines import command
from benchmarks.robustness.fuzzing.inputs import EYE, FACING
from deepservo.evaluation import poses
from deepservo.images.camera_file import read_camera
from deepservo.images.pictures import read_picture
from deepservo.models.scene_model import read_model
from deepservo.worlds.meshes import read_mesh
from deepservo.worlds.target import render_target

MAX_WEIGHTS = 10**7  # bytes of weights behind a model's head
Read = Callable[[bytes, Path], bool]
"""Gives an input to what reads it, in a folder; whether it was taken."""


def _written(kind: str, data: bytes, folder: Path) -> Path:
    """The bytes behind the first as a file, whose ending the first byte chooses."""
    endings = ENDINGS[kind]
    path = folder / f"input.{endings[data[0] % len(endings)]}"
    path.write_bytes(data[1:])
    return path


def picture(data: bytes, folder: Path) -> bool:
    """Read in grey or in colour."""
    if not data:
        return False
    found = read_picture(_written("pictures", data, folder), colour=bool(data[0] & 128))
    assert torch.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    return True


def camera(data: bytes, folder: Path) -> bool:
    """Read, and a picture undistorted with it, where it is small."""
    if not data:
        return False
    found = read_camera(_written("cameras", data, folder))
    if found.camera.width * found.camera.height < 10**6:
        found.rectify(torch.full((1, found.camera.height, found.camera.width), 0.5), "the picture")
    return True


def pose(data: bytes, folder: Path) -> bool:
    """Read as starts and goals, or as a camera beside an object."""
    if not data:
        return False
    path = _written("poses", data, folder)
    if data[0] & 1:
        found = poses.read_poses(path, 0.6)[0]
    else:
        found = torch.from_numpy(np.asarray(poses.read_object_pose(path)))
    assert torch.isfinite(found).all()
    return True


def mesh(data: bytes, folder: Path) -> bool:
    """Read with the material file that stands behind it, and now and then drawn."""
    if not data:
        return False
    whole, _, materials = data.partition(MATERIALS)
    (folder / "a.mtl").write_bytes(materials)
    unit = (None, "m", "mm")[data[0] // 16 % 3]
    found = read_mesh(_written("meshes", whole or data, folder), unit)
    assert np.isfinite(found.vertices).all() and found.faces.max() < len(found.vertices)
    if data[0] % 8 == 0:
        render_target(found, EYE, FACING)
    return True


def model(data: bytes, folder: Path) -> bool:
    """Read: the head of the file, which says what the model is, and behind it as many weights as
    the head names.
    """
    if len(data) < 2:
        return False
    head = data[2:]
    content = struct.pack("<Q", len(head)) + head + _weights(head, data[1])
    read_model(_written("models", data[:1] + content, folder))
    return True


def _weights(head: bytes, number: int) -> bytes:
    """Zeros, or small numbers, every third time with one among them that is not finite."""
    try:
        tensors = json.loads(head).items()
        end = max(each["data_offsets"][1] for name, each in tensors if name != "__metadata__")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        end = 0
    size = min(max(0, end), MAX_WEIGHTS) if isinstance(end, int) else 0
    kind = np.float16 if b'"F16"' in head else np.float32
    numbers = np.random.default_rng(number).random(size // kind().itemsize + 1)
    values = (numbers * 0.1 * (number > 0)).astype(kind)
    if number % 3 == 2:
        values[number % len(values)] = np.nan
    return values.tobytes()[:size]


KINDS: dict[str, Read] = {
    "pictures": picture, "cameras": camera, "poses": pose, "meshes": mesh, "models": model,
    "commands": command,
}  # fmt: skip
