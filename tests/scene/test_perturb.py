"""Perturbations of a picture: covers, blur, defocus, light, brightness and contrast."""

import math

import numpy as np
import pytest
import torch

from deepservo.scene import perturb
from deepservo.scene.textures import texture

PERTURBATIONS = {
    "brightness": perturb.brightness, "contrast": perturb.contrast, "noise": perturb.noise,
    "lights": perturb.lights, "blur": lambda images,
    generator: perturb.blur(images, generator, probability=1.0), "defocus": lambda images,
    generator: perturb.defocus(images, generator, 2.0, probability=1.0),
    "exposure": perturb.exposure, "shadow": lambda images,
    generator: perturb.shadow(images, generator, probability=1.0), "highlight": lambda images,
    generator: perturb.highlight(images, generator, probability=1.0), "erase": lambda images,
    generator: perturb.erase(images, generator, probability=1.0), "as_mlvs": perturb.as_mlvs,
}  # fmt: skip


@pytest.mark.parametrize("name", list(PERTURBATIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_perturbations_change_pictures_stay_in_range_and_follow_the_generator(name, channels):
    images = torch.rand(6, channels, 30, 41, generator=torch.Generator().manual_seed(9))
    untouched = images.clone()
    first, second, other = (
        PERTURBATIONS[name](images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(images, untouched), "the pictures given are not written to"
    assert first.shape == images.shape and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1
    assert ((first - images).abs().flatten(1).amax(1) > 1e-3).all()


def test_erase_covers_the_stated_area_as_one_rectangle():
    images = torch.ones(300, 1, 64, 64)
    erased = perturb.erase(images, torch.Generator().manual_seed(0), probability=1.0)[:, 0] == 0
    share = erased.double().mean((1, 2))
    assert share.min() > 0.015 and share.max() < 0.345
    assert share.quantile(0.05) < 0.06 and share.quantile(0.95) > 0.28, "the whole range is used"
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    assert torch.equal(rows * columns, erased.sum((1, 2))), "a full rectangle"
    ratio = rows / columns
    assert ratio.min() > 0.25 and ratio.max() < 4
    assert erased.any(0).any(0).all() and erased.any(0).any(1).all(), (
        "every row and column is covered sometimes"
    )
    half = (
        perturb.erase(images, torch.Generator().manual_seed(0))[:, 0]
        .eq(0)
        .flatten(1)
        .any(1)
        .double()
        .mean()
    )
    assert 0.4 < half < 0.6


def test_blur_softens_by_a_share_of_its_own_and_leaves_the_mean():
    edge = (torch.arange(40) >= 20).float().expand(200, 1, 40, 40)
    soft = perturb.blur(edge, torch.Generator().manual_seed(0))
    step = soft[:, 0, 20, 20] - soft[:, 0, 20, 19]
    assert 0.4 < (step == 1).double().mean() < 0.6, "half of them are left as they are"
    assert step.min() > 0 and step.min() < 0.4, "others are blurred over several pixels"
    torch.testing.assert_close(soft.mean((1, 2, 3)), edge.mean((1, 2, 3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("most", [3.0, 4.0, 5.0])
def test_defocus_is_a_gaussian_of_up_to_the_deviation_named_and_a_fifth_of_it_or_more(most):
    """By the second moments of one bright pixel, along both axes, and against the Gaussian
    itself.
    """
    images, k = torch.zeros(300, 1, 61, 61), torch.arange(61.0) - 30
    images[:, :, 30, 30] = 1.0
    soft = perturb.defocus(images, torch.Generator().manual_seed(0), most, probability=1.0)
    deviations, across = ((soft[:, 0].sum(axis) * k**2).sum(1).sqrt() for axis in (1, 2))
    torch.testing.assert_close(deviations, across, rtol=1e-3, atol=0)
    torch.testing.assert_close(soft.sum((1, 2, 3)), torch.ones(300), atol=1e-4, rtol=0)
    assert (
        0.97 * most / 5 < deviations.min() < 1.1 * most / 5
        and 0.95 * most < deviations.max() < 1.01 * most
    )
    assert deviations.mean().item() == pytest.approx(0.6 * most, rel=0.05), "all are equally likely"
    wide = int(deviations.argmax())
    bell = torch.exp(-(k**2) / (2 * deviations[wide] ** 2))
    torch.testing.assert_close(
        soft[wide, 0] / soft[wide, 0, 30, 30], bell[:, None] * bell, atol=1e-3, rtol=0
    )
    half = perturb.defocus(images, torch.Generator().manual_seed(1), most)
    assert 0.4 < (half == images).flatten(1).all(1).double().mean() < 0.6, (
        "half of them are left as they are"
    )


def test_blur_and_lights_are_those_of_their_plain_twins(generator):
    images = torch.rand(6, 1, 20, 31, generator=generator)
    mean = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(perturb._mean_about(images), mean)
    lit = perturb.lights(images, torch.Generator().manual_seed(3))
    g = torch.Generator().manual_seed(3)
    gain, cx, cy = (torch.rand(3, 6, 3, 1, generator=g) * 2 - 1).unbind(0)
    sx, sy = (0.2 + 0.8 * torch.rand(2, 6, 3, 1, generator=g)).unbind(0)
    for i in range(6):
        y, x = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 31), indexing="ij")
        spots = sum(
            gain[i, k]
            * torch.exp(-(((x - cx[i, k]) / sx[i, k]) ** 2) - ((y - cy[i, k]) / sy[i, k]) ** 2)
            for k in range(3)
        )
        torch.testing.assert_close(lit[i, 0], (images[i, 0] * (1 + 0.6 * spots)).clamp(0, 1))


def test_shadows_highlights_and_exposures_are_those_of_their_plain_twins():
    """The same random numbers in the same order, pixel by pixel: the place, width and strength of
    the edge or the spot.
    """
    n, (h, w) = 100, (9, 14)
    images = torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(1))
    g = torch.Generator()

    def uniform(low: float, high: float) -> np.ndarray:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=g).double().numpy()

    def about() -> tuple[np.ndarray, np.ndarray]:
        return np.linspace(-1, 1, w) - uniform(-0.8, 0.8), np.linspace(-1, 1, h)[:, None] - uniform(
            -0.8, 0.8
        )

    def assert_is(found: torch.Tensor, expected: np.ndarray) -> None:
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert 0.1 * n < (np.abs(expected - images.numpy()) > 1e-3).any((1, 2, 3)).sum() <= n, (
            "some are degraded"
        )

    pixels = images.double().numpy()
    g.manual_seed(3)
    (x, y), angle = about(), uniform(-math.pi, math.pi)
    dark = 1 / (1 + np.exp(-(np.cos(angle) * x + np.sin(angle) * y) / uniform(0.03, 0.18)))
    assert_is(
        perturb.shadow(images, torch.Generator().manual_seed(3)),
        pixels * (1 - dark * uniform(0.15, 0.85) * (uniform(0, 1) < 0.3)),
    )
    g.manual_seed(4)
    x, y = about()
    spot = 1.5 * np.exp(-(x**2 + y**2) / (2 * uniform(0.1, 0.35) ** 2))
    assert_is(
        perturb.highlight(images, torch.Generator().manual_seed(4)),
        np.clip(pixels + spot * (uniform(0, 1) < 0.2), 0, 1),
    )
    g.manual_seed(5)
    factor = np.exp(uniform(-math.log(3.3), math.log(3.3)))
    assert_is(
        perturb.exposure(images, torch.Generator().manual_seed(5)), np.clip(pixels * factor, 0, 1)
    )
    g.manual_seed(6)
    mean, factor = pixels.mean((1, 2, 3), keepdims=True), uniform(0.6, 1.4)
    assert_is(
        perturb.contrast(images, torch.Generator().manual_seed(6)),
        np.clip(mean + (pixels - mean) * factor, 0, 1),
    )


@pytest.mark.parametrize(
    ("side", "shown"), [(6, {2, 3, 4, 5, 6}), (40, {10, 15, 20, 25, 30, 35, 40})]
)
def test_fewer_pixels_are_as_many_as_are_left_in_the_picture(side, shown):
    """An enlarged picture has as many independent rows and columns as it had pixels: down to a
    quarter, and at least two.
    """
    images = torch.rand(400, 1, side, 4 * side, generator=torch.Generator().manual_seed(0))
    coarse = perturb.fewer_pixels(images, torch.Generator().manual_seed(1))
    ranks = torch.linalg.matrix_rank(coarse[:, 0].double(), rtol=1e-5)
    assert set(ranks.tolist()) == shown
    assert 0.1 < (ranks < side).double().mean() < 0.3, "a fifth of them"
    assert (coarse[ranks == side] == images[ranks == side]).all()
    assert (coarse.mean((1, 2, 3)) - images.mean((1, 2, 3))).abs().max() < 0.1


def test_brightness_and_contrast_use_their_whole_range():
    flat = torch.full((500, 1, 8, 8), 0.5)
    factor = perturb.brightness(flat, torch.Generator().manual_seed(0)).mean((1, 2, 3)) / 0.5
    assert 0.4 <= factor.min() < 0.45 and 1.55 < factor.max() <= 1.6001
    assert (perturb.contrast(flat, torch.Generator().manual_seed(0)) - flat).abs().max() < 1e-6, (
        "about the picture's own mean"
    )
    noisy = perturb.noise(flat, torch.Generator().manual_seed(0))
    assert abs(float((noisy - flat).std()) - 0.05) < 0.002


def test_superpixels_are_all_of_a_picture_and_cover_what_they_are_laid_on():
    picture = texture((48, 64), torch.Generator().manual_seed(3))
    patches = perturb.superpixels(picture, 12)
    assert 4 <= len(patches) <= 24 and sum(int(patch.mask.sum()) for patch in patches) == 48 * 64, (
        "every pixel is in one piece"
    )
    images = torch.full((40, 2, 32, 40), 2.0)
    covered = perturb.cover(images, torch.Generator().manual_seed(0), patches, probability=0.5)
    assert (images == 2).all(), "the images given are left as they are"
    changed = (covered != 2).any(1).flatten(1)
    assert 10 <= int(changed.any(1).sum()) <= 30 and torch.equal(covered[:, 0], covered[:, 1])
    for image, pixels in zip(covered[:, 0], changed, strict=True):
        if pixels.any():  # what is laid on it is one piece, cut at the image's border
            assert any(_contains(patch, image[image != 2]) for patch in patches)
    again = perturb.cover(images, torch.Generator().manual_seed(0), patches, probability=0.5)
    assert torch.equal(covered, again) and torch.equal(
        perturb.cover(images, torch.Generator(), patches, 0.0), images
    )


def _contains(patch, values):
    return len(values) <= patch.mask.sum() and torch.isin(values, patch.pixels[patch.mask]).all()
