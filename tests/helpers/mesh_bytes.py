"""A box as mesh files of several formats hold it, and its picture."""

import struct
from pathlib import Path

import numpy as np
import pytest

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.scene import sampling
from deepservo.worlds.meshes import Mesh
from deepservo.worlds.target import Target, render_target

CAMERA = Camera(160, 120, 260.0, 260.0, 79.5, 59.5)
VERTICES = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * [
    0.05,
    0.04,
    0.03,
]
QUADS = [
    (0, 2, 3, 1),
    (4, 5, 7, 6),
    (0, 1, 5, 4),
    (2, 6, 7, 3),
    (0, 4, 6, 2),
    (1, 3, 7, 5),
]  # outward
FACES = np.array([three for a, b, c, d in QUADS for three in ((a, b, c), (a, c, d))])
T_OBJECT_CAM = sampling.fronto_parallel(0.4)[0].numpy()


def drawn(mesh: Mesh) -> Target:
    try:
        return render_target(mesh, CAMERA, T_OBJECT_CAM)
    except InputError as error:
        if "cannot draw here" in str(error):
            pytest.skip(str(error))
        raise


def obj(vertices: np.ndarray = VERTICES, faces: np.ndarray = FACES, relative: bool = False) -> str:
    first = -len(vertices) if relative else 1
    return "".join(
        f"{kind} {' '.join(map(str, row))}\n"
        for kind, rows in (("v", vertices), ("f", faces + first))
        for row in rows
    )


def stl(faces: np.ndarray = FACES, head: bytes = b"", tail: bytes = b"") -> bytes:
    rows = [struct.pack("<12fH", 0, 0, 0, *VERTICES[face].ravel(), 0) for face in faces]
    return head.ljust(80, b" ") + struct.pack("<I", len(faces)) + b"".join(rows) + tail


def ascii_stl() -> str:
    corners = ["".join(f"vertex {x} {y} {z}\n" for x, y, z in VERTICES[face]) for face in FACES]
    return (
        "solid box\n"
        + "".join(f"facet normal 0 0 0\nouter loop\n{each}endloop\nendfacet\n" for each in corners)
        + "endsolid\n"
    )


def ply(vertices: np.ndarray = VERTICES, faces: np.ndarray = FACES, comment: str = "") -> str:
    head = (
        f"ply\nformat ascii 1.0\n{comment}element vertex {len(vertices)}\nproperty float "
        "x\nproperty float y\nproperty float z\n"
    )
    head += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    rows = [" ".join(map(str, v)) for v in vertices] + [
        " ".join(map(str, (len(f), *f))) for f in faces
    ]
    return head + "\n".join(rows) + "\n"


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
