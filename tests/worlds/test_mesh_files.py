"""Mesh files of any winding and format are read, and what is no surface is refused."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepservo.errors import InputError
from deepservo.worlds.meshes import read_mesh
from deepservo.worlds.polygons import cut
from deepservo.worlds.target import Target
from deepservo.worlds.winding import outward
from mesh_bytes import FACES, QUADS, VERTICES, ascii_stl, drawn, obj, ply, stl, written

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")
NEAREST = 0.37  # from the camera to the box's nearest face [m]


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
    """Two boxes apart with faces of random winding: the plain twin checks of each face whether it
    faces away from its box's middle.
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
def test_a_size_that_suggests_another_unit_gives_a_warning(
    scale: float, unit: str | None, why: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=why):
        read_mesh(written(tmp_path / "a.obj", obj(scale * VERTICES)), unit)


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
def test_a_concave_polygon_is_not_cut_as_a_fan(name: str, first: int) -> None:
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
