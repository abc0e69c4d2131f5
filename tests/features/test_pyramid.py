"""Pictures in falling sizes and their noise: in C as in torch, whatever their size."""

import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.features import pyramid as pyramids
from deepservo.features.pairs import UNSEEN
from deepservo.features.pyramid import noise_reference, pyramid, pyramid_reference
from deepservo.images.pictures import bundled


def cameras(width: int, height: int) -> list:
    camera = PAPER_CAMERA.resize(width, height)
    return [camera.resize(width >> i, height >> i) for i in range(4)]


@pytest.mark.parametrize("size", [(64, 48), (72, 52), (70, 48), (33, 48), (640, 480)])
def test_levels_and_noise_in_c_are_those_in_torch(size):
    of = cameras(*size)
    generator = torch.Generator().manual_seed(1)
    picture = pyramids.resize(bundled("coffee")[None], of[0])
    images = torch.cat(
        [picture + s * torch.randn(picture.shape, generator=generator) for s in (0, 0.03)]
    )
    levels, noise = pyramid(images, of)
    slow = pyramid_reference(images, of)
    for level, other, camera in zip(levels, slow, of, strict=True):
        assert level.shape == other.shape == (2, 1, camera.height, camera.width)
        assert (level - other).abs().max() < 1e-6
    assert torch.equal(noise, noise_reference(images))
    assert 0.025 < float(noise[1]) < 0.04


def test_what_is_unseen_stays_so():
    of = cameras(64, 48)
    images = torch.full((1, 1, 48, 64), 0.5)
    images[..., :16] = torch.nan
    levels, noise = pyramid(images, of)
    for i, level in enumerate(levels):
        assert (level[..., : 16 >> i] == UNSEEN).all() and (level[..., 16 >> i :] == 0.5).all()
    assert float(noise) == pytest.approx(1.4826e-4)


def test_larger_pictures_are_resized_first():
    images = torch.rand(1, 1, 96, 128, generator=torch.Generator().manual_seed(2))
    levels, noise = pyramid(images, cameras(64, 48))
    assert levels[0].shape[-2:] == (48, 64) and torch.equal(noise, noise_reference(images))
