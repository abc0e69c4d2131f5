"""An RGB-D picture of solids made by code: as a setup, and as files of the command line."""

from pathlib import Path

import cv2
import numpy as np
from conftest import noise_texture

from deepservo.camera import Camera
from deepservo.images.camera_file import CalibratedCamera, write_camera
from deepservo.scene import PlanarScene, SolidScene, sampling, solid_kinds
from deepservo.scene.build import Setup, solid_setup

CAMERA = Camera(96, 72, 96.0, 95.0, 46.0, 36.0)
DISTANCE = 0.6
HOLE = (slice(20, 30), slice(60, 75))


def solids() -> SolidScene:
    """Solids on a plane, all that there is."""
    return solid_kinds.clutter(PlanarScene(noise_texture(3), 0.9), DISTANCE, 0)


def taken(camera: Camera = CAMERA) -> Setup:
    """What one picture of them and its depth show; the depth has a hole."""
    T = sampling.fronto_parallel(DISTANCE)
    picture, Z = solids().render(camera, T)[0], solids().depth(camera, T)[0]
    Z[HOLE] = np.nan
    return solid_setup(picture, Z, CalibratedCamera(camera), "solids")


def write_pair(folder: Path) -> Path:
    """rgb.png, depth.png (mm, 0 in the hole), depth.npy (m) and camera.yaml."""
    setup = taken()
    assert setup.depth is not None
    Z = setup.depth.numpy()
    cv2.imwrite(str(folder / "rgb.png"), (255 * setup.scene.texture[0]).round().byte().numpy())
    cv2.imwrite(str(folder / "depth.png"), (1000 * np.nan_to_num(Z)).round().astype(np.uint16))
    np.save(folder / "depth.npy", Z)
    write_camera(folder / "camera.yaml", CalibratedCamera(CAMERA))
    return folder
