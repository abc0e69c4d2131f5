"""Mesh files: OBJ with its materials, STL, and PLY by trimesh, as corners of triangles and what
each face looks like.

OBJ and STL are read here: the usual readers draw a surface grey without a word where a material, a
texture or one of several is not found.
"""

import importlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from deepservo.errors import InputError
from deepservo.images import pictures
from deepservo.worlds.polygons import cut

PLAIN = (200, 200, 200)  # of a surface that has no colour
# How many words follow an option before the name of a picture in a material file (at most, for the
# last ones).
OPTIONS = {
    "-blendu": 1,
    "-blendv": 1,
    "-boost": 1,
    "-cc": 1,
    "-clamp": 1,
    "-imfchan": 1,
    "-texres": 1,
    "-bm": 1,
    "-type": 1,
    "-mm": 2,
    "-o": 3,
    "-s": 3,
    "-t": 3,
}
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True)
class Look:
    """Of a material: its picture (h, w, 3), or one colour."""

    picture: UInt8[np.ndarray, "h w 3"] | None = None
    colour: tuple[int, int, int] = PLAIN


@dataclass(frozen=True)
class Surface:
    """Triangles as a file has them; `uv`, where there are any, of each corner: from the left and
    from below.
    """

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    uv: Float[np.ndarray, "m 3 2"] | None = None
    looks: list[Look] = field(default_factory=list)
    look: Int[np.ndarray, " m"] | None = None
    """Which of them each face has."""


def read_surface(path: Path) -> Surface:
    """What an OBJ, STL or PLY file holds; InputError where it cannot be read, or names a texture
    that cannot.
    """
    data, kind = path.read_bytes(), path.suffix.lower()
    try:
        with np.errstate(
            all="ignore"
        ):  # a number too large becomes infinite, and infinite ones are refused
            return (
                _obj(path, data)
                if kind == ".obj"
                else _stl(path, data)
                if kind == ".stl"
                else _ply(path, data)
            )
    except InputError:
        raise
    except Exception as error:  # a corrupt file fails anywhere in a reader, and in any way
        raise InputError(
            f"{path}: cannot be read as a mesh ({type(error).__name__}); export it again"
        ) from None


def _text(data: bytes) -> str:
    """A mesh's text in whatever encoding: names are Latin-1 where they are not UTF-8; a line that
    ends in a backslash goes on.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return re.sub(r"\\\n", " ", text.replace("\r\n", "\n").replace("\r", "\n"))


def _lines(data: bytes) -> Iterator[tuple[str, list[str], str]]:
    """The first word of each line, the others, and all behind the first as it stands."""
    for line in _text(data).split("\n"):
        words = (
            line.split("#")[0].split()
            if not line.lstrip().startswith(("mtllib", "usemtl", "newmtl", "map_"))
            else line.split()
        )
        if words:
            yield words[0], words[1:], line.split(None, 1)[1].strip() if len(words) > 1 else ""


def _obj(path: Path, data: bytes) -> Surface:
    vertices: list[list[float]] = []
    colours: list[list[float]] = []
    places: list[list[float]] = []
    faces: list[list[tuple[int, int | None]]] = []
    used: list[str | None] = []
    libraries: list[str] = []
    material: str | None = None
    for word, rest, whole in _lines(data):
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
            colours.append([float(x) for x in rest[3:6]] if len(rest) >= 6 else [])
        elif word == "vt":
            places.append([float(rest[0]), float(rest[1]) if len(rest) > 1 else 0.0])
        elif word == "f":
            faces.append([_corner(path, each, len(vertices), len(places)) for each in rest])
            used.append(material)
        elif word == "mtllib":
            libraries.append(whole)
        elif word == "usemtl":
            material = whole
    if any(len(vertex) != 3 for vertex in vertices):
        raise InputError(f"{path}: has a vertex without three coordinates; export it again")
    points = np.array(vertices, float).reshape(-1, 3)
    corners, look = [], []
    for face, three, name in zip(
        faces, cut(points, [[v for v, _ in face] for face in faces]), used, strict=True
    ):
        corners += [(face[a], face[b], face[c]) for a, b, c in three]
        look += [name] * len(three)
    names = list(dict.fromkeys(look))
    looks = _materials(path, libraries, [name for name in names if name is not None])
    index = np.array([[v for v, _ in three] for three in corners], np.int64).reshape(-1, 3)
    if colours and all(colours) and not any(each.picture is not None for each in looks.values()):
        return _by_vertex(points, index, np.array(colours))
    textured = np.array(
        [name is not None and looks[name].picture is not None for name in look], bool
    )
    at = [[p for _, p in three] for three in corners]
    if any(None in three for three, needed in zip(at, textured, strict=True) if needed):
        raise InputError(
            f"{path}: has a texture and faces without places in it (vt); export it with texture "
            "coordinates"
        )
    uv = None
    if textured.any():
        uv = np.array(
            [[places[p] if p is not None else [0.0, 0.0] for p in three] for three in at], float
        )
    return Surface(
        points,
        index,
        uv,
        [looks[name] if name is not None else Look() for name in names],
        np.array([names.index(n) for n in look]),
    )


def _corner(path: Path, word: str, vertices: int, places: int) -> tuple[int, int | None]:
    """Vertex and place of a face's corner, counted from 0; in the file from 1, or from the last one
    backwards.
    """
    parts = word.split("/")
    found: list[int | None] = []
    for part, count, what in zip(
        parts[:2], (vertices, places), ("vertex", "texture coordinate"), strict=False
    ):
        if not part:
            found.append(None)
            continue
        number = int(part)
        index = number - 1 if number > 0 else count + number
        if number == 0 or not 0 <= index < count:
            raise InputError(
                f"{path}: a face names {what} {number}, and there are {count} before it; export "
                "it again"
            )
        found.append(index)
    assert found[0] is not None
    return found[0], found[1] if len(found) > 1 else None


def _materials(path: Path, libraries: list[str], wanted: list[str]) -> dict[str, Look]:
    """How the materials that are used look; InputError, by name, where one is not found."""
    known: dict[str, Look] = {}
    for library in libraries if wanted else ():
        file = _beside(path, library)
        if file is None:
            raise InputError(
                f"{path}: its material file {library} is missing; put it beside the mesh, or "
                "remove its mtllib line"
            )
        known |= _material_file(file, wanted)
    lacking = [name for name in wanted if name not in known]
    if lacking and libraries:
        raise InputError(
            f"{path}: the material {lacking[0]} is in none of its material files; export it again "
            "with its materials"
        )
    return known | {name: Look() for name in lacking}


def _material_file(file: Path, wanted: list[str]) -> dict[str, Look]:
    found: dict[str, Look] = {}
    name = ""
    for word, rest, whole in _lines(file.read_bytes()):
        if word == "newmtl":
            name = whole
            found[name] = Look()
        elif name not in wanted:
            continue
        elif word == "Kd" and found[name].picture is None:
            r, g, b = (round(255 * min(max(float(x), 0), 1)) for x in rest[:3])
            found[name] = Look(colour=(r, g, b))
        elif word == "map_Kd":
            found[name] = Look(_texture(file, whole))
    return found


def _texture(file: Path, words: str) -> UInt8[np.ndarray, "h w 3"]:
    """The picture that a material's line names, behind options that leave it as it is."""
    rest = words
    while rest.startswith("-"):
        option, *values = rest.split()
        if option not in OPTIONS:
            break
        count = OPTIONS[option]
        if count == 3:  # one number, or up to three
            count = next((k for k, value in enumerate(values[:3]) if not _number(value)), 3)
        if option in ("-s", "-o", "-t") and any(
            float(value) != (option == "-s") for value in values[:count]
        ):
            raise InputError(
                f"{file}: its texture is scaled or shifted ({option}), which is not read; bake "
                "that into the texture coordinates"
            )
        rest = rest.split(None, count + 1)[-1] if len(values) > count else ""
    picture = _beside(file, rest.strip('"'))
    if picture is None:
        raise InputError(
            f"{file}: its texture {rest} is missing; put it beside the mesh, or remove its map_Kd "
            "line"
        )
    return pictures.read_texture(picture)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _beside(file: Path, name: str) -> Path | None:
    """A file that another names, in any system's way of writing paths: where it says, or beside it;
    in any case of letters.
    """
    windows = PureWindowsPath(name)
    for relative in (name, windows.as_posix(), windows.name):
        if relative and (file.parent / relative).is_file():
            return file.parent / relative
    near = [
        path
        for path in file.parent.iterdir()
        if path.name.lower() == windows.name.lower() and path.is_file()
    ]
    return near[0] if near else None


def _stl(path: Path, data: bytes) -> Surface:
    """Binary where it is as long as its count of triangles says, whatever it begins with; else
    text.
    """
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else 0
    if len(data) >= 84 + TRIANGLE.itemsize * count and len(data) >= 84:
        corners = np.frombuffer(data, TRIANGLE, count, 84)["corners"].astype(float)
    else:
        found = re.findall(r"vertex\s+(\S+)\s+(\S+)\s+(\S+)", _text(data))
        if not found or len(found) % 3:
            raise InputError(
                f"{path}: cannot be read as a mesh: it ends before its {count} triangles do; "
                "export it again"
            )
        corners = np.array(found, float).reshape(-1, 3, 3)
    return Surface(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3))


def _ply(path: Path, data: bytes) -> Surface:
    try:
        trimesh: Any = importlib.import_module("trimesh")
    except ImportError:
        raise InputError(
            "PLY meshes are read by trimesh, which is not installed; run pip install "
            "'deepservo[mujoco]'"
        ) from None
    # What it notes of textures and colours, which are looked at below, would else go to standard
    # error.
    logging.getLogger("trimesh").addHandler(logging.NullHandler())
    head = data[: data.find(b"end_header")].decode("latin-1")
    found = trimesh.load(BytesIO(data), file_type="ply", force="mesh", process=False)
    faces = np.asarray(getattr(found, "faces", ()), np.int64).reshape(
        -1, 3
    )  # points alone have none
    vertices = np.asarray(found.vertices, float)
    named = re.search(r"^comment\s+TextureFile\s+(.+?)\s*$", head, re.M)
    if named:
        return _ply_textured(path, data, head, vertices, faces, named[1])
    if not len(faces):
        return Surface(vertices, faces)
    if found.visual.kind == "vertex" and found.visual.defined:
        return _by_vertex(vertices, faces, np.asarray(found.visual.vertex_colors)[:, :3] / 255)
    if found.visual.kind == "face" and found.visual.defined:
        return _by_face(vertices, faces, np.asarray(found.visual.face_colors)[:, :3])
    if re.search(r"^property\s+\w+\s+red\s*$", head, re.M):
        raise InputError(f"{path}: has colours that cannot be read; export it again")
    return Surface(vertices, faces)


def _ply_textured(
    path: Path, data: bytes, head: str, vertices: np.ndarray, faces: np.ndarray, name: str
) -> Surface:
    """One picture, with a place of each vertex in it."""
    file = _beside(path, name)
    if file is None:
        raise InputError(
            f"{path}: its texture {name} is missing; put it beside the mesh, or remove its "
            "TextureFile comment"
        )
    trimesh: Any = importlib.import_module("trimesh")
    raw = trimesh.load(BytesIO(data), file_type="ply", force="mesh", process=False).metadata.get(
        "_ply_raw", {}
    )
    columns = raw.get("vertex", {}).get("data")
    names = (
        set()
        if columns is None
        else set(columns if isinstance(columns, dict) else columns.dtype.names or ())
    )
    for u, v in (("s", "t"), ("u", "v"), ("texture_u", "texture_v")):
        if {u, v} <= names:
            uv = np.stack(
                [np.asarray(columns[u], float).ravel(), np.asarray(columns[v], float).ravel()], -1
            )
            return Surface(
                vertices,
                faces,
                uv[faces],
                [Look(pictures.read_texture(file))],
                np.zeros(len(faces), int),
            )
    raise InputError(
        f"{path}: has a texture and no places of its vertices in it (s and t); export it as OBJ"
    )


def _by_vertex(
    vertices: np.ndarray, faces: np.ndarray, colours: Float[np.ndarray, "n 3"]
) -> Surface:
    """Each face of the mean colour of its corners, which are in [0, 1]."""
    inside = faces.clip(
        0, max(0, len(colours) - 1)
    )  # what is out of range is told by who checks the mesh
    return _by_face(
        vertices, faces, (255 * colours[inside].mean(1)).round().clip(0, 255).astype(np.uint8)
    )


def _by_face(vertices: np.ndarray, faces: np.ndarray, colours: UInt8[np.ndarray, "m 3"]) -> Surface:
    several, which = np.unique(colours.reshape(-1, 3), axis=0, return_inverse=True)
    return Surface(
        vertices,
        faces,
        None,
        [Look(colour=(int(r), int(g), int(b))) for r, g, b in several],
        which.ravel(),
    )
