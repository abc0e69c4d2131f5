"""Goals rendered from mesh files: the picture, the depth, and what is refused."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import noise_texture

from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.images.camera_file import CalibratedCamera, read_camera, write_camera
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.meshes import read_mesh
from deepservo.worlds.target import render_target

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")
CAMERA = Camera(320, 240, 520.0, 520.0, 150.0, 125.0)
YAML = """image_width: 320
image_height: 240
camera_matrix: {rows: 3, cols: 3, data: [520, 0, 150, 0, 520, 125, 0, 0, 1]}
"""
# A plane 0.2 m wide and 0.15 m high, its picture upright as `PlanarScene` has it: y down, its face
# towards z < 0.
QUAD = """mtllib quad.mtl
usemtl paper
v -.1 .075 0
v .1 .075 0
v .1 -.075 0
v -.1 -.075 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""


@pytest.fixture(scope="session")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    cv2.imwrite(
        str(folder / "paper.png"), (255 * noise_texture(5)[0].numpy()).round().astype(np.uint8)
    )
    (folder / "quad.mtl").write_text("newmtl paper\nmap_Kd paper.png\n")
    (folder / "quad.obj").write_text(QUAD)
    (folder / "camera.yaml").write_text(YAML)
    np.savez(folder / "pose.npz", T_object_cam=poses(1)[0].numpy())
    return folder


def poses(n: int) -> torch.Tensor:
    return sampling.gaussian_starts(
        sampling.fronto_parallel(0.3, n), torch.Generator().manual_seed(2), 0.3
    )


def drawn(path: Path, T_object_cam: torch.Tensor, unit: str | None = None):
    try:
        return render_target(read_mesh(path, unit), CAMERA, T_object_cam.numpy())
    except InputError as error:
        if "cannot draw here" in str(error):
            pytest.skip(str(error))
        raise


def test_a_textured_plane_as_a_mesh_equals_our_own(meshes):
    scene = PlanarScene(noise_texture(5), width=0.2)
    for T in poses(4):
        target = drawn(meshes / "quad.obj", T)
        ours, covered = scene.render_covered(CAMERA, T[None])
        inside = target.mask & (covered[0] > 0.99).numpy()
        assert inside.sum() > 5000 and (target.mask ^ (covered[0] > 0.5).numpy()).mean() < 0.01
        depth = scene.depth(CAMERA, T[None])[0].numpy()
        assert (
            np.abs(target.depth - depth)[inside].max() < 1e-4
            and np.isinf(target.depth[~target.mask]).all()
        )
        theirs = target.picture[..., 0][inside] / 255
        assert np.corrcoef(theirs, ours[0, 0].numpy()[inside])[0, 1] > 0.99


def test_a_mesh_may_be_open_large_in_count_and_of_any_format(meshes, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(7, 0.08)
    assert len(ball.faces) > 200_000
    ball.export(tmp_path / "ball.ply")
    half = trimesh.Trimesh(
        1000 * ball.vertices, ball.faces[ball.vertices[ball.faces].mean(1)[:, 0] > 0]
    )
    half.export(tmp_path / "half.stl")
    T = sampling.fronto_parallel(0.5)[0]
    whole, open_half = drawn(tmp_path / "ball.ply", T), drawn(tmp_path / "half.stl", T, "mm")
    assert abs(np.median(whole.depth[whole.mask]) - 0.44) < 0.01
    assert 0.4 < open_half.mask.sum() / whole.mask.sum() < 0.6


def test_colours_of_faces_are_seen(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box((0.1, 0.1, 0.1))
    box.visual.face_colors = np.where(
        box.face_normals[:, 2:] < -0.9, [[200, 0, 0, 255]], [[0, 0, 200, 255]]
    ).astype(np.uint8)
    box.export(tmp_path / "box.ply")
    target = drawn(tmp_path / "box.ply", sampling.fronto_parallel(0.4)[0])
    red, _, blue = target.picture[target.mask].mean(0)
    assert red > 100 and blue < 30


def test_target_writes_what_servo_takes(meshes, tmp_path):
    drawn(meshes / "quad.obj", poses(1)[0])
    args = ["target", "--mesh", "quad.obj", "--pose", "pose.npz", "--camera", "camera.yaml"]
    args = [str(meshes / a) if "." in a else a for a in args]
    assert main([*args, "--out", str(tmp_path / "goal")]) == 0
    goal, mask = (
        cv2.imread(str(tmp_path / "goal" / name), cv2.IMREAD_UNCHANGED)
        for name in ("goal.png", "mask.png")
    )
    depth = np.load(tmp_path / "goal" / "depth.npy")
    assert goal.shape == (240, 320, 3) and depth.shape == (240, 320)
    assert (np.isfinite(depth) == (mask == 255)).all()
    assert read_camera(tmp_path / "goal" / "camera.yaml").camera == CAMERA


def test_a_camera_file_is_read_as_it_was_written(tmp_path):
    camera = CalibratedCamera(
        Camera(640, 480, 500.25, 510.5, 320.0, 241.125), (0.1, -0.02, 0.001, 0.0, 0.003)
    )
    write_camera(tmp_path / "camera.yaml", camera)
    assert read_camera(tmp_path / "camera.yaml") == camera


def test_what_is_no_mesh_or_no_pose_is_refused(meshes, tmp_path, refused):
    bad = tmp_path.parent / f"{tmp_path.name}-bad"  # outside the folders that `refused` compares
    bad.mkdir()
    (bad / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty "
        "float z\nend_header\n0 0 0\n"
    )
    (bad / "garbage.stl").write_bytes(bytes(range(200)))
    (bad / "nan.obj").write_text("v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n")
    (bad / "big.obj").write_text("v 0 0 0\nv 120 0 0\nv 0 80 0\nf 1 2 3\n")
    (bad / "part.step").write_text("ISO-10303-21;")
    np.savez(bad / "other.npz", T_world_cam=np.eye(4))
    np.savez(bad / "scaled.npz", T_object_cam=np.diag([2.0, 2, 2, 1]))
    np.savez(
        bad / "away.npz",
        T_object_cam=np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.5], [0, 0, 0, 1]]),
    )

    def target(
        mesh: Path = meshes / "quad.obj", pose: Path = meshes / "pose.npz", *more: str
    ) -> list:
        return [
            "target",
            "--mesh",
            mesh,
            "--pose",
            pose,
            "--camera",
            meshes / "camera.yaml",
            "--out",
            "goal",
            *more,
        ]

    drawn(meshes / "quad.obj", poses(1)[0])
    for mesh, *words in (
        ("missing.obj", "no such file"), ("points.ply", "no faces"), ("garbage.stl", "mesh"),
        ("nan.obj", "NaN"), ("part.step", "no mesh"), ("big.obj", "120 m across", "--unit mm"),
    ):  # fmt: skip
        refused(target(bad / mesh), mesh, *words)
    refused(target(meshes / "quad.obj", meshes / "pose.npz", "--unit", "cm"), "no unit 'cm'", "mm")
    for pose, *words in (
        ("missing.npz", "no such file"),
        ("other.npz", "no T_object_cam"),
        ("scaled.npz", "not a rigid motion"),
    ):
        refused(target(meshes / "quad.obj", bad / pose), pose, *words)
    refused(target(meshes / "quad.obj", bad / "away.npz"), "sees 0 pixels of the object")
