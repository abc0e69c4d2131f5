"""Runs about a rendered goal, as DFBVS measures them: where they start, what they see, and how far
off they end.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.evaluation.poses import read_object_pose
from deepservo.evaluation.starts import Starts
from deepservo.evaluation.trial import Trial
from deepservo.evaluation.worlds import LIGHTS, period
from deepservo.features.drawn import Shape
from deepservo.geometry import se3
from deepservo.images.pictures import read_picture
from deepservo.methods import check_method, names
from deepservo.scene import PlanarScene
from deepservo.scene.build import Setup, texture_of
from deepservo.worlds.gantry import Gantry, Standing, Workcell
from deepservo.worlds.meshes import Mesh, read_mesh
from deepservo.worlds.target import Target, read_target
from deepservo.worlds.views import AXES

BORDER = 5  # pixels: what is nearer to the picture's edge does not count as seen
SEES = 0.9  # of what the goal sees of the object, a start sees as much
POINTS = 500  # of the object, that this is counted by
TRIES = 50  # for each start
GREY, TABLE = 0.6, 0.5  # of the table, and of what lies on it [m across]


@dataclass(frozen=True)
class OnTable:
    """An object that stands on the gantry's table, its z up, and a goal rendered of it."""

    setup: Setup
    """The table before the goal's camera, named after the mesh's file."""
    target: Target
    object: Standing
    T_world_goal: Float[Tensor, "1 4 4"]

    @property
    def shape(self) -> Shape:
        """The object's surface in the goal camera's frame."""
        assert isinstance(self.object.part, Mesh)
        T_object_goal = np.linalg.inv(self.object.T_world_object) @ self.T_world_goal[0].numpy()
        return Shape.of(self.object.part, T_object_goal)

    def trial(self, method: str, n: int, seed: int, world: str) -> Trial:
        """n runs in a gantry's world, from starts as in Table I.

        Raises InputError where the gantry cannot bring the camera to the goal or to a start.
        """
        camera = self.setup.camera
        Ts_world_cam = self.T_world_goal @ starts_about(self.target, camera, n, seed)
        parts, light = [self.object], LIGHTS[world]
        gantry = Gantry(
            self.setup.plane, camera, Ts_world_cam, Workcell(light, parts=parts), seed=seed
        )
        gantry.pictures_at(self.T_world_goal)  # raises InputError where the arm cannot go
        Ts_goal = self.T_world_goal.expand(n, 4, 4)
        starts = Starts("objects", Ts_world_cam, Ts_goal, self.target.grey, seed)
        return Trial(method, self.setup, starts, gantry, period(world))


def on_table(goal: Path, mesh_file: Path, unit: str | None, picture: Path | None) -> OnTable:
    """The object of a mesh file, and the goal in a folder that `deepservo target` wrote.

    unit: of the mesh's numbers, m or mm. picture: of the table's top; grey where there is none.
    Raises InputError for a file that cannot be used.
    """
    (target, camera), mesh = read_target(goal), read_mesh(mesh_file, unit)
    T_object_goal = read_object_pose(goal / "pose.npz")
    table = tabletop(texture_of(read_picture(picture)) if picture else None)
    T_world_object = np.eye(4)
    T_world_object[:3, :3], T_world_object[2, 3] = AXES, mesh.vertices[:, 2].min()
    T_world_goal = torch.from_numpy(T_world_object @ T_object_goal)[None]
    distance = float(np.median(target.depth[target.mask]))
    setup = Setup(table, camera, distance, mesh_file.name)
    return OnTable(setup, target, Standing("object", mesh, T_world_object), T_world_goal)


def check_object_method(name: str) -> None:
    """InputError where there is no such method, or it cannot servo to an object."""
    check_method(name)
    if not name.startswith("dfbvs"):
        able = ", ".join(method for method in names() if method.startswith("dfbvs"))
        raise InputError(f"{name}: does not servo to an object; choose one of {able}")


def tabletop(picture: Float[Tensor, "c h w"] | None) -> PlanarScene:
    """What lies under an object: a picture, or nothing."""
    return PlanarScene(torch.full((1, 30, 40), GREY) if picture is None else picture, TABLE, GREY)


def table_one(n: int, generator: torch.Generator) -> Float[Tensor, "n 4 4"]:
    """`T_goal_cam` as in Table I: mostly away along the axis, 5.5 +- 1.2 cm, and turned by 8.7 +-
    3.4 deg, mostly tilt.
    """
    way = torch.randn(n, 3, generator=generator, dtype=torch.float64) * torch.tensor(
        [0.15, 0.3, 0.2]
    ) - torch.tensor([0.0, 0.0, 1.0])
    length = 0.055 + 0.012 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    axis = torch.randn(n, 3, generator=generator, dtype=torch.float64) * torch.tensor(
        [1.0, 0.6, 0.3]
    )
    angle = (
        (8.7 + 3.4 * torch.randn(n, 1, generator=generator, dtype=torch.float64)).abs().deg2rad()
    )
    turn = se3.so3_exp(axis / axis.norm(dim=1, keepdim=True) * angle)
    return se3.transform(turn, way / way.norm(dim=1, keepdim=True) * length)


def starts_about(target: Target, camera: Camera, n: int, seed: int) -> Float[Tensor, "n 4 4"]:
    """The first n of `table_one` that see enough of the object; InputError where hardly any
    does.
    """
    return in_view(target, camera, table_one(TRIES * n, torch.Generator().manual_seed(seed)), n)


def in_view(
    target: Target, camera: Camera, Ts_goal_cam: Float[Tensor, "m 4 4"], n: int
) -> Float[Tensor, "n 4 4"]:
    """The first n of these poses that see enough of the object; InputError where there are less."""
    found = Ts_goal_cam[sees(target, camera, Ts_goal_cam)][:n]
    if len(found) < n:
        raise InputError(
            "from hardly any start about the goal the object is in view; render a goal that sees "
            "it in its middle"
        )
    return found


def sees(target: Target, camera: Camera, Ts_goal_cam: Float[Tensor, "n 4 4"]) -> Bool[Tensor, " n"]:
    """Which poses see SEES of what the goal sees of the object."""
    points, _ = _points(target, camera, max(1, int(target.mask.sum()) // POINTS))
    there = points @ se3.inverse(Ts_goal_cam).mT
    px = camera.project(there[..., :3])
    last = torch.tensor([camera.width, camera.height]) - 1
    inside = ((px > BORDER) & (px < last - BORDER)).all(-1) & (there[..., 2] > 0)
    return inside.double().mean(-1) > SEES


def reprojection(target: Target, camera: Camera, T_goal_cam: Float[Tensor, "4 4"]) -> float:
    """AVG2: how far the object's visible points are from where the goal has them, exactly [px]."""
    points, px = _points(target, camera, 1)
    return float(
        (camera.project((points @ se3.inverse(T_goal_cam).mT)[:, :3]) - px).norm(dim=1).mean()
    )


def _points(
    target: Target, camera: Camera, every: int
) -> tuple[Float[Tensor, "k 4"], Float[Tensor, "k 2"]]:
    """Points of the object that the goal sees, in its frame, and where [px]."""
    v, u = (torch.from_numpy(each[::every]) for each in target.mask.nonzero())
    px = torch.stack([u, v], 1).double()
    rays = torch.cat([px, torch.ones(len(px), 1, dtype=torch.float64)], 1) @ camera.K_inv.mT
    points = rays * torch.from_numpy(np.asarray(target.depth, float))[v, u][:, None]
    return torch.cat([points, torch.ones(len(px), 1, dtype=torch.float64)], 1), px
