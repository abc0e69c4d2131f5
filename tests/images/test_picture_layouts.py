"""Pictures of every layout are read: channels, bits, orientation, compression, order of bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from deepservo.errors import InputError
from deepservo.images.pictures import read_picture
from picture_bytes import GREY8, GREY16, RGBA8, RGBA16, H, W, saved, shown, smooth, turned

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
def test_a_tiff_is_read_by_its_tags(tmp_path: Path, name: str) -> None:
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
