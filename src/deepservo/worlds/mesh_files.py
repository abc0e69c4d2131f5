"""Mesh files: OBJ with its materials, STL, and PLY by trimesh, as triangles and the look of each.

OBJ and STL are read here, because the usual readers draw a surface grey, without a message, where a
material or a texture is not found.
"""

import importlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from deepservo.errors import InputError
from deepservo.images import pictures
from deepservo.worlds.polygons import cut

DEFAULT_COLOUR = (200, 200, 200)  # of a surface that has none
# How many words follow an option before the name of a picture in a material file; for -o, -s and -t
# at most.
TEXTURE_OPTIONS = {
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
STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True)
class Look:
    """The look of a material: its picture, or one colour of red, green and blue, 0 to 255."""

    picture: UInt8[np.ndarray, "h w 3"] | None = None
    colour: tuple[int, int, int] = DEFAULT_COLOUR


@dataclass(frozen=True)
class Surface:
    """Triangles as a file has them, in its unit.

    uv: each corner's texture coordinates, from the left and from below, 0 to 1. look: which of the
    `looks` each face has.
    """

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    uv: Float[np.ndarray, "m 3 2"] | None = None
    looks: list[Look] = field(default_factory=list)
    look: Int[np.ndarray, " m"] | None = None


def read_surface(path: Path) -> Surface:
    """The surface in an OBJ, STL or PLY file.

    Raises InputError where the file, or a texture that it names, is missing or cannot be read.
    """
    data, read = path.read_bytes(), {".obj": _obj, ".stl": _stl}.get(path.suffix.lower(), _ply)
    try:
        # Numbers too large become infinite; `read_mesh` refuses those.
        with np.errstate(all="ignore"):
            return read(path, data)
    except InputError:
        raise
    except Exception as error:  # readers raise all kinds of errors on a corrupt file
        raise InputError(
            f"{path}: cannot be read as a mesh ({type(error).__name__}); export it again"
        ) from None


def _text(data: bytes) -> str:
    """A file's text, UTF-8 or else Latin-1, lines that end in a backslash joined to the next."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return re.sub(r"\\\n", " ", text.replace("\r\n", "\n").replace("\r", "\n"))


def _lines(data: bytes) -> Iterator[tuple[str, list[str], str]]:
    """Of each line the first word, the others, and all after the first as one text."""
    for line in _text(data).split("\n"):
        has_name = line.lstrip().startswith(("mtllib", "usemtl", "newmtl", "map_"))
        words = line.split() if has_name else line.split("#")[0].split()  # names may contain #
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
    """Numbers of a corner's vertex and texture coordinates from a word such as 3/7 or -1/-1.

    They are counted from 0 here; in the file from 1, or backwards from the last one. Raises
    InputError for numbers that do not exist.
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
    """The looks of the wanted materials by name; InputError where one is not found."""
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
    """The picture that a material's line names after its options.

    Raises InputError where the picture is missing, and for options that scale or shift it.
    """
    rest = words
    while rest.startswith("-"):
        option, *values = rest.split()
        if option not in TEXTURE_OPTIONS:
            break
        count = TEXTURE_OPTIONS[option]
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
    """The file that another file names, or None.

    It is searched at that path, and in the same folder. The path may be written as Windows does,
    and its letters in another case.
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
    """An STL file: binary where it is as long as its count of triangles says, else text."""
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else 0
    if len(data) >= 84 + STL_TRIANGLE.itemsize * count and len(data) >= 84:
        corners = np.frombuffer(data, STL_TRIANGLE, count, 84)["corners"].astype(float)
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
    # Its notes on textures and colours, which are checked below, would go to standard error.
    logging.getLogger("trimesh").addHandler(logging.NullHandler())
    head = data[: data.find(b"end_header")].decode("latin-1")
    found = trimesh.load(BytesIO(data), file_type="ply", force="mesh", process=False)
    # A file of points alone has no faces.
    faces = np.asarray(getattr(found, "faces", ()), np.int64).reshape(-1, 3)
    vertices = np.asarray(found.vertices, float)
    named = re.search(r"^comment\s+TextureFile\s+(.+?)\s*$", head, re.M)
    if named:
        raw = found.metadata.get("_ply_raw", {})
        return _ply_textured(path, Surface(vertices, faces), raw, named[1])
    if not len(faces):
        return Surface(vertices, faces)
    if found.visual.kind == "vertex" and found.visual.defined:
        return _by_vertex(vertices, faces, np.asarray(found.visual.vertex_colors)[:, :3] / 255)
    if found.visual.kind == "face" and found.visual.defined:
        return _by_face(vertices, faces, np.asarray(found.visual.face_colors)[:, :3])
    if re.search(r"^property\s+\w+\s+red\s*$", head, re.M):
        raise InputError(f"{path}: has colours that cannot be read; export it again")
    return Surface(vertices, faces)


def _ply_textured(path: Path, plain: Surface, raw: Mapping[str, Any], name: str) -> Surface:
    """The plain surface with a texture, the picture of that name.

    raw: the file's data as trimesh keeps them, with each vertex's texture coordinates.
    """
    file = _beside(path, name)
    if file is None:
        raise InputError(
            f"{path}: its texture {name} is missing; put it beside the mesh, or remove its "
            "TextureFile comment"
        )
    columns = raw.get("vertex", {}).get("data")
    names: set[str] = set()
    if columns is not None:
        names = set(columns if isinstance(columns, dict) else columns.dtype.names or ())
    for u, v in (("s", "t"), ("u", "v"), ("texture_u", "texture_v")):
        if {u, v} <= names:
            uv = np.stack([np.asarray(columns[each], float).ravel() for each in (u, v)], -1)
            looks, look = [Look(pictures.read_texture(file))], np.zeros(len(plain.faces), int)
            return replace(plain, uv=uv[plain.faces], looks=looks, look=look)
    raise InputError(
        f"{path}: has a texture and no places of its vertices in it (s and t); export it as OBJ"
    )


def _by_vertex(
    vertices: np.ndarray, faces: np.ndarray, colours: Float[np.ndarray, "n 3"]
) -> Surface:
    """A surface whose faces have the mean colour of their corners; colours are in [0, 1]."""
    inside = faces.clip(0, max(0, len(colours) - 1))  # `read_mesh` refuses numbers out of range
    mean = (255 * colours[inside].mean(1)).round().clip(0, 255).astype(np.uint8)
    return _by_face(vertices, faces, mean)


def _by_face(vertices: np.ndarray, faces: np.ndarray, colours: UInt8[np.ndarray, "m 3"]) -> Surface:
    """A surface whose faces have these colours."""
    several, which = np.unique(colours.reshape(-1, 3), axis=0, return_inverse=True)
    looks = [Look(colour=(int(r), int(g), int(b))) for r, g, b in several]
    return Surface(vertices, faces, None, looks, which.ravel())
