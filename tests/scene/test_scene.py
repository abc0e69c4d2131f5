"""A textured plane is rendered where its texels project."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.scene import PlanarScene, sampling

seeds = st.integers(0, 10_000)


@given(seeds)
def test_world_points_are_seen_where_their_texels_are(seed):
    generator = torch.Generator().manual_seed(seed)
    scene, camera = (
        PlanarScene(torch.zeros(1, 30, 40), width=0.8),
        Camera(64, 48, 70.0, 75.0, 30.0, 25.0),
    )
    T = sampling.workspace(3, generator)
    points = (torch.rand(3, 9, 2, generator=generator, dtype=torch.float64) - 0.5) * torch.tensor(
        [0.8, 0.6]
    )
    world = torch.cat([points, torch.zeros(3, 9, 1, dtype=torch.float64)], -1)
    inverse = se3.inverse(T)
    p_cam = world @ inverse[:, :3, :3].mT + inverse[:, None, :3, 3]
    px = camera.project(p_cam)
    homogeneous = torch.cat([px, torch.ones_like(px[..., :1])], -1) @ scene.homography(camera, T).mT
    texel = homogeneous[..., :2] / homogeneous[..., 2:]
    expected = points / 0.8 * 40 + torch.tensor(
        [19.5, 14.5]
    )  # the world's origin is the picture's middle
    assert (texel - expected).abs().max() < 1e-7
    assert (homogeneous[..., 2] * p_cam[..., 2] - 1).abs().max() < 1e-9, (
        "the third coordinate is 1/Z"
    )


def test_depth_is_that_of_the_plane_along_each_pixels_ray():
    scene, camera = PlanarScene(torch.zeros(1, 30, 40)), Camera(64, 48, 40.0, 40.0, 30.0, 25.0)
    T = sampling.workspace(20, torch.Generator().manual_seed(0))
    x, y = camera.xy(torch.float64)
    Z = scene.depth(camera, T)
    sky = torch.isinf(Z)
    p_cam = torch.stack([x * Z, y * Z, Z], -1)
    p_world = torch.einsum("bij,bhwj->bhwi", T[:, :3, :3], p_cam) + T[:, None, None, :3, 3]
    assert sky.any() and not sky.all() and (Z > 0).all()
    assert (p_world[..., 2][~sky] / Z[~sky]).abs().max() < 1e-9
    assert (scene.depth(camera, sampling.fronto_parallel(0.7)) - 0.7).abs().max() < 1e-12


def test_a_white_dot_is_rendered_where_it_projects(paper_camera):
    picture = torch.zeros(1, 300, 400)
    picture[0, 100:103, 250:253] = 1  # its middle, texel (251, 101), is at X = 0.103, Y = -0.097
    T = sampling.lookat_rz(10, torch.Generator().manual_seed(0))[0]
    image, coverage = PlanarScene(picture, background=0.0).render_covered(paper_camera, T)
    inverse = se3.inverse(T)
    p = inverse @ torch.tensor(
        [(251 - 199.5) / 500, (101 - 149.5) / 500, 0, 1], dtype=torch.float64
    )
    px = paper_camera.project(p[:, :3])
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    for i in range(10):
        if px[i].min() > 3 and px[i].max() < 220:
            mass = image[i, 0].double()
            centroid = torch.stack([(mass * x).sum(), (mass * y).sum()]) / mass.sum()
            assert (centroid - px[i]).abs().max() < 0.2
    assert image.min() >= 0 and image.max() <= 1 and coverage.min() >= 0 and coverage.max() <= 1


@pytest.mark.parametrize(
    ("picture", "width", "words"),
    [
        (torch.full((1, 8, 8), torch.nan), 0.8, "NaN"),
        (torch.full((1, 8, 8), torch.inf), 0.8, "infinite"),
        (torch.zeros(8, 8), 0.8, "must be"),
        (torch.zeros(1, 1, 8), 0.8, "at least 2 x 2"),
        (torch.zeros(1, 8, 8), 0.0, "positive"),
        (torch.zeros(1, 8, 8), math.nan, "positive"),
    ],
)
def test_what_is_no_scene_is_refused(picture, width, words):
    with pytest.raises(InputError, match=words):
        PlanarScene(picture, width)
