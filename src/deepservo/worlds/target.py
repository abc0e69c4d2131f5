"""Goal pictures rendered from a mesh, with depth (Adrian 2022, section IV.A)."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.camera_file import CalibratedCamera, read_camera, write_camera
from deepservo.images.depth import read_depth
from deepservo.images.pictures import grey, read_picture
from deepservo.system.files import check_folder, replacing
from deepservo.worlds.meshes import Mesh, add_mesh, compiled
from deepservo.worlds.views import AXES, Eye, mujoco, pose_there, quaternion

FILES = ("goal.png", "depth.npy", "mask.png", "camera.yaml", "pose.npz")
DEPTHS = ("depth.npy", "depth.png")  # metres, or millimetres of 16 bits
MIN_OBJECT_PIXELS = 100  # of a picture that an object can be servoed to
BACKGROUND = 0.25  # grey level


@dataclass(frozen=True)
class Target:
    """A goal picture of an object.

    depth: Z of each pixel's centre [m], infinite beside the object. mask: where the object is.
    """

    picture: UInt8[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]

    @property
    def grey(self) -> Float[Tensor, "1 1 h w"]:
        """The picture's grey levels in [0, 1]."""
        return grey(torch.from_numpy(self.picture.copy()).permute(2, 0, 1)[None] / 255)

    def write(self, out: Path, camera: Camera, T_object_cam: Float[np.ndarray, "4 4"]) -> None:
        """Write FILES into a folder: the picture, its depth and mask, the camera, and its pose."""
        check_folder(out, FILES)
        pictures = {
            "goal.png": self.picture[:, :, ::-1],
            "mask.png": 255 * self.mask.astype(np.uint8),
        }
        for name, picture in pictures.items():
            with replacing(out / name) as beside:
                beside.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        with replacing(out / "depth.npy") as beside, beside.open("wb") as file:
            np.save(file, self.depth)
        write_camera(out / "camera.yaml", CalibratedCamera(camera))
        with replacing(out / "pose.npz") as beside, beside.open("wb") as file:
            np.savez(file, T_object_cam=T_object_cam)


def read_target(folder: Path) -> tuple[Target, Camera]:
    """Read the folder that `Target.write` wrote, or one with a 16-bit `depth.png` of millimetres
    in the place of `depth.npy`.

    Raises InputError for a file that is missing, foreign, or of another size than the camera's
    pictures, for two files of depth, and for depth that `read_depth` refuses.
    """
    camera = read_camera(folder / "camera.yaml").camera
    picture, size = read_picture(folder / "goal.png", colour=True), (camera.height, camera.width)
    if tuple(picture.shape[1:]) != size:
        raise InputError(
            f"{folder / 'goal.png'}: is {picture.shape[2]} x {picture.shape[1]}, the camera's "
            f"pictures {size[1]} x {size[0]}"
        )
    files = [folder / name for name in DEPTHS if (folder / name).exists()]
    if len(files) != 1:
        raise InputError(
            f"{folder}: holds both {' and '.join(DEPTHS)}; leave one of them"
            if files
            else f"{folder / DEPTHS[0]}: no such file; make the folder with deepservo target, or "
            f"put a {DEPTHS[1]} of 16 bits in millimetres there"
        )
    (file,) = files
    depth = read_depth(file).numpy()
    if depth.shape != size:
        raise InputError(
            f"{file}: is {depth.shape[1]} x {depth.shape[0]}, the camera's pictures {size[1]} x "
            f"{size[0]}"
        )
    mask = ~np.isnan(depth)
    if mask.sum() < MIN_OBJECT_PIXELS:
        raise InputError(
            f"{file}: has {mask.sum()} pixels of an object; render the goal again, nearer"
        )
    return Target(
        (picture * 255).round().byte().permute(1, 2, 0).numpy(), np.where(mask, depth, np.inf), mask
    ), camera


def render_target(mesh: Mesh, camera: Camera, T_object_cam: Float[np.ndarray, "4 4"]) -> Target:
    """The object alone, lit from the camera, on a grey background.

    T_object_cam: the camera's pose in the object's frame [m]. Raises InputError where the camera
    hardly sees the object.
    """
    mj = mujoco()
    spec = mj.MjSpec()
    spec.stat.extent = 1.0
    spec.visual.map.znear, spec.visual.map.zfar = 1e-3, 1e2
    light = spec.visual.headlight
    light.ambient, light.diffuse, light.specular = [0.4] * 3, [0.6] * 3, [0.1] * 3
    spec.visual.quality.offsamples = 8
    grey = {"rgb1": [BACKGROUND] * 3, "rgb2": [BACKGROUND] * 3, "width": 32, "height": 32}
    spec.add_texture(
        name="nothing",
        type=mj.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mj.mjtBuiltin.mjBUILTIN_FLAT,
        **grey,
    )
    body = spec.worldbody.add_body(name="object", quat=quaternion(AXES))
    add_mesh(spec, "object", mesh, body)
    position, rotation = pose_there(T_object_cam)
    spec.worldbody.add_camera(name="eye", pos=position, quat=quaternion(rotation))
    model = compiled(spec, "the mesh")
    data = mj.MjData(model)
    mj.mj_forward(model, data)
    eye = Eye(model, "eye", camera)
    depth = eye.depth(data)
    mask = depth < 0.99 * model.vis.map.zfar
    if mask.sum() < MIN_OBJECT_PIXELS:
        raise InputError(
            f"the camera sees {mask.sum()} pixels of the object from that pose: the object is "
            f"{mesh.size:.3g} m across and its middle "
            f"{_away(mesh, T_object_cam):.3g} m away; give T_object_cam, the camera in the "
            "object's frame [m], z forward, that looks "
            "at it, and --unit of the mesh's numbers"
        )
    return Target(eye.picture(data), np.where(mask, depth, np.inf).astype(np.float32), mask)


def _away(mesh: Mesh, T_object_cam: Float[np.ndarray, "4 4"]) -> float:
    """The distance of the object's middle from the camera [m]."""
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return float(np.linalg.norm(middle - T_object_cam[:3, 3]))
