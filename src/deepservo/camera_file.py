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
from deepservo.errors import InputError

# OpenCV's and ROS's names of the same things, across their versions.
NAMES = {
    "width": ("image_width", "width", "Image_Width"),
    "height": ("image_height", "height", "Image_Height"),
    "K": ("camera_matrix", "Camera_Matrix", "cameraMatrix", "K", "k"),
    "D": ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "D", "d"),
    "model": ("distortion_model", "camera_model"),
}
POLYNOMIAL = ("", "plumb_bob", "rational_polynomial", "pinhole", "thin_prism")


@dataclass(frozen=True)
class CalibratedCamera:
    """A pinhole camera and its lens's distortion coefficients in OpenCV's order (none for a perfect lens)."""

    camera: Camera
    distortion: tuple[float, ...] = ()

    def rectify(self, picture: Float[Tensor, "1 h w"], what: str) -> Float[Tensor, "1 h w"]:
        """The picture a perfect lens would have taken; InputError when its size is not the camera's."""
        h, w = picture.shape[1:]
        if (w, h) != (self.camera.width, self.camera.height):
            size = f"{self.camera.width} x {self.camera.height}"
            raise InputError(f"{what} is {w} x {h} pixels but the camera file says {size}; give the picture and the camera file of one camera")
        if not any(self.distortion):
            return picture
        straight = cv2.undistort(picture[0].numpy(), self.camera.K.numpy(), np.array(self.distortion))
        return torch.from_numpy(straight)[None].clamp(0, 1)


class _Loader(yaml.SafeLoader):
    """Reads OpenCV's matrices as plain mappings; builds nothing else."""


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", lambda loader, node: loader.construct_mapping(node, deep=True))


def read_camera(path: str | Path) -> CalibratedCamera:
    """The camera in an OpenCV or ROS `camera_info` YAML file.

    Raises InputError when the file cannot be read, a field is missing or wrong, or the lens model is not the polynomial one.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read; give a camera file as OpenCV or ROS writes it (YAML)") from None
    lines = [line for line in text.splitlines() if not line.startswith("%YAML")]  # OpenCV's own directive is not YAML's
    try:
        data = yaml.load("\n".join(lines), _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML ({str(error).splitlines()[0]}); give a camera file as OpenCV or ROS writes it") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: holds no fields; give a camera file as OpenCV or ROS writes it (YAML)")
    found = {key: next((data[n] for n in names if n in data), None) for key, names in NAMES.items()}
    for key in ("width", "height", "K"):
        if found[key] is None:
            raise InputError(f"{path}: the field {' or '.join(NAMES[key][:2])} is missing; calibrate again or add it")
    model = str(found["model"] or "")
    if model not in POLYNOMIAL:
        raise InputError(f"{path}: the lens model {model!r} is not supported; rectify the pictures and give the rectified camera")
    K = _numbers(found["K"], path, "camera matrix")
    if len(K) != 9:
        raise InputError(f"{path}: the camera matrix has {len(K)} numbers, not 9")
    if not all(isinstance(found[k], int) for k in ("width", "height")):
        raise InputError(f"{path}: width and height must be whole numbers of pixels")
    D = _numbers(found["D"], path, "distortion") if found["D"] is not None else ()
    if len(D) not in (0, 4, 5, 8, 12, 14):
        raise InputError(f"{path}: {len(D)} distortion coefficients; OpenCV's model has 4, 5, 8, 12 or 14")
    try:
        return CalibratedCamera(Camera(found["width"], found["height"], K[0], K[4], K[2], K[5]), D)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _numbers(field: Any, path: Path, what: str) -> tuple[float, ...]:
    values = field.get("data") if isinstance(field, dict) else field
    try:
        numbers = tuple(float(v) for v in np.asarray(values, dtype=float).ravel())
    except (TypeError, ValueError):
        numbers = (float("nan"),)
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: the {what} holds something that is not a number")
    return numbers
