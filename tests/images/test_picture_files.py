"""Picture files of every layout are read as they say they are, or refused by name: the tests make
each file themselves.
"""

import contextlib
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from deepservo.errors import InputError
from deepservo.images.picture_files import decode
from deepservo.images.pictures import LUMA, files_in, read_picture
from deepservo.system import memory

H, W = 40, 56
RNG = np.random.default_rng(3)
LEVELS = {8: 255, 16: 65535}


def smooth(bits: int, channels: int) -> np.ndarray:
    """Blotches, so that a JPEG of them is nearly exact; unlike themselves turned or mirrored.
    Alpha, where there is any, is its own.
    """
    values = cv2.GaussianBlur(RNG.standard_normal((H, W, channels)), None, 5).reshape(
        H, W, channels
    )
    values = (values - values.min()) / np.ptp(values)
    return (values * LEVELS[bits]).astype(np.uint8 if bits == 8 else np.uint16)


def shown(pixels: np.ndarray) -> torch.Tensor:
    """The grey levels of such a picture over white, the slow plain way."""
    values = torch.from_numpy(pixels.astype(np.float64) / LEVELS[8 * pixels.dtype.itemsize])
    colours, alpha = (
        values[..., : (1 if values.shape[2] < 3 else 3)],
        values[..., -1:] if values.shape[2] in (2, 4) else 1.0,
    )
    grey = colours @ LUMA.double()[:, None] if colours.shape[2] == 3 else colours
    return (grey * alpha + 1 - alpha)[..., 0].float()


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as it must be stored to be shown as `pixels` when a reader obeys the orientation:
    Pillow's own words for each.
    """
    undone: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1), 6: np.rot90, 7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }  # fmt: skip
    return np.ascontiguousarray(undone[orientation](pixels))


def png(pixels: np.ndarray, extra: bytes = b"") -> bytes:
    """A PNG file of 1 to 4 channels of 8 or 16 bits, put together by hand; `extra` chunks come
    before the pixels.
    """
    h, w, channels = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8) if pixels.dtype == np.uint16 else pixels
    raw = b"".join(b"\0" + row.tobytes() for row in rows.reshape(h, -1))
    head = struct.pack(
        ">IIBBBBB", w, h, 8 * pixels.dtype.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif(orientation: int) -> bytes:
    """Exif data with an orientation alone."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def saved(pixels: np.ndarray, kind: str, orientation: int) -> bytes:
    """A file of that kind which says how it is to be turned."""
    if kind == "png":
        return png(pixels, chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0")))
    file = BytesIO()
    if kind == "tiff":
        described: dict[str, Any] = {"photometric": "rgb" if pixels.shape[2] > 2 else "minisblack"}
        described |= {"extrasamples": ["unassalpha"]} if pixels.shape[2] in (2, 4) else {}
        tifffile.imwrite(
            file,
            pixels.squeeze(),
            extratags=[(274, "H", 1, orientation, True)],
            planarconfig="contig",
            **described,
        )
    else:
        image = Image.fromarray(pixels.squeeze(), {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]])
        image.save(
            file,
            kind,
            exif=exif(orientation),
            **({"quality": 100, "subsampling": 0} if kind == "jpeg" else {"lossless": True}),
        )
    return file.getvalue()


LAYOUTS = [
    (kind, bits, channels)
    for kind in ("png", "tiff")
    for bits in (8, 16)
    for channels in (1, 2, 3, 4)
]
LAYOUTS += [("jpeg", 8, 1), ("jpeg", 8, 3), ("webp", 8, 3), ("webp", 8, 4)]


@pytest.mark.parametrize(("kind", "bits", "channels"), LAYOUTS)
def test_orientation_is_obeyed_in_every_layout(
    tmp_path: Path, kind: str, bits: int, channels: int
) -> None:
    pixels = smooth(bits, channels)
    for orientation in range(1, 9):
        path = tmp_path / f"{orientation}.{kind}"
        path.write_bytes(saved(turned(pixels, orientation), kind, orientation))
        found = read_picture(path)[0]
        assert found.shape == (H, W) and (found - shown(pixels)).abs().max() < (
            0.03 if kind == "jpeg" else 2e-5
        ), f"orientation {orientation}"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_compressed_tiff_is_turned_once(
    tmp_path: Path, compression: str, orientation: int
) -> None:
    pixels = smooth(8, 3)
    Image.fromarray(turned(pixels, orientation)).save(
        tmp_path / "a.tif", compression=compression, tiffinfo={274: orientation}
    )
    assert (read_picture(tmp_path / "a.tif")[0] - shown(pixels)).abs().max() < 2e-5


RGBA8, RGBA16, GREY8, GREY16 = (
    smooth(8, 4),
    smooth(16, 4),
    smooth(8, 1)[..., 0],
    smooth(16, 1)[..., 0],
)
PREMULTIPLIED = np.concatenate(
    [
        (RGBA16[..., :3].astype(np.float64) * RGBA16[..., 3:] / 65535).round().astype(np.uint16),
        RGBA16[..., 3:],
    ],
    -1,
)
TIFFS: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    "white is zero": (255 - GREY8, {"photometric": "miniswhite"}, GREY8[..., None]),
    "white is zero, 16 bits": (65535 - GREY16, {"photometric": "miniswhite"}, GREY16[..., None]),
    "white is zero, one bit": (
        GREY8 < 128,
        {"photometric": "miniswhite"},
        np.where(GREY8 < 128, 0, 255).astype(np.uint8)[..., None],
    ),
    "planes": (
        np.moveaxis(RGBA8[..., :3], -1, 0),
        {"photometric": "rgb", "planarconfig": "separate"},
        RGBA8[..., :3],
    ),
    "planes, 16 bits": (
        np.moveaxis(RGBA16[..., :3], -1, 0),
        {"photometric": "rgb", "planarconfig": "separate"},
        RGBA16[..., :3],
    ),
    "planes and alpha": (
        np.moveaxis(RGBA16, -1, 0),
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]},
        RGBA16,
    ),
    "another channel, no alpha": (
        RGBA8,
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        RGBA8[..., :3],
    ),
    "grey and another channel": (
        RGBA8[..., :2],
        {"photometric": "minisblack", "extrasamples": ["unspecified"]},
        RGBA8[..., :1],
    ),
    "another channel and then alpha": (
        np.concatenate([RGBA8[..., :3], RGBA8[..., :1], RGBA8[..., 3:]], -1),
        {"photometric": "rgb", "extrasamples": ["unspecified", "unassalpha"]},
        RGBA8,
    ),
    "colours times alpha": (
        PREMULTIPLIED,
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        RGBA16,
    ),
    "deflate": (
        RGBA16,
        {"photometric": "rgb", "extrasamples": ["unassalpha"], "compression": "zlib"},
        RGBA16,
    ),
    "deflate by differences": (
        GREY16,
        {"photometric": "minisblack", "compression": "zlib", "predictor": True},
        GREY16[..., None],
    ),
    "tiles": (RGBA8[..., :3], {"photometric": "rgb", "tile": (16, 16)}, RGBA8[..., :3]),
    "the other byte order": (
        GREY16,
        {"photometric": "minisblack", "byteorder": ">"},
        GREY16[..., None],
    ),
    "big": (GREY16, {"photometric": "minisblack", "bigtiff": True}, GREY16[..., None]),
    "12 bits, as the file says": (
        GREY16 >> 4,
        {"photometric": "minisblack", "extratags": [(281, "H", 1, 4095, True)]},
        ((GREY16 >> 4)[..., None] * (65535 / 4095)).astype(np.uint16),
    ),
}


@pytest.mark.parametrize("name", TIFFS)
def test_a_tiff_is_what_it_says(tmp_path: Path, name: str) -> None:
    stored, options, wanted = TIFFS[name]
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    assert (read_picture(tmp_path / "a.tif")[0] - shown(wanted)).abs().max() < 1e-4


def test_a_palette_and_the_first_of_several_pictures(tmp_path: Path) -> None:
    paletted = Image.fromarray(RGBA8[..., :3]).quantize(16)
    paletted.save(tmp_path / "p.tif")
    assert (
        read_picture(tmp_path / "p.tif")[0] - shown(np.asarray(paletted.convert("RGB")))
    ).abs().max() < 3e-3
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(GREY8, photometric="minisblack")
        file.write(255 - GREY8, photometric="minisblack")
    assert torch.equal(read_picture(tmp_path / "two.tif")[0], shown(GREY8[..., None]))


@pytest.mark.parametrize(
    "photometric", [("separated", 4, "CMYK"), ("cielab", 3, "CIE L"), ("cfa", 1, "colour filter")]
)
def test_a_tiff_in_other_colours_is_refused_by_name(
    tmp_path: Path, photometric: tuple[str, int, str]
) -> None:
    kind, channels, named = photometric
    tifffile.imwrite(
        tmp_path / "a.tif", smooth(8, channels).squeeze(), photometric=kind, planarconfig="contig"
    )
    with pytest.raises(
        InputError, match=f"a.tif: is a TIFF file in .*{named}.*; save it as grey or RGB"
    ):
        read_picture(tmp_path / "a.tif")


# Damage


def files(kind: str) -> bytes:
    if kind == "png16":
        return png(smooth(16, 3))
    return saved(smooth(8, 3), kind, 1)


def spoiled(data: bytes, how: str, kind: str) -> bytes:
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
    path.write_bytes(spoiled(files(kind), how, kind))
    if how == "changed" and kind in (
        "tiff",
        "webp",
    ):  # there is no checksum: other bytes are another picture, or none
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


def test_a_png_with_a_colour_profile_that_libpng_grumbles_about_is_whole(
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
def test_a_camera_of_fewer_bits_is_told(tmp_path: Path, bits: int, share: int, kind: str) -> None:
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
    ), "as high as they belong"


def test_a_black_picture_of_16_bits_is_no_camera_of_fewer(tmp_path: Path) -> None:
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
