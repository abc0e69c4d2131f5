"""A camera's own view as the scene: at the reference pose it is the picture itself, whatever the
focal lengths and principal point.
"""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from conftest import noise_texture
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.evaluation.conditions import Condition
from deepservo.geometry import se3
from deepservo.images.camera_file import CalibratedCamera, write_camera
from deepservo.methods.located import _map_camera
from deepservo.models.scene_model import Model, read_model
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.build import make_scene
from tiny import Refused, picture

VIEW = noise_texture(5, 96, 128)
SQUARE = Camera(128, 96, 150.0, 150.0, 63.5, 47.5)
CAMERAS = {
    "square and centred": SQUARE,
    "fy twice fx": replace(SQUARE, fy=300.0),
    "fy a little more": replace(SQUARE, fy=153.0),
    "fx twice fy": replace(SQUARE, fx=300.0),
    "12 pixels to the right": replace(SQUARE, cx=75.5),
    "60 pixels to the left": replace(SQUARE, cx=3.5),
    "a part of a pixel": replace(SQUARE, cx=63.125, cy=48.3),
    "all at once": Camera(128, 96, 140.0, 201.3, 70.25, 30.5),
    "beside the picture": replace(SQUARE, cx=-20.0),
}


def view(camera: Camera, distance: float = 0.6, taken: torch.Tensor = VIEW) -> PlanarScene:
    return make_scene(taken, CalibratedCamera(camera), "view.png", view=True, distance=distance)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("distance", [0.6, 3.1])
def test_the_reference_pose_gives_the_picture_back(name: str, distance: float) -> None:
    camera = CAMERAS[name]
    scene = view(camera, distance)
    assert scene.width == pytest.approx(distance * 128 / camera.fx)
    assert scene.height == pytest.approx(distance * 96 / camera.fy)
    torch.testing.assert_close(
        scene.render(camera, sampling.fronto_parallel(distance))[0], VIEW, atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("name", CAMERAS)
def test_every_pose_sees_the_plane_in_its_place(name: str) -> None:
    camera, distance = CAMERAS[name], 0.6
    scene, Ts = view(camera, distance), sampling.lookat(5, torch.Generator().manual_seed(0))[0]
    texel = torch.tensor([[10.0, 20.0], [100.0, 20.0], [64.0, 90.0]], dtype=torch.float64)
    x, y = (texel[:, 0] - camera.cx) / camera.fx, (texel[:, 1] - camera.cy) / camera.fy
    on_plane = torch.stack([distance * x, distance * y, torch.zeros(3), torch.ones(3)], -1)
    px = camera.project((on_plane @ se3.inverse(Ts).mT)[..., :3])
    found = torch.cat([px, torch.ones_like(px[..., :1])], -1) @ scene.homography(camera, Ts).mT
    torch.testing.assert_close(found[..., :2] / found[..., 2:], texel.expand(5, 3, 2))


def test_a_square_and_centred_camera_is_unchanged() -> None:
    scene, before = view(SQUARE), PlanarScene(VIEW, 0.6 * 128 / 150.0)
    assert (scene.width, scene.texel_aspect, scene.centre) == (before.width, 1.0, (0.0, 0.0))
    Ts = sampling.lookat(3, torch.Generator().manual_seed(0))[0]
    assert torch.equal(scene.render(SQUARE, Ts), before.render(SQUARE, Ts))
    assert scene.height == before.height


def test_a_large_view_is_reduced_about_the_same_centre() -> None:
    """The view has at most 2048 texels. Its height is rounded, so its texels are no longer
    square.
    """
    camera = Camera(3000, 667, 3300.0, 3000.0, 1400.0, 350.0)
    taken = torch.nn.functional.interpolate(
        noise_texture(6, 67, 300)[None], (667, 3000), mode="bilinear"
    )[0]
    scene, small = view(camera, taken=taken), camera.resize(300, 67)
    assert scene.texture.shape[2] == 2048
    assert scene.height == pytest.approx(0.6 * 667 / 3000.0)
    seen = scene.render(small, sampling.fronto_parallel(0.6))[0]
    assert (seen - torch.nn.functional.interpolate(taken[None], (67, 300), mode="area")[0])[
        :, 2:-2, 2:-2
    ].abs().max() < 0.02


@pytest.mark.parametrize("name", ["all at once", "60 pixels to the left"])
def test_the_relief_and_the_map_use_the_same_view(name: str) -> None:
    """A relief without height is the plane, and the map of the whole picture holds all of it."""
    camera, Ts = CAMERAS[name], sampling.lookat(3, torch.Generator().manual_seed(0))[0]
    scene = view(camera)
    flat = Condition("flat", relief=1e-9).scene(scene, 0.6, "view")
    assert (flat.render(camera, Ts) - scene.render(camera, Ts)).abs().mean() < 0.01
    coverage = scene.render_covered(_map_camera(camera, scene, 0.6), sampling.fronto_parallel(0.6))[
        1
    ]
    assert coverage.min() > 0.8, "its sides are rounded to 8 pixels"
    torch.testing.assert_close(coverage[:, :, 0], coverage[:, :, -1])
    torch.testing.assert_close(coverage[:, 0], coverage[:, -1])


@pytest.mark.parametrize(
    ("texel_aspect", "centre"),
    [(0.0, (0.0, 0.0)), (float("nan"), (0.0, 0.0)), (1.0, (0.0, float("inf"))), (-1.0, (0.0, 0.0))],
)
def test_invalid_texels_are_refused(texel_aspect: float, centre: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="scene: texels"):
        PlanarScene(VIEW, texel_aspect=texel_aspect, centre=centre)


def described(path: Path, out: Path, **scene: object) -> Path:
    """The model with its scene's description changed. A field that is None is left out."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["deepservo"])
    config["scene"] = {k: v for k, v in {**config["scene"], **scene}.items() if v is not None}
    save_file(load_file(path), out, {"deepservo": json.dumps(config)})
    return out


def test_models_keep_the_view_and_older_models_load(
    files: Path, tmp_path: Path, refused: Refused
) -> None:
    camera = Camera(64, 64, 86.0, 100.0, 36.5, 31.5)
    write_camera(tmp_path / "camera.yaml", CalibratedCamera(camera))
    cv2.imwrite(str(tmp_path / "view.png"), picture(64, 64))
    out = tmp_path / "m.safetensors"
    learn = [
        "learn",
        tmp_path / "view.png",
        "--out",
        out,
        "--camera",
        tmp_path / "camera.yaml",
        "--steps",
        "1",
        "--view",
    ]
    assert main([str(arg) for arg in learn]) == 0
    model = read_model(out)
    assert isinstance(model, Model)
    assert (model.scene.texel_aspect, model.scene.centre) == (
        0.86,
        (pytest.approx(-5 / 86 * 0.6), 0.0),
    )
    assert model.scene.height == pytest.approx(0.6 * 64 / 100.0)
    before = read_model(
        described(
            files / "model.safetensors",
            tmp_path / "before.safetensors",
            texel_aspect=None,
            centre=None,
        )
    )
    assert isinstance(before, Model)
    assert (before.scene.texel_aspect, before.scene.centre) == (1.0, (0.0, 0.0))
    for wrong in (
        {"centre": [1.0]},
        {"centre": "ab"},
        {"centre": 3},
        {"texel_aspect": 0},
        {"texel_aspect": "high"},
    ):
        refused(
            ["info", described(out, tmp_path / "wrong.safetensors", **wrong)],
            "wrong.safetensors: ",
            "train the model anew",
        )
