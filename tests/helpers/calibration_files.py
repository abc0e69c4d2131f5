"""A calibration as OpenCV and ROS write it, and the camera that it describes."""

from pathlib import Path

import yaml

from deepservo.camera import Camera
from deepservo.images.camera_file import CalibratedCamera

K = [[520.5, 0.0, 318.25], [0.0, 521.75, 241.5], [0.0, 0.0, 1.0]]
D = [-0.25, 0.08, 1e-4, -2e-05, 0.01]
WANTED = CalibratedCamera(Camera(640, 480, 520.5, 521.75, 318.25, 241.5), tuple(D))
FLAT = [v for row in K for v in row]

OPENCV = f"""%YAML:1.0
---
calibration_time: "Mon 1 Jan 2024"
image_width: 640
image_height: 480
flags: 0
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: {FLAT}
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: {D}
"""
ROS_FILE = {
    "image_width": 640,
    "image_height": 480,
    "camera_name": "narrow_stereo",
    "camera_matrix": {"rows": 3, "cols": 3, "data": FLAT},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": D},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {
        "rows": 3,
        "cols": 4,
        "data": [*FLAT[:3], 0, *FLAT[3:6], 0, *FLAT[6:], 0],
    },
}
ROI = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
MESSAGE = {
    "header": {"stamp": {"secs": 1, "nsecs": 2}, "frame_id": "camera"},
    "height": 480,
    "width": 640,
    "distortion_model": "plumb_bob",
    "binning_x": 0,
    "binning_y": 0,
    "roi": ROI,
}


def written(tmp_path: Path, data: dict | str) -> Path:
    path = tmp_path / "camera.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


SIZED = "image_width: 640\nimage_height: 480\n"
