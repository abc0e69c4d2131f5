"""`deepservo servo` to a goal rendered from a mesh, with the object on the gantry's table; and bad
input to it.
"""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh

from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.evaluation.objects import reprojection, sees, starts_about, table_one
from deepservo.geometry import se3
from deepservo.images.camera_file import CalibratedCamera, write_camera
from deepservo.worlds.objects import PARTS
from deepservo.worlds.rounded import rounded_mesh
from deepservo.worlds.target import read_target, render_target

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")
CAMERA = Camera(320, 240, 520.0, 520.0, 160.0, 120.0)
T_OBJECT_CAM = np.array(
    [[0.96, 0.28, 0.0, 0.0], [0.28, -0.96, 0.0, 0.0], [0.0, 0.0, -1.0, 0.3], [0.0, 0.0, 0.0, 1.0]]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part as a mesh in millimetres, and a goal above it."""
    folder, mesh = tmp_path_factory.mktemp("part"), PARTS["bracket"].mesh()
    trimesh.Trimesh(1e3 * mesh.vertices, mesh.faces, process=False).export(folder / "part.stl")
    render_target(mesh, CAMERA, T_OBJECT_CAM).write(folder / "goal", CAMERA, T_OBJECT_CAM)
    return folder


def test_an_object_is_servoed_to_from_its_mesh_alone(folder, tmp_path):
    args = [
        "servo",
        "--goal",
        str(folder / "goal"),
        "--mesh",
        str(folder / "part.stl"),
        "--unit",
        "mm",
        "--world",
        "gantry",
    ]
    assert main([*args, "--starts", "2", "--out", str(tmp_path / "out")]) == 0
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert row["method"] == "dfbvs+edges" and row["set"] == "objects" and row["scene"] == "part.stl"
    assert row["converged"] == 1.0 and row["end_mm_median"] < 1.0


def test_a_rounded_object_is_servoed_to_from_files(tmp_path):
    """An OBJ file with its texture, `deepservo target`, and keypoints that find little."""
    mesh = rounded_mesh("bean")
    cv2.imwrite(str(tmp_path / "skin.png"), mesh.picture[:, :, ::-1])
    (tmp_path / "bean.mtl").write_text("newmtl skin\nmap_Kd skin.png\n")
    lines = ["mtllib bean.mtl", "usemtl skin"]
    lines += [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in mesh.vertices]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.uv]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in mesh.faces + 1]
    (tmp_path / "bean.obj").write_text("\n".join(lines) + "\n")
    np.savez(tmp_path / "pose.npz", T_object_cam=T_OBJECT_CAM)
    write_camera(tmp_path / "camera.yaml", CalibratedCamera(CAMERA))
    given = {name: str(tmp_path / name) for name in ("bean.obj", "pose.npz", "camera.yaml", "goal")}
    made = ["--pose", given["pose.npz"], "--camera", given["camera.yaml"], "--out", given["goal"]]
    assert main(["target", "--mesh", given["bean.obj"], *made]) == 0
    args = ["servo", "--goal", given["goal"], "--mesh", given["bean.obj"], "--world", "gantry"]
    method = ["--method", "dfbvs-sift+edges", "--starts", "1", "--out", str(tmp_path / "out")]
    assert main([*args, *method]) == 0
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert row["converged"] == 1.0 and row["end_mm_median"] < 0.5 and row["length_ratio"] < 1.2


def test_a_mesh_that_the_goal_was_not_rendered_from_is_refused(folder, tmp_path, capfd):
    mesh = PARTS["hub"].mesh()
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(tmp_path / "hub.stl")
    args = ["--goal", str(folder / "goal"), "--mesh", str(tmp_path / "hub.stl")]
    assert main(["servo", *args, "--world", "gantry", "--out", str(tmp_path / "out")]) == 2
    assert "the mesh is not where the goal's depth" in capfd.readouterr().err


def test_starts_are_as_published_and_see_the_object(folder):
    target, camera = read_target(folder / "goal")
    assert camera == CAMERA
    Ts = table_one(2000, torch.Generator().manual_seed(0))
    length, angle = Ts[:, :3, 3].norm(dim=1), se3.so3_log(Ts[:, :3, :3]).norm(dim=1).rad2deg()
    assert length.mean() == pytest.approx(0.055, abs=1e-3) and length.std() == pytest.approx(
        0.012, abs=1e-3
    )
    assert angle.mean() == pytest.approx(8.7, abs=0.3) and (Ts[:, 2, 3] < 0).double().mean() > 0.99
    starts = starts_about(target, CAMERA, 5, 0)
    assert sees(target, CAMERA, starts).all()
    beside = se3.exp(
        torch.tensor(
            [[0.2, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 3.0, 0.0]], dtype=torch.float64
        )
    )
    assert not sees(target, CAMERA, beside).any()


def test_the_reprojection_error_is_exact(folder):
    """After a rotation by 0.01 rad about the optical axis each point has moved by 0.01 of its
    distance from the centre.
    """
    target, _ = read_target(folder / "goal")
    v, u = target.mask.nonzero()
    turned = reprojection(
        target, CAMERA, se3.exp(torch.tensor([0, 0, 0, 0, 0, 0.01], dtype=torch.float64))
    )
    assert turned == pytest.approx(0.01 * np.hypot(u - CAMERA.cx, v - CAMERA.cy).mean(), rel=1e-4)


def _hardly_known() -> np.ndarray:
    Z = np.full((240, 320), np.inf)
    Z[0, :20] = 0.2
    return Z


def test_depth_is_also_read_from_a_png_of_millimetres(folder, tmp_path):
    """To its half millimetre, and unknown beside the object in both."""
    shutil.copytree(folder / "goal", tmp_path / "goal")
    Z = np.load(tmp_path / "goal" / "depth.npy")
    (tmp_path / "goal" / "depth.npy").unlink()
    in_mm = np.where(np.isfinite(Z), 1000 * Z, 0).round().astype(np.uint16)
    cv2.imwrite(str(tmp_path / "goal" / "depth.png"), in_mm)
    target, _ = read_target(tmp_path / "goal")
    rendered, _ = read_target(folder / "goal")
    assert (target.mask == rendered.mask).all() and (rendered.mask == np.isfinite(Z)).all()
    assert np.abs(target.depth[target.mask] - Z[target.mask]).max() < 5.1e-4
    assert np.isinf(target.depth[~target.mask]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--world": "simulator"}, "add --world gantry"),
        ({"--mesh": None}, "with --mesh"),
        ({"--method": "auto"}, "choose one of dfbvs"),
        ({"--starts": "0"}, "1 to"),
        ({"--distance": "0.5"}, "leave --distance away"),
        ({"--mesh": "none.stl"}, "no such file"),
        ({"--image": "none.png"}, "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused(folder, tmp_path, capfd, change, words):
    given = {
        "--goal": str(folder / "goal"),
        "--mesh": str(folder / "part.stl"),
        "--unit": "mm",
        "--world": "gantry",
        "--starts": "1",
    }
    args = [word for pair in (given | change).items() if pair[1] is not None for word in pair]
    assert main(["servo", *args, "--out", str(tmp_path / "out")]) == 2
    err = capfd.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "case",
    [
        ("depth.npy", lambda path: path.unlink(), "no such file"),
        ("depth.npy", lambda path: path.write_bytes(b"none"), "cannot be read as an array"),
        ("depth.npy", lambda path: np.save(path, np.ones((24, 32))), "is 32 x 24, the camera's"),
        (
            "depth.npy",
            lambda path: np.save(path, np.full((240, 320), np.inf)),
            "is known nowhere",
        ),
        (
            "depth.npy",
            lambda path: np.save(path, _hardly_known()),
            "has 20 pixels of an object",
        ),
        (
            "depth.npy",
            lambda path: np.save(path, 1000 * np.load(path)),
            "m away; are these millimetres?",
        ),
        ("depth.npy", lambda path: np.save(path, -np.load(path)), "behind the camera"),
        (
            "depth.png",
            lambda path: cv2.imwrite(str(path), np.full((240, 320), 300, np.uint16)),
            "holds both depth.npy and depth.png",
        ),
        (
            "goal.png",
            lambda path: cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8)),
            "is 64 x 64",
        ),
        ("goal.png", lambda path: path.unlink(), "no such file"),
        ("pose.npz", lambda path: path.unlink(), "no such file"),
        ("pose.npz", lambda path: np.savez(path, T_object_cam=2 * T_OBJECT_CAM), "T_object_cam"),
        ("camera.yaml", lambda path: path.unlink(), "camera.yaml"),
    ],
)
def test_an_incomplete_folder_is_refused(folder, tmp_path, capfd, case):
    file, damage, words = case
    shutil.copytree(folder / "goal", tmp_path / "goal")
    damage(tmp_path / "goal" / file)
    args = [
        "servo",
        "--goal",
        str(tmp_path / "goal"),
        "--mesh",
        str(folder / "part.stl"),
        "--unit",
        "mm",
        "--world",
        "gantry",
    ]
    assert main([*args, "--out", str(tmp_path / "out")]) == 2
    err = capfd.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_goal_that_the_arm_cannot_reach_is_refused_before_it_moves(folder, tmp_path, capfd):
    shutil.copytree(folder / "goal", tmp_path / "goal")
    T = T_OBJECT_CAM.copy()
    T[2, 3] = 3.0
    np.savez(tmp_path / "goal" / "pose.npz", T_object_cam=T)
    args = [
        "servo",
        "--goal",
        str(tmp_path / "goal"),
        "--mesh",
        str(folder / "part.stl"),
        "--unit",
        "mm",
        "--world",
        "gantry",
    ]
    assert main([*args, "--out", str(tmp_path / "out")]) == 2
    assert "out of the arm's reach" in capfd.readouterr().err and not (tmp_path / "out").exists()
