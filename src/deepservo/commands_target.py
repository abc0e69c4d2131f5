"""What `deepservo target` does: a goal, rendered from a mesh."""

from pathlib import Path

import numpy as np

from deepservo.bench.protocols import check_rigid
from deepservo.camera_file import read_camera
from deepservo.commands import console
from deepservo.errors import InputError
from deepservo.robots.meshes import read_mesh
from deepservo.robots.target import FILES, render_target


def run_target(mesh_file: Path, pose: Path, camera_file: Path, out: Path, unit: str | None) -> None:
    """Render and write."""
    camera = read_camera(camera_file).camera  # a perfect lens's picture, as `servo` makes of the camera's own
    mesh, T_object_cam = read_mesh(mesh_file, unit), read_object_pose(pose)
    target = render_target(mesh, camera, T_object_cam)
    target.write(out, camera)
    near, far = target.depth[target.mask].min(), target.depth[target.mask].max()
    seen = 100 * target.mask.mean()
    console.print(f"{out}: {', '.join(FILES)}; the object is {near:.3f} to {far:.3f} m away and fills {seen:.0f} % of the picture")


def read_object_pose(path: Path) -> np.ndarray:
    """`T_object_cam` (4, 4) of an .npz file; InputError where there is none, or it is no rigid motion."""
    try:
        with np.load(path, allow_pickle=False) as file:
            T = np.asarray(file["T_object_cam"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give an .npz file with T_object_cam") from None
    except KeyError:
        raise InputError(f"{path}: holds no T_object_cam; write it with numpy.savez(file, T_object_cam=...)") from None
    except Exception as error:  # a foreign or corrupt file fails anywhere in zipfile, zlib and numpy, and in any way
        raise InputError(f"{path}: cannot be read as an .npz file of a pose ({type(error).__name__}); write it with numpy.savez") from None
    return check_rigid(T[None], f"{path}: T_object_cam")[0].numpy()
