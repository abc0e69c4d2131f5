"""Camera files as OpenCV and ROS write them, and the lens."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from deepservo.camera import Camera
from deepservo.camera_file import CalibratedCamera, read_camera
from deepservo.errors import InputError

K = [[520.5, 0.0, 318.25], [0.0, 521.75, 241.5], [0.0, 0.0, 1.0]]
D = [-0.25, 0.08, 1e-4, -2e-05, 0.01]
WANTED = CalibratedCamera(Camera(640, 480, 520.5, 521.75, 318.25, 241.5), tuple(D))
FLAT = [v for row in K for v in row]

OPENCV = f"""%YAML:1.0
---
calibration_time: "Mon 1 Jan 2024"
image_width: 640
image_height: 480
flags: 0
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: {FLAT}
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: {D}
"""
ROS_FILE = {
    "image_width": 640, "image_height": 480, "camera_name": "narrow_stereo",
    "camera_matrix": {"rows": 3, "cols": 3, "data": FLAT}, "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": D},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {"rows": 3, "cols": 4, "data": [*FLAT[:3], 0, *FLAT[3:6], 0, *FLAT[6:], 0]},
}  # fmt: skip
ROI = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
MESSAGE = {"header": {"stamp": {"secs": 1, "nsecs": 2}, "frame_id": "camera"}, "height": 480, "width": 640, "distortion_model": "plumb_bob",
           "binning_x": 0, "binning_y": 0, "roi": ROI}  # fmt: skip


def written(tmp_path: Path, data: dict | str) -> Path:
    path = tmp_path / "camera.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_opencvs_own_file(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "camera.yml"
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("image_width", 640)
    file.write("image_height", 480)
    file.write("camera_matrix", np.array(K))
    file.write("distortion_coefficients", np.array(D).reshape(shape))
    file.release()
    assert read_camera(path) == WANTED


def test_opencvs_text_form(tmp_path: Path) -> None:
    assert read_camera(written(tmp_path, OPENCV)) == WANTED


def test_ros_calibration_file(tmp_path: Path) -> None:
    assert read_camera(written(tmp_path, ROS_FILE)) == WANTED


@pytest.mark.parametrize("names", [("K", "D"), ("k", "d")], ids=["ROS 1", "ROS 2"])
def test_ros_message(tmp_path: Path, names: tuple[str, str]) -> None:
    message = {**MESSAGE, names[0]: FLAT, names[1]: D}
    assert read_camera(written(tmp_path, message)) == WANTED
    dumped = yaml.safe_dump(message)
    assert read_camera(written(tmp_path, f"{dumped}---\n{dumped}---\n")) == WANTED, "as `topic echo` prints them"


def test_no_distortion_at_all(tmp_path: Path) -> None:
    bare = {k: v for k, v in ROS_FILE.items() if not k.startswith("distortion")}
    assert read_camera(written(tmp_path, bare)) == CalibratedCamera(WANTED.camera)


REFUSED = {
    "width missing": ({"image_width": None}, "image_width"),
    "matrix missing": ({"camera_matrix": None}, "camera_matrix"),
    "NaN in the matrix": ({"camera_matrix": [float("nan"), *FLAT[1:]]}, "camera matrix holds something that is not a number"),
    "words in the matrix": ({"camera_matrix": ["wide", *FLAT[1:]]}, "camera matrix holds something that is not a number"),
    "NaN in the distortion": ({"distortion_coefficients": [float("nan")] * 5}, "distortion holds something that is not a number"),
    "infinite": ({"camera_matrix": [float("inf"), *FLAT[1:]]}, "not a number"),
    "eight numbers": ({"camera_matrix": FLAT[:8]}, "8 numbers, not 9"),
    "ragged": ({"camera_matrix": [[1.0, 2.0], [3.0]]}, "camera matrix"),
    "transposed": ({"camera_matrix": np.array(K).T.ravel().tolist()}, "is not fx 0 cx"),
    "skewed": ({"camera_matrix": [520.0, 3.0, *FLAT[2:]]}, "is not fx 0 cx"),
    "never calibrated": ({"camera_matrix": [0.0] * 8 + [1.0]}, "focal lengths must be positive"),
    "negative focal length": ({"camera_matrix": [-520.0, *FLAT[1:]]}, "focal lengths must be positive"),
    "three coefficients": ({"distortion_coefficients": [0.1, 0.2, 0.3]}, "3 distortion coefficients"),
    "width in words": ({"image_width": "wide"}, "whole numbers of pixels"),
    "half a pixel": ({"image_width": 640.5}, "whole numbers of pixels"),
    "20 x 20": ({"image_width": 20, "image_height": 20}, "20 x 20 pixels is too small"),
    "negative width": ({"image_width": -640}, "too small"),
    "fisheye, as ROS has it": ({"distortion_model": "equidistant"}, "lens model 'equidistant' is not supported; rectify"),
    "fisheye, as OpenCV has it": ({"fisheye_model": 1}, "lens model 'fisheye' is not supported; rectify"),
    "binned": ({"binning_x": 2}, "binned"),
    "cut": ({"roi": {**ROI, "width": 320, "height": 240}}, "region of interest"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    change, why = REFUSED[kind]
    path = written(tmp_path, {k: v for k, v in {**ROS_FILE, **change}.items() if v is not None})
    with pytest.raises(InputError, match=why) as refusal:
        read_camera(path)
    assert str(refusal.value).startswith(f"{path}: ")


NO_CAMERA = {
    "empty": ("", "holds no fields"),
    "a list": ("- 1\n- 2\n", "holds no fields"),
    "no YAML": ("a: [1, 2", "is not YAML"),
    "an impossible date": ("a: 2024-13-45\n", "is not YAML"),
    "very deep": ("[" * 2000, "is not YAML"),
    "an object": ("!!python/object/apply:os.system ['echo run']", "is not YAML"),
}


@pytest.mark.parametrize("kind", NO_CAMERA)
def test_no_camera_file(tmp_path: Path, kind: str) -> None:
    text, why = NO_CAMERA[kind]
    with pytest.raises(InputError, match=why):
        read_camera(written(tmp_path, text))


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(bytes(range(128, 256)))
    for name, why in (("none.yaml", "no such file"), ("", "cannot be read"), ("bytes.yaml", "cannot be read")):
        with pytest.raises(InputError, match=why):
            read_camera(tmp_path / name)


def smooth_grid(xy: np.ndarray) -> np.ndarray:
    """A grid of bright lines in normalised coordinates (h, w, 2)."""
    return (0.5 + 0.25 * np.cos(40 * xy[..., 0]) + 0.25 * np.cos(40 * xy[..., 1])).astype(np.float32)


def bent(xy: np.ndarray) -> np.ndarray:
    """Where the lens shows what a perfect one shows at `xy` (OpenCV's documented formula)."""
    x, y = xy[..., 0], xy[..., 1]
    k1, k2, p1, p2, k3 = D
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack([x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1)


def test_distortion_is_undone_once() -> None:
    camera = WANTED.camera
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    pixels, matrix = np.stack([u, v], -1), np.array(K)
    straight = (pixels - matrix[:2, 2]) / (matrix[0, 0], matrix[1, 1])
    seen = straight.copy()
    for _ in range(30):  # the inverse, by fixed-point iteration
        seen += straight - bent(seen)
    assert np.abs(bent(seen) - straight).max() < 1e-6
    taken, wanted = torch.from_numpy(smooth_grid(seen))[None], torch.from_numpy(smooth_grid(straight))[None]
    found = WANTED.rectify(taken, "the picture")
    inside = (slice(None), slice(40, -40), slice(40, -40))
    assert (taken[inside] - wanted[inside]).abs().max() > 0.3, "the lens does bend the grid"
    assert (found[inside] - wanted[inside]).abs().max() < 0.02
    perfect = CalibratedCamera(camera)
    assert torch.equal(perfect.rectify(found, "the picture"), found), "and nothing is left to undo"


def test_rectify_wants_the_cameras_size() -> None:
    with pytest.raises(InputError, match="the picture is 20 x 10 pixels, the camera's pictures are 640 x 480"):
        WANTED.rectify(torch.zeros(1, 10, 20), "the picture")
