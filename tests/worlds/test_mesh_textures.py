"""Textures and colours of a mesh are found, or named as missing."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepservo.errors import InputError
from deepservo.worlds.meshes import read_mesh
from mesh_bytes import QUADS, VERTICES, drawn, obj, ply, written

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")


QUAD = (
    "v -.1 .075 0\nv .1 .075 0\nv .1 -.075 0\nv -.1 -.075 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf "
    "1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
)
RED_AND_BLUE = np.zeros((8, 8, 3), np.uint8)
RED_AND_BLUE[:, :4, 0], RED_AND_BLUE[:, 4:, 2] = 200, 200


def textured(
    folder: Path, line: str, name: str = "tex.png", pixels: np.ndarray = RED_AND_BLUE[..., ::-1]
) -> Path:
    """A quad whose left half is red and whose right half is blue if its texture is found, which
    `line` names.
    """
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    assert cv2.imwrite(str(folder / name), pixels)
    written(folder / "quad.mtl", f"newmtl paper\nKd 1 1 1\n{line}\n")
    return written(folder / "quad.obj", "mtllib quad.mtl\nusemtl paper\n" + QUAD)


def assert_red_and_blue(path: Path) -> None:
    target = drawn(read_mesh(path))
    row = target.picture[60].astype(int)
    seen = np.flatnonzero(target.mask[60])
    left, right = (
        row[seen[5 : len(seen) // 2 - 8]].mean(0),
        row[seen[len(seen) // 2 + 8 : -5]].mean(0),
    )
    assert left[0] > 80 > 10 * left[2] and right[2] > 80 > 10 * right[0], (left, right)


DEEP = RED_AND_BLUE[..., ::-1].astype(np.uint16) * 257
TEXTURES = {
    "plain": ("map_Kd tex.png", {}),
    "backslash": ("map_Kd .\\tex.png", {}),
    "a folder, backslash": ("map_Kd maps\\tex.png", {"name": "maps/tex.png"}),
    "another machine's": ("map_Kd C:\\Users\\me\\part\\tex.png", {}),
    "absolute": ("map_Kd /home/me/tex.png", {}),
    "letters": ("map_Kd TEX.PNG", {}),
    "blanks": ("map_Kd my tex.png", {"name": "my tex.png"}),
    "quoted": ('map_Kd "my tex.png"', {"name": "my tex.png"}),
    "options": ("map_Kd -s 1 1 1 -o 0 0 0 -clamp on tex.png", {}),
    "one number": ("map_Kd -s 1 -blendu off tex.png", {}),
    "indented": ("\tmap_Kd\ttex.png", {}),
    "16 bits": ("map_Kd tex.png", {"pixels": DEEP}),
    "alpha": (
        "map_Kd tex.png",
        {"pixels": np.dstack([RED_AND_BLUE[..., ::-1], np.full((8, 8), 255, np.uint8)])},
    ),
    "TIFF": ("map_Kd tex.tif", {"name": "tex.tif"}),
}


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_is_found(name: str, tmp_path: Path) -> None:
    line, options = TEXTURES[name]
    assert_red_and_blue(textured(tmp_path, line, **options))


def test_a_texture_is_turned_over_with_its_face(tmp_path: Path) -> None:
    """On a closed box wound inside out the texture keeps its place."""
    textured(tmp_path, "map_Kd tex.png")
    places = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    corners = [
        [f"{v + 1}/{k + 1}" for v, k in zip(quad, (0, 3, 2, 1), strict=True)] for quad in QUADS
    ]
    front = "".join(f"f {a} {b} {c}\nf {a} {c} {d}\n" for a, b, c, d in corners)
    lines = "".join("v " + " ".join(map(str, vertex)) + "\n" for vertex in VERTICES)
    pictures = []
    for each in (
        front,
        "".join("f " + " ".join(line.split()[:0:-1]) + "\n" for line in front.splitlines()),
    ):
        written(tmp_path / "quad.obj", "mtllib quad.mtl\nusemtl paper\n" + lines + places + each)
        pictures.append(drawn(read_mesh(tmp_path / "quad.obj")).picture.astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 2 and pictures[0][60].std() > 30


def test_several_textures_and_colours(tmp_path: Path) -> None:
    for name, colour in (("red", (0, 0, 200)), ("blue", (200, 0, 0))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((5, 9, 3), colour, np.uint8))
    written(
        tmp_path / "m.mtl",
        "newmtl a\nmap_Kd red.png\nnewmtl b\nmap_Kd blue.png\nnewmtl c\nKd 0 0.8 0\n",
    )
    strips = (
        "".join(f"v {x} {y} 0\n" for x in (-0.1, -0.03, 0.03, 0.1) for y in (0.075, -0.075))
        + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    )
    faces = "usemtl a\nf 1/1 3/2 4/3 2/4\nusemtl b\nf 3/1 5/2 6/3 4/4\nusemtl c\nf 5 7 8 6\n"
    target = drawn(read_mesh(written(tmp_path / "a.obj", "mtllib m.mtl\n" + strips + faces)))
    seen = np.flatnonzero(target.mask[60])
    a, b, c = (
        target.picture[60, seen[int(len(seen) * share)]].astype(int) for share in (0.15, 0.5, 0.85)
    )
    assert (
        a.argmax() == 0
        and b.argmax() == 2
        and c.argmax() == 1
        and min(a.max(), b.max(), c.max()) > 80
    )
    written(tmp_path / "b.obj", "mtllib m.mtl\n" + strips.replace("vt 1 0", "vt 3 0") + faces)
    with pytest.raises(InputError, match="several textures, which repeat; bake them into one"):
        read_mesh(tmp_path / "b.obj")


@pytest.mark.parametrize(
    ("line", "quad", "why"),
    [
        ("map_Kd gone.png", QUAD, "quad.mtl: its texture gone.png is missing"),
        ("map_Kd -s 2 2 1 tex.png", QUAD, "scaled or shifted"),
        ("map_Kd -o 0.5 tex.png", QUAD, "scaled or shifted"),
        ("map_Kd bad.png", QUAD, "bad.png: cannot be read as a picture"),
        (
            "map_Kd tex.png",
            QUAD.replace("/1", "").replace("/2", "").replace("/3", "").replace("/4", ""),
            "without places in it",
        ),
    ],
)
def test_a_missing_texture_is_named(line: str, quad: str, why: str, tmp_path: Path) -> None:
    path = textured(tmp_path, line)
    written(tmp_path / "bad.png", b"no picture")
    written(path, "mtllib quad.mtl\nusemtl paper\n" + quad)
    with pytest.raises(InputError, match=why):
        read_mesh(path)


def test_missing_materials_are_named_and_unused_ones_are_not(tmp_path: Path) -> None:
    textured(tmp_path, "map_Kd tex.png")
    with pytest.raises(InputError, match=r"its material file gone\.mtl is missing"):
        read_mesh(written(tmp_path / "a.obj", "mtllib gone.mtl\nusemtl paper\n" + QUAD))
    with pytest.raises(InputError, match="the material other is in none of its material files"):
        read_mesh(written(tmp_path / "a.obj", "mtllib quad.mtl\nusemtl other\n" + QUAD))
    assert read_mesh(written(tmp_path / "a.obj", "mtllib gone.mtl\n" + QUAD)).picture is None, (
        "no face uses it"
    )
    with pytest.raises(InputError, match=r"its texture gone\.png is missing"):
        read_mesh(written(tmp_path / "a.ply", ply(comment="comment TextureFile gone.png\n")))


def test_a_ply_with_a_texture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "tex.png"), RED_AND_BLUE[..., ::-1])
    head = (
        "ply\nformat ascii 1.0\ncomment TextureFile tex.png\nelement vertex 4\nproperty float "
        "x\nproperty float y\nproperty float z\n"
    )
    head += (
        "property float s\nproperty float t\nelement face 2\nproperty list uchar int "
        "vertex_indices\nend_header\n"
    )
    rows = "-.1 .075 0 0 0\n.1 .075 0 1 0\n.1 -.075 0 1 1\n-.1 -.075 0 0 1\n3 0 1 2\n3 0 2 3\n"
    path = written(tmp_path / "a.ply", head + rows)
    assert_red_and_blue(path)
    # In a process of its own: here the tests catch what the reader of PLY logs.
    code = (
        "from pathlib import Path; from deepservo.worlds.meshes import read_mesh; "
        f"read_mesh(Path({str(path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_colours_that_are_not_those_of_the_vertices(tmp_path: Path) -> None:
    """A vertex is missing: trimesh drops all colours, and the part would be drawn grey."""
    text = ply(np.hstack([VERTICES, np.full((8, 3), 230)]))
    text = text.replace(
        "property float z\n",
        "property float z\n" + "".join(f"property uchar {c}\n" for c in ("red", "green", "blue")),
    )
    last = next(line for line in text.splitlines()[::-1] if "230" in line)
    with pytest.raises(InputError, match="has colours that cannot be read; export it again"):
        read_mesh(
            written(tmp_path / "a.ply", text.replace(f"{last}\n", "").replace("230.0", "230"))
        )


@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_colours_of_vertices_are_seen(kind: str, tmp_path: Path) -> None:
    if kind == "obj":
        lines = "".join("v " + " ".join(map(str, vertex)) + " 0.9 0 0\n" for vertex in VERTICES)
        path = written(tmp_path / "a.obj", lines + obj().split("\n", len(VERTICES))[-1])
    else:
        text = ply().replace(
            "property float z\n",
            "property float z\n"
            + "".join(f"property uchar {c}\n" for c in ("red", "green", "blue")),
        )
        for vertex in VERTICES:
            row = " ".join(map(str, vertex))
            text = text.replace(f"\n{row}\n", f"\n{row} 230 0 0\n")
        path = written(tmp_path / "a.ply", text)
    target = drawn(read_mesh(path))
    red, green, _ = target.picture[target.mask].mean(0)
    assert red > 100 and green < 5
