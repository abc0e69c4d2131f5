"""The meshes that the fuzzer's changes begin with: a box in every format that is read."""

import re
import struct
from collections.abc import Iterator

import numpy as np

from benchmarks.robustness.fuzzing.changes import MATERIALS

# The textures that the meshes name: file, channels, bits.
TEXTURES = (("t8.png", 3, 8), ("t16.png", 3, 16), ("t1.png", 1, 8), ("T8.JPG", 3, 8))
CORNERS = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * 0.05
QUADS = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
VERTICES = "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
FACES_WITH_MATERIALS = """\
vt 0 0
vt 1 0
vt 1 1
usemtl b
f 1/1 3/2 4/3 2/1
usemtl c
f 5/1 6/2 8/3 7/1
f 1/1 2/2 6/3 5/1
usemtl d
f 3/1 7/2 8/3
"""
MATERIAL_FILE = """\
newmtl b
Kd 1 0 0
map_Kd {}
newmtl c
Kd 0.2 0.4 0.6
newmtl d
Ns 10
map_Kd {}
"""
# A PLY file's head; the gaps are its encoding and further columns of a vertex.
PLY_HEAD = """\
ply
format {}
element vertex 8
property float x
property float y
property float z
{}element face 6
property list uchar int vertex_indices
end_header
"""


def meshes() -> Iterator[tuple[str, bytes]]:
    """The ending and content of each mesh; materials stand behind MATERIALS."""
    for text in _obj():
        yield "obj", text
    for content in _stl():
        yield "stl", content
    for content in _ply():
        yield "ply", content


def _obj() -> Iterator[bytes]:
    quads = "".join(f"f {a + 1} {b + 1} {c + 1} {d + 1}\n" for a, b, c, d in QUADS)
    yield (VERTICES + quads).encode()
    indices = "vt 0 0\nvt 1 1\nvn 0 0 1\nf -8/1/1 -7/2/1 -6//1\nf 3/-1 4/1 5\n"
    yield (VERTICES + indices).encode()
    for pictures in (
        ("t8.png", "t16.png"),
        ("-blendu on T8.JPG", "C:\\\\parts\\\\t1.png"),
        ("-s 1 1 1 t8.png", "t9.png"),
    ):
        text = "mtllib a.mtl\n" + VERTICES + FACES_WITH_MATERIALS
        yield text.encode() + MATERIALS + MATERIAL_FILE.format(*pictures).encode()
    coloured = "".join(f"v {x} {y} {z} 1 0.5 {k / 8}\n" for k, (x, y, z) in enumerate(CORNERS))
    yield (coloured + "f 1 3 4 2\nf 5 6 8 7\nf 1 2 6 5\n").encode()


def _stl() -> Iterator[bytes]:
    triangles = [CORNERS[list(three)] for a, b, c, d in QUADS for three in ((a, b, c), (a, c, d))]
    rows = b"".join(struct.pack("<12fH", 0, 0, 0, *three.ravel(), 0) for three in triangles)
    yield b"solid".ljust(80) + struct.pack("<I", len(triangles)) + rows
    facets = (
        "facet\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in three)
        + "endloop\nendfacet\n"
        for three in triangles
    )
    yield f"solid a\n{''.join(facets)}endsolid\n".encode()


def _ply() -> Iterator[bytes]:
    vertices = "".join(f"{x} {y} {z}\n" for x, y, z in CORNERS)
    body = vertices + "".join(f"4 {a} {b} {c} {d}\n" for a, b, c, d in QUADS)
    yield (PLY_HEAD.format("ascii 1.0", "") + body).encode()
    packed = CORNERS.astype("<f4").tobytes()
    packed += b"".join(struct.pack("<B4i", 4, *quad) for quad in QUADS)
    yield PLY_HEAD.format("binary_little_endian 1.0", "").encode() + packed
    columns = "property float s\nproperty float t\n"
    textured = PLY_HEAD.format("ascii 1.0", columns)
    textured = textured.replace("element vertex", "comment TextureFile t8.png\nelement vertex")
    yield (textured + _with_columns(body, "0.5 1")).encode()
    columns = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    yield (PLY_HEAD.format("ascii 1.0", columns) + _with_columns(body, "250 0 9")).encode()


def _with_columns(body: str, values: str) -> str:
    """The body of a PLY file with further values behind those of each vertex."""
    return re.sub(r"(?m)^(\S+ \S+ \S+)$", rf"\1 {values}", body)
