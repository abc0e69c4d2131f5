"""Meshes from files, textured or not, and as MuJoCo takes them."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from deepservo.errors import InputError
from deepservo.robots.views import mujoco

UNITS = {"m": 1.0, "mm": 1e-3}
ENDINGS = (".obj", ".stl", ".ply")
LARGEST = 2.0  # metres across: more, and the file's numbers are likely millimetres
PLAIN = (200, 200, 200)  # of a mesh that has no colour


@dataclass(frozen=True)
class Mesh:
    """Triangles; where the file has a picture or colours for them, places in a picture too."""

    vertices: Float[np.ndarray, "n 3"]
    """In the object's frame [m]."""
    faces: Int[np.ndarray, "m 3"]
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
    """A mesh from an OBJ, STL or PLY file, its numbers in `unit` (metres when not given); it need be neither closed nor textured.

    Raises InputError for a missing, foreign or empty file, numbers that are not finite, or a mesh over LARGEST metres without a unit.
    """
    if unit is not None and unit not in UNITS:
        raise InputError(f"there is no unit {unit!r}; give {' or '.join(UNITS)}")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: is no mesh that can be read; give an {', '.join(ENDINGS)} file")
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a mesh")
    try:
        found = _trimesh().load(path, force="mesh", process=False)
        vertices, faces = np.asarray(found.vertices, float), np.asarray(found.faces, np.int64)
    except Exception as error:  # a corrupt file fails anywhere in the reader, and in any way
        raise InputError(f"{path}: cannot be read as a mesh ({type(error).__name__}); export it again") from None
    if not len(faces):
        raise InputError(f"{path}: holds no faces; export triangles, not points alone")
    if not np.isfinite(vertices).all():
        raise InputError(f"{path}: holds NaN or infinite coordinates; export it again")
    mesh = _coloured(found, UNITS[unit or "m"] * vertices, faces)
    if unit is None and mesh.size > LARGEST:
        raise InputError(f"{path}: is {mesh.size:.0f} m across if its numbers are metres; are they millimetres? say --unit mm, or --unit m")
    if mesh.size <= 0:
        raise InputError(f"{path}: all its points are one; export it again")
    return mesh


def _trimesh() -> Any:
    try:
        return importlib.import_module("trimesh")
    except ImportError:
        raise InputError("meshes are read by trimesh, which is not installed; run pip install 'deepservo[mujoco]'") from None


def _coloured(found: Any, vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """With the file's picture, or its colours face by face as one."""
    visual = found.visual
    material = getattr(visual, "material", None)
    picture = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
    if picture is not None and getattr(visual, "uv", None) is not None:
        return Mesh(vertices, faces, np.asarray(visual.uv, float), np.asarray(picture.convert("RGB")))
    if visual.kind in ("vertex", "face") and visual.defined:
        return _painted(vertices, faces, np.asarray(visual.face_colors)[:, :3])
    main = getattr(material, "main_color", None)
    return Mesh(vertices, faces, colour=PLAIN if main is None else tuple(int(c) for c in main[:3]))  # type: ignore[arg-type]


def _painted(vertices: np.ndarray, faces: np.ndarray, colours: UInt8[np.ndarray, "m 3"]) -> Mesh:
    """Each face of one colour: a texel of its own in a picture, which all its corners have."""
    side = int(np.ceil(np.sqrt(len(faces))))
    picture = np.zeros((side, side, 3), np.uint8)
    row, column = np.divmod(np.arange(len(faces)), side)
    picture[row, column] = colours
    uv = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], -1).repeat(3, 0)
    return Mesh(vertices[faces].reshape(-1, 3), np.arange(3 * len(faces)).reshape(-1, 3), uv, picture)


def add_texture(spec: Any, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """A picture for surfaces, by that name."""
    h, w = picture.shape[:2]
    drawn = spec.add_texture(name=name, type=mujoco().mjtTexture.mjTEXTURE_2D, width=w, height=h, nchannel=3)
    drawn.data = np.ascontiguousarray(picture).tobytes()


def add_mesh(spec: Any, name: str, mesh: Mesh, body: Any, **surface: Any) -> None:
    """Put a mesh into a body, to be seen and not touched; `surface` is how it shines (of a MuJoCo material)."""
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
    body.add_geom(name=name, type=mj.mjtGeom.mjGEOM_MESH, meshname=name, material=name, rgba=colour, contype=0, conaffinity=0, mass=0)
