"""Depth from numbers, arrays and files: metres or millimetres, holes, other sizes, and mistakes."""

import cv2
import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.depth import as_depth, read_depth, resampled

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def two_surfaces() -> np.ndarray:
    """A box 0.3 m away in front of a slanted wall 0.5 m away, and a hole."""
    Z = 0.5 + 0.001 * np.arange(64) + np.zeros((48, 1))
    Z[10:30, 20:40] = 0.3
    Z[40:44, 5:9] = 0
    return Z


def test_a_number_a_map_and_nothing():
    assert as_depth(0.4, CAMERA) == (0.4, None) and as_depth(None, CAMERA) == (None, None)
    metres, Z = as_depth(two_surfaces(), CAMERA)
    assert Z.shape == (1, 48, 64) and bool(Z[0, 40:44, 5:9].isnan().all())
    assert metres == pytest.approx(np.median(two_surfaces()[two_surfaces() > 0]), abs=1e-6)
    assert float(Z[0, 0, 10]) == pytest.approx(0.51)


def test_whole_numbers_are_millimetres():
    in_mm = (1000 * two_surfaces()).round().astype(np.uint16)
    torch.testing.assert_close(
        as_depth(in_mm, CAMERA)[1], as_depth(in_mm / 1000, CAMERA)[1], equal_nan=True
    )


def test_files_of_metres_and_of_millimetres(tmp_path):
    Z = two_surfaces()
    np.save(tmp_path / "a.npy", Z)
    cv2.imwrite(str(tmp_path / "a.png"), (1000 * Z).round().astype(np.uint16))
    for name in ("a.npy", "a.png"):
        read = read_depth(tmp_path / name).numpy()
        assert np.isnan(read[40:44, 5:9]).all()
        assert np.nanmax(np.abs(read - np.where(Z > 0, Z, np.nan))) < 6e-4


@pytest.mark.parametrize("scale", [0.5, 2.0, 0.25])
def test_a_map_of_another_size_keeps_its_edges(scale):
    """No depth between the box and the wall, which nothing has, and none where nothing is known."""
    large = cv2.resize(two_surfaces(), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    Z = as_depth(large, CAMERA)[1][0].numpy()
    known = Z[~np.isnan(Z)]
    assert ((np.abs(known - 0.3) < 0.01) | (known > 0.49)).all() and known.min() > 0.29
    near = two_surfaces()
    same = ~np.isnan(Z) & (near > 0)
    assert np.median(np.abs(Z - near)[same]) < 2e-3 and same.mean() > 0.95


def test_a_slanted_surface_is_resampled_smoothly():
    Z = torch.linspace(0.5, 0.6, 16).expand(12, 16)
    fine = resampled(Z, 48, 64)
    slope = (fine[24, 8:-8] - fine[24, 7:-9]).numpy()
    assert slope.min() > 0.4 * slope.mean() and slope.max() < 2 * slope.mean()


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (np.full((48, 48), 0.5), "48 x 48 pixels and the camera's pictures are 64 x 48"),
        (np.full((48, 64), 600.0), "600 m away; are these millimetres"),
        (np.full((48, 64), np.nan), "is known nowhere"),
        (np.full((48, 64), -0.5), "3072 pixels are behind the camera"),
        (np.full((48, 64, 3, 1), 0.5), "metres, one number or \\(h, w\\)"),
        ("far", "far: no such file; give a number of metres"),
        ("nan", "positive number of metres"),
        ([[0.5, "far"]], "metres, one number or"),
        (0.0, "positive number of metres, not 0"),
    ],
)
def test_what_is_no_depth_is_refused(depth, words):
    with pytest.raises(InputError, match=words):
        as_depth(depth, CAMERA)


def test_files_that_are_no_depth_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "eight.png"), np.full((48, 64), 90, np.uint8))
    (tmp_path / "text.npy").write_text("0.5")
    np.save(tmp_path / "mm.npy", np.full((48, 64), 600.0))
    for name, words in (
        ("eight.png", "a picture of 8 bits"),
        ("text.npy", "cannot be read as an array"),
        ("none.npy", "no such file"),
        ("mm.npy", "are these millimetres"),
    ):
        with pytest.raises(InputError, match=words):
            read_depth(tmp_path / name)
