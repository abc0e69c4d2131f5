"""Parts to grasp, of plates, ribs, bosses and pegs as printed parts are.

They are meshes, and bodies with contacts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from deepservo.worlds.meshes import Mesh, add_mesh
from deepservo.worlds.views import AXES, mujoco, quaternion

CYLINDER_SIDES = 32
DENSITY = 1100.0  # kg/m^3, of printed plastic
MM = 1e-3


@dataclass(frozen=True)
class Block:
    """A box, or a cylinder, that stands upright in the object's frame.

    size: the box's sides [mm], or the cylinder's diameter, twice, and height. at: the middle of the
    lowest face [mm]. turn: about z [deg].
    """

    size: tuple[float, float, float]
    at: tuple[float, float, float]
    turn: float = 0.0
    round: bool = False

    def pose(self) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        """Rotation and middle [m] in the object's frame."""
        c, s = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        middle = np.array([self.at[0], self.at[1], self.at[2] + self.size[2] / 2])
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), MM * middle

    def surface(self) -> tuple[Float[np.ndarray, "n 3"], np.ndarray]:
        """Vertices [m] and faces (m, 3) in the object's frame, the lowest face included."""
        half = MM * np.array(self.size) / 2
        if self.round:
            n = CYLINDER_SIDES
            angle = 2 * np.pi * np.arange(n) / n
            ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], -1)
            outline = [half * (ring + np.array([0, 0, z])) for z in (-1, 1)]
            sides = [[k, (k + 1) % n, n + (k + 1) % n, n + k] for k in range(n)]
            caps = [list(range(n - 1, -1, -1)), list(range(n, 2 * n))]
            corners = np.concatenate(outline)
            polygons = [*sides, *caps]
        else:
            corners = half * np.array(
                [[x, y, z] for z in (-1, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            )
            polygons = [
                [0, 3, 2, 1],
                [4, 5, 6, 7],
                [0, 1, 5, 4],
                [1, 2, 6, 5],
                [2, 3, 7, 6],
                [3, 0, 4, 7],
            ]
        vertices: list[np.ndarray] = []
        faces: list[list[int]] = []
        for polygon in polygons:  # each with its own corners, so that edges are sharp
            first = len(vertices)
            vertices += [corners[k] for k in polygon]
            faces += [[first, first + k, first + k + 1] for k in range(1, len(polygon) - 1)]
        R, middle = self.pose()
        return np.array(vertices) @ R.T + middle, np.array(faces)


@dataclass(frozen=True)
class Part:
    """An object; z is up from the face that it stands on.

    colour: red, green and blue, 0 to 255. grip: the point between the fingertips when it is grasped
    [m]; the gripper closes along y.
    """

    blocks: tuple[Block, ...]
    colour: tuple[int, int, int]
    grip: tuple[float, float, float]

    def mesh(self) -> Mesh:
        """The surfaces of all blocks."""
        vertices, faces, n = [], [], 0
        for block in self.blocks:
            v, f = block.surface()
            vertices.append(v)
            faces.append(f + n)
            n += len(v)
        return Mesh(np.concatenate(vertices), np.concatenate(faces), colour=self.colour)


def _pegs(
    places: tuple[tuple[float, float], ...], z: float, size: tuple[float, float, float] = (6, 6, 3)
) -> tuple[Block, ...]:
    """Small blocks and cylinders that stand on the face at height z [mm]."""
    return tuple(
        Block(size, (x, y, z), 17.0 * k, round=k % 3 == 2) for k, (x, y) in enumerate(places)
    )


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "bracket": Part(
            (
                Block((110, 60, 8), (0, 0, 0)),
                Block((8, 60, 42), (-51, 0, 8)),
                Block((30, 5, 26), (-32, 24, 8)),
                Block((30, 5, 26), (-32, -24, 8)),
                Block((24, 24, 14), (34, 8, 8), round=True),
                Block((12, 12, 22), (34, 8, 8), round=True),
                Block((44, 26, 30), (0, 0, 8)),
                *_pegs(
                    ((-12, 18), (4, -20), (48, -22), (22, -24), (14, 24), (50, 24), (-20, -4)), 8
                ),
                *_pegs(((-12, 6), (10, -7), (2, 8), (16, 7)), 38, (5, 4, 2)),
            ),
            (214, 120, 60),
            (0.0, 0.0, 0.026),
        ),
        "hub": Part(
            (
                Block((92, 92, 10), (0, 0, 0), round=True),
                Block((64, 64, 6), (0, 0, 10), round=True),
                Block((46, 30, 24), (0, 0, 16), 0),
                *(
                    Block((10, 10, 12), (38 * c, 38 * s, 10), 30, round=False)
                    for c, s in (
                        (1, 0),
                        (0.5, 0.87),
                        (-0.5, 0.87),
                        (-1, 0),
                        (-0.5, -0.87),
                        (0.5, -0.87),
                    )
                ),
                *_pegs(((26, 20), (-24, 21), (-25, -20), (24, -21), (3, 27)), 16, (7, 4, 3)),
                *_pegs(((-15, 7), (-4, -8), (9, 8), (16, -6), (2, 1)), 40, (4, 5, 2)),
            ),
            (90, 150, 200),
            (0.0, 0.0, 0.033),
        ),
        "clip": Part(
            (
                Block((120, 26, 12), (0, 0, 0)),
                Block((26, 70, 13), (42, 0, 0)),
                Block((26, 52, 14), (-44, 0, 0)),
                Block((14, 14, 33), (42, 26, 13), 20),
                Block((16, 16, 19), (42, -26, 13), round=True),
                Block((10, 30, 16), (-50, 0, 14)),
                Block((40, 22, 28), (-4, 0, 12)),
                *_pegs(
                    ((26, 5), (30, -8), (-28, 6), (-36, -18), (-38, 18), (52, 10)), 12, (5, 5, 5)
                ),
                *_pegs(((-16, 5), (-6, -6), (6, 4), (10, -5)), 40, (4, 4, 2)),
            ),
            (150, 190, 110),
            (-0.004, 0.0, 0.026),
        ),
    }
)


def add_body(spec: Any, name: str, T_world_object: Float[np.ndarray, "4 4"]) -> Any:
    """Add an empty body to MuJoCo's world at this pose, and return it."""
    return spec.worldbody.add_body(
        name=name, pos=AXES @ T_world_object[:3, 3], quat=quaternion(AXES @ T_world_object[:3, :3])
    )


def add_part(spec: Any, name: str, part: Part, T_world_object: Float[np.ndarray, "4 4"]) -> None:
    """Add a part that can move to MuJoCo's world: its mesh is drawn, its blocks have contacts.

    T_world_object: in our world's axes, whose z points into the table, against that of a part that
    stands upright.
    """
    mj, body = mujoco(), add_body(spec, name, T_world_object)
    body.add_freejoint(name=name)
    add_mesh(spec, name, part.mesh(), body)
    for block in part.blocks:
        R, middle = block.pose()
        half = MM * np.array(block.size) / 2
        kind, size = (
            (mj.mjtGeom.mjGEOM_CYLINDER, [half[0], half[2], 0])
            if block.round
            else (mj.mjtGeom.mjGEOM_BOX, half)
        )
        body.add_geom(
            type=kind, size=size, pos=middle, quat=quaternion(R), density=DENSITY, contype=1,
            conaffinity=1, condim=4, friction=[1.0, 0.02, 0.001], group=3, solref=[0.004, 1],
        )  # fmt: skip
