"""Camera files that cannot be used are refused with the reason."""

from pathlib import Path

import numpy as np
import pytest

from calibration_files import FLAT, ROI, ROS_FILE, SIZED, D, K, written
from deepservo.errors import InputError
from deepservo.images.camera_file import read_camera

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
