"""Scenes made of pictures: how large they are on the plane, and whether the camera sees enough of
them.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.unseen_pixels import continued
from deepservo.images.camera_file import CalibratedCamera
from deepservo.images.pictures import read_picture
from deepservo.scene.planar import PlanarScene
from deepservo.scene.solid import SolidScene, solid_view

LEAST_DISTANCE, GREATEST_DISTANCE = 1e-4, 1e4  # m, from a camera to a plane
WIDTH = 0.8  # m, of a picture on the plane where nobody says it


@dataclass(frozen=True)
class Setup:
    """A scene before a camera: what every command works on."""

    scene: PlanarScene | SolidScene
    camera: Camera
    distance: float
    """From the camera to the plane at the reference pose [m]: the scene's unit of length."""
    picture: str
    """The name of the picture that the scene is made from."""
    distortion: tuple[float, ...] = ()
    """Of the lens (OpenCV's order), whose pictures are rectified to `camera`'s."""
    depth: Float[Tensor, "h w"] | None = None
    """Z [m] of the picture, NaN where unknown, where the scene is what both show (`solid_view`)."""

    @property
    def lens(self) -> CalibratedCamera:
        """The camera with its distortion."""
        return CalibratedCamera(self.camera, self.distortion)

    @property
    def plane(self) -> PlanarScene:
        """The scene, which must be flat; InputError where it is not."""
        if isinstance(self.scene, SolidScene):
            raise InputError(
                f"{self.picture}: this needs a flat scene; give a picture without depth, or use "
                "the simulator"
            )
        return self.scene

    def with_picture(self, file: Path) -> "Setup":
        """The picture of a file on the same plane; InputError where it is much smaller than what
        the camera sees of the plane, or the scene is not flat.
        """
        if isinstance(self.scene, SolidScene):
            raise InputError(
                f"{file}: another picture has not the depth of {self.picture}; leave the picture "
                "away, or learn this one with its own depth"
            )
        texture = texture_of(read_picture(file, len(self.scene.texture) == 3))
        scene = replace(self.plane, texture=texture)
        check_scene(scene, self.camera, self.distance, str(file))
        return Setup(scene, self.camera, self.distance, file.name, self.distortion)


def read_setup(
    file: Path,
    lens: CalibratedCamera,
    *,
    width: float | None = None,
    view: bool = False,
    distance: float = 0.6,
    colour: bool = False,
) -> Setup:
    """The picture of a file before a camera, as `make_scene` makes it."""
    picture = read_picture(file, colour)
    scene = make_scene(picture, lens, str(file), width=width, view=view, distance=distance)
    return Setup(scene, lens.camera, distance, file.name, tuple(lens.distortion))


def read_solid_setup(
    file: Path, Z: Float[Tensor, "h w"], lens: CalibratedCamera, what: str, colour: bool = False
) -> Setup:
    """What a picture of the camera and its depth Z [m] show, NaN where unknown; both are rectified.

    The distance is the median depth. `what` begins the message where the depth makes no surface.
    Raises InputError also where the picture is not of the camera's size.
    """
    picture = lens.rectify(read_picture(file, colour), str(file))
    Z = torch.where(picture[0].isnan(), torch.nan, lens.rectify_depth(Z))
    try:
        return solid_setup(continued(picture[None])[0], Z, lens, file.name)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def solid_setup(
    picture: Float[Tensor, "c h w"],
    Z: Float[Tensor, "h w"],
    lens: CalibratedCamera,
    name: str,
    distance: float | None = None,
) -> Setup:
    """What a rectified picture and its depth Z [m] show, NaN where unknown, as `solid_view` makes
    it.

    distance: of the reference pose to the world's plane z = 0 [m], the median depth when not given.
    Raises InputError where the depth makes no surface, or is not of the camera's size.
    """
    distance = float(Z.nanmedian()) if distance is None else distance
    scene = solid_view(picture, Z, lens.camera, distance)
    return Setup(scene, lens.camera, distance, name, tuple(lens.distortion), Z)


def make_scene(
    picture: Float[Tensor, "c h w"],
    camera: CalibratedCamera,
    what: str,
    *,
    width: float | None = None,
    view: bool = False,
    distance: float = 0.6,
) -> PlanarScene:
    """A plane with the picture on it: `width` [m] wide (0.8 when not given), or, with `view`, as
    the camera sees it facing it at `distance` [m].

    Of a view the texels are as large as the camera's focal lengths make them, and the origin is
    where the optical axis meets the plane: rendered at the reference pose the scene gives the
    picture back. `what` begins the message of an error.
    Raises InputError when the scene is smaller than the camera's view of it, or the picture is not
    of the camera's size.
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
    scene = PlanarScene(texture_of(picture), WIDTH if width is None else width)
    check_scene(scene, pinhole, distance, what)
    return scene


def _view(picture: Float[Tensor, "c h w"], camera: Camera, distance: float) -> PlanarScene:
    """What the camera sees of the plane, facing it at `distance` [m]."""
    texture, (h, w) = texture_of(picture), picture.shape[1:]
    # Texels of a reduced picture are hardly square either.
    aspect = camera.fx / camera.fy * ((h * texture.shape[2]) / (w * texture.shape[1]))
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
    if not LEAST_DISTANCE <= distance <= GREATEST_DISTANCE:
        raise InputError(
            f"the distance must be a positive number of metres, {LEAST_DISTANCE:g} to "
            f"{GREATEST_DISTANCE:g}, not {distance}"
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
