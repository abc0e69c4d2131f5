"""Pictures are rectified: binning, a region of interest and the lens's distortion are undone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from calibration_files import FLAT, MESSAGE, WANTED, D, K, written
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.camera_file import CalibratedCamera, read_camera


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
    """Where the lens shows what an ideal one shows at `xy` (OpenCV's documented formula)."""
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
    assert (taken[inside] - wanted[inside]).abs().max() > 0.3, "the lens distorts the grid"
    assert (found[inside] - wanted[inside]).abs().max() < 0.02
    perfect = CalibratedCamera(camera)
    assert torch.equal(perfect.rectify(found, "the picture"), found), "and no distortion is left"


def test_rectify_wants_the_cameras_size() -> None:
    with pytest.raises(
        InputError, match="the picture is 20 x 10 pixels, the camera's pictures are 640 x 480"
    ):
        WANTED.rectify(torch.zeros(1, 10, 20), "the picture")
