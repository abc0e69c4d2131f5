"""Camera files as OpenCV and ROS write them, and the lens."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.camera_file import CalibratedCamera, read_camera

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
    "image_width": 640,
    "image_height": 480,
    "camera_name": "narrow_stereo",
    "camera_matrix": {"rows": 3, "cols": 3, "data": FLAT},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": D},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {
        "rows": 3,
        "cols": 4,
        "data": [*FLAT[:3], 0, *FLAT[3:6], 0, *FLAT[6:], 0],
    },
}
ROI = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
MESSAGE = {
    "header": {"stamp": {"secs": 1, "nsecs": 2}, "frame_id": "camera"},
    "height": 480,
    "width": 640,
    "distortion_model": "plumb_bob",
    "binning_x": 0,
    "binning_y": 0,
    "roi": ROI,
}


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
    assert read_camera(written(tmp_path, f"{dumped}---\n{dumped}---\n")) == WANTED, (
        "as `topic echo` prints them"
    )


def test_no_distortion_at_all(tmp_path: Path) -> None:
    bare = {k: v for k, v in ROS_FILE.items() if not k.startswith("distortion")}
    assert read_camera(written(tmp_path, bare)) == CalibratedCamera(WANTED.camera)


REFUSED = {
    "width missing": ({"image_width": None}, "image_width"),
    "matrix missing": ({"camera_matrix": None}, "camera_matrix"),
    "NaN in the matrix": (
        {"camera_matrix": [float("nan"), *FLAT[1:]]},
        "camera matrix holds something that is not a number",
    ),
    "words in the matrix": (
        {"camera_matrix": ["wide", *FLAT[1:]]},
        "camera matrix holds something that is not a number",
    ),
    "NaN in the distortion": (
        {"distortion_coefficients": [float("nan")] * 5},
        "distortion holds something that is not a number",
    ),
    "infinite": ({"camera_matrix": [float("inf"), *FLAT[1:]]}, "not a number"),
    "eight numbers": ({"camera_matrix": FLAT[:8]}, "8 numbers, not 9"),
    "ragged": ({"camera_matrix": [[1.0, 2.0], [3.0]]}, "camera matrix"),
    "transposed": ({"camera_matrix": np.array(K).T.ravel().tolist()}, "is not fx 0 cx"),
    "skewed": ({"camera_matrix": [520.0, 3.0, *FLAT[2:]]}, "is not fx 0 cx"),
    "never calibrated": ({"camera_matrix": [0.0] * 8 + [1.0]}, "focal lengths must be positive"),
    "negative focal length": (
        {"camera_matrix": [-520.0, *FLAT[1:]]},
        "focal lengths must be positive",
    ),
    "three coefficients": (
        {"distortion_coefficients": [0.1, 0.2, 0.3]},
        "3 distortion coefficients",
    ),
    "width in words": ({"image_width": "wide"}, "whole numbers of pixels"),
    "half a pixel": ({"image_width": 640.5}, "whole numbers of pixels"),
    "20 x 20": ({"image_width": 20, "image_height": 20}, "20 x 20 pixels is too small"),
    "negative width": ({"image_width": -640}, "too small"),
    "fisheye, as ROS has it": (
        {"distortion_model": "equidistant"},
        "lens model 'equidistant' is not supported; rectify",
    ),
    "fisheye, as OpenCV has it": (
        {"fisheye_model": 1},
        "lens model 'fisheye' is not supported; rectify",
    ),
    "binned": ({"binning_x": 2}, "binned"),
    "cut": ({"roi": {**ROI, "width": 320, "height": 240}}, "region of interest"),
    "the matrix is of the cut pictures": (
        {"roi": {**ROI, "x_offset": 320, "width": 640, "height": 480}},
        "region of interest",
    ),
    "the matrix is of the binned pictures": (
        {"image_width": 2560, "image_height": 1920, "binning_x": 4, "binning_y": 4},
        "are binned or cut",
    ),
    "a binned picture too small": (
        {"binning_x": 20, "binning_y": 20},
        "32 x 24 pixels are too small",
    ),
    "half a pixel cut": ({"roi": {**ROI, "x_offset": 0.5}}, "x_offset must be a whole number"),
    "cut before the beginning": (
        {"roi": {**ROI, "y_offset": -3}},
        "y_offset must be a whole number",
    ),
    "binned by a word": ({"binning_x": "two"}, "binning_x must be a whole number"),
    "not calibrated": ({"camera_matrix": [0.0] * 9}, "this camera is not calibrated"),
    "not calibrated, and without a size": (
        {"camera_matrix": [0] * 9, "image_width": 0, "image_height": 0},
        "this camera is not calibrated",
    ),
    "only the last number given": (
        {"camera_matrix": [0] * 8 + [1]},
        "this camera is not calibrated",
    ),
    "fisheye without coefficients": (
        {"distortion_model": "equidistant", "distortion_coefficients": [0.0] * 4},
        "'equidistant' is not supp",
    ),
    "kannala": (
        {"distortion_model": "kannala_brandt"},
        "'kannala_brandt' is not supported; rectify",
    ),
    "two models": (
        {"distortion_model": "radtan", "camera_model": "omni"},
        "'omni' is not supported; rectify",
    ),
    "omnidirectional": ({"xi": 1.2}, "'omnidirectional' is not supported; rectify"),
    "a model of many words": ({"distortion_model": "a " * 1000}, "is not supported; rectify"),
    "a model that is a list": ({"distortion_model": ["plumb_bob"]}, "is not supported; rectify"),
    "a lens named none that bends": (
        {"distortion_model": "none"},
        "the lens model is 'none', with coefficients that are not 0",
    ),
    "a lens under another name": (
        {"distortion_coefficients": None, "distortion": D},
        "the lens in the field 'distortion' is not understood",
    ),
    "a lens in parts": (
        {"distortion_coefficients": None, "k1": -0.2},
        "the lens in the field 'k1' is not understood",
    ),
    "huge numbers": (
        {"camera_matrix": [10**400, *FLAT[1:]]},
        "camera matrix holds something that is not a number",
    ),
    "true": (
        {"camera_matrix": [True, *FLAT[1:]]},
        "camera matrix holds something that is not a number",
    ),
    "very many numbers": (
        {"distortion_coefficients": [0.1] * 1000},
        "distortion holds something that is not a number",
    ),
    "lists in lists in lists": (
        {"camera_matrix": [[K]]},
        "camera matrix holds something that is not a number",
    ),
    "a huge size": ({"image_width": 10**400}, "whole numbers of pixels"),
    "a large size": ({"image_width": 100_000}, "over 32767 pixels"),
    "an infinite size": ({"image_width": float("inf")}, "whole numbers of pixels"),
    "a size that is true": ({"image_width": True}, "whole numbers of pixels"),
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
    "a word said to be true or false": ("a: !!bool maybe", "is not YAML .a tag says"),
    "a word said to be a date": ("a: !!timestamp soon", "is not YAML .a tag says"),
    "a word said to be a number": ("a: !!int ''", "is not YAML"),
    "very deep mappings": ("? " * 60 + "a", "is not YAML"),
    "XML that ends early": ("<opencv_storage><image_width>640", "is not XML"),
    "XML that grows": (
        '<!DOCTYPE a [<!ENTITY b "bb">]><opencv_storage>&b;</opencv_storage>',
        "is not XML",
    ),
    "XML of settings": (
        "<opencv_storage><Settings><a>1</a></Settings></opencv_storage>",
        "image_width or width is missing",
    ),
    "too large": ("a: " + "1" * 500_000, "is larger than 150 kB"),
}


@pytest.mark.parametrize("kind", NO_CAMERA)
def test_no_camera_file(tmp_path: Path, kind: str) -> None:
    text, why = NO_CAMERA[kind]
    with pytest.raises(InputError, match=why):
        read_camera(written(tmp_path, text))


GROWING = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{f'*a{i}, ' * 9}]\n" for i in range(9)
)
SIZED = "image_width: 640\nimage_height: 480\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{GROWING}{SIZED}camera_matrix: *a9\n",
        f"{GROWING}image_width: *a9\nimage_height: 480\ncamera_matrix: {FLAT}\n",
        f"{GROWING}{SIZED}camera_matrix: {FLAT}\ndistortion_model: *a9\n",
        "a0: &a0 {a: 1}\n"
        + "".join(f"a{i + 1}: &a{i + 1} {{<<: [{f'*a{i}, ' * 9}]}}\n" for i in range(9)),
        f"{SIZED}camera_matrix: &me [*me, *me]\n",
    ],
    ids=["matrix", "size", "model", "merged", "itself"],
)
def test_lists_of_lists_of_lists_are_refused_at_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_camera(written(tmp_path, text))
    assert len(str(refusal.value)) < 600


FOREIGN = {
    "kalibr": (
        "cam0:\n  camera_model: pinhole\n  intrinsics: [520, 521, 319, 241]\n",
        "a camchain of kalibr",
    ),
    "EuRoC": (
        "sensor_type: camera\nintrinsics: [458.6, 457.3, 367.2, 248.4]\nresolution: [752, 480]\n",
        "a camera of kalibr or EuRoC",
    ),
    "VINS": (
        f"%YAML:1.0\n---\nmodel_type: PINHOLE\n{SIZED}projection_parameters:\n   fx: 520.\n",
        "a camera of VINS-Fusion",
    ),
    "ORB-SLAM": (
        "%YAML:1.0\nCamera.fx: 520.0\nCamera.width: 640\nCamera.height: 480\n",
        "a settings file of ORB-SLAM",
    ),
    "ORB-SLAM 3": ('File.version: "1.0"\nCamera1.fx: 520.0\n', "a settings file of ORB-SLAM"),
    "stella": ("Camera:\n  name: a\n  model: perspective\n  fx: 520\n", "stella_vslam"),
    "COLMAP": (
        "# Camera list with one line of data per camera:\n1 PINHOLE 640 480 520 521 319 241\n",
        "COLMAP's cameras.txt",
    ),
    "COLMAP without its head": (
        "1 SIMPLE_RADIAL 640 480 520 319 241 0.1\n",
        "COLMAP's cameras.txt",
    ),
    "ViSP": (
        "<root><camera><model><px>557</px><py>561</py></model></camera></root>",
        "a camera of ViSP",
    ),
    "other XML": (
        "<?xml version='1.0'?><calibration><f>520</f></calibration>",
        "XML of another program (<calibration>)",
    ),
    "ROS's ini": (
        "[image]\n\nwidth\n640\n\n[narrow]\n\ncamera matrix\n520 0 319\n",
        "ROS's .ini form",
    ),
    "ini": ("; made by hand\n[LEFT]\nfx=520\n", "an .ini file"),
    "ZED": ("[STEREO]\nBaseline=120\n[LEFT_CAM_HD]\nfx=520\n", "a ZED camera's settings"),
    "MATLAB": (
        "% Intrinsic parameters\nfc = [ 520.0 ; 521.0 ];\n",
        "the MATLAB calibration toolbox",
    ),
    "NeRF": ('{"fl_x": 520, "fl_y": 521, "w": 640, "h": 480}', "a NeRF's transforms.json"),
    "Open3D": (
        '{"width": 640, "height": 480, "intrinsic_matrix": [520, 0, 0, 0, 521, 0, 319, 241, 1]}',
        "a camera of Open3D",
    ),
    "RealSense": ("width: 640\nheight: 480\nppx: 319\nppy: 241\nfx: 520\n", "a RealSense camera"),
    "a pair": (
        "%YAML:1.0\n---\nM1: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: [1]\n",
        "a pair of cameras",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_programs_file_is_named(tmp_path: Path, kind: str) -> None:
    text, what = FOREIGN[kind]
    with pytest.raises(InputError) as refusal:
        read_camera(written(tmp_path, text))
    assert what in str(refusal.value)
    assert (
        "which is not read; write the camera's image_width, image_height, camera_matrix and "
        "distortion_coefficients" in str(refusal.value)
    )


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(bytes(range(128, 256)))
    for name, why in (
        ("none.yaml", "no such file"),
        ("", "cannot be read"),
        ("bytes.yaml", "cannot be read"),
    ):
        with pytest.raises(InputError, match=why):
            read_camera(tmp_path / name)


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


@pytest.mark.parametrize(
    ("roi", "binning", "wanted"),
    [
        ((320, 200, 640, 400), (1, 1), Camera(640, 400, 520.5, 521.75, 311.0, 175.5)),
        ((0, 0, 1280, 800), (1, 1), Camera(1280, 800, 520.5, 521.75, 631.0, 375.5)),
        ((0, 0, 0, 0), (0, 0), Camera(1280, 800, 520.5, 521.75, 631.0, 375.5)),
        ((0, 0, 0, 0), (2, 2), Camera(640, 400, 260.25, 260.875, 315.25, 187.5)),
        ((0, 0, 0, 0), (1, 2), Camera(1280, 400, 520.5, 260.875, 631.0, 187.5)),
        ((321, 200, 643, 400), (4, 4), Camera(160, 100, 130.125, 130.4375, 77.125, 43.5)),
        ((0, 300, 0, 200), (1, 1), Camera(1280, 200, 520.5, 521.75, 631.0, 75.5)),
    ],
)
@pytest.mark.parametrize(
    "sensor", [(1280, 800), None], ids=["the sensor's size", "the pictures' size"]
)
def test_binned_and_cut_pictures(
    tmp_path: Path, roi: tuple, binning: tuple, wanted: Camera, sensor: tuple | None
) -> None:
    """ROS's REP 104: the matrix is the whole sensor's, a region counts its pixels, and a binned
    pixel joins b x b of them.
    """
    width, height = sensor or [
        cut or whole for cut, whole in zip(roi[2:], (1280, 800), strict=True)
    ]
    matrix = [520.5, 0, 631.0, 0, 521.75, 375.5, 0, 0, 1]
    named = dict(zip(("x_offset", "y_offset", "width", "height"), roi, strict=True))
    message = {
        **MESSAGE,
        "k": matrix,
        "d": D,
        "roi": named,
        "binning_x": binning[0],
        "binning_y": binning[1],
    }
    assert read_camera(
        written(tmp_path, {**message, "width": width, "height": height})
    ) == CalibratedCamera(wanted, tuple(D))


def test_a_pixel_of_a_binned_picture_sees_what_its_four_saw(tmp_path: Path) -> None:
    message = {**MESSAGE, "k": FLAT, "d": [], "binning_x": 2, "binning_y": 2}
    x, y = read_camera(written(tmp_path, message)).camera.xy(torch.float64)
    for fine, coarse in zip(WANTED.camera.xy(torch.float64), (x, y), strict=True):
        torch.testing.assert_close(torch.nn.functional.avg_pool2d(fine[None], 2)[0], coarse)


def smooth_grid(xy: np.ndarray) -> np.ndarray:
    """A grid of bright lines in normalised coordinates (h, w, 2)."""
    return (0.5 + 0.25 * np.cos(40 * xy[..., 0]) + 0.25 * np.cos(40 * xy[..., 1])).astype(
        np.float32
    )


def bent(xy: np.ndarray) -> np.ndarray:
    """Where the lens shows what a perfect one shows at `xy` (OpenCV's documented formula)."""
    x, y = xy[..., 0], xy[..., 1]
    k1, k2, p1, p2, k3 = D
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def test_distortion_is_undone_once() -> None:
    camera = WANTED.camera
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    pixels, matrix = np.stack([u, v], -1), np.array(K)
    straight = (pixels - matrix[:2, 2]) / (matrix[0, 0], matrix[1, 1])
    seen = straight.copy()
    for _ in range(30):  # the inverse, by fixed-point iteration
        seen += straight - bent(seen)
    assert np.abs(bent(seen) - straight).max() < 1e-6
    taken, wanted = (
        torch.from_numpy(smooth_grid(seen))[None],
        torch.from_numpy(smooth_grid(straight))[None],
    )
    found = WANTED.rectify(taken, "the picture")
    inside = (slice(None), slice(40, -40), slice(40, -40))
    assert (taken[inside] - wanted[inside]).abs().max() > 0.3, "the lens does bend the grid"
    assert (found[inside] - wanted[inside]).abs().max() < 0.02
    perfect = CalibratedCamera(camera)
    assert torch.equal(perfect.rectify(found, "the picture"), found), "and nothing is left to undo"


def test_rectify_wants_the_cameras_size() -> None:
    with pytest.raises(
        InputError, match="the picture is 20 x 10 pixels, the camera's pictures are 640 x 480"
    ):
        WANTED.rectify(torch.zeros(1, 10, 20), "the picture")
