"""Rendered targets: what a camera would see of an object from where it shall be, with depth (Adrian 2022, section IV.A)."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from deepservo.camera import Camera
from deepservo.camera_file import CalibratedCamera, write_camera
from deepservo.checkpoint import check_folder, replacing
from deepservo.errors import InputError
from deepservo.robots.meshes import Mesh, add_mesh
from deepservo.robots.views import AXES, Eye, mujoco, pose_there, quaternion

FILES = ("goal.png", "depth.npy", "mask.png", "camera.yaml")
FEWEST = 100  # pixels of the object: fewer are nothing to steer by
BACKGROUND = 0.25


@dataclass(frozen=True)
class Target:
    """A picture of the goal."""

    picture: UInt8[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]
    """Z of each pixel's centre [m]; infinite beside the object."""
    mask: Bool[np.ndarray, "h w"]
    """Where the object is."""

    def write(self, out: Path, camera: Camera) -> None:
        """goal.png, depth.npy, mask.png and camera.yaml."""
        check_folder(out, FILES)
        pictures = {"goal.png": self.picture[:, :, ::-1], "mask.png": 255 * self.mask.astype(np.uint8)}
        for name, picture in pictures.items():
            with replacing(out / name) as beside:
                beside.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        with replacing(out / "depth.npy") as beside, beside.open("wb") as file:
            np.save(file, self.depth)
        write_camera(out / "camera.yaml", CalibratedCamera(camera))


def render_target(mesh: Mesh, camera: Camera, T_object_cam: Float[np.ndarray, "4 4"]) -> Target:
    """The object alone, lit from the camera, before grey; InputError where the camera does not see it."""
    mj = mujoco()
    spec = mj.MjSpec()
    spec.stat.extent = 1.0
    spec.visual.map.znear, spec.visual.map.zfar = 1e-3, 1e2
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse, spec.visual.headlight.specular = [0.4] * 3, [0.6] * 3, [0.1] * 3
    spec.visual.quality.offsamples = 8
    grey = {"rgb1": [BACKGROUND] * 3, "rgb2": [BACKGROUND] * 3, "width": 32, "height": 32}
    spec.add_texture(name="nothing", type=mj.mjtTexture.mjTEXTURE_SKYBOX, builtin=mj.mjtBuiltin.mjBUILTIN_FLAT, **grey)
    body = spec.worldbody.add_body(name="object", quat=quaternion(AXES))
    add_mesh(spec, "object", mesh, body)
    position, rotation = pose_there(T_object_cam)
    spec.worldbody.add_camera(name="eye", pos=position, quat=quaternion(rotation))
    model = spec.compile()
    data = mj.MjData(model)
    mj.mj_forward(model, data)
    eye = Eye(model, "eye", camera)
    depth = eye.depth(data)
    mask = depth < 0.99 * model.vis.map.zfar
    if mask.sum() < FEWEST:
        raise InputError(
            f"the camera sees {mask.sum()} pixels of the object from that pose; give T_object_cam, the camera in the object's frame [m], "
            "z forward, that looks at it"
        )
    return Target(eye.picture(data), np.where(mask, depth, np.inf).astype(np.float32), mask)
