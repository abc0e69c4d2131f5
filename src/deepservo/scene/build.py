"""Scenes made of pictures: how large they are on the plane, and whether the camera sees enough of
them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.unseen_pixels import continued
from deepservo.images.camera_file import CalibratedCamera
from deepservo.scene.planar import PlanarScene

NEAREST, FARTHEST = 1e-4, 1e4  # metres between which a distance is one


def make_scene(
    picture: Float[Tensor, "c h w"],
    camera: CalibratedCamera,
    what: str,
    width: float | None = None,
    view: bool = False,
    distance: float = 0.6,
) -> PlanarScene:
    """The picture on the plane: `width` metres wide (0.8 when not given), or, with `view`, as the
    camera sees it at `distance`.

    A view's pixels are as large on the plane as the camera's focal lengths make them, and the
    origin is where its optical axis meets the plane: rendered at the reference pose the scene gives
    the picture back. Raises InputError when the scene is smaller than the camera's view of it, or
    the picture does not fit the camera.
    """
    check_distance(distance)
    if view and width is not None:
        raise InputError(
            "--width and --view exclude each other: a view's width follows from the camera and "
            "the distance"
        )
    pinhole = camera.camera
    if view:
        return _view(continued(camera.rectify(picture, what)[None])[0], pinhole, distance)
    scene = PlanarScene(texture_of(picture), 0.8 if width is None else width)
    check_scene(scene, pinhole, distance, what)
    return scene


def _view(picture: Float[Tensor, "c h w"], camera: Camera, distance: float) -> PlanarScene:
    """What the camera sees of the plane, facing it at `distance` [m]."""
    texture, (h, w) = texture_of(picture), picture.shape[1:]
    aspect = (
        camera.fx / camera.fy * ((h * texture.shape[2]) / (w * texture.shape[1]))
    )  # a reduced picture's texels too are hardly square
    x, y = ((w - 1) / 2 - camera.cx) / camera.fx, ((h - 1) / 2 - camera.cy) / camera.fy
    return PlanarScene(
        texture, distance * w / camera.fx, texel_aspect=aspect, centre=(distance * x, distance * y)
    )


def check_scene(scene: PlanarScene, camera: Camera, distance: float, what: str) -> None:
    """InputError when the picture on the plane is much smaller than what the camera sees of it at
    `distance`.
    """
    seen = (distance * camera.width / camera.fx, distance * camera.height / camera.fy)
    if scene.width < 0.5 * seen[0] or scene.height < 0.5 * seen[1]:
        raise InputError(
            f"{what}: {scene.width:.3g} x {scene.height:.3g} m is too small a scene for a camera "
            f"that sees {seen[0]:.3g} x {seen[1]:.3g} m "
            f"at {distance:g} m; give a larger --width, or come closer with --distance"
        )


def check_distance(distance: float) -> None:
    """InputError when `distance` is no distance from a camera to a plane."""
    if not NEAREST <= distance <= FARTHEST:
        raise InputError(
            f"the distance must be a positive number of metres, {NEAREST:g} to {FARTHEST:g}, not "
            f"{distance}"
        )


def texture_of(picture: torch.Tensor, longest: int = 2048) -> torch.Tensor:
    """The picture as a texture (1, H, W), reduced to `longest` pixels: finer detail than a camera
    can see only costs time.
    """
    scale = longest / max(picture.shape[1:])
    if scale >= 1:
        return picture
    size = (max(2, round(picture.shape[1] * scale)), max(2, round(picture.shape[2] * scale)))
    return torch.nn.functional.interpolate(picture[None], size, mode="area")[0]
