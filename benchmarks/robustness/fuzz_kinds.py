"""What `fuzz.py` tries: how an input of each kind is used, and the whole ones that its mutations
begin with.
"""

import contextlib
import io
import json
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image

from benchmarks.robustness.fuzz_changes import PARTED
from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.evaluation import poses
from deepservo.images.camera_file import read_camera
from deepservo.images.pictures import read_picture
from deepservo.methods.base import Controller
from deepservo.models.any_scene_model import KEYPOINTS, PAIR, UnseenModel
from deepservo.models.scene_model import Model, read_model
from deepservo.nets.keypoint import KeypointNet
from deepservo.nets.metric import MetricNet
from deepservo.nets.pair import PairNet
from deepservo.nets.pose import PoseNet
from deepservo.nets.resnet import Encoder, Shape
from deepservo.scene import PlanarScene
from deepservo.worlds.meshes import read_mesh
from deepservo.worlds.target import render_target

ENDINGS = {
    "pictures": ("png", "jpg", "tif", "webp", "bmp"),
    "cameras": ("yaml", "xml", "json", "ini", "txt"),
    "poses": ("npz",),
    "meshes": ("obj", "stl", "ply"),
    "models": ("safetensors",),
}
EYE = Camera(64, 48, 90.0, 90.0, 31.5, 23.5)
FACING = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -0.4], [0, 0, 0, 1]])
MADE = ("out", "other", "demo", "new.safetensors")
WORDS = [
    *"demo learn servo target info bench recipe list --help --version --image --goal --poses "
    "--camera --mesh --pose --unit --out".split(),
    *"--method --methods --set --sets --starts --seed --n --world --distance --width --view "
    "--steps --minutes --quick --resume".split(),
    *"--models --scenes --compare --missing --preset --backbone --loss --colour pbvs dvs sift+dvs "
    "orb cnn aevs mlvs pca-4 auto".split(),
    *"siamese-se3 dfbvs photometric nothing lookat screw lookat-rz-perturbed gaussian coffee moon "
    "gantry simulator paper cpu".split(),
    *"0 1 2 -1 0.6 nan inf 1e9 1e-9 mm m x '' picture.png colour.jpg deep.tif pictures "
    "camera.yaml camera.xml poses.npz pose.npz".split(),
    *"model.safetensors box.obj box.stl . out other new.safetensors results.json pbvs,dvs "
    "lookat,screw 1e3 --width=0.5".split(),
]
SLOW = (
    "demo",
    "recipe",
    "gantry",
    "paper",
    "--minutes",
    "--world",
)  # longer than a fuzzer can wait: read by --help only
BOUNDS = {
    "servo": {"--starts": "1"},
    "learn": {"--steps": "1"},
    "bench": {"--n": "1", "--methods": "pbvs", "--sets": "lookat", "--scenes": "coffee"},
}
LINES = (
    "servo --image picture.png --method pbvs --poses poses.npz --out out",
    "servo --image picture.png --camera camera.yaml --starts 1 --out out",
    "servo --image colour.jpg --goal picture.png --method sift+dvs --starts 2 --seed 1 --out out",
    "servo --image deep.tif --camera camera.xml --method orb --set screw --distance 2 --width 1 "
    "--out out",
    "servo --image picture.png --method dfbvs --starts 1 --out other",
    "servo --method photometric --image colour.jpg --set lookat --out out",
    "servo model.safetensors --starts 1 --out out",
    "servo model.safetensors --goal picture.png --method cnn --out out",
    "target --mesh box.obj --pose pose.npz --camera camera.yaml --out out",
    "target --mesh box.stl --pose pose.npz --camera camera.xml --unit m --out other",
    "learn picture.png --steps 1 --out new.safetensors",
    "learn picture.png --view --distance 1 --camera camera.yaml --method cnn --steps 2 --seed 1 "
    "--out new.safetensors",
    "learn pictures --method siamese-se3 --steps 1 --width=0.5 --out new.safetensors",
    "bench --methods pbvs,dvs --sets lookat,screw --scenes coffee --n 1 --out out",
    "bench --image picture.png --methods pbvs --sets lookat-rz-perturbed --n 1 --seed 2 --out out",
    "bench --image pictures --methods pbvs --poses poses.npz --n 1 --out out",
    "bench --models model.safetensors --methods pbvs --sets gaussian --n 1 --out other",
    *("bench --compare results.json results.json", "recipe --missing", "demo --starts 0 --help"),
    *(
        "info model.safetensors",
        "info box.obj",
        "list",
        "--version",
        "servo --help",
        "learn --help",
        "x",
    ),
)
LARGEST = 10**7  # bytes of weights behind a model's head


def _written(kind: str, data: bytes, folder: Path) -> Path:
    """The bytes behind the first as a file; the first says of which ending."""
    endings = ENDINGS[kind]
    path = folder / f"input.{endings[data[0] % len(endings)]}"
    path.write_bytes(data[1:])
    return path


def picture(data: bytes, folder: Path) -> bool:
    """Read, in grey and in colour."""
    if not data:
        return False
    found = read_picture(_written("pictures", data, folder), colour=bool(data[0] & 128))
    assert torch.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    return True


def camera(data: bytes, folder: Path) -> bool:
    """Read, and a picture undistorted where it is small."""
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
    found = (
        poses.read_poses(path, 0.6)[0]
        if data[0] & 1
        else torch.from_numpy(np.asarray(poses.read_object_pose(path)))
    )
    assert torch.isfinite(found).all()
    return True


def mesh(data: bytes, folder: Path) -> bool:
    """Read with the material file that stands behind it, and now and then drawn."""
    if not data:
        return False
    whole, _, materials = data.partition(PARTED)
    (folder / "a.mtl").write_bytes(materials)
    found = read_mesh(
        _written("meshes", whole or data, folder), (None, "m", "mm")[data[0] // 16 % 3]
    )
    assert np.isfinite(found.vertices).all() and found.faces.max() < len(found.vertices)
    if data[0] % 8 == 0:
        render_target(found, EYE, FACING)
    return True


def model(data: bytes, folder: Path) -> bool:
    """Read: the head of the file, which says what it is, and as many weights behind it as it asks
    for.
    """
    if len(data) < 2:
        return False
    head = data[2:]
    read_model(
        _written(
            "models",
            data[:1] + struct.pack("<Q", len(head)) + head + _weights(head, data[1]),
            folder,
        )
    )
    return True


def _weights(head: bytes, number: int) -> bytes:
    """Zeros, or small numbers, every third time with one among them that is not finite."""
    try:
        asked = max(
            each["data_offsets"][1]
            for name, each in json.loads(head).items()
            if name != "__metadata__"
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        asked = 0
    size = min(max(0, asked), LARGEST) if isinstance(asked, int) else 0
    kind = np.float16 if b'"F16"' in head else np.float32
    values = (
        np.random.default_rng(number).random(size // kind().itemsize + 1) * 0.1 * (number > 0)
    ).astype(kind)
    if number % 3 == 2:
        values[number % len(values)] = np.nan
    return values.tobytes()[:size]


def command(data: bytes, folder: Path) -> bool:
    """Bytes that choose words. What could take minutes is bounded, or left out."""
    words = [WORDS[byte % len(WORDS)] for byte in data[:24]]
    if set(words) & set(SLOW) and not {"--help", "--missing"} & set(words):
        return False
    for option, value in BOUNDS.get(words[0] if words else "", {}).items():
        words += [option, value] if option not in words else []
    words = [
        str(folder / word) if (folder / word).exists() or word in MADE else word for word in words
    ]
    said, error = io.StringIO(), io.StringIO()
    Controller.max_steps = 3
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(error):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    assert code in (0, 2), f"{words}: code {code}"
    lines = error.getvalue().splitlines()
    if code == 2:
        assert len(lines) == 1 and lines[0].startswith("deepservo: "), f"{words}: {lines}"
    assert not any(said in line for said in ("Traceback", "Warning:") for line in lines), (
        f"{words}: {lines}"
    )
    left = [
        path
        for name in MADE
        for path in (folder / name).rglob("*")
        if path.name.startswith(".") or path.suffix == ".partial"
    ]
    assert not left, f"{words}: left {left}"
    for name in MADE:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        (folder / name).unlink(missing_ok=True)
    return code == 0


KINDS: dict[str, Callable[[bytes, Path], bool]] = {
    "pictures": picture, "cameras": camera, "poses": pose, "meshes": mesh, "models": model,
    "commands": command,
}  # fmt: skip


# Whole inputs


def seeds(kind: str, folder: Path) -> list[bytes]:
    """Whole inputs of a kind, the ending of each before it; for command lines also the files that
    they name.
    """
    if kind == "commands":
        return list(_command_lines(folder))
    if kind == "meshes":
        for name, channels, bits in (
            ("t8.png", 3, 8),
            ("t16.png", 3, 16),
            ("t1.png", 1, 8),
            ("T8.JPG", 3, 8),
        ):
            cv2.imwrite(str(folder / name), _levels(channels, bits))
    made = {
        "pictures": _pictures,
        "cameras": _cameras,
        "poses": _poses,
        "meshes": _meshes,
        "models": _model_heads,
    }[kind]()
    return [bytes([ENDINGS[kind].index(ending)]) + data for ending, data in made]


def _levels(channels: int = 1, bits: int = 8) -> np.ndarray:
    rng = np.random.default_rng(channels + bits)
    values = cv2.GaussianBlur(rng.random((36, 40, channels)), None, 3).reshape(36, 40, channels)
    values = (values - values.min()) / np.ptp(values) * (2**bits - 1)
    return values.astype(np.uint8 if bits == 8 else np.uint16).squeeze()


def _pictures() -> Iterator[tuple[str, bytes]]:
    png = [("png", channels, bits) for channels, bits in ((1, 8), (3, 8), (4, 8), (1, 16), (3, 16))]
    for ending, channels, bits in (
        *png,
        ("jpg", 1, 8),
        ("jpg", 3, 8),
        ("webp", 3, 8),
        ("bmp", 1, 8),
        ("bmp", 3, 8),
    ):
        yield ending, cv2.imencode(f".{ending}", _levels(channels, bits))[1].tobytes()
    for options in (
        {},
        {"compression": "zlib"},
        {"planarconfig": "separate", "photometric": "rgb"},
        {"photometric": "miniswhite"},
    ):
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
    for ending in ("yaml", "xml", "json"):
        file = cv2.FileStorage(f".{ending}", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
        for name, value in (
            ("image_width", 64),
            ("image_height", 48),
            ("camera_matrix", K),
            ("distortion_coefficients", np.full((1, 5), 0.01)),
        ):
            file.write(name, value)
        yield ending, file.releaseAndGetString().encode()
    matrix = "[90, 0, 31.5, 0, 91, 23.5, 0, 0, 1]"
    ros = (
        "image_width: 64\nimage_height: 48\ncamera_name: a\ncamera_matrix:\n  rows: 3\n  cols: "
        f"3\n  data: {matrix}\n"
    )
    ros += (
        "distortion_model: plumb_bob\ndistortion_coefficients: {rows: 1, cols: 5, data: [0.1, "
        "-0.2, 0, 0, 0]}\n"
    )
    info = (
        "height: 48\nwidth: 64\ndistortion_model: rational_polynomial\nd: [0, 0, 0, 0, 0, 0, "
        f"0, 0]\nk: {matrix}\n"
    )
    info += (
        "binning_x: 2\nbinning_y: 2\nroi: {x_offset: 8, y_offset: 4, height: 40, width: 48, "
        "do_rectify: false}\n---\n"
    )
    for text in (ros, info, ros.replace(", ", " ")):
        yield "yaml", text.encode()
    yield "yaml", info.encode("utf-16")
    yield (
        "ini",
        b"# oST version 5.0 parameters\n[image]\nwidth\n64\nheight\n48\n[camera]\ncamera "
        b"matrix\n90 0 31 0 90 23 0 0 1\n",
    )


def _poses() -> Iterator[tuple[str, bytes]]:
    start = np.stack([FACING, FACING])
    both = {"T_world_cam": start, "T_world_goal": FACING[None]}
    for arrays in (
        both,
        {"T_world_cam": start},
        {"T_object_cam": FACING},
        {"T_object_cam": start[:1]},
    ):
        for save in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            save(file, **arrays)
            yield "npz", file.getvalue()


def _meshes() -> Iterator[tuple[str, bytes]]:
    corners = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * 0.05
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    vertices = "".join(f"v {x} {y} {z}\n" for x, y, z in corners)
    yield (
        "obj",
        (
            vertices + "".join(f"f {a + 1} {b + 1} {c + 1} {d + 1}\n" for a, b, c, d in quads)
        ).encode(),
    )
    yield (
        "obj",
        (vertices + "vt 0 0\nvt 1 1\nvn 0 0 1\nf -8/1/1 -7/2/1 -6//1\nf 3/-1 4/1 5\n").encode(),
    )
    faces = (
        "vt 0 0\nvt 1 0\nvt 1 1\nusemtl b\nf 1/1 3/2 4/3 2/1\nusemtl c\nf 5/1 6/2 8/3 7/1\nf "
        "1/1 2/2 6/3 5/1\nusemtl d\nf 3/1 7/2 8/3\n"
    )
    materials = (
        "newmtl b\nKd 1 0 0\nmap_Kd {}\nnewmtl c\nKd 0.2 0.4 0.6\nnewmtl d\nNs 10\nmap_Kd {}\n"
    )
    for pictures in (
        ("t8.png", "t16.png"),
        ("-blendu on T8.JPG", "C:\\\\parts\\\\t1.png"),
        ("-s 1 1 1 t8.png", "t9.png"),
    ):
        yield (
            "obj",
            ("mtllib a.mtl\n" + vertices + faces).encode()
            + PARTED
            + materials.format(*pictures).encode(),
        )
    coloured = "".join(f"v {x} {y} {z} 1 0.5 {k / 8}\n" for k, (x, y, z) in enumerate(corners))
    yield "obj", (coloured + "f 1 3 4 2\nf 5 6 8 7\nf 1 2 6 5\n").encode()
    triangles = [corners[list(three)] for a, b, c, d in quads for three in ((a, b, c), (a, c, d))]
    rows = b"".join(struct.pack("<12fH", 0, 0, 0, *three.ravel(), 0) for three in triangles)
    yield "stl", b"solid".ljust(80) + struct.pack("<I", len(triangles)) + rows
    text = "".join(
        "facet\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in three)
        + "endloop\nendfacet\n"
        for three in triangles
    )
    yield "stl", f"solid a\n{text}endsolid\n".encode()
    head = (
        "ply\nformat {}\nelement vertex 8\nproperty float x\nproperty float y\nproperty float "
        "z\n{}element face 6\n"
    )
    head += "property list uchar int vertex_indices\nend_header\n"
    body = "".join(f"{x} {y} {z}\n" for x, y, z in corners) + "".join(
        f"4 {a} {b} {c} {d}\n" for a, b, c, d in quads
    )
    yield "ply", (head.format("ascii 1.0", "") + body).encode()
    packed = corners.astype("<f4").tobytes() + b"".join(
        struct.pack("<B4i", 4, *quad) for quad in quads
    )
    yield "ply", head.format("binary_little_endian 1.0", "").encode() + packed
    columns = (
        "comment TextureFile t8.png\nelement vertex 8\nproperty float x\nproperty float "
        "y\nproperty float z\nproperty float s\n"
    )
    textured = head.format("ascii 1.0", "property float t\n").replace(
        "element vertex 8\nproperty float x\nproperty float y\nproperty float z\n", columns
    )
    yield "ply", (textured + re.sub(r"(?m)^(\S+ \S+ \S+)$", r"\1 0.5 1", body)).encode()
    colours = head.format(
        "ascii 1.0", "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    )
    yield "ply", (colours + re.sub(r"(?m)^(\S+ \S+ \S+)$", r"\1 250 0 9", body)).encode()


def _models() -> Iterator[bytes]:
    """Networks as small as each kind can be, so that most of the file is what says what it is."""
    torch.manual_seed(0)
    training = {
        "steps": 1,
        "batch": 1,
        "seconds": 1.0,
        "threads": 1,
        "seed": 0,
        "loss": [[1, 0.5]],
        "parameters": 1,
        "minutes": None,
    }
    path = Path("model.safetensors")
    small = Shape(width=4, latent=6, blocks=1)
    for method, net in (
        ("cnn", PoseNet(16)),
        ("aevs", Encoder(small)),
        ("mlvs", MetricNet(small, "relu")),
    ):
        scene = PlanarScene(torch.rand(1, 24, 32))
        model = Model(
            scene, EYE, 0.6, "a picture", method=method, net=net.eval(), training=training
        )
        model.save(path)
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
    meshes = list(_meshes())
    (folder / "box.obj").write_bytes(meshes[0][1])
    (folder / "box.stl").write_bytes(dict(meshes)["stl"])
    (folder / "model.safetensors").write_bytes(next(_models()))
    for line in LINES:
        yield bytes(WORDS.index(word) for word in line.split())
