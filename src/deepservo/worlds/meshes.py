"""Meshes from files, textured or not, and as MuJoCo takes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from deepservo.errors import InputError
from deepservo.worlds.mesh_files import PLAIN, Look, Surface, read_surface
from deepservo.worlds.views import mujoco
from deepservo.worlds.winding import outward

UNITS = {"m": 1.0, "mm": 1e-3}
ENDINGS = (".obj", ".stl", ".ply")
LARGEST = 2.0  # metres across: more, and the file's numbers are likely millimetres
LEAST = 1e-3  # metres across: less, and they are likely another unit's
FARTHEST = 1e8  # of a coordinate: float32 pictures need numbers of a usual size
REPEATS = 1e-4  # how far beyond its edges a picture is not yet repeated


@dataclass(frozen=True)
class Mesh:
    """Triangles; where the file has a picture or colours for them, places in a picture too."""

    vertices: Float[np.ndarray, "n 3"]
    """In the object's frame [m]."""
    faces: Int[np.ndarray, "m 3"]
    """Counter-clockwise as seen from outside."""
    uv: Float[np.ndarray, "n 2"] | None = None
    """Of each vertex in the picture: from the left and from below, 0 to 1."""
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    colour: tuple[int, int, int] = PLAIN
    """Of all, where there is no picture."""

    @property
    def size(self) -> float:
        """Its longest side [m]."""
        return float(np.ptp(self.vertices, axis=0).max())


def read_mesh(path: Path, unit: str | None = None) -> Mesh:
    """A mesh from an OBJ, STL or PLY file, its numbers in `unit` (metres when not given); it need
    be neither closed nor textured.

    Faces may be wound in any way: closed bodies are seen from outside, open surfaces from both
    sides. Raises InputError for a missing, foreign or empty file, a texture that is missing,
    numbers that are not finite, vertices that there are not, or a size over LARGEST metres without
    a unit or under LEAST metres.
    """
    if unit is not None and unit not in UNITS:
        raise InputError(f"there is no unit {unit!r}; give {' or '.join(UNITS)}")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: is no mesh that can be read; give an {', '.join(ENDINGS)} file")
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
    if np.abs(vertices[faces]).max() > FARTHEST:
        raise InputError(
            f"{path}: has coordinates over {FARTHEST:g}; move it to its own origin, and export it "
            "again"
        )
    _check_size(
        path, UNITS[unit or "m"] * float(np.ptp(vertices[faces].reshape(-1, 3), axis=0).max()), unit
    )
    return _seen(path, surface, UNITS[unit or "m"])


def _check_size(path: Path, size: float, unit: str | None) -> None:
    """InputError where a size [m] suggests that the numbers are in another unit."""
    if size <= 0:
        raise InputError(f"{path}: all its points are one; export it again")
    if unit is None and size > LARGEST:
        raise InputError(
            f"{path}: is {size:.0f} m across if its numbers are metres; are they millimetres? say "
            "--unit mm, or --unit m"
        )
    if size < LEAST:
        other = (
            "metres? say --unit m"
            if unit == "mm"
            else "another unit? export it in metres or millimetres"
        )
        named = {"m": "metres", "mm": "millimetres"}[unit or "m"]
        raise InputError(
            f"{path}: is {1e3 * size:.2g} mm across if its numbers are {named}; are they {other}"
        )


def _seen(path: Path, surface: Surface, metres: float) -> Mesh:
    """Without faces that have no area, each closed body seen from outside and each open surface
    from both sides; looks in one picture.
    """
    corners = surface.vertices[surface.faces]
    area = (
        np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        / 2
    )
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
    # behind each face of an open surface another one, turned over, with vertices of its own: light
    # falls on both sides
    if is_open.any():
        behind = faces[is_open][:, ::-1]
        faces = np.concatenate([faces, behind + len(vertices)])
        vertices = np.concatenate([vertices, vertices])
        uv = uv if uv is None else np.concatenate([uv, uv[is_open][:, ::-1]])
        look = look if look is None else np.concatenate([look, look[is_open]])
    return _coloured(path, vertices, faces, uv, look, surface.looks)


def _coloured(
    path: Path,
    vertices: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray | None,
    look: np.ndarray | None,
    looks: list[Look],
) -> Mesh:
    """With one colour, or one picture: the file's own, or an atlas of all its looks."""
    shown = [] if look is None else [looks[k] for k in np.unique(look)]
    if look is None or (len(shown) == 1 and shown[0].picture is None):
        return Mesh(vertices, faces, colour=shown[0].colour if shown else PLAIN)
    which = np.unique(look, return_inverse=True)[1].ravel()
    place = np.zeros((len(faces), 3, 2)) if uv is None else uv
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
    """Several looks one above the other in one picture, and the places of all corners in it."""
    tiles = [
        np.full((2, 2, 3), look.colour, np.uint8) if look.picture is None else look.picture
        for look in looks
    ]
    textured = np.array([look.picture is not None for look in looks])[which]
    if textured.any() and (uv[textured].min() < -REPEATS or uv[textured].max() > 1 + REPEATS):
        raise InputError(
            f"{path}: has {textured.sum()} faces with one of several textures, which repeat; bake "
            "them into one"
        )
    wide, high = max(tile.shape[1] for tile in tiles), sum(tile.shape[0] for tile in tiles)
    picture, top, placed = np.zeros((high, wide, 3), np.uint8), 0, np.empty_like(uv)
    for k, tile in enumerate(tiles):
        h, w = tile.shape[:2]
        picture[top : top + h, :w] = tile
        mine, seen = which == k, np.full((3, 2), 0.5) if looks[k].picture is None else None
        u, v = (
            uv[mine].clip(0, 1) if seen is None else np.broadcast_to(seen, uv[mine].shape)
        ).transpose(2, 0, 1)
        x, y = (
            0.5 + u * (w - 1),
            0.5 + (1 - v) * (h - 1),
        )  # from texel centre to texel centre: nothing of the next tile is seen
        placed[mine] = np.stack([x / wide, 1 - (top + y) / high], -1)
        top += h
    return picture, placed


def compiled(spec: Any, what: str) -> Any:
    """The model of a world; InputError, naming `what` was put into it, where MuJoCo takes it for
    none.
    """
    try:
        return spec.compile()
    except ValueError as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{what}: MuJoCo cannot draw it ({why}); export it with its triangles checked and "
            "repaired"
        ) from None


def add_texture(spec: Any, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """A picture for surfaces, by that name."""
    h, w = picture.shape[:2]
    drawn = spec.add_texture(
        name=name, type=mujoco().mjtTexture.mjTEXTURE_2D, width=w, height=h, nchannel=3
    )
    drawn.data = np.ascontiguousarray(picture).tobytes()


def add_mesh(spec: Any, name: str, mesh: Mesh, body: Any, **surface: Any) -> None:
    """Put a mesh into a body, to be seen and not touched; `surface` is how it shines (of a MuJoCo
    material).
    """
    mj = mujoco()
    known = spec.add_mesh(name=name, uservert=mesh.vertices.ravel(), userface=mesh.faces.ravel())
    known.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_SHELL  # a mesh with holes has no inside
    material = spec.add_material(name=name, **{"specular": 0.2, "shininess": 0.3, **surface})
    colour = [1.0, 1.0, 1.0, 1.0]
    if mesh.picture is not None and mesh.uv is not None:
        known.usertexcoord = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1).ravel()
        known.userfacetexcoord = mesh.faces.ravel()
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
