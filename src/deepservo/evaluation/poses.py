"""Poses from files, and whether they can be a camera's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.errors import InputError

MOST = 10_000  # runs at once, whose pictures are in memory together
FARTHEST = 1e4  # metres
AWAY = 100.0  # times the scene's distance: from there its picture is a few pixels
DRAWN = 100.0  # metres: an object farther away is not drawn


def read_poses(
    path: Path, distance: float
) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"] | None]:
    """`T_world_cam` and, where the file has it, `T_world_goal`, (N, 4, 4) in metres, from an .npz
    file.

    Raises InputError for a missing or foreign file, a wrong shape, NaN, a matrix that is no rigid
    motion, or a camera behind the plane (z >= 0) or so far from it, with the scene at `distance`
    [m], that metres cannot be meant.
    """
    found = _arrays(path, ("T_world_cam", "T_world_goal"), "T_world_cam=..., T_world_goal=...")
    poses = {name: check_poses(value, f"{path}: {name}") for name, value in found.items()}
    for name, Ts in poses.items():
        far = Ts[:, :3, 3].norm(dim=1) > AWAY * distance
        if far.any():
            k = int(far.nonzero()[0])
            raise InputError(
                f"{path}: {name}[{k}] lies {float(Ts[k, :3, 3].norm()):.4g} m from a scene whose "
                f"distance is {distance:g} m, which shows "
                "nothing of it; give metres, not millimetres"
            )
    cam, goal = poses["T_world_cam"], poses.get("T_world_goal")
    if goal is not None and len(goal) == 1:
        goal = goal.expand(len(cam), 4, 4)
    if goal is not None and len(goal) != len(cam):
        raise InputError(
            f"{path}: T_world_cam has {len(cam)} poses and T_world_goal {len(goal)}; give one "
            "goal for all, or one each"
        )
    return cam, goal


def read_object_pose(path: Path) -> Float[np.ndarray, "4 4"]:
    """`T_object_cam` of an .npz file, also as a stack of one; InputError where there is none, or it
    is no rigid motion in metres.
    """
    T = _arrays(path, ("T_object_cam",), "T_object_cam=...")["T_object_cam"]
    what = f"{path}: T_object_cam"
    if T.shape not in ((4, 4), (1, 4, 4)) or T.dtype.kind not in "fiu":
        raise InputError(
            f"{what} has shape {T.shape} of {T.dtype}; give the numbers of one pose, of shape (4, "
            "4)"
        )
    pose = _rigid(torch.from_numpy(T.reshape(1, 4, 4).astype(np.float64)), [what])[0].numpy()
    away = float(np.linalg.norm(pose[:3, 3]))
    if away > DRAWN:
        raise InputError(
            f"{what} lies {away:.4g} m from the object, and nothing is drawn beyond {DRAWN:g} m; "
            "give metres, not millimetres"
        )
    return pose


def check_poses(Ts: np.ndarray, what: str) -> Float[Tensor, "n 4 4"]:
    """The poses as float64; InputError, naming `what`, where they cannot be a camera's before the
    plane.
    """
    if (
        Ts.dtype.kind not in "fiu"
        or Ts.ndim != 3
        or Ts.shape[1:] != (4, 4)
        or not 1 <= len(Ts) <= MOST
    ):
        raise InputError(
            f"{what} has shape {Ts.shape} of {Ts.dtype}; give numbers of shape (N, 4, 4), N from "
            f"1 to {MOST}"
        )
    poses = _rigid(
        torch.from_numpy(Ts.astype(np.float64)), [f"{what}[{k}]" for k in range(len(Ts))]
    )
    behind = poses[:, 2, 3] >= 0
    if behind.any():
        k = int(behind.nonzero()[0])
        raise InputError(
            f"{what}[{k}] has z = {float(poses[k, 2, 3]):g}: behind the plane z = 0; the camera's "
            "z must be negative"
        )
    return poses


def _arrays(path: Path, names: tuple[str, ...], written: str) -> dict[str, np.ndarray]:
    """The arrays of these names in an .npz file; InputError where the first is missing, or the file
    is none.
    """
    how = f"write it with numpy.savez(file, {written})"
    try:
        with np.load(path, allow_pickle=False) as file:
            found, held = (
                {name: np.asarray(file[name]) for name in names if name in file},
                ", ".join(file.files[:5]),
            )
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; give an .npz file of poses, written with numpy.savez"
        ) from None
    except Exception as error:
        # a foreign or corrupt file fails anywhere in zipfile, zlib and numpy, and in any way
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as an .npz file of poses ({why}); write it with numpy.savez"
        ) from None
    if names[0] not in found:
        raise InputError(f"{path}: holds no {names[0]}, but {held or 'nothing'}; {how}")
    return found


def _rigid(poses: Float[Tensor, "n 4 4"], names: Sequence[str]) -> Float[Tensor, "n 4 4"]:
    """The poses; InputError, with the name of the first that is no rigid motion in metres, and why
    it is none.
    """
    R, eye = poses[:, :3, :3], torch.eye(4, dtype=torch.float64)
    off = (R @ R.mT - eye[:3, :3]).abs().flatten(1).amax(1)
    faults = (
        (
            ~torch.isfinite(poses).flatten(1).all(1),
            "holds NaN or infinite values; give finite ones",
        ),
        (
            _close(poses[:, :, 3], eye[3]) & ~_close(poses[:, 3], eye[3]),
            "is not a rigid motion: it is transposed; give the translation in the last column, "
            "and 0 0 0 1 in the last row",
        ),
        (
            ~_close(poses[:, 3], eye[3]),
            "is not a rigid motion: its last row is not 0 0 0 1; give a rotation, a translation "
            "and that row",
        ),
        (
            ~(off < 1e-4),
            "is not a rigid motion: its axes are not of length 1 and at right angles; give a "
            "rotation, without a scale",
        ),
        (
            torch.linalg.det(R) < 0,
            "is not a rigid motion: its axes are left-handed, a mirror's; give x right, y down, z "
            "forward",
        ),
        (poses[:, :3, 3].abs().amax(1) > FARTHEST, f"lies over {FARTHEST:g} m away; give metres"),
    )
    for wrong, why in faults:
        if wrong.any():
            raise InputError(f"{names[int(wrong.nonzero()[0])]} {why}")
    return poses


def _close(row: Float[Tensor, "n 4"], wanted: Float[Tensor, "4"]) -> Bool[Tensor, " n"]:
    return (row - wanted).abs().amax(1) < 1e-6
