"""Camera files as OpenCV and ROS write them, and the distortion of the lens.

It is undone once, where pictures are read.
"""

import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.camera_text import check_origin, read_fields
from deepservo.images.lens import fold
from deepservo.images.pictures import MIN_SIDE
from deepservo.system.files import replacing

# Names of the same fields in files of OpenCV and ROS, across their versions and samples.
FIELD_NAMES = {
    "width": ("image_width", "width", "Image_Width", "imageWidth"),
    "height": ("image_height", "height", "Image_Height", "imageHeight"),
    "K": ("camera_matrix", "Camera_Matrix", "cameraMatrix", "K", "k"),
    "D": (
        "distortion_coefficients",
        "Distortion_Coefficients",
        "distortionCoefficients",
        "distortion_coeffs",
        "distCoeffs",
        "dist_coeffs",
        "dist_coeff",
        "D",
        "d",
    ),
    "size": ("cameraResolution", "camera_resolution", "resolution", "image_size", "imageSize"),
}
POLYNOMIAL_MODELS = (
    "",
    "none",
    "plumb_bob",
    "radtan",
    "radial_tangential",
    "rational_polynomial",
    "pinhole",
    "thin_prism",
)
MAX_SIDE = 32_767  # px: OpenCV undistorts no larger picture
MAX_NUMBERS = 30  # of a matrix or a lens
MODEL_FIELDS = ("distortion_model", "camera_model")
COEFFICIENT_COUNTS = (0, 4, 5, 8, 12, 14)  # of OpenCV's lens model
_short = reprlib.Repr()  # shows a file's values in error messages
_short.maxlevel = 1


@dataclass(frozen=True)
class CalibratedCamera:
    """A pinhole camera and its lens's distortion coefficients, in OpenCV's order.

    There are none where the file has no lens model.
    """

    camera: Camera
    distortion: tuple[float, ...] = ()

    def rectify(self, picture: Float[Tensor, "c h w"], what: str) -> Float[Tensor, "c h w"]:
        """The picture without distortion, NaN where the lens saw nothing.

        Raises InputError, with `what` for the picture, when its size is not the camera's.
        """
        h, w = picture.shape[1:]
        if (w, h) != (self.camera.width, self.camera.height):
            size = f"{self.camera.width} x {self.camera.height}"
            raise InputError(
                f"{what} is {w} x {h} pixels, the camera's pictures are {size}; give picture and "
                "camera file of one camera"
            )
        if not any(self.distortion):
            return picture
        u, v = self._taken_from()
        straight = [
            cv2.remap(level.numpy(), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for level in picture
        ]
        taken = (u >= 0) & (u <= w - 1) & (v >= 0) & (v <= h - 1)
        return torch.from_numpy(np.where(taken, straight, np.float32(np.nan))).clamp(0, 1)

    def rectify_depth(self, Z: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """The map of the camera's size without distortion, NaN where the lens saw nothing.

        Each pixel has the depth of the nearest one: depths on two sides of an edge are not mixed.
        """
        if not any(self.distortion):
            return Z
        u, v = self._taken_from()
        straight = cv2.remap(
            Z.numpy(),
            u,
            v,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float("nan"),
        )
        return torch.from_numpy(straight)

    def _taken_from(self) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """Where in the lens's picture each pixel of the rectified one lies: columns and rows."""
        K, size = self.camera.K.numpy(), (self.camera.width, self.camera.height)
        u, v = cv2.initUndistortRectifyMap(
            K, np.array(self.distortion), np.eye(3), K, size, cv2.CV_32FC1
        )
        return u, v


def read_camera(path: str | Path) -> CalibratedCamera:
    """The camera in a file of OpenCV (YAML, JSON, XML) or of ROS (`camera_info`, a calibration).

    With ROS's binning or region of interest it is the camera of the pictures themselves (REP 104).
    Raises InputError when the file cannot be read, a field is missing or wrong, or the lens model
    is not the polynomial one.
    """
    path = Path(path)
    fields = read_fields(path)
    found = {
        key: next((fields[n] for n in names if fields.get(n) is not None), None)
        for key, names in FIELD_NAMES.items()
    }
    if found["width"] is None and found["height"] is None:
        found["width"], found["height"] = _pair(found["size"])
    for key in ("width", "height", "K"):
        if found[key] is None:
            check_origin(fields, path)
            raise InputError(
                f"{path}: the field {' or '.join(FIELD_NAMES[key][:2])} is missing; calibrate "
                "again or add it"
            )
    models = _models(fields, path)
    K = _matrix(found["K"], path)
    D = _distortion(found["D"], fields, path)
    if "none" in models and any(D):
        raise InputError(
            f"{path}: the lens model is 'none', with coefficients that are not 0; name the model, "
            "or leave them away"
        )
    width, height = _size(found, path)
    try:
        camera = _of_pictures(fields, Camera(width, height, K[0], K[4], K[2], K[5]))
        _check_fold(camera, D)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return CalibratedCamera(camera, D)


def write_camera(path: Path, camera: CalibratedCamera) -> None:
    """Write a camera file as OpenCV does; `read_camera` reads it."""
    file = cv2.FileStorage(".yaml", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    file.write("image_width", camera.camera.width)
    file.write("image_height", camera.camera.height)
    file.write("camera_matrix", camera.camera.K.numpy())
    file.write("distortion_coefficients", np.array([camera.distortion or (0.0,) * 5]))
    text = file.releaseAndGetString()
    with replacing(path) as beside:
        beside.write_text(text)


def _models(fields: Mapping[str, Any], path: Path) -> list[str]:
    """The names of the file's lens models; InputError where one is not polynomial."""
    named = [fields[name] for name in MODEL_FIELDS if fields.get(name)]
    models = [
        re.sub(r"[ -]", "_", name.strip().lower()) if isinstance(name, str) else _short.repr(name)
        for name in named
    ]
    if fields.get("fisheye_model") and _whole(fields["fisheye_model"]) != 0:
        models.append("fisheye")
    if "xi" in fields:
        models.append("omnidirectional")
    other = [model for model in models if model not in POLYNOMIAL_MODELS]
    if other:
        raise InputError(
            f"{path}: the lens model {_short.repr(other[0])} is not supported; rectify the "
            "pictures and give the rectified camera"
        )
    return models


def _matrix(field: Any, path: Path) -> tuple[float, ...]:
    K = _numbers(field, path, "camera matrix")
    if len(K) != 9:
        raise InputError(
            f"{path}: the camera matrix has {len(K)} numbers, not 9; give it row by row"
        )
    if not any(K[:8]):  # ROS writes zeros for a camera that is not calibrated
        raise InputError(
            f"{path}: this camera is not calibrated: its focal lengths must be positive, and are "
            "0; calibrate it first"
        )
    if not (abs(K[1]) <= 1e-6 * abs(K[0]) and K[3] == K[6] == K[7] == 0 and K[8] == 1):
        raise InputError(
            f"{path}: the camera matrix {list(K)} is not fx 0 cx, 0 fy cy, 0 0 1; calibrate again "
            "without skew"
        )
    return K


def _distortion(field: Any, fields: Mapping[str, Any], path: Path) -> tuple[float, ...]:
    """The lens's coefficients, none where the file has none."""
    if field is None:
        unknown = [
            n
            for n, value in fields.items()
            if n in ("k1", "p1")
            or (n.lower().startswith("dist") and isinstance(value, list | dict))
        ]
        if unknown:
            given = _short.repr(unknown[0])
            raise InputError(
                f"{path}: the lens in the field {given} is not understood; give "
                "distortion_coefficients k1 k2 p1 p2 k3"
            )
        return ()
    D = _numbers(field, path, "distortion")
    if any(D) and len(D) not in COEFFICIENT_COUNTS:
        raise InputError(
            f"{path}: {len(D)} distortion coefficients; OpenCV's lens model has 4, 5, 8, 12 or "
            "14, or none at all"
        )
    return D if len(D) in COEFFICIENT_COUNTS else ()


def _size(found: Mapping[str, Any], path: Path) -> tuple[int, int]:
    width, height = _whole(found["width"]), _whole(found["height"])
    if width is None or height is None:
        given = f"{_short.repr(found['width'])} and {_short.repr(found['height'])}"
        raise InputError(f"{path}: width and height must be whole numbers of pixels, not {given}")
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"{path}: a camera of {width} x {height} pixels is too small; {MIN_SIDE} x {MIN_SIDE} "
            "is the least"
        )
    if max(width, height) > MAX_SIDE:
        raise InputError(
            f"{path}: a camera over {MAX_SIDE} pixels wide or high is too large; reduce its "
            "pictures, and the camera with them"
        )
    return width, height


def _pair(size: Any) -> tuple[Any, Any]:
    """Width and height of a size written as one field."""
    if isinstance(size, dict):
        return size.get("width"), size.get("height")
    parts = re.split(r"[ ,x]+", size) if isinstance(size, str) else size
    return (parts[0], parts[1]) if isinstance(parts, list) and len(parts) == 2 else (None, None)


def _whole(value: Any) -> int | None:
    """The value as a whole number, None where it is none; OpenCV writes some as `640.`."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None


def _of_pictures(fields: Mapping[str, Any], whole: Camera) -> Camera:
    """The camera of ROS's binned pictures or region of interest; `whole` is the sensor's (REP 104).

    A binned pixel joins b x b pixels, so its centre is at `(u + 0.5) / b - 0.5`. (image_geometry's
    `u / b` is the centre of the first of them, a quarter of a pixel off for b = 2.) Some drivers
    write the matrix of the cut or binned pictures instead: then the principal point is outside of
    them or far from the sensor's middle, and InputError is raised.
    """
    roi = fields.get("roi")
    cut = [
        _field(roi if isinstance(roi, dict) else {}, name)
        for name in ("x_offset", "y_offset", "width", "height")
    ]
    binning = [_field(fields, name) for name in ("binning_x", "binning_y")]
    if (
        max(binning) <= 1
        and cut[:2] == [0, 0]
        and cut[2] in (0, whole.width)
        and cut[3] in (0, whole.height)
    ):
        return whole
    if min(binning) == 0 and max(binning) > 1:
        raise InputError(
            "its pictures are binned along one axis, and along the other it is not said; give "
            "binning_x and binning_y"
        )
    (x, y, w, h), (bx, by) = cut, [max(1, b) for b in binning]
    w, h = (w or whole.width) // bx, (h or whole.height) // by
    if min(w, h) < MIN_SIDE:
        raise InputError(
            f"its binned or cut pictures of {w} x {h} pixels are too small; {MIN_SIDE} x "
            f"{MIN_SIDE} is the least"
        )
    camera = Camera(w * bx, h * by, whole.fx, whole.fy, whole.cx - x, whole.cy - y).resize(w, h)
    sensor = max(whole.width, x + w * bx), max(whole.height, y + h * by)
    amid = min(whole.cx / sensor[0], whole.cy / sensor[1]) > 0.25
    if not (amid and 0 <= camera.cx < w and 0 <= camera.cy < h):
        raise InputError(
            "its pictures are binned or cut to a region of interest, and its camera matrix's "
            f"centre ({whole.cx:g}, {whole.cy:g}) is not "
            "about the middle of the whole sensor and in that region; give the camera of the "
            "pictures themselves, without binning and roi"
        )
    return camera


def _field(fields: Mapping[str, Any], name: str) -> int:
    """A field's whole number of pixels, 0 where the field is missing."""
    number = _whole(fields[name]) if fields.get(name) is not None else 0
    if number is None or not 0 <= number <= MAX_SIDE:
        raise InputError(
            f"{name} must be a whole number of pixels, not {_short.repr(fields[name])}; correct it"
        )
    return number


def _check_fold(camera: Camera, distortion: tuple[float, ...]) -> None:
    """InputError where the lens's polynomial folds back within the picture."""
    radius = fold(camera, distortion)
    if radius is not None:
        raise InputError(
            f"the lens's polynomial folds back within the picture, {radius * camera.fx:.0f} "
            "pixels from the principal point (radius "
            f"{radius:.3g}); calibrate again with the board up to the picture's corners, or with "
            "fewer coefficients"
        )


def _numbers(field: Any, path: Path, what: str) -> tuple[float, ...]:
    try:
        numbers = tuple(_flat(field.get("data") if isinstance(field, dict) else field))
    except (TypeError, ValueError, OverflowError):
        numbers = (float("nan"),)
    if not np.isfinite(numbers).all():
        raise InputError(
            f"{path}: the {what} holds something that is not a number; calibrate again or correct "
            "it"
        )
    return numbers


def _flat(values: Any, rows: bool = True) -> Iterator[float]:
    """Each number of a list, of a list of rows, or of a text with spaces or commas between them."""
    if isinstance(values, str):
        values = values.replace(",", " ").split()
    if not isinstance(values, list) or len(values) > MAX_NUMBERS:
        raise TypeError
    for value in values:
        if isinstance(value, bool) or (isinstance(value, list) and not rows):
            raise TypeError
        if isinstance(value, list) or (isinstance(value, str) and " " in value):
            yield from _flat(value, rows=False)
        else:
            yield float(value)
