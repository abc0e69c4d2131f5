"""Goals rendered from a mesh: what `deepservo target` does, and `deepservo servo` with such a
goal.
"""

from pathlib import Path

import numpy as np
import torch

from deepservo.cli.console import check_seed, console
from deepservo.cli.servo import OURS, servo_and_show
from deepservo.errors import InputError
from deepservo.evaluation.objects import starts_about, tabletop
from deepservo.evaluation.poses import read_object_pose
from deepservo.evaluation.protocols import Starts, check_starts
from deepservo.evaluation.worlds import LIGHTS, SIMULATOR, check_world, period
from deepservo.images.camera_file import read_camera
from deepservo.images.pictures import read_picture
from deepservo.methods import build, check_method, names
from deepservo.scene.build import texture_of
from deepservo.system.files import check_folder
from deepservo.worlds.gantry import Gantry, Standing
from deepservo.worlds.meshes import read_mesh
from deepservo.worlds.target import FILES, read_target, render_target
from deepservo.worlds.views import AXES


def run_target(mesh_file: Path, pose: Path, camera_file: Path, out: Path, unit: str | None) -> None:
    """Render and write."""
    camera = read_camera(
        camera_file
    ).camera  # a perfect lens's picture, as `servo` makes of the camera's own
    mesh, T_object_cam = read_mesh(mesh_file, unit), read_object_pose(pose)
    target = render_target(mesh, camera, T_object_cam)
    target.write(out, camera, T_object_cam)
    near, far = target.depth[target.mask].min(), target.depth[target.mask].max()
    seen = 100 * target.mask.mean()
    console.print(
        f"{out}: {', '.join(FILES)}; the object is {mesh.size:.3g} m across, {near:.3f} to "
        f"{far:.3f} m away, "
        f"and fills {seen:.0f} % of the picture"
    )


def run_servo_target(
    goal: Path,
    mesh_file: Path | None,
    unit: str | None,
    image: Path | None,
    method: str,
    starts: int,
    seed: int,
    out: Path,
    world: str,
) -> None:
    """The object, standing on the gantry's table, servoed to from starts as in the paper's Table
    I.
    """
    if world == SIMULATOR:
        raise InputError(
            f"{goal}: is a goal of an object, which stands on the gantry's table; add --world "
            f"{' or --world '.join(LIGHTS)}"
        )
    check_world(world)
    if mesh_file is None:
        raise InputError(f"{goal}: is a goal of an object; give the object to simulate with --mesh")
    check_method(method)
    if not method.startswith("dfbvs"):
        raise InputError(
            f"{method}: does not servo to an object; choose one of "
            f"{', '.join(m for m in names() if m.startswith('dfbvs'))}"
        )
    check_folder(out, OURS)
    check_seed(seed)
    check_starts(starts)
    (target, camera), mesh, T_object_goal = (
        read_target(goal),
        read_mesh(mesh_file, unit),
        read_object_pose(goal / "pose.npz"),
    )
    table = tabletop(texture_of(read_picture(image)) if image else None)
    T_world_object = np.eye(4)
    T_world_object[:3, :3], T_world_object[2, 3] = AXES, mesh.vertices[:, 2].min()
    T_world_goal = torch.from_numpy(T_world_object @ T_object_goal)[None]
    Ts_world_cam = T_world_goal @ starts_about(target, camera, starts, seed)
    stage = Gantry(
        table,
        camera,
        Ts_world_cam,
        LIGHTS[world],
        seed=seed,
        parts=[Standing("object", mesh, T_world_object)],
    )
    stage.pictures_at(T_world_goal)  # refused here where the arm cannot go
    where = Starts("objects", Ts_world_cam, T_world_goal.expand(starts, 4, 4), target.grey, seed)
    servo_and_show(
        build(method, camera, target.depth),
        method,
        table,
        mesh_file.name,
        where,
        out,
        stage,
        period(world),
    )
