"""The sampler: the compiled pass against its plain twin, plain loops, OpenCV and supersampling."""

import math
import warnings

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepservo import native
from deepservo.images.sampler import build_pyramid, sample, sample_covered, sample_reference
from deepservo.native import build
from deepservo.scene import PlanarScene, sampling
from tiny import mild_homographies

seeds = st.integers(0, 10_000)
WHITE = torch.ones(1, 1)


sides = st.integers(2, 61)


@given(
    seeds,
    st.sampled_from([1, 3]),
    st.tuples(st.booleans(), st.booleans()),
    st.tuples(sides, sides),
    st.tuples(st.integers(1, 40), st.integers(1, 300)),
)
def test_compiled_equals_its_slow_twin(seed, channels, kind, texture, size):
    (shared, antialias), (th, tw), (h, w) = kind, texture, size
    generator = torch.Generator().manual_seed(seed)
    n = 3
    pictures = torch.rand(1 if shared else n, channels, th, tw, generator=generator)
    pyramid = build_pyramid(pictures, antialias)
    Hs = mild_homographies(n, (h, w), (th, tw), generator)
    background = torch.rand(n, channels, generator=generator)
    image, coverage = sample_covered(pyramid, Hs, (h, w), background)
    twin, twin_coverage = sample_reference(pyramid, Hs, (h, w), background)
    assert image.shape == (n, channels, h, w) and coverage.shape == (n, h, w)
    assert (image - twin).abs().max() < 2e-4 and (coverage - twin_coverage).abs().max() < 2e-4


@given(seeds)
def test_compiled_equals_its_slow_twin_around_the_horizon(seed):
    """Cameras that look up to 100 deg away from the plane: most views hold the horizon, and some
    only sky.
    """
    generator = torch.Generator().manual_seed(seed)
    n, size = 4, (33, 47)
    scene = PlanarScene(torch.rand(1, 45, 60, generator=generator))
    T = sampling.fronto_parallel(0.6, n)
    tilt = torch.zeros(n, 3, dtype=torch.float64)
    tilt[:, 0] = torch.deg2rad(40 + 60 * torch.rand(n, generator=generator, dtype=torch.float64))
    T[:, :3, :3] = se3_exp(tilt)
    T[3, :3, :3] = se3_exp(
        torch.tensor([math.pi, 0, 0], dtype=torch.float64)
    )  # its back to the plane
    Hs = scene.homography(camera_of(size), T)
    back = torch.rand(n, 1, generator=generator)
    image, coverage = sample_covered(scene.pyramid, Hs, size, back)
    twin, twin_coverage = sample_reference(scene.pyramid, Hs, size, back)
    assert torch.isfinite(image).all() and torch.isfinite(coverage).all()
    assert (image - twin).abs().max() < 2e-3 and (coverage - twin_coverage).abs().max() < 2e-3
    assert (coverage[3] == 0).all() and (image[3] == back[3, 0]).all(), (
        "a camera with its back to the plane sees the background"
    )


def camera_of(size: tuple[int, int]):
    from deepservo.camera import Camera

    return Camera(size[1], size[0], 40.0, 40.0, size[1] / 2, size[0] / 2)


def se3_exp(w: torch.Tensor) -> torch.Tensor:
    from deepservo.geometry import se3

    return se3.so3_exp(w)


def test_a_few_pixels_by_hand(generator):
    """Bilinear at full resolution, one pixel at a time, in plain Python."""
    th, tw, size = 11, 14, (20, 25)
    picture = torch.rand(1, 1, th, tw, generator=generator)
    Hs = mild_homographies(4, size, (th, tw), generator)
    image, coverage = sample_covered(
        build_pyramid(picture, antialias=False), Hs, size, torch.full((1, 1), 0.25)
    )
    texel = picture[0, 0].tolist()

    def at(row: int, column: int) -> float:
        return texel[min(max(row, 0), th - 1)][min(max(column, 0), tw - 1)]

    for b in range(4):
        H = Hs[b].tolist()
        for y in range(0, size[0], 3):
            for x in range(0, size[1], 3):
                a, c, w = (row[0] * x + row[1] * y + row[2] for row in H)
                u, v = a / w, c / w
                fu, fv, i, j = u - math.floor(u), v - math.floor(v), math.floor(v), math.floor(u)
                value = (at(i, j) * (1 - fu) + at(i, j + 1) * fu) * (1 - fv) + (
                    at(i + 1, j) * (1 - fu) + at(i + 1, j + 1) * fu
                ) * fv
                inside = math.prod(
                    min(max(edge + 1, 0.0), 1.0) for edge in (u, v, tw - 1 - u, th - 1 - v)
                )
                assert abs(float(coverage[b, y, x]) - inside) < 1e-4
                assert abs(float(image[b, 0, y, x]) - (value * inside + 0.25 * (1 - inside))) < 1e-4


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_minified_by_a_power_of_two_every_pixel_is_the_mean_of_its_texels(factor, generator):
    picture = torch.rand(1, 2, 32, 48, generator=generator)
    H = torch.diag(torch.tensor([factor, factor, 1.0], dtype=torch.float64))
    H[:2, 2] = (factor - 1) / 2
    size = (32 // factor, 48 // factor)
    image, coverage = sample_covered(build_pyramid(picture), H[None], size, torch.zeros(1, 2))
    inner = (..., slice(1, -1), slice(1, -1))
    assert (
        image[inner] - torch.nn.functional.avg_pool2d(picture, factor)[inner]
    ).abs().max() < 1e-5
    assert coverage[inner].min() == 1


def test_against_opencv(texture, generator):
    """cv2 places pixel centres at integers too, so the same matrix must give the same picture
    inside.

    It may round its coefficients to 1/32 pixel, which is worth at most the steepest slope over 1/32
    pixel.
    """
    picture = torch.nn.functional.avg_pool2d(texture(5, 240, 320)[None], 5, 1, 2)
    steepest = float(
        torch.maximum(picture.diff(dim=2).abs().max(), picture.diff(dim=3).abs().max())
    )
    size = (120, 160)
    Hs = mild_homographies(8, size, (240, 320), generator)
    image = sample(build_pyramid(picture, antialias=False), Hs, size, WHITE)
    seen = 0
    for H, ours in zip(Hs.numpy(), image[:, 0].numpy(), strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        theirs = cv2.warpPerspective(
            picture[0, 0].numpy(),
            H,
            size[::-1],
            flags=flags,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=-9,
        )
        y, x = np.mgrid[: size[0], : size[1]]
        u, v, w = np.einsum("ij,jhw->ihw", H, np.stack([x, y, np.ones_like(x)]).astype(float))
        inside = (w > 0) & (u / w > 1) & (u / w < 318) & (v / w > 1) & (v / w < 238)
        assert np.abs(theirs - ours)[inside].max() < 2 * steepest / 32 + 1e-4
        assert np.abs(theirs - ours)[inside].mean() < steepest / 64
        seen += int(inside.sum())
    assert seen > 20_000


def test_antialiasing_comes_near_a_supersampled_picture(texture, paper_camera):
    """A texture three times finer than the pixels: plain bilinear picks single texels of many."""
    fine = 0.3 * torch.rand(
        1, 900, 1200, generator=torch.Generator().manual_seed(3)
    ) + 0.7 * texture(4, 900, 1200)
    camera, T = paper_camera.resize(56, 56), sampling.look_at(*at_an_angle())[None]
    scene = PlanarScene(fine, width=0.8 * 1200 / 1200)
    texels = (
        float(torch.linalg.det(scene.homography(camera, T))[0] / float(T[0, 2, 3].abs()) ** -3)
        ** 0.5
    )
    camera = camera.resize(
        round(56 * texels / 3), round(56 * texels / 3)
    )  # now about three texels a pixel
    eightfold = camera.resize(8 * camera.width, 8 * camera.height)
    plain = PlanarScene(fine, scene.width, antialias=False)
    truth = torch.nn.functional.avg_pool2d(plain.render(eightfold, T), 8)
    error = [(s.render(camera, T) - truth).square().mean().sqrt() for s in (scene, plain)]
    assert error[0] < 0.4 * error[1]


def at_an_angle() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Somewhat to the side, so that texels and pixels give no moire."""
    return (
        torch.tensor([0.1, 0.05, -0.6]).double(),
        torch.tensor([0.02, 0.0, 0.0]).double(),
        torch.tensor(0.3).double(),
    )


def test_coverage_is_the_share_of_the_pixel_that_the_picture_fills():
    picture = torch.zeros(1, 1, 4, 6)
    H = torch.eye(3, dtype=torch.float64)
    H[0, 2], H[1, 2] = -2.25, -3.0  # the picture's left edge a quarter into pixel column 2
    image, coverage = sample_covered(build_pyramid(picture), H[None], (12, 12), WHITE)
    columns = [0, 0, 0.75 - 0.5 + 0.5, 1, 1, 1, 1, 1, 0.25, 0, 0, 0]
    assert (coverage[0, 4] - torch.tensor(columns)).abs().max() < 1e-5
    assert (coverage[0, :, 5] - torch.tensor([0.0] * 3 + [1.0] * 4 + [0.0] * 5)).abs().max() < 1e-5
    assert abs(float(coverage.sum()) - 24) < 1e-4, "all shares together are the picture's area"
    assert (image[0, 0] - (1 - coverage[0])).abs().max() < 1e-6, "the background fills the rest"
    H[:2] *= 2
    _, coverage = sample_covered(build_pyramid(torch.zeros(1, 1, 16, 24)), H[None], (30, 30), WHITE)
    assert abs(float(coverage.sum()) - 16 * 24 / 4) < 1e-3, (
        "minified, the edge widens and the area stays"
    )


def test_each_image_has_its_own_background():
    H = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    H[:, 0, 2] = 100
    colours = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    image, coverage = sample_covered(build_pyramid(torch.rand(1, 3, 5, 5)), H, (4, 4), colours)
    assert (coverage == 0).all()
    assert torch.equal(image, colours[:, :, None, None].expand(2, 3, 4, 4))


def test_a_batch_large_enough_for_threads_is_its_images(generator):
    """Rows are split over threads: every image is, bit for bit, what it is alone."""
    pyramid, size = build_pyramid(torch.rand(1, 1, 50, 70, generator=generator)), (61, 67)
    Hs = mild_homographies(40, size, (50, 70), generator)
    back = torch.rand(40, 1, generator=generator)
    together = sample(pyramid, Hs, size, back)
    alone = torch.cat([sample(pyramid, Hs[i : i + 1], size, back[i : i + 1]) for i in range(40)])
    assert torch.equal(together, alone)
    assert torch.equal(together, sample_covered(pyramid, Hs, size, back)[0]), (
        "the coverage changes no pixel"
    )


def test_without_openmp_our_own_threads_draw_the_same(monkeypatch, generator):
    pyramid, size = build_pyramid(torch.rand(1, 1, 50, 70, generator=generator)), (61, 67)
    Hs = mild_homographies(40, size, (50, 70), generator)
    before = sample(pyramid, Hs, size, WHITE)
    monkeypatch.setattr(native, "_openmp", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(sample(pyramid, Hs, size, WHITE), before)


def test_gradients_reach_the_homography_through_the_slow_twin(generator):
    picture = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 40, 40, generator=generator), 5, 1)
    H = mild_homographies(1, (20, 20), (36, 36), generator).requires_grad_()
    sample_reference(build_pyramid(picture), H, (20, 20), WHITE)[0].sum().backward()
    assert torch.isfinite(H.grad).all() and H.grad.abs().max() > 0


@pytest.fixture
def fresh_library():
    """The library is searched for anew in this test, and again after it."""
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@pytest.mark.usefixtures("fresh_library")
def test_without_a_compiler_one_warning_and_the_same_pictures(monkeypatch, tmp_path, generator):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pyramid = build_pyramid(torch.rand(1, 1, 30, 40, generator=generator))
    Hs = mild_homographies(2, (20, 30), (30, 40), generator)
    with pytest.warns(UserWarning, match="no C compiler"):
        first = sample_covered(pyramid, Hs, (20, 30), WHITE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = sample_covered(pyramid, Hs, (20, 30), WHITE)
    reference = sample_reference(pyramid, Hs, (20, 30), WHITE)
    for a, b, c in zip(first, second, reference, strict=True):
        assert torch.equal(a, c) and torch.equal(b, c)


@pytest.mark.usefixtures("fresh_library")
@pytest.mark.parametrize("compiler", ["false", "/nowhere/cc"])
def test_a_compiler_that_fails_is_one_warning_and_no_library(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="could not build"):
        assert native.library() is None
    assert not list(tmp_path.rglob("*.so"))


def test_a_picture_of_any_odd_size_keeps_its_mean(generator):
    """The coarsest levels are padded by replication, which must not shift the inside."""
    picture = torch.rand(1, 1, 37, 53, generator=generator)
    pyramid = build_pyramid(picture)
    start, (h, w) = 0, pyramid.padded
    for level in range(pyramid.levels):
        assert int(pyramid.offsets[level]) == start
        values = pyramid.flat[0, 0, start : start + (h >> level) * (w >> level)].reshape(
            h >> level, w >> level
        )
        k = 2**level
        whole = picture[0, 0, : 37 // k * k, : 53 // k * k]
        means = torch.nn.functional.avg_pool2d(whole[None], k)[0]
        assert (values[: 37 // k, : 53 // k] - means).abs().max() < 1e-5
        start += values.numel()
    assert start == pyramid.flat.shape[2]


def test_another_number_of_pictures_than_homographies_is_refused():
    """The compiled pass would read beyond the pictures."""
    pyramid = build_pyramid(torch.rand(2, 1, 8, 8), True)
    with pytest.raises(ValueError, match="2 pictures for 3 homographies"):
        sample(pyramid, torch.eye(3, dtype=torch.float64).expand(3, 3, 3), (4, 4), None)
