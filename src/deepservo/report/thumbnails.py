"""Small pictures inside a page: rendered again, reduced, compared with the goal, packed as WebP."""

import base64
from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.scene import PlanarScene, Scene

Look = Callable[[Tensor], Tensor]
"""Poses T_world_cam (n, 4, 4) to the pictures (n, c, h, w) of a camera there."""


def render_scene(
    scene: Scene, camera: Camera, Ts_world_cam: Float[Tensor, "n 4 4"]
) -> Float[Tensor, "n c h w"]:
    """What the camera sees there; the plain background where it has gone through a plane."""
    Ts = Ts_world_cam.to(scene.texture.device).double()
    views = torch.full(
        (len(Ts), scene.texture.shape[0], camera.height, camera.width), scene.background
    )
    front = Ts[:, 2, 3] < 0 if isinstance(scene, PlanarScene) else Ts[:, 2, 3].isfinite()
    if front.any():
        views[front.cpu()] = scene.render(camera, Ts[front]).float().cpu()
    return views


def small(picture: Float[Tensor, "c h w"], width: int) -> np.ndarray:
    """(h, w, 3) float32 RGB, at most `width` pixels wide."""
    rgb = picture.detach().float().cpu().expand(3, *picture.shape[1:])
    array = rgb.permute(1, 2, 0).contiguous().numpy()
    scale = min(1.0, width / array.shape[1])
    size = (max(1, round(array.shape[1] * scale)), max(1, round(array.shape[0] * scale)))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def difference(view: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Black where equal, orange where brighter than the goal, blue where darker; full at half the
    grey range.
    """
    d = 2 * (view.mean(2, keepdims=True) - goal.mean(2, keepdims=True))
    orange, blue = (np.array(c, np.float32) for c in ([1.0, 0.62, 0.12], [0.25, 0.62, 1.0]))
    return d.clip(0, 1) * orange + (-d).clip(0, 1) * blue


def sheet(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size in one, row by row."""
    empty = [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    full = pictures + empty
    rows = [np.concatenate(full[k : k + columns], 1) for k in range(0, len(full), columns)]
    return np.concatenate(rows, 0)


def webp(picture: np.ndarray) -> str:
    """A data address of an RGB picture in [0, 1]; what is unseen (NaN) is black."""
    bytes_bgr = (255 * np.nan_to_num(picture[..., ::-1])).round().clip(0, 255).astype(np.uint8)
    ok, packed = cv2.imencode(".webp", bytes_bgr, [cv2.IMWRITE_WEBP_QUALITY, 75])
    if not ok:
        raise InputError(
            f"report: a picture of {picture.shape[1]} x {picture.shape[0]} pixels could not be "
            "packed"
        )
    return "data:image/webp;base64," + base64.b64encode(packed.tobytes()).decode()
