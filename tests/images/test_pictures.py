"""Input pictures: every kind of file and array becomes the same grey levels, exactly."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.pictures import BUNDLED, LUMA, as_images, bundled, read_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 48), dtype=np.uint8)
RGB = RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (40, 48, 1), dtype=np.uint8)
CAMERA = Camera(48, 40, 50.0, 50.0, 23.5, 19.5)


def luma(rgb: np.ndarray) -> torch.Tensor:
    """The grey levels of red, green, blue in [0, 1]."""
    return torch.from_numpy(rgb.astype(np.float64) @ LUMA.double().numpy()).float()


def write(path: Path, pixels: np.ndarray) -> Path:
    """Write RGB or RGBA (not OpenCV's order)."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(
            pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
        )
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey(tmp_path: Path, suffix: str) -> None:
    found = read_picture(write(tmp_path / f"a{suffix}", GREY))
    assert found.shape == (1, 40, 48)
    assert found.dtype == torch.float32
    assert torch.equal(found[0], torch.from_numpy(GREY).float() / 255)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_rgb(tmp_path: Path, suffix: str) -> None:
    torch.testing.assert_close(
        read_picture(write(tmp_path / f"a{suffix}", RGB))[0], luma(RGB / 255), atol=1e-6, rtol=0
    )


def test_rgba_lies_over_white(tmp_path: Path) -> None:
    found = read_picture(write(tmp_path / "a.png", np.concatenate([RGB, ALPHA], -1)))
    alpha = torch.from_numpy(ALPHA[..., 0]).float() / 255
    torch.testing.assert_close(found[0], luma(RGB / 255) * alpha + 1 - alpha, atol=1e-6, rtol=0)


def test_sixteen_bits_keep_their_depth(tmp_path: Path) -> None:
    deep = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 34
    found = read_picture(write(tmp_path / "a.png", deep))
    assert torch.equal(found[0], torch.from_numpy(deep.astype(np.float32)) / 65535)
    assert len(found.unique()) == deep.size, "no level is lost to 8 bits"
    colour = RNG.integers(0, 65536, (40, 48, 3), dtype=np.uint16)
    torch.testing.assert_close(
        read_picture(write(tmp_path / "b.png", colour))[0], luma(colour / 65535), atol=1e-6, rtol=0
    )


def test_palette(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    paletted = image.fromarray(RGB).quantize(16)
    paletted.save(tmp_path / "a.png")
    torch.testing.assert_close(
        read_picture(tmp_path / "a.png")[0],
        luma(np.asarray(paletted.convert("RGB")) / 255),
        atol=1e-6,
        rtol=0,
    )


def test_one_bit(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(GREY > 127).save(tmp_path / "a.png")
    assert torch.equal(read_picture(tmp_path / "a.png")[0], torch.from_numpy(GREY > 127).float())


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    smooth = cv2.GaussianBlur(GREY, None, 6)
    exif = image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise by 90 deg
    image.fromarray(smooth).save(tmp_path / "a.jpg", quality=100, exif=exif)
    found = read_picture(tmp_path / "a.jpg")
    assert found.shape == (1, 48, 40)
    torch.testing.assert_close(
        found[0], torch.from_numpy(np.rot90(smooth, -1).astype(np.float32)) / 255, atol=0.02, rtol=0
    )


def test_float_files(tmp_path: Path) -> None:
    values = RNG.random((40, 48)).astype(np.float32)
    assert torch.equal(
        read_picture(write(tmp_path / "a.tiff", values))[0], torch.from_numpy(values)
    )
    with pytest.raises(InputError, match=r"a\.tiff.*\[0, 1\]"):
        read_picture(write(tmp_path / "a.tiff", values * 255))
    values[3, 4] = np.nan
    with pytest.raises(InputError, match=r"a\.tiff.*finite"):
        read_picture(write(tmp_path / "a.tiff", values))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_half_a_file_is_refused(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / f"a{suffix}", RGB)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_picture(path)
    assert capfd.readouterr().err == "", "OpenCV prints nothing"


def test_smallest(tmp_path: Path) -> None:
    assert read_picture(write(tmp_path / "a.png", GREY[:32, :32])).shape == (1, 32, 32)
    with pytest.raises(InputError, match="31 x 40 pixels is too small"):
        read_picture(write(tmp_path / "a.png", GREY[:, :31]))


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_are_four_to_three(name: str) -> None:
    found = bundled(name)
    assert found.shape[0] == 1
    assert abs(found.shape[2] / found.shape[1] - 4 / 3) < 0.01
    assert 0 <= found.min() < found.max() <= 1


ARRAYS = {
    "uint8 grey": GREY,
    "uint8 grey with an axis": GREY[..., None],
    "uint8 rgb": RGB,
    "uint8 rgba": np.concatenate([RGB, np.full_like(ALPHA, 255)], -1),
    "uint8 rgb from bgr, backwards in memory": np.ascontiguousarray(RGB[..., ::-1])[..., ::-1],
    "uint8 tensor": torch.from_numpy(RGB),
    "float32 tensor": torch.from_numpy(RGB).permute(2, 0, 1)[None] / 255,
    "float64 array": np.moveaxis(RGB, -1, 0)[None] / 255,
    "float64 array, backwards in memory": np.moveaxis(np.ascontiguousarray(RGB[::-1])[::-1], -1, 0)[
        None
    ]
    / 255,
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_as_images_accepts(kind: str) -> None:
    found = as_images(ARRAYS[kind], CAMERA, "the goal picture")
    wanted = torch.from_numpy(GREY).float() / 255 if "grey" in kind else luma(RGB / 255)
    assert found.shape == (1, 1, 40, 48)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0, 0], wanted, atol=1e-6, rtol=0)


def test_as_images_keeps_a_batch_and_does_not_touch_it() -> None:
    batch = torch.rand(5, 1, 40, 48)
    before = batch.clone()
    assert torch.equal(as_images(batch, CAMERA, "the goal picture"), before)
    read_only = np.full((2, 3, 40, 48), 0.25)
    read_only.flags.writeable = False
    assert as_images(read_only, CAMERA, "the goal picture").shape == (2, 1, 40, 48)


REFUSED = {
    "a list": ([[0.0]], "expected a torch tensor or a NumPy array, got list"),
    "a path": ("goal.png", "got str"),
    "three axes of floats": (torch.rand(1, 40, 48), "expected"),
    "two channels": (torch.rand(1, 2, 40, 48), "expected"),
    "no picture": (torch.rand(0, 1, 40, 48), "expected"),
    "integers in a batch": (torch.zeros(1, 1, 40, 48, dtype=torch.int64), "expected"),
    "text": (np.array([["a"]]), "expected"),
    "five channels": (np.zeros((40, 48, 5), np.uint8), "neither grey, RGB nor RGBA"),
    "bytes as floats": (torch.full((1, 1, 40, 48), 255.0), r"\[0, 1\]"),
    "below zero": (torch.full((1, 1, 40, 48), -0.5), r"\[0, 1\]"),
    "NaN": (torch.full((1, 1, 40, 48), torch.nan), "finite"),
    "another size": (torch.rand(1, 1, 48, 40), "40 x 48 pixels, the camera's pictures are 48 x 40"),
    "another size of bytes": (GREY.T, "40 x 48 pixels, the camera's pictures are 48 x 40"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_as_images_refuses(kind: str) -> None:
    image, why = REFUSED[kind]
    with pytest.raises(InputError, match=why) as refusal:
        as_images(image, CAMERA, "the goal picture")
    assert str(refusal.value).startswith("the goal picture")
