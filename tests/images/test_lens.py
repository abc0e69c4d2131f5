"""OpenCV's polynomial lens: which coefficients are a lens over the whole picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.camera_file import CalibratedCamera, read_camera, write_camera
from deepservo.images.lens import bent, fold

WIDE = Camera(640, 480, 300.0, 300.0, 319.5, 239.5)  # its corners at a radius of 1.33
USUAL = Camera(640, 480, 520.0, 521.0, 319.0, 241.0)  # 0.77

# Calibrations as people have published them: webcams, automotive, wide angles, depth cameras, a
# pincushion.
REAL = {
    "webcam": (
        Camera(640, 480, 535.9, 535.9, 342.3, 235.6),
        (-0.2663, -0.0386, 0.0018, -0.0003, 0.2384),
    ),
    "Kinect": (
        Camera(640, 480, 517.3, 516.5, 318.6, 255.3),
        (0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    ),
    "drone": (
        Camera(752, 480, 458.7, 457.3, 367.2, 248.4),
        (-0.2834, 0.07396, 0.0001936, 1.762e-5),
    ),
    "car": (
        Camera(1392, 512, 984.2, 980.8, 690.0, 233.2),
        (-0.3729, 0.2037, 0.002219, 0.001384, -0.07233),
    ),
    "wide": (WIDE, (-0.30, 0.09, 0.0, 0.0, -0.012)),
    "rational": (
        Camera(1280, 720, 605.0, 605.0, 637.0, 366.0),
        (0.46, -2.4, 0.0005, -0.0001, 1.45, 0.34, -2.25, 1.39),
    ),
    "pincushion": (WIDE, (0.1, 0.02, 0.0, 0.0)),
    "pincushion that folds beside the picture": (WIDE, (1.0, -0.2, 0.0, 0.0)),
    "thin prism": (USUAL, (0.1, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.001, 0.002, 0.003, 0.001)),
    "tilted": (USUAL, (0.1, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.02)),
    "barrel that folds outside": (USUAL, (-0.5, 0.0, 0.0, 0.0)),  # at 0.816
    "perfect": (WIDE, (0.0,) * 5),
    "none": (WIDE, ()),
}


@pytest.mark.parametrize("name", REAL)
def test_lenses_that_are_lenses(name: str) -> None:
    assert fold(*REAL[name]) is None


FOLDED = {
    "barrel": (WIDE, (-0.5, 0.0, 0.0, 0.0), (1 / 1.5) ** 0.5),
    "strong barrel": (USUAL, (-1.0, 0.0, 0.0, 0.0), (1 / 3) ** 0.5),
    "second order": (WIDE, (0.0, -0.2, 0.0, 0.0), 1.0),
    "third order": (USUAL, (0.0, 0.0, 0.0, 0.0, -5.0), (1 / 35) ** (1 / 6)),
    "pincushion, then back": (
        WIDE,
        (0.1, -0.2, 0.0, 0.0),
        ((0.3 + (0.09 + 4.0) ** 0.5) / 2) ** 0.5,
    ),
    "pole": (USUAL, (0.0, 0.0, 0.0, 0.0, 0.0, -3.0, 0.0, 0.0), (1 / 3) ** 0.5),
    "pole of the second order": (WIDE, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0), 1.0),
    "not centred": (
        Camera(640, 480, 520.0, 521.0, 100.0, 241.0),
        (-0.5, 0.0, 0.0, 0.0),
        (1 / 1.5) ** 0.5,
    ),
    "cut away from the centre": (
        Camera(640, 480, 520.0, 521.0, -100.0, 241.0),
        (-0.5, 0.0, 0.0, 0.0),
        (1 / 1.5) ** 0.5,
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_where_a_polynomial_folds_back(name: str) -> None:
    camera, distortion, radius = FOLDED[name]
    assert fold(camera, distortion) == pytest.approx(radius, rel=0.02)


def test_tangential_terms_fold_too() -> None:
    radius = fold(USUAL, (0.0, 0.0, 0.5, 0.0))
    assert radius is not None
    assert 1 / 3 < radius < 0.35, "straight up, where 1 + 6 p1 y is 0"


@pytest.mark.parametrize("k1", [-1e300, 1e300, -1e9])
def test_no_number_is_too_large(k1: float, recwarn: pytest.WarningsRecorder) -> None:
    fold(USUAL, (k1, k1, 0.0, 0.0, k1))
    assert not recwarn


def test_the_map_is_opencvs_and_its_determinant_that_maps() -> None:
    xy, distortion, eps = (
        np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2)),
        (-0.25, 0.08, 0.01, -0.02, 0.01),
        1e-6,
    )
    x, y = xy.T
    r2 = x * x + y * y
    radial = 1 + r2 * (-0.25 + r2 * (0.08 + r2 * 0.01))
    found, determinant = bent(xy, distortion)
    assert np.allclose(found[:, 0], x * radial + 0.02 * x * y - 0.02 * (r2 + 2 * x * x))
    assert np.allclose(found[:, 1], y * radial + 0.01 * (r2 + 2 * y * y) - 0.04 * x * y)
    by_x, by_y = ((bent(xy + step, distortion)[0] - found) / eps for step in ((eps, 0), (0, eps)))
    assert np.allclose(determinant, by_x[:, 0] * by_y[:, 1] - by_x[:, 1] * by_y[:, 0], atol=1e-4)


def test_a_folded_lens_is_refused_with_the_radius(tmp_path: Path) -> None:
    write_camera(tmp_path / "camera.yaml", CalibratedCamera(WIDE, (-0.5, 0.0, 0.0, 0.0)))
    with pytest.raises(
        InputError,
        match=r"camera.yaml: the lens's polynomial folds back .* 245 pixels .*\(radius 0.817\); "
        r"calibrate",
    ):
        read_camera(tmp_path / "camera.yaml")


def test_what_is_not_refused_shows_every_place_once() -> None:
    """A picture of coordinates is distorted and undistorted: the coordinates grow along every line
    of the picture.
    """
    for camera, distortion in REAL.values():
        v, u = torch.meshgrid(
            torch.linspace(0, 1, camera.height), torch.linspace(0, 1, camera.width), indexing="ij"
        )
        straight = CalibratedCamera(camera, distortion).rectify(torch.stack([u, v]), "the picture")
        across, down = straight[0].diff(dim=1), straight[1].diff(dim=0)
        assert (across[~across.isnan()] > -1e-4).all()
        assert (down[~down.isnan()] > -1e-4).all()
