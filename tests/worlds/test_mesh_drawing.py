"""A mesh that cannot be drawn is refused with the reason: the picture's size, memory, graphics, the
view.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.system import memory
from deepservo.worlds.meshes import read_mesh
from deepservo.worlds.target import render_target
from mesh_bytes import T_OBJECT_CAM, drawn, obj, written

pytestmark = pytest.mark.skipif(find_spec("mujoco") is None, reason="MuJoCo is not installed")


@pytest.mark.parametrize(
    ("width", "height", "finer", "most"),
    [(17000, 64, 1, 16384), (64, 20000, 1, 16384), (9000, 64, 2, 8192)],
)
def test_a_camera_too_large_to_draw(width: int, height: int, finer: int, most: int) -> None:
    from deepservo.worlds.views import Eye, mujoco

    model = mujoco().MjModel.from_xml_string(
        '<mujoco><worldbody><camera name="eye"/></worldbody></mujoco>'
    )
    with pytest.raises(
        InputError,
        match=f"{width} x {height} pixels is too large to draw; give a camera of at most {most} "
        "pixels a side",
    ):
        Eye(model, "eye", Camera(width, height, 500.0, 500.0, 30.0, 30.0), finer)


def test_a_picture_too_large_for_memory_is_not_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    mesh = read_mesh(written(tmp_path / "a.obj", obj()))
    with pytest.raises(
        InputError,
        match=r"a drawn picture of 5000 x 4000 pixels needs 1\.6 GB of memory, and 1\.0 GB are "
        r"free",
    ):
        render_target(mesh, Camera(5000, 4000, 5000.0, 5000.0, 2500.0, 2000.0), T_OBJECT_CAM)


@pytest.mark.parametrize(
    "setting",
    [
        "MUJOCO_GL=bogus",
        "MUJOCO_GL=glfw",
        "MUJOCO_GL=glx",
        "MUJOCO_GL=",
        "MUJOCO_GL=off",
        "PYOPENGL_PLATFORM=glx",
    ],
)
def test_a_missing_graphics_backend_is_named(setting: str, tmp_path: Path) -> None:
    name, value = setting.split("=")
    env = {
        k: v
        for k, v in os.environ.items()
        if k not in ("MUJOCO_GL", "DISPLAY", "PYOPENGL_PLATFORM")
    } | {name: value}
    written(tmp_path / "a.obj", obj())
    np.savez(tmp_path / "pose.npz", T_object_cam=T_OBJECT_CAM)
    written(
        tmp_path / "cam.yaml",
        "image_width: 160\nimage_height: 120\ncamera_matrix: [260, 0, 79.5, 0, 260, 59.5, 0, 0, "
        "1]\n",
    )
    words = "target --mesh a.obj --pose pose.npz --camera cam.yaml --out g".split()
    found = subprocess.run(
        [sys.executable, "-m", "deepservo", *words],
        check=False,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 2 and found.stderr.count("\n") == 1, found.stderr
    assert (
        name in found.stderr
        and "set MUJOCO_GL=egl" in found.stderr
        and not (tmp_path / "g").exists()
    )


def test_an_object_out_of_sight_is_refused_with_its_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn(read_mesh(written(tmp_path / "a.obj", obj())))
    away = T_OBJECT_CAM @ np.diag([1.0, -1, -1, 1])
    np.savez(tmp_path / "pose.npz", T_object_cam=away)
    written(
        tmp_path / "cam.yaml",
        "image_width: 160\nimage_height: 120\ncamera_matrix: [260, 0, 79.5, 0, 260, 59.5, 0, 0, "
        "1]\n",
    )
    words = [
        str(tmp_path / word) if "." in word or word == "g" else word
        for word in "--mesh a.obj --pose pose.npz --camera cam.yaml --out g".split()
    ]
    assert main(["target", *words]) == 2
    assert "the object is 0.1 m across and its middle 0.4 m away" in capsys.readouterr().err
