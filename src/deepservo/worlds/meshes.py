"""Meshes: checked, repaired and scaled to metres from files, and added to MuJoCo's worlds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from deepservo.errors import InputError
from deepservo.worlds.mesh_files import DEFAULT_COLOUR, Look, Surface, read_surface
from deepservo.worlds.views import mujoco
from deepservo.worlds.winding import outward

UNITS = {"m": 1.0, "mm": 1e-3}
SUFFIXES = (".obj", ".stl", ".ply")
MAX_SIZE = 2.0  # m across: of a larger mesh the file's numbers are likely millimetres
MIN_SIZE = 1e-3  # m across: of a smaller one they are likely in another unit
MAX_COORDINATE = 1e8  # in the file's unit: MuJoCo draws in float32
UV_TOLERANCE = 1e-4  # texture coordinates this far outside [0, 1] do not repeat the picture yet


@dataclass(frozen=True)
class Mesh:
    """Triangles with one texture, or of one colour.

    vertices: in the object's frame [m]. faces: counter-clockwise as seen from outside. uv: each
    vertex's coordinates in the picture, from the left and from below, 0 to 1. colour: red, green
    and blue, 0 to 255, where there is no picture.
    """

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    uv: Float[np.ndarray, "n 2"] | None = None
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    colour: tuple[int, int, int] = DEFAULT_COLOUR

    @property
    def size(self) -> float:
        """Its longest side [m]."""
        return float(np.ptp(self.vertices, axis=0).max())


def read_mesh(path: Path, unit: str | None = None) -> Mesh:
    """The mesh in an OBJ, STL or PLY file whose numbers are in `unit` (metres when not given).

    It need be neither closed nor textured, and its faces may be wound in any way: closed bodies are
    seen from outside, open surfaces from both sides. Raises InputError for a missing, foreign or
    empty file, a missing texture, numbers that are not finite, vertices that do not exist, a size
    over MAX_SIZE without a unit, or one under MIN_SIZE.
    """
    if unit is not None and unit not in UNITS:
        raise InputError(f"there is no unit {unit!r}; give {' or '.join(UNITS)}")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: is no mesh that can be read; give an {', '.join(SUFFIXES)} file")
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a mesh")
    surface = read_surface(path)
    vertices, faces = surface.vertices, surface.faces
    if not len(faces):
        raise InputError(f"{path}: holds no faces; export triangles, not points alone")
    low, high = int(faces.min()), int(faces.max())
    if low < 0 or high >= len(vertices):
        odd = low if low < 0 else high
        raise InputError(
            f"{path}: a face names vertex {odd}, and there are {len(vertices)}, from 0; export it "
            "again"
        )
    if not np.isfinite(vertices[faces]).all() or (
        surface.uv is not None and not np.isfinite(surface.uv).all()
    ):
        raise InputError(f"{path}: holds NaN or infinite coordinates; export it again")
    if np.abs(vertices[faces]).max() > MAX_COORDINATE:
        raise InputError(
            f"{path}: has coordinates over {MAX_COORDINATE:g}; move it to its own origin, and "
            "export it again"
        )
    metres = UNITS[unit or "m"]
    _check_size(path, metres * float(np.ptp(vertices[faces].reshape(-1, 3), axis=0).max()), unit)
    return _repaired(path, surface, metres)


def _check_size(path: Path, size: float, unit: str | None) -> None:
    """InputError where a size [m] suggests that the numbers are in another unit."""
    if size <= 0:
        raise InputError(f"{path}: all its points are one; export it again")
    if unit is None and size > MAX_SIZE:
        raise InputError(
            f"{path}: is {size:.0f} m across if its numbers are metres; are they millimetres? say "
            "--unit mm, or --unit m"
        )
    if size < MIN_SIZE:
        other = (
            "metres? say --unit m"
            if unit == "mm"
            else "another unit? export it in metres or millimetres"
        )
        named = {"m": "metres", "mm": "millimetres"}[unit or "m"]
        raise InputError(
            f"{path}: is {1e3 * size:.2g} mm across if its numbers are {named}; are they {other}"
        )


def _repaired(path: Path, surface: Surface, metres: float) -> Mesh:
    """The mesh of a surface whose unit is this many metres.

    Faces without an area are left out, closed bodies are wound to be seen from outside, open
    surfaces get a second side, and several looks are put into one picture.
    """
    corners = surface.vertices[surface.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=1) / 2
    real = area > 1e-14 * np.ptp(corners.reshape(-1, 3), axis=0).max() ** 2
    if not real.any():
        raise InputError(
            f"{path}: none of its {len(real)} faces has an area; export a surface, not lines"
        )
    used, faces = np.unique(surface.faces[real], return_inverse=True)
    vertices, faces = metres * surface.vertices[used], faces.reshape(-1, 3)
    uv = None if surface.uv is None else surface.uv[real]
    look = None if surface.look is None else surface.look[real]
    flip, is_open = outward(vertices, faces)
    faces = np.where(flip[:, None], faces[:, ::-1], faces)
    uv = uv if uv is None else np.where(flip[:, None, None], uv[:, ::-1], uv)
    # Each face of an open surface gets a second, flipped one with its own vertices, so that light
    # falls on both sides.
    if is_open.any():
        behind = faces[is_open][:, ::-1]
        faces = np.concatenate([faces, behind + len(vertices)])
        vertices = np.concatenate([vertices, vertices])
        uv = uv if uv is None else np.concatenate([uv, uv[is_open][:, ::-1]])
        look = look if look is None else np.concatenate([look, look[is_open]])
    return _coloured(path, replace(surface, vertices=vertices, faces=faces, uv=uv, look=look))


def _coloured(path: Path, surface: Surface) -> Mesh:
    """The mesh of a surface, of one colour or with one picture.

    The picture is the file's own, or an atlas of all its looks.
    """
    vertices, faces, look = surface.vertices, surface.faces, surface.look
    shown = [] if look is None else [surface.looks[k] for k in np.unique(look)]
    if look is None or (len(shown) == 1 and shown[0].picture is None):
        return Mesh(vertices, faces, colour=shown[0].colour if shown else DEFAULT_COLOUR)
    which = np.unique(look, return_inverse=True)[1].ravel()
    place = np.zeros((len(faces), 3, 2)) if surface.uv is None else surface.uv
    if len(shown) == 1:
        assert shown[0].picture is not None
        picture = shown[0].picture
    else:
        picture, place = _atlas(path, place, which, shown)
    flat, corner = np.unique(
        np.concatenate([faces.reshape(-1, 1), place.reshape(-1, 2)], 1), axis=0, return_inverse=True
    )
    return Mesh(vertices[flat[:, 0].astype(int)], corner.reshape(-1, 3), flat[:, 1:], picture)


def _atlas(
    path: Path, uv: np.ndarray, which: np.ndarray, looks: list[Look]
) -> tuple[UInt8[np.ndarray, "h w 3"], np.ndarray]:
    """Several looks one above the other in one picture, and all corners' coordinates in it.

    uv: of each corner in its own look, (m, 3, 2). which: the look of each face. Raises InputError
    where one of several textures repeats.
    """
    tiles = [
        np.full((2, 2, 3), look.colour, np.uint8) if look.picture is None else look.picture
        for look in looks
    ]
    textured = np.array([look.picture is not None for look in looks])[which]
    if textured.any() and (
        uv[textured].min() < -UV_TOLERANCE or uv[textured].max() > 1 + UV_TOLERANCE
    ):
        raise InputError(
            f"{path}: has {textured.sum()} faces with one of several textures, which repeat; bake "
            "them into one"
        )
    wide, high = max(tile.shape[1] for tile in tiles), sum(tile.shape[0] for tile in tiles)
    picture, top, placed = np.zeros((high, wide, 3), np.uint8), 0, np.empty_like(uv)
    for k, tile in enumerate(tiles):
        h, w = tile.shape[:2]
        picture[top : top + h, :w] = tile
        mine = which == k
        own = uv[mine].clip(0, 1) if looks[k].picture is not None else np.full_like(uv[mine], 0.5)
        u, v = own.transpose(2, 0, 1)
        # From texel centre to texel centre, so that nothing of the next tile is seen.
        x, y = 0.5 + u * (w - 1), 0.5 + (1 - v) * (h - 1)
        placed[mine] = np.stack([x / wide, 1 - (top + y) / high], -1)
        top += h
    return picture, placed


def compiled(spec: Any, what: str) -> Any:
    """MuJoCo's model of a world; InputError, naming `what` it holds, where MuJoCo refuses it."""
    try:
        return spec.compile()
    except ValueError as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{what}: MuJoCo cannot draw it ({why}); export it with its triangles checked and "
            "repaired"
        ) from None


def add_texture(spec: Any, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Add a picture for surfaces to MuJoCo's world by that name."""
    h, w = picture.shape[:2]
    drawn = spec.add_texture(
        name=name, type=mujoco().mjtTexture.mjTEXTURE_2D, width=w, height=h, nchannel=3
    )
    drawn.data = np.ascontiguousarray(picture).tobytes()


def add_mesh(spec: Any, name: str, mesh: Mesh, body: Any, **surface: Any) -> None:
    """Add a mesh to a body of MuJoCo's world, drawn and without contacts.

    surface: attributes of its MuJoCo material.
    """
    mj = mujoco()
    added = spec.add_mesh(name=name, uservert=mesh.vertices.ravel(), userface=mesh.faces.ravel())
    added.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_SHELL  # a mesh with holes has no inside
    material = spec.add_material(name=name, **{"specular": 0.2, "shininess": 0.3, **surface})
    colour = [1.0, 1.0, 1.0, 1.0]
    if mesh.picture is not None and mesh.uv is not None:
        added.usertexcoord = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1).ravel()
        added.userfacetexcoord = mesh.faces.ravel()
        add_texture(spec, name, mesh.picture)
        material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = name
    else:
        colour = [*(c / 255 for c in mesh.colour), 1.0]
    body.add_geom(
        name=name,
        type=mj.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=name,
        rgba=colour,
        contype=0,
        conaffinity=0,
        mass=0,
    )
