"""Camera files as OpenCV and ROS write them, and the lens: distortion is undone once, at the door."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.checkpoint import replacing
from deepservo.errors import InputError
from deepservo.pictures import SMALLEST

# OpenCV's and ROS's names of the same things, across their versions.
NAMES = {
    "width": ("image_width", "width", "Image_Width"),
    "height": ("image_height", "height", "Image_Height"),
    "K": ("camera_matrix", "Camera_Matrix", "cameraMatrix", "K", "k"),
    "D": ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "D", "d"),
    "model": ("distortion_model", "camera_model"),
}
POLYNOMIAL = ("", "plumb_bob", "rational_polynomial", "pinhole", "thin_prism")
CUT = ("x_offset", "y_offset", "width", "height")  # of a region of interest


@dataclass(frozen=True)
class CalibratedCamera:
    """A pinhole camera and its lens's distortion coefficients in OpenCV's order (none for a perfect lens)."""

    camera: Camera
    distortion: tuple[float, ...] = ()

    def rectify(self, picture: Float[Tensor, "c h w"], what: str) -> Float[Tensor, "c h w"]:
        """The picture a perfect lens would have taken, NaN where the real one saw nothing; InputError when its size is not the camera's."""
        h, w = picture.shape[1:]
        if (w, h) != (self.camera.width, self.camera.height):
            size = f"{self.camera.width} x {self.camera.height}"
            raise InputError(f"{what} is {w} x {h} pixels, the camera's pictures are {size}; give picture and camera file of one camera")
        if not any(self.distortion):
            return picture
        K = self.camera.K.numpy()
        u, v = cv2.initUndistortRectifyMap(K, np.array(self.distortion), np.eye(3), K, (w, h), cv2.CV_32FC1)
        straight = [cv2.remap(level.numpy(), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for level in picture]
        taken = (u >= 0) & (u <= w - 1) & (v >= 0) & (v <= h - 1)
        return torch.from_numpy(np.where(taken, straight, np.float32(np.nan))).clamp(0, 1)


class _Loader(yaml.SafeLoader):
    """Reads OpenCV's matrices as plain mappings; builds nothing else."""


def _opencv_matrix(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _opencv_matrix)


def read_camera(path: str | Path) -> CalibratedCamera:
    """The camera in an OpenCV or ROS `camera_info` YAML file.

    Raises InputError when the file cannot be read, a field is missing or wrong, or the lens model is not the polynomial one.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a camera file as OpenCV or ROS writes it (YAML)") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read; give a camera file as OpenCV or ROS writes it (YAML)") from None
    lines = [line for line in text.splitlines() if not line.startswith("%YAML")]  # OpenCV's own directive is not YAML's
    try:
        data = next(yaml.load_all("\n".join(lines), _Loader), None)  # `ros2 topic echo` prints one document a message
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not YAML ({str(error).splitlines()[0]}); give a camera file as OpenCV or ROS writes it") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: holds no fields; give a camera file as OpenCV or ROS writes it (YAML)")
    found = {key: next((data[n] for n in names if n in data), None) for key, names in NAMES.items()}
    for key in ("width", "height", "K"):
        if found[key] is None:
            raise InputError(f"{path}: the field {' or '.join(NAMES[key][:2])} is missing; calibrate again or add it")
    model = "fisheye" if data.get("fisheye_model") else str(found["model"] or "").lower()
    if model not in POLYNOMIAL:
        raise InputError(f"{path}: the lens model {model!r} is not supported; rectify the pictures and give the rectified camera")
    K, (width, height) = _matrix(found["K"], path), _size(found, path)
    _check_whole(data, path, width, height)
    D = _numbers(found["D"], path, "distortion") if found["D"] is not None else ()
    if len(D) not in (0, 4, 5, 8, 12, 14):
        raise InputError(f"{path}: {len(D)} distortion coefficients; OpenCV's lens model has 4, 5, 8, 12 or 14, or none at all")
    try:
        return CalibratedCamera(Camera(width, height, K[0], K[4], K[2], K[5]), D)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_camera(path: Path, camera: CalibratedCamera) -> None:
    """Write what `read_camera` reads, as OpenCV does."""
    file = cv2.FileStorage(".yaml", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    file.write("image_width", camera.camera.width)
    file.write("image_height", camera.camera.height)
    file.write("camera_matrix", camera.camera.K.numpy())
    file.write("distortion_coefficients", np.array([camera.distortion or (0.0,) * 5]))
    text = file.releaseAndGetString()
    with replacing(path) as beside:
        beside.write_text(text)


def _matrix(field: Any, path: Path) -> tuple[float, ...]:
    K = _numbers(field, path, "camera matrix")
    if len(K) != 9:
        raise InputError(f"{path}: the camera matrix has {len(K)} numbers, not 9; give it row by row")
    if not (abs(K[1]) <= 1e-6 * abs(K[0]) and K[3] == K[6] == K[7] == 0 and K[8] == 1):
        raise InputError(f"{path}: the camera matrix {list(K)} is not fx 0 cx, 0 fy cy, 0 0 1; calibrate again without skew")
    return K


def _size(found: dict[str, Any], path: Path) -> tuple[int, int]:
    width, height = found["width"], found["height"]
    if type(width) is not int or type(height) is not int:
        raise InputError(f"{path}: width and height must be whole numbers of pixels, not {width!r} and {height!r}")
    if min(width, height) < SMALLEST:
        raise InputError(f"{path}: a camera of {width} x {height} pixels is too small; {SMALLEST} x {SMALLEST} is the least")
    return width, height


def _check_whole(data: dict[str, Any], path: Path, width: int, height: int) -> None:
    """InputError when ROS says that the pictures are not the whole sensor's: its camera matrix is."""
    roi = data.get("roi")
    cut = isinstance(roi, dict) and any(roi.get(k) for k in CUT) and (roi.get("width"), roi.get("height")) != (width, height)
    if cut or any(data.get(k) not in (None, 0, 1) for k in ("binning_x", "binning_y")):
        raise InputError(f"{path}: its pictures are binned or cut to a region of interest; give the camera of the whole picture")


def _numbers(field: Any, path: Path, what: str) -> tuple[float, ...]:
    values = field.get("data") if isinstance(field, dict) else field
    try:
        numbers = tuple(float(v) for v in np.asarray(values, dtype=float).ravel())
    except (TypeError, ValueError, OverflowError):
        numbers = (float("nan"),)
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: the {what} holds something that is not a number; calibrate again or correct it")
    return numbers
