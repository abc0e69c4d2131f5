"""Input pictures: files and arrays of any kind as float32 (B, C, H, W) in [0, 1]."""

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.picture_files import decode

MIN_SIDE = 32  # px: smaller pictures have too little texture for photometric methods
MIN_SEEN_SHARE = 0.25  # share of a picture's pixels that must be seen (not NaN)
CAMERA_BITS = (8, 10, 12)  # of cameras whose levels are saved in 16 bits
# scikit-image's pictures that the tables use; OFFERED has others with little texture.
BUNDLED = ("coffee", "astronaut", "chelsea", "moon", "page")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
OFFERED = (*BUNDLED, "clock", "grass", "brick")
LUMA = torch.tensor([0.299, 0.587, 0.114])  # weights of red, green and blue in a grey level


def read_picture(path: str | Path, colour: bool = False) -> Float[Tensor, "c h w"]:
    """The grey levels (1, H, W) in [0, 1] of a picture file, or with `colour` (3, H, W).

    The file is grey, RGB or RGBA, which is put over white, of 8 or 16 bits.
    Raises InputError when the file is missing, cannot be decoded, is damaged, is under 32 x 32,
    needs more memory than there is, or has the levels of a camera of 10 or 12 bits in 16.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; give the path of a PNG, JPEG, TIFF or WebP picture"
        )
    try:
        data = decode(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give a picture file that you "
            "may read"
        ) from None
    _check_bits(data, str(path))
    return _check_size(_levels(data, str(path), colour), str(path))


def read_texture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file of any size as a texture; InputError as of `read_picture`."""
    data = decode(path)
    _check_bits(data, str(path))
    levels = 255 * _levels(data, str(path), colour=True)
    return levels.round().byte().permute(1, 2, 0).contiguous().numpy()


def grey(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Grey levels of pictures of one channel or of three."""
    return images if images.shape[1] == 1 else torch.einsum("bchw,c->bhw", images, LUMA)[:, None]


def files_in(folder: Path) -> list[Path]:
    """The picture files of a folder in the order of their names, without hidden ones (`.name`).

    Raises InputError where there is none.
    """
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise InputError(
            f"{folder}: holds no picture; give a folder of {', '.join(SUFFIXES)} files"
        )
    return found


def bundled(name: str) -> Float[Tensor, "1 h w"]:
    """A picture of scikit-image in grey, cropped about its centre to 4:3.

    Raises InputError, with the names, where there is no such picture.
    """
    import skimage.data  # its import costs a tenth of a second that most commands need not pay

    if name not in OFFERED:
        raise InputError(
            f"{name!r} is not a bundled picture; choose one of {', '.join(OFFERED)}, or give a file"
        )
    picture = _levels(getattr(skimage.data, name)(), name)
    h, w = picture.shape[1:]
    if 3 * w > 4 * h:
        crop = round(h * 4 / 3)
        return picture[:, :, (w - crop) // 2 : (w - crop) // 2 + crop].contiguous()
    crop = round(w * 3 / 4)
    return picture[:, (h - crop) // 2 : (h - crop) // 2 + crop].contiguous()


def as_images(
    image: object, camera: Camera, what: str, colour: bool = False
) -> Float[Tensor, "b c h w"]:
    """Pictures as float32 (B, 1, H, W) of `camera`, or (B, 3, H, W) with `colour`.

    image: (B, C, H, W) floats in [0, 1], NaN for unseen pixels, or (H, W[, C]) uint8; a tensor or
    an array. Raises InputError, naming `what`, for another shape or size, values outside [0, 1], or
    where fewer pixels than MIN_SEEN_SHARE are seen.
    """
    if isinstance(image, Tensor) and not image.is_floating_point():
        image = image.numpy(force=True)
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":
        image = torch.from_numpy(np.array(image, np.float32))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        images = _levels(image, what, colour)[None]
    elif isinstance(image, Tensor) and image.ndim == 4 and image.shape[1] in (1, 3) and len(image):
        images = image.float()
        low, high = torch.aminmax(images)
        if low.isnan():
            images = _seen(images, what)
            low, high = torch.aminmax(images.nan_to_num(0.5, math.inf, -math.inf))
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise InputError(
                f"{what}: values must lie in [0, 1] and be finite, these range from {low:.3g} to "
                f"{high:.3g}"
            )
        if colour:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] == 3:
            images = (images * LUMA[:, None, None]).sum(1, keepdim=True)
    elif isinstance(image, Tensor | np.ndarray):
        found = f"{tuple(image.shape)} {image.dtype}"
        raise InputError(
            f"{what}: expected (B, 1 or 3, H, W) floats in [0, 1] or (H, W[, C]) uint8, got {found}"
        )
    else:
        raise InputError(
            f"{what}: expected a torch tensor or a NumPy array, got {type(image).__name__}"
        )
    if images.shape[-2:] != (camera.height, camera.width):
        size = f"{images.shape[-1]} x {images.shape[-2]}"
        wanted = f"{camera.width} x {camera.height}"
        raise InputError(
            f"{what} is {size} pixels, the camera's pictures are {wanted}; resize it or give its "
            "camera"
        )
    return images


def _seen(images: Float[Tensor, "b c h w"], what: str) -> Float[Tensor, "b c h w"]:
    """Pictures whose NaN pixels are NaN in every channel; InputError where too few are seen."""
    unseen = images.isnan().any(1, keepdim=True)
    share = 1 - float(unseen.float().mean((1, 2, 3)).max())
    if share < MIN_SEEN_SHARE:
        raise InputError(
            f"{what}: values must lie in [0, 1] and be finite; NaN stands for a pixel that shows "
            f"nothing, and {100 * share:.0f} % show "
            f"something where at least {100 * MIN_SEEN_SHARE:.0f} % must"
        )
    return images.masked_fill(unseen, torch.nan)


def _levels(data: np.ndarray, what: str, colour: bool = False) -> Float[Tensor, "c h w"]:
    """Float32 levels (1, H, W) in [0, 1], or (3, H, W) with `colour`, of pixels (H, W[, 1 to 4]).

    The pixels are grey or RGB and perhaps alpha: unsigned integers, booleans or floats in [0, 1].
    """
    if data.ndim == 3 and data.shape[2] == 1:
        data = data[..., 0]
    if data.ndim not in (2, 3) or (data.ndim == 3 and data.shape[2] not in (2, 3, 4)):
        raise InputError(f"{what}: a picture of shape {data.shape} is neither grey, RGB nor RGBA")
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            values = torch.from_numpy(data.astype(np.float32))
    elif data.dtype.kind in "bu":
        values = torch.from_numpy(data.astype(np.float32)) / (
            np.iinfo(data.dtype).max if data.dtype.kind == "u" else 1
        )
    else:
        raise InputError(
            f"{what}: pixels of type {data.dtype} are not supported; save the picture with 8 or "
            "16 bits"
        )
    if not ((values >= -1e-3) & (values <= 1 + 1e-3)).all():  # also catches NaN
        raise InputError(
            f"{what}: values must lie in [0, 1] and be finite; save the picture with 8 or 16 bits"
        )
    values = values if values.ndim == 3 else values[..., None]
    alpha = values[..., -1:] if values.shape[2] in (2, 4) else torch.ones(1)
    shown = (
        values[..., :3]
        if values.shape[2] >= 3
        else values[..., :1].expand(-1, -1, 3 if colour else 1)
    )
    if shown.shape[2] == 3 and not colour:
        shown = (shown @ LUMA)[..., None]
    return (shown * alpha + (1 - alpha)).clamp(0, 1).permute(2, 0, 1).contiguous()


def _check_bits(data: np.ndarray, what: str) -> None:
    """InputError where 16 bits hold the levels of a camera of 8, 10 or 12.

    The picture would be nearly black.
    """
    if data.dtype != np.uint16:
        return
    most = int(data.max())
    bits = next((bits for bits in CAMERA_BITS if 0 < most < 2**bits), None)
    if bits is not None:
        raise InputError(
            f"{what}: its 16-bit levels end at {most} of 65535, as those of a {bits}-bit camera "
            f"do, and fill 1/{2 ** (16 - bits)} of the "
            f"range; multiply them by {2 ** (16 - bits)}, or, if the picture is that dark, save "
            "it with 8 bits"
        )


def _check_size(picture: Tensor, what: str) -> Tensor:
    """The picture; InputError where it is too small."""
    h, w = picture.shape[-2:]
    if min(h, w) < MIN_SIDE:
        raise InputError(
            f"{what}: {w} x {h} pixels is too small to servo on; give a picture of at least "
            f"{MIN_SIDE} x {MIN_SIDE}"
        )
    return picture
