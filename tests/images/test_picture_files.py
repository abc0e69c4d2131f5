"""Picture files that are damaged, have too few bits or need too much memory are refused."""

import contextlib
import struct
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from deepservo.errors import InputError
from deepservo.images.picture_files import decode
from deepservo.images.pictures import files_in, read_picture
from deepservo.system import memory
from picture_bytes import GREY8, GREY16, H, W, chunk, png, saved, shown, smooth

# Damage


def files(kind: str) -> bytes:
    if kind == "png16":
        return png(smooth(16, 3))
    return saved(smooth(8, 3), kind, 1)


def damaged(data: bytes, how: str, kind: str) -> bytes:
    if how == "cut":
        return data[: len(data) * 2 // 3]
    if how == "changed":
        at = len(data) * 3 // 5
        return data[:at] + bytes(b ^ 0x5A for b in data[at : at + 24]) + data[at + 24 :]
    return data[: len(data) // 2] + data[len(data) * 4 // 5 :]


@pytest.mark.parametrize("how", ["cut", "changed", "shortened"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "png16", "webp", "tiff"])
def test_a_damaged_picture_is_refused_and_nothing_else_is_said(
    tmp_path: Path, kind: str, how: str, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(damaged(files(kind), how, kind))
    if how == "changed" and kind in (
        "tiff",
        "webp",
    ):  # without a checksum other bytes may be another valid picture
        with contextlib.suppress(InputError):
            decode(path)
    else:
        with pytest.raises(InputError, match=r"a\..* cannot be read as a picture"):
            decode(path)
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_whose_restarts_are_wrong_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    data = bytearray(
        cv2.imencode(".jpg", smooth(8, 3), [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes()
    )
    at = data.index(b"\xff\xd1")
    del data[at - 6 : at]
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        decode(tmp_path / "a.jpg")
    assert capfd.readouterr() == ("", "")


def test_a_tiff_that_says_it_has_no_rows_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", smooth(16, 1).squeeze(), photometric="minisblack", metadata=None
    )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags["ImageLength"].overwrite(0)
    with pytest.raises(InputError, match="the file is damaged"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.filterwarnings("error")
def test_levels_too_large_for_single_precision_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((40, 40), 1e300), photometric="minisblack")
    with pytest.raises(InputError, match=r"values must lie in \[0, 1\] and be finite"):
        read_picture(tmp_path / "a.tif")


def test_a_whole_file_with_more_behind_it_is_read(tmp_path: Path) -> None:
    for kind in ("jpeg", "png"):
        (tmp_path / kind).write_bytes(files(kind) + b"\0" * 100 + b"more")
        assert decode(tmp_path / kind).shape == (H, W, 3)


def test_a_png_with_a_colour_profile_that_libpng_warns_about_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile at all"))
    (tmp_path / "a.png").write_bytes(
        png(smooth(8, 3), profile + chunk(b"tIME", bytes(7)) + chunk(b"oFFs", bytes(3)))
    )
    assert decode(tmp_path / "a.png").shape == (H, W, 3)
    assert capfd.readouterr() == ("", "")


# Bits


@pytest.mark.parametrize(("bits", "share"), [(8, 256), (10, 64), (12, 16)])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_camera_of_fewer_bits_is_recognised(
    tmp_path: Path, bits: int, share: int, kind: str
) -> None:
    levels = GREY16 >> (16 - bits)
    assert cv2.imwrite(str(tmp_path / f"a.{kind}"), levels)
    with pytest.raises(
        InputError,
        match=rf"end at {levels.max()} of 65535, as those of a {bits}-bit camera do, and fill "
        rf"1/{share} of",
    ):
        read_picture(tmp_path / f"a.{kind}")
    assert cv2.imwrite(str(tmp_path / f"b.{kind}"), levels << (16 - bits))
    assert (read_picture(tmp_path / f"b.{kind}")[0] - shown(GREY16[..., None])).abs().max() < 2 ** (
        1 - bits
    ), "shifted to all 16 bits"


def test_a_black_picture_of_16_bits_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((H, W), np.uint16))
    assert not read_picture(tmp_path / "a.png").any()


# Folders and memory


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", ".hidden.png", "._a.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in files_in(tmp_path)] == ["a.jpg", "b.png"]
    for name in ("b.png", "a.jpg"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="holds no picture"):
        files_in(tmp_path)


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp"])
def test_a_picture_too_large_for_memory_is_refused_from_its_first_bytes(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    if kind == "png":
        data = bytearray(png(smooth(8, 1)))
        data[16:24] = struct.pack(">II", 9000, 9000)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif kind == "tiff":
        file = BytesIO()
        tifffile.imwrite(file, GREY8, photometric="minisblack")
        data = bytearray(file.getvalue())
        for old in (struct.pack("<HHII", 256, 4, 1, W), struct.pack("<HHII", 257, 4, 1, H)):
            at = data.index(old)
            data[at : at + 12] = old[:8] + struct.pack("<I", 9000)
    else:
        data = bytearray(cv2.imencode(".bmp", GREY8)[1].tobytes())
        data[18:26] = struct.pack("<ii", 9000, 9000)
    (tmp_path / f"a.{kind}").write_bytes(data)
    with pytest.raises(
        InputError,
        match=r"9000 x 9000 pixels needs 1.9 GB of memory, and 1.0 GB are free; make it smaller",
    ):
        decode(tmp_path / f"a.{kind}")
