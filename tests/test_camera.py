"""The camera: the centre of a pixel, in the whole, the cropped and the resized picture."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.scene import sampling

cameras = st.builds(
    Camera,
    st.integers(20, 60),
    st.integers(20, 60),
    st.floats(20, 100),
    st.floats(20, 100),
    st.floats(-10, 70),
    st.floats(-10, 70),
)


@given(cameras)
def test_project_undoes_xy(camera):
    x, y = camera.xy(torch.float64)
    assert x.shape == y.shape == (camera.height, camera.width)
    Z = 0.7
    u, v = camera.project(torch.stack([x * Z, y * Z, torch.full_like(x, Z)], -1)).unbind(-1)
    assert (u - torch.arange(camera.width)).abs().max() < 1e-9, (
        "columns run along x, centres at integers"
    )
    assert (v - torch.arange(camera.height)[:, None]).abs().max() < 1e-9, "rows run along y"


@given(cameras)
def test_intrinsic_matrices(camera):
    assert (camera.K @ camera.K_inv - torch.eye(3)).abs().max() < 1e-12
    p = torch.tensor([0.1, -0.2, 0.5], dtype=torch.float64)
    homogeneous = camera.K @ p
    assert (homogeneous[:2] / homogeneous[2] - camera.project(p)).abs().max() < 1e-9


@given(cameras, st.integers(0, 8))
def test_crop_keeps_each_pixels_ray(camera, border):
    x, y = camera.xy(torch.float64)
    x_cropped, y_cropped = camera.crop(border).xy(torch.float64)
    inside = (slice(border, camera.height - border), slice(border, camera.width - border))
    assert (x[inside] - x_cropped).abs().max() < 1e-9 and (y[inside] - y_cropped).abs().max() < 1e-9


@given(cameras, st.integers(5, 90), st.integers(5, 90), st.floats(0, 1), st.floats(0, 1))
def test_resize_keeps_the_ray_through_each_place_of_the_picture(
    camera, width, height, across, down
):
    """The picture spans [-0.5, W - 0.5]: a place at a given share of it stays on the same ray."""

    def ray(c: Camera) -> torch.Tensor:
        place = torch.tensor(
            [across * c.width - 0.5, down * c.height - 0.5, 1], dtype=torch.float64
        )
        return c.K_inv @ place

    assert (ray(camera) - ray(camera.resize(width, height))).abs().max() < 1e-9


def test_a_halved_camera_sees_the_halved_picture(scene, paper_camera):
    """`resize` must agree with averaging pixels."""
    T = sampling.lookat(3, torch.Generator().manual_seed(0))[0]
    whole = torch.nn.functional.avg_pool2d(scene.render(paper_camera, T), 2)
    half = scene.render(paper_camera.resize(112, 112), T)
    off = (whole - half)[:, :, 5:-5, 5:-5].square().mean().sqrt()
    shifted = (whole[..., 1:] - half[..., :-1])[:, :, 5:-5, 5:-5].square().mean().sqrt()
    assert off < 0.01 < shifted


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 4, 1, 1, 0, 0),
        (4, 4.5, 1, 1, 0, 0),
        (4, 4, 0, 1, 0, 0),
        (4, 4, 1, float("nan"), 0, 0),
        (4, 4, 1, 1, "0", 0),
    ],
)
def test_what_is_no_camera_is_refused(numbers):
    with pytest.raises(InputError, match="camera"):
        Camera(*numbers)


def test_within_shrinks_the_longer_side_and_enlarges_nothing():
    camera = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
    assert camera.within(640) == camera.within(1000) == camera
    assert camera.within(320) == camera.resize(320, 240)
