"""Camera files as OpenCV and ROS write them are read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from calibration_files import FLAT, MESSAGE, OPENCV, ROS_FILE, WANTED, D, K, written
from deepservo.images.camera_file import CalibratedCamera, read_camera


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
    assert read_camera(written(tmp_path, f"{dumped}---\n{dumped}---\n")) == WANTED, (
        "as `topic echo` prints them"
    )


def test_no_distortion_at_all(tmp_path: Path) -> None:
    bare = {k: v for k, v in ROS_FILE.items() if not k.startswith("distortion")}
    assert read_camera(written(tmp_path, bare)) == CalibratedCamera(WANTED.camera)


FORMS = {
    "a mark at the beginning": OPENCV.encode("utf-8-sig"),
    "UTF-16": OPENCV.encode("utf-16"),
    "UTF-16 of the other end": b"\xfe\xff" + OPENCV.encode("utf-16-be"),
    "UTF-16 without a mark": OPENCV.encode("utf-16-le"),
    "an old Windows' letters": OPENCV.replace("Mon", "M\u00e4rz").encode("cp1252"),
    "lines of Windows": OPENCV.replace("\n", "\r\n").encode(),
    "sizes with a point": OPENCV.replace(": 640", ": 640.").replace(": 480", ": 4.8e+02").encode(),
    "sizes as words": OPENCV.replace(": 640", ": '640'").encode(),
    "one size": OPENCV.replace(
        "image_width: 640\nimage_height: 480",
        "resolution: !!opencv-Size\n   width: 640\n   height: 480",
    ).encode(),
    "one size, a list": OPENCV.replace(
        "image_width: 640\nimage_height: 480", "cameraResolution: [ 640, 480 ]"
    ).encode(),
    "OpenCV 5's matrix": OPENCV.replace(
        "!!opencv-matrix\n   rows: 5\n   cols: 1", "!!opencv-nd-matrix\n   sizes: [ 5 ]"
    ).encode(),
    "tags nobody knows": OPENCV.replace(
        "flags: 0", "flags: !!opencv-flags { a: !made.up [ 1 ] }\nnow: !t 3"
    ).encode(),
    "a program's objects beside": OPENCV.replace(
        "flags: 0", "rvecs: !!python/object/apply:numpy.array [[1.0]]"
    ).encode(),
    "lists without commas": OPENCV.replace(",", "").encode(),
    "rows without commas": OPENCV.replace(
        str(FLAT), str(K).replace(", 0", " 0").replace(".0, ", ".0 ").replace("5, ", "5 ")
    ).encode(),
    "no commas in the distortion": OPENCV.replace(str(D), str(D).replace(",", "")).encode(),
    "numbers that YAML takes for words": OPENCV.replace("-2e-05", "-2E-5").encode(),
    "kalibr's name of the model": f"{OPENCV}distortion_model: radtan\n".encode(),
    "EuRoC's name of the model": f"{OPENCV}distortion_model: radial-tangential\n".encode(),
    "ROS's name, in capitals": f"{OPENCV}distortion_model: Plumb Bob\n".encode(),
    "other names of the fields": OPENCV.replace("distortion_coefficients", "dist_coeffs").encode(),
    "JSON with tabs": json.dumps(ROS_FILE, indent="\t").encode(),
    "a list twice": yaml.safe_dump(
        {**ROS_FILE, "K": (again := list(FLAT)), "camera_matrix": again}
    ).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_camera_in_another_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / "camera.yaml"
    path.write_bytes(FORMS[form])
    assert read_camera(path) == WANTED


@pytest.mark.parametrize("ending", ["xml", "json", "yml"])
@pytest.mark.parametrize("ravelled", [False, True])
def test_what_opencv_writes(tmp_path: Path, ending: str, ravelled: bool) -> None:
    """The size as real numbers too; a list of one axis is OpenCV 5's `opencv-nd-matrix`."""
    path = tmp_path / f"camera.{ending}"
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("image_width", 640.0)
    file.write("image_height", 480.0)
    file.write("fisheye_model", 0)
    file.write("camera_matrix", np.array(K))
    file.write("distortion_coefficients", np.array(D) if ravelled else np.array([D]))
    file.release()
    assert read_camera(path) == WANTED


@pytest.mark.parametrize(
    "coefficients", [None, [], [0.0] * 4, [0.0] * 5, [0], "0. 0. 0. 0."], ids=repr
)
def test_a_lens_named_none(tmp_path: Path, coefficients: list | str | None) -> None:
    read = read_camera(
        written(
            tmp_path,
            {**ROS_FILE, "distortion_model": "none", "distortion_coefficients": coefficients},
        )
    )
    assert read.camera == WANTED.camera
    assert not any(read.distortion)
