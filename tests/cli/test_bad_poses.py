"""Files of poses that cannot be used give one sentence and exit code 2, and nothing is
half-written.
"""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import deepservo
from bad_models import Evil
from deepservo.evaluation.poses import read_object_pose, read_poses
from tiny import Refused, picture


def fronto(n: int = 2) -> np.ndarray:
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, 2, 3] = -0.6
    return T


def changed(place: tuple, value: float) -> np.ndarray:
    T = fronto()
    T[(1, *place)] = value
    return T


POSES = {
    "behind the plane": (
        changed((2, 3), 0.5),
        "T_world_cam[1] has z = 0.5: behind the plane z = 0",
    ),
    "in the plane": (changed((2, 3), 0.0), "T_world_cam[1] has z = 0"),
    "NaN": (changed((0, 3), np.nan), "T_world_cam[1] holds NaN"),
    "infinite": (changed((0, 3), np.inf), "T_world_cam[1] holds NaN or infinite"),
    "very far": (changed((0, 3), 1e300), "T_world_cam[1] lies over 10000 m away"),
    "stretched": (changed((0, 0), 1.1), "T_world_cam[1] is not a rigid motion"),
    "mirrored": (changed((0, 0), -1.0), "T_world_cam[1] is not a rigid motion"),
    "last row": (changed((3, 0), 0.5), "T_world_cam[1] is not a rigid motion"),
    "transposed": (
        np.swapaxes(fronto(), 1, 2),
        "T_world_cam[0] is not a rigid motion: it is transposed",
    ),
    "left-handed": (
        changed((1, 1), -1.0),
        "T_world_cam[1] is not a rigid motion: its axes are left-handed",
    ),
    "scaled": (
        np.diag([2.0, 2, 2, 1]) @ fronto(),
        "T_world_cam[0] is not a rigid motion: its axes are not of length 1",
    ),
    "millimetres": (
        changed((2, 3), -600.0),
        "T_world_cam[1] lies 600 m from a scene whose distance is 0.6 m",
    ),
    "an axis of zeros": (changed((0, 0), 0.0), "T_world_cam[1] is not a rigid motion: its axes"),
    "true and false": (fronto().astype(bool), "give numbers"),
    "stacks of stacks": (fronto()[None], "shape (1, 2, 4, 4)"),
    "one pose alone": (fronto()[0], "shape (4, 4)"),
    "3 x 4": (fronto()[:, :3], "shape (2, 3, 4)"),
    "none": (fronto(0), "shape (0, 4, 4)"),
    "words": (np.full((2, 4, 4), "a"), "give numbers"),
    "complex": (fronto().astype(complex), "give numbers"),
}


@pytest.mark.parametrize("kind", POSES)
def test_poses(kind: str, refused: Refused, files: Path) -> None:
    Ts, why = POSES[kind]
    np.savez("poses.npz", T_world_cam=Ts, T_world_goal=fronto())
    refused(["servo", files / "model.safetensors", "--poses", "poses.npz"], "poses.npz: ", why)
    np.savez("poses.npz", T_world_cam=fronto(), T_world_goal=Ts)
    refused(
        ["servo", files / "model.safetensors", "--poses", "poses.npz"],
        "poses.npz: ",
        why.replace("T_world_cam", "T_world_goal"),
    )


def test_poses_that_do_not_fit_together(refused: Refused, files: Path) -> None:
    servo = ["servo", files / "model.safetensors", "--poses", "poses.npz"]
    np.savez("poses.npz", T_world_cam=fronto(3), T_world_goal=fronto(2))
    refused(
        servo,
        "poses.npz: T_world_cam has 3 poses and T_world_goal 2; give one goal for all, or one each",
    )
    np.savez("poses.npz", T_world_cam=fronto())
    refused(
        servo, "poses.npz: holds no T_world_goal; add it, or give the goal's picture with --goal"
    )
    np.savez("poses.npz", T_world_goal=fronto())
    refused(servo, "poses.npz: holds no T_world_cam, but T_world_goal; write it with")
    cv2.imwrite("goal.png", picture(64, 64))
    refused(
        ["servo", files / "model.safetensors", "--goal", "goal.png", "--method", "pbvs"],
        "pbvs: needs the goal's true pose",
    )


POSE_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not poses"),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Evil())),
    "pickle inside": lambda path: np.savez(path, T_world_cam=np.array([Evil()], dtype=object)),
    "npy": lambda path: np.save(path.open("wb"), fronto()),
    "half": lambda path: (
        np.savez(path, T_world_cam=fronto()),
        path.write_bytes(path.read_bytes()[:200]),
    ),
    "garbled inside": lambda path: (
        np.savez_compressed(path, T_world_cam=fronto(50)),
        garble(path, 120, 160),
    ),
}


def garble(path: Path, begin: int, end: int) -> None:
    data = bytearray(path.read_bytes())
    data[begin:end] = bytes(255 - b for b in data[begin:end])
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", POSE_FILES)
def test_pose_files(kind: str, refused: Refused, files: Path, tmp_path: Path) -> None:
    POSE_FILES[kind](tmp_path / "poses.npz")
    refused(
        ["servo", files / "model.safetensors", "--poses", "poses.npz"], "poses.npz: ", "numpy.savez"
    )


def test_a_pose_far_off_a_scene_far_away(files: Path, tmp_path: Path) -> None:
    """What is far depends on the scene: 600 m is near for a wall that is 50 m away."""
    np.savez(tmp_path / "poses.npz", T_world_cam=changed((2, 3), -600.0))
    assert read_poses(tmp_path / "poses.npz", 50.0)[0][1, 2, 3] == -600


OBJECT = np.array([[1.0, 0, 0, 0.1], [0, -1, 0, 0], [0, 0, -1, 0.4], [0, 0, 0, 1]])
OBJECT_POSES = {
    "two": (
        np.stack([OBJECT, OBJECT]),
        "T_object_cam has shape (2, 4, 4) of float64; give the numbers of one pose, of shape (4, "
        "4)",
    ),
    "a stack of a stack": (OBJECT[None, None], "T_object_cam has shape (1, 1, 4, 4)"),
    "3 x 4": (OBJECT[:3], "T_object_cam has shape (3, 4)"),
    "sixteen numbers": (OBJECT.ravel(), "T_object_cam has shape (16,)"),
    "one number": (np.array(1.0), "T_object_cam has shape ()"),
    "words": (np.full((4, 4), "a"), "give the numbers"),
    "NaN": (OBJECT * np.nan, "T_object_cam holds NaN"),
    "transposed": (OBJECT.T, "T_object_cam is not a rigid motion: it is transposed"),
    "left-handed": (
        OBJECT * [[1], [1], [-1], [1]],
        "T_object_cam is not a rigid motion: its axes are left-handed",
    ),
    "another last row": (
        OBJECT + np.eye(4)[3][:, None],
        "T_object_cam is not a rigid motion: its last row is not 0 0 0 1",
    ),
    "scaled": (
        np.diag([1e3, 1e3, 1e3, 1]) @ OBJECT,
        "T_object_cam is not a rigid motion: its axes are not of length 1",
    ),
    "millimetres": (
        OBJECT * [[1, 1, 1, 1e3], [1, 1, 1, 1e3], [1, 1, 1, 1e3], [1, 1, 1, 1]],
        "T_object_cam lies 412.3 m from the object",
    ),
    "another name": (
        {"T_cam_object": OBJECT, "K": OBJECT},
        "holds no T_object_cam, but T_cam_object, K; write it with numpy.savez",
    ),
    "no name": ({}, "holds no T_object_cam, but nothing; write it with numpy.savez"),
    "objects": (np.array([Evil()], dtype=object), "cannot be read as an .npz file of poses"),
}


@pytest.mark.parametrize("kind", OBJECT_POSES)
def test_poses_of_an_object(kind: str, tmp_path: Path) -> None:
    given, why = OBJECT_POSES[kind]
    np.savez(
        tmp_path / "pose.npz", **(given if isinstance(given, dict) else {"T_object_cam": given})
    )
    with pytest.raises(deepservo.InputError) as refusal:
        read_object_pose(tmp_path / "pose.npz")
    assert str(refusal.value).startswith(f"{tmp_path / 'pose.npz'}: ")
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    "given", [OBJECT, OBJECT[None], OBJECT.astype(np.float32), OBJECT.astype(">f8")], ids=str
)
def test_one_pose_of_an_object_however_it_is_stacked(given: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "pose.npz", T_object_cam=given)
    assert np.allclose(read_object_pose(tmp_path / "pose.npz"), OBJECT)
