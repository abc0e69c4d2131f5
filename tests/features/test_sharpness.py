"""How much blunter one picture is than another, and pictures blurred as much."""

import math

import pytest
import torch
from conftest import noise_texture

from deepservo.features.pairs import UNSEEN
from deepservo.features.sharpness import blur_between, blurred, noise_left
from deepservo.scene import perturb

PICTURES = torch.cat([noise_texture(seed, 240, 320) for seed in (1, 2)])
NO_NOISE = torch.full((2, 1), 1e-4)


def far_blurred(pictures: torch.Tensor, deviations: torch.Tensor) -> torch.Tensor:
    """`blurred`, summed over each pixel's whole row and column, and not beyond them."""
    for axis in (1, 2):
        at = torch.arange(float(pictures.shape[axis]))
        weights = (-((at[:, None] - at) / deviations[:, None, None]).square() / 2).exp()
        weights = weights / weights.sum(2, keepdim=True)
        pictures = weights @ pictures if axis == 1 else pictures @ weights.mT
    return pictures


@pytest.mark.parametrize("deviation", [0.7, 1.0, 2.0])
def test_the_blur_of_either_picture_is_found_in_any_light(deviation):
    blunt = far_blurred(PICTURES, torch.full((2,), deviation))
    for gain, bias in ((1.0, 0.0), (0.4, 0.3)):
        for goal, view, sign in ((PICTURES, blunt, 1), (blunt, PICTURES, -1)):
            found = sign * blur_between(goal, gain * view + bias, (NO_NOISE, gain * NO_NOISE))
            assert found.sqrt() == pytest.approx(torch.full((2,), deviation), rel=0.1)


def test_equal_pictures_a_few_pixels_apart_are_equally_sharp():
    found = blur_between(PICTURES[:, 3:, 5:], PICTURES[:, :-3, :-5], (NO_NOISE, NO_NOISE))
    assert found.abs().max() < 0.2**2


def test_noise_is_no_sharpness():
    noisy = perturb.noise(PICTURES[:, None], torch.Generator().manual_seed(0), 0.02)[:, 0]
    noises = NO_NOISE, torch.full((2, 1), 0.02)
    assert blur_between(PICTURES, noisy, noises).abs().max() < 0.3**2
    assert blur_between(PICTURES, torch.full_like(PICTURES, 0.5), noises).eq(0).all(), "blank"


def test_unseen_pixels_have_no_part():
    deviation = torch.tensor([1.0, 2.0])
    holed = PICTURES.clone()
    holed[:, :, 290:] = UNSEEN
    found = blurred(holed, deviation)
    assert (found[:, :, 290:] == UNSEEN).all()
    inside = (slice(None), slice(12, -12), slice(12, 275))
    torch.testing.assert_close(
        found[inside], far_blurred(PICTURES, deviation)[inside], atol=4e-3, rtol=0
    )
    assert (found[:, :, :290] - PICTURES[:, :, :290]).abs().max() < 0.8, "nothing of the mark"
    assert blur_between(holed, found, (NO_NOISE, NO_NOISE)).sqrt() == pytest.approx(
        deviation, rel=0.15
    )


def test_what_is_left_of_noise():
    noise = torch.randn(2, 400, 400, generator=torch.Generator().manual_seed(0))
    deviation = torch.tensor([0.7, 2.0])
    left = blurred(noise, deviation)[:, 20:-20, 20:-20].std((1, 2))
    assert left == pytest.approx(noise_left(deviation), rel=0.03)
    assert float(noise_left(deviation)[1]) == pytest.approx(
        1 / (2 * 2.0 * math.sqrt(math.pi)), rel=0.02
    )
