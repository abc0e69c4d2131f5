"""Mesh files as people have them: any winding, any way of writing; a texture is found or missed by
name, and what is no surface refused.
"""

import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.scene import sampling
from deepservo.system import memory
from deepservo.worlds.meshes import Mesh, read_mesh
from deepservo.worlds.polygons import cut
from deepservo.worlds.target import Target, render_target
from deepservo.worlds.winding import outward

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")
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
NEAREST = 0.37  # from the camera to the box's nearest face [m]


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


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return drawn(read_mesh(written(tmp_path_factory.mktemp("box") / "box.obj", obj())))


SOME = np.where(np.arange(len(FACES))[:, None] % 3 == 0, FACES[:, ::-1], FACES)
WRITTEN = {
    "inside out": ("a.obj", obj(faces=FACES[:, ::-1])),
    "mixed": ("a.obj", obj(faces=SOME)),
    "inside out, STL": ("a.stl", stl(FACES[:, ::-1])),
    "mixed, STL": ("a.stl", stl(SOME)),
    "mixed, PLY": ("a.ply", ply(faces=SOME)),
    "quads": ("a.obj", obj(faces=np.array(QUADS))),
    "relative": ("a.obj", obj(relative=True)),
    "tabs": ("a.obj", obj().replace(" ", "\t")),
    "blanks": ("a.obj", obj().replace(" ", "   ").replace("\n", "  \n\n")),
    "carriage returns": ("a.obj", obj().replace("\n", "\r")),
    "both ends of a line": ("a.obj", obj().replace("\n", "\r\n")),
    "Latin-1": ("a.obj", b"# Stra\xdfe\no Geh\xe4use\n" + obj().encode()),
    "byte-order mark": ("a.obj", b"\xef\xbb\xbf" + obj().encode()),
    "a line that goes on": ("a.obj", obj().replace("v -0.05", "v \\\n -0.05", 1)),
    "binary that begins as text": ("a.stl", stl(head=b"solid exported by a program")),
    "trailing bytes": ("a.stl", stl(tail=b"\0" * 37 + b"made by me")),
    "solid and trailing bytes": ("a.stl", stl(head=b"solid x", tail=b"\r\n")),
    "text": ("a.stl", ascii_stl()),
    "text with tabs and Latin-1": (
        "a.stl",
        ascii_stl().replace("vertex ", "\tvertex\t").replace("box", "Geh\xe4use").encode("latin-1"),
    ),
    "far vertices that no face uses": (
        "a.obj",
        obj(np.concatenate([VERTICES, [[9.0, 9, 9], [1e300, 0, 0]]])),
    ),
    "unused vertices, PLY": ("a.ply", ply(np.concatenate([VERTICES, [[9.0, 9, 9]]]))),
    "faces without area": ("a.obj", obj(faces=np.concatenate([FACES, [[0, 0, 1], [2, 2, 2]]]))),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_box_however_it_is_written(name: str, box: Target, tmp_path: Path) -> None:
    file, data = WRITTEN[name]
    mesh = read_mesh(written(tmp_path / file, data))
    assert mesh.size == pytest.approx(0.1)
    target = drawn(mesh)
    assert (target.mask == box.mask).all() and np.abs(
        target.depth[box.mask] - box.depth[box.mask]
    ).max() < 1e-5
    assert abs(target.depth[target.mask].min() - NEAREST) < 1e-4
    assert np.abs(target.picture.astype(int) - box.picture).max() <= 2, "lit alike"


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "faces", [FACES[:2], FACES[:1], FACES[2:4]], ids=["flat", "one triangle", "the far side"]
)
def test_an_open_surface_is_seen_from_both_sides(
    faces: np.ndarray, turned: bool, tmp_path: Path
) -> None:
    target = drawn(
        read_mesh(written(tmp_path / "a.obj", obj(faces=faces[:, ::-1] if turned else faces)))
    )
    there = target.picture[target.mask]
    assert target.mask.sum() > 500 and there.mean() > 100, "and is not black from behind"


@pytest.mark.parametrize("seed", range(3))
def test_winding_is_mended_body_by_body(seed: int) -> None:
    """Two boxes apart, faces turned at random: the slow plain twin asks of each face whether it
    looks away from its box's middle.
    """
    rng, vertices = (
        np.random.default_rng(seed),
        np.concatenate([VERTICES, VERTICES + np.array([0.5, 0, 0])]),
    )
    faces = np.concatenate([FACES, FACES + 8])
    faces = np.where((rng.random(len(faces)) < 0.5)[:, None], faces[:, ::-1], faces)
    flip, is_open = outward(vertices, faces)
    assert not is_open.any()
    for k, face in enumerate(np.where(flip[:, None], faces[:, ::-1], faces)):
        a, b, c = vertices[face]
        assert (
            np.cross(b - a, c - a) @ ((a + b + c) / 3 - ([0, 0, 0] if k < 12 else [0.5, 0, 0])) > 0
        )
    alone = outward(vertices, faces[1:])[1]
    assert alone[:11].all() and not alone[11:].any(), (
        "a box without a lid is open, and the other is not"
    )


REFUSED = {
    "collinear": (
        "a.obj",
        obj(
            np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0.0]]),
            np.array([[0, 1, 2], [1, 2, 3]]),
        ),
        "has an area",
    ),
    "one place": ("a.obj", obj(np.zeros((3, 3)), np.array([[0, 1, 2]])), "all its points are one"),
    "no such vertex": (
        "a.obj",
        obj(faces=np.array([[0, 1, 98]])),
        "names vertex 99, and there are 8",
    ),
    "too far back": ("a.obj", obj() + "f -1 -2 -99\n", "names vertex -99, and there are 8"),
    "vertex 0": ("a.obj", obj() + "f 0 1 2\n", "names vertex 0"),
    "no such vertex, PLY": (
        "a.ply",
        ply(faces=np.array([[0, 1, 99]])),
        "names vertex 99, and there are 8",
    ),
    "negative, PLY": ("a.ply", ply(faces=np.array([[0, 1, -1]])), "names vertex -1"),
    "no faces": ("a.obj", "v 0 0 0\nv 1 0 0\n", "holds no faces"),
    "empty": ("a.obj", "", "holds no faces"),
    "empty, STL": ("a.stl", b"", "cannot be read as a mesh"),
    "cut, STL": ("a.stl", stl()[:300], "ends before its 12 triangles do"),
    "infinite": (
        "a.obj",
        obj(np.array([[0, 0, 0], [np.inf, 0, 0], [0, 1, 0.0]]), np.array([[0, 1, 2]])),
        "NaN or infinite",
    ),
    "words": ("a.obj", "v a b c\nf 1 1 1\n", "cannot be read as a mesh"),
    "two coordinates": ("a.obj", "v 0 1\nv 1 0\nv 1 1\nf 1 2 3\n", "without three coordinates"),
    "very far": ("a.obj", obj(VERTICES * 1e12), "has coordinates over"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_surface_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    file, data, why = REFUSED[name]
    with pytest.raises(InputError, match=why) as found:
        read_mesh(written(tmp_path / file, data), "m")
    assert str(tmp_path / file) in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("scale", "unit", "why"),
    [
        (1.0, "mm", "is 0.1 mm across if its numbers are millimetres; are they metres"),
        (1e-3, "m", "is 0.1 mm across if its numbers are metres"),
        (1e-3, None, "is 0.1 mm across"),
        (1000.0, None, "is 100 m across if its numbers are metres; are they millimetres"),
        (1e-6, "mm", "is 1e-07 mm across"),
    ],
)  # fmt: skip
def test_a_size_that_suggests_another_unit_is_told(
    scale: float, unit: str | None, why: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=why):
        read_mesh(written(tmp_path / "a.obj", obj(scale * VERTICES)), unit)


# Textures

QUAD = (
    "v -.1 .075 0\nv .1 .075 0\nv .1 -.075 0\nv -.1 -.075 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf "
    "1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
)
RED_AND_BLUE = np.zeros((8, 8, 3), np.uint8)
RED_AND_BLUE[:, :4, 0], RED_AND_BLUE[:, 4:, 2] = 200, 200


def textured(
    folder: Path, line: str, name: str = "tex.png", pixels: np.ndarray = RED_AND_BLUE[..., ::-1]
) -> Path:
    """A quad whose left half is red and whose right half is blue, if its texture is found; `line`
    names it.
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
    """A closed box, wound inside out: its texture stays where it is."""
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
def test_a_texture_that_cannot_be_had_is_told_by_name(
    line: str, quad: str, why: str, tmp_path: Path
) -> None:
    path = textured(tmp_path, line)
    written(tmp_path / "bad.png", b"no picture")
    written(path, "mtllib quad.mtl\nusemtl paper\n" + quad)
    with pytest.raises(InputError, match=why):
        read_mesh(path)


def test_materials_that_are_missing_are_told_and_unused_ones_are_not(tmp_path: Path) -> None:
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


STAR = (
    np.array([[np.cos(a), np.sin(a), 0] for a in np.arange(10) * np.pi / 5])
    * np.where(np.arange(10) % 2, 0.04, 0.1)[:, None]
)
HOLLOW = {
    "an arrowhead": np.array([[0.0, 0, 0], [-0.1, -0.1, 0], [0.1, 0, 0], [-0.1, 0.1, 0]]),
    "an L": np.array(
        [[0.0, 0, 0], [0.1, 0, 0], [0.1, 0.02, 0], [0.02, 0.02, 0], [0.02, 0.1, 0], [0, 0.1, 0]]
    ),
    "a star": STAR,
    "a tilted star, the other way around": STAR[::-1] @ cv2.Rodrigues(np.array([0.4, 0.8, 0.1]))[0],
}


@pytest.mark.parametrize("name", HOLLOW)
@pytest.mark.parametrize("first", range(4))
def test_a_polygon_with_hollows_is_no_fan(name: str, first: int) -> None:
    corners = np.roll(HOLLOW[name], first, 0)
    (three,) = cut(corners, [range(len(corners))])
    normals = np.cross(
        corners[[b for _, b, _ in three]] - corners[[a for a, _, _ in three]],
        corners[[c for _, _, c in three]] - corners[[a for a, _, _ in three]],
    )
    whole = np.cross(corners, np.roll(corners, -1, 0)).sum(0)
    assert len(three) == len(corners) - 2 and normals.sum(0) == pytest.approx(whole, abs=1e-12)
    assert np.linalg.norm(normals, axis=1).sum() == pytest.approx(np.linalg.norm(whole)), (
        "no triangle lies over another"
    )
    assert cut(VERTICES, QUADS) == [[(0, 1, 2), (0, 2, 3)]] * 6


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
    """A vertex is gone: trimesh drops all colours, and the part would be drawn grey."""
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


# What draws


@pytest.mark.parametrize(
    ("width", "height", "finer", "most"),
    [(17000, 64, 1, 16384), (64, 20000, 1, 16384), (9000, 64, 2, 8192)],
)
def test_a_camera_too_large_to_draw(width: int, height: int, finer: int, most: int) -> None:
    from deepservo.worlds.views import Eye, mujoco

    model = mujoco().MjModel.from_xml_string(
        '<mujoco><worldbody><camera name="eye"/></worldbody></mujoco>'
    )
    with pytest.raises(
        InputError,
        match=f"{width} x {height} pixels is too large to draw; give a camera of at most {most} "
        "pixels a side",
    ):
        Eye(model, "eye", Camera(width, height, 500.0, 500.0, 30.0, 30.0), finer)


def test_a_picture_too_large_for_memory_is_not_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    mesh = read_mesh(written(tmp_path / "a.obj", obj()))
    with pytest.raises(
        InputError,
        match=r"a drawn picture of 5000 x 4000 pixels needs 1\.6 GB of memory, and 1\.0 GB are "
        r"free",
    ):
        render_target(mesh, Camera(5000, 4000, 5000.0, 5000.0, 2500.0, 2000.0), T_OBJECT_CAM)


@pytest.mark.parametrize(
    "setting",
    [
        "MUJOCO_GL=bogus",
        "MUJOCO_GL=glfw",
        "MUJOCO_GL=glx",
        "MUJOCO_GL=",
        "MUJOCO_GL=off",
        "PYOPENGL_PLATFORM=glx",
    ],
)
def test_a_way_of_drawing_that_is_not_there_is_named(setting: str, tmp_path: Path) -> None:
    name, value = setting.split("=")
    env = {
        k: v
        for k, v in os.environ.items()
        if k not in ("MUJOCO_GL", "DISPLAY", "PYOPENGL_PLATFORM")
    } | {name: value}
    written(tmp_path / "a.obj", obj())
    np.savez(tmp_path / "pose.npz", T_object_cam=T_OBJECT_CAM)
    written(
        tmp_path / "cam.yaml",
        "image_width: 160\nimage_height: 120\ncamera_matrix: [260, 0, 79.5, 0, 260, 59.5, 0, 0, "
        "1]\n",
    )
    words = "target --mesh a.obj --pose pose.npz --camera cam.yaml --out g".split()
    found = subprocess.run(
        [sys.executable, "-m", "deepservo", *words],
        check=False,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 2 and found.stderr.count("\n") == 1, found.stderr
    assert (
        name in found.stderr
        and "set MUJOCO_GL=egl" in found.stderr
        and not (tmp_path / "g").exists()
    )


def test_an_object_out_of_sight_is_told_with_its_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn(read_mesh(written(tmp_path / "a.obj", obj())))
    away = T_OBJECT_CAM @ np.diag([1.0, -1, -1, 1])
    np.savez(tmp_path / "pose.npz", T_object_cam=away)
    written(
        tmp_path / "cam.yaml",
        "image_width: 160\nimage_height: 120\ncamera_matrix: [260, 0, 79.5, 0, 260, 59.5, 0, 0, "
        "1]\n",
    )
    words = [
        str(tmp_path / word) if "." in word or word == "g" else word
        for word in "--mesh a.obj --pose pose.npz --camera cam.yaml --out g".split()
    ]
    assert main(["target", *words]) == 2
    assert "the object is 0.1 m across and its middle 0.4 m away" in capsys.readouterr().err
