"""The whole inputs that the fuzzer's changes begin with."""

import io
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image

from benchmarks.robustness.fuzzing.changes import ENDINGS
from benchmarks.robustness.fuzzing.command_lines import LINES, WORDS
from benchmarks.robustness.fuzzing.mesh_inputs import TEXTURES, meshes
from deepservo.camera import Camera
from deepservo.models.any_scene_model import KEYPOINTS, PAIR, UnseenModel
from deepservo.models.scene_model import Model
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.metric import MetricNet
from deepservo.nets.pair import PairNet
from deepservo.nets.pose import PoseNet
from deepservo.nets.resnet import Encoder, Shape
from deepservo.scene import PlanarScene

EYE = Camera(64, 48, 90.0, 90.0, 31.5, 23.5)
FACING = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -0.4], [0, 0, 0, 1]])
ROS = """\
image_width: 64
image_height: 48
camera_name: a
camera_matrix:
  rows: 3
  cols: 3
  data: [90, 0, 31.5, 0, 91, 23.5, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
"""
CAMERA_INFO = """\
height: 48
width: 64
distortion_model: rational_polynomial
d: [0, 0, 0, 0, 0, 0, 0, 0]
k: [90, 0, 31.5, 0, 91, 23.5, 0, 0, 1]
binning_x: 2
binning_y: 2
roi: {x_offset: 8, y_offset: 4, height: 40, width: 48, do_rectify: false}
---
"""
OST = """\
# oST version 5.0 parameters
[image]
width
64
height
48
[camera]
camera matrix
90 0 31 0 90 23 0 0 1
"""


def seeds(kind: str, folder: Path) -> list[bytes]:
    """Whole inputs of a kind, each behind the number of its ending. For meshes their textures, and
    for command lines the files that they name, are written into `folder`.
    """
    if kind == "commands":
        return list(_command_lines(folder))
    if kind == "meshes":
        for name, channels, bits in TEXTURES:
            cv2.imwrite(str(folder / name), _levels(channels, bits))
    made = {
        "pictures": _pictures, "cameras": _cameras, "poses": _poses, "meshes": meshes,
        "models": _model_heads,
    }[kind]()  # fmt: skip
    return [bytes([ENDINGS[kind].index(ending)]) + data for ending, data in made]


def _levels(channels: int = 1, bits: int = 8) -> np.ndarray:
    rng = np.random.default_rng(channels + bits)
    values = cv2.GaussianBlur(rng.random((36, 40, channels)), None, 3).reshape(36, 40, channels)
    values = (values - values.min()) / np.ptp(values) * (2**bits - 1)
    return values.astype(np.uint8 if bits == 8 else np.uint16).squeeze()


def _pictures() -> Iterator[tuple[str, bytes]]:
    png = [("png", channels, bits) for channels, bits in ((1, 8), (3, 8), (4, 8), (1, 16), (3, 16))]
    others = [("jpg", 1, 8), ("jpg", 3, 8), ("webp", 3, 8), ("bmp", 1, 8), ("bmp", 3, 8)]
    for ending, channels, bits in (*png, *others):
        yield ending, cv2.imencode(f".{ending}", _levels(channels, bits))[1].tobytes()
    planes = {"planarconfig": "separate", "photometric": "rgb"}
    for options in ({}, {"compression": "zlib"}, planes, {"photometric": "miniswhite"}):
        file = io.BytesIO()
        pixels = np.moveaxis(_levels(3), -1, 0) if "planarconfig" in options else _levels()
        tifffile.imwrite(file, pixels, **({"photometric": "minisblack"} | options))
        yield "tif", file.getvalue()
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(_levels(3)).save(file, "jpeg", exif=exif)
    yield "jpg", file.getvalue()


def _cameras() -> Iterator[tuple[str, bytes]]:
    K = np.array([[90.0, 0, 31.5], [0, 91.0, 23.5], [0, 0, 1]])
    values = {
        "image_width": 64, "image_height": 48, "camera_matrix": K,
        "distortion_coefficients": np.full((1, 5), 0.01),
    }  # fmt: skip
    for ending in ("yaml", "xml", "json"):
        file = cv2.FileStorage(f".{ending}", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
        for name, value in values.items():
            file.write(name, value)
        yield ending, file.releaseAndGetString().encode()
    for text in (ROS, CAMERA_INFO, ROS.replace(", ", " ")):
        yield "yaml", text.encode()
    yield "yaml", CAMERA_INFO.encode("utf-16")
    yield "ini", OST.encode()


def _poses() -> Iterator[tuple[str, bytes]]:
    start = np.stack([FACING, FACING])
    both = {"T_world_cam": start, "T_world_goal": FACING[None]}
    objects = {"T_object_cam": FACING}, {"T_object_cam": start[:1]}
    for arrays in (both, {"T_world_cam": start}, *objects):
        for save in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            save(file, **arrays)
            yield "npz", file.getvalue()


def _models() -> Iterator[bytes]:
    """Networks as small as each kind can be, so that most of the file is what says what it is."""
    torch.manual_seed(0)
    training = {
        "steps": 1, "batch": 1, "seconds": 1.0, "threads": 1, "seed": 0, "loss": [[1, 0.5]],
        "parameters": 1, "minutes": None,
    }  # fmt: skip
    path, small = Path("model.safetensors"), Shape(width=4, latent=6, blocks=1)
    nets = {"cnn": PoseNet(16), "aevs": Encoder(small), "mlvs": MetricNet(small, "relu")}
    for method, net in nets.items():
        scene = PlanarScene(torch.rand(1, 24, 32))
        words = (scene, EYE, 0.6, "a picture")
        Model(*words, method=method, net=net.eval(), training=training).save(path)
        yield path.read_bytes()
    for method, net in ((PAIR, PairNet()), (KEYPOINTS, KeypointNet())):
        UnseenModel(net, training, method).save(path)
        yield path.read_bytes()


def _model_heads() -> Iterator[tuple[str, bytes]]:
    for data in _models():
        size = struct.unpack("<Q", data[:8])[0]
        yield "safetensors", b"\1" + data[8 : 8 + size]


def _command_lines(folder: Path) -> Iterator[bytes]:
    cv2.imwrite(str(folder / "picture.png"), cv2.resize(_levels(), (64, 48)))
    cv2.imwrite(str(folder / "colour.jpg"), cv2.resize(_levels(3), (64, 48)))
    cv2.imwrite(str(folder / "deep.tif"), _levels(bits=16))
    (folder / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(folder / "picture.png", folder / "pictures" / name)
    cameras = list(_cameras())
    (folder / "camera.yaml").write_bytes(dict(cameras[:1])["yaml"])
    (folder / "camera.xml").write_bytes(dict(cameras)["xml"])
    np.savez(folder / "poses.npz", T_world_cam=FACING[None], T_world_goal=FACING[None])
    np.savez(folder / "pose.npz", T_object_cam=FACING)
    boxes = list(meshes())
    (folder / "box.obj").write_bytes(boxes[0][1])
    (folder / "box.stl").write_bytes(dict(boxes)["stl"])
    (folder / "model.safetensors").write_bytes(next(_models()))
    for line in LINES:
        yield bytes(WORDS.index(word) for word in line.split())
