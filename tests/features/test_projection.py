"""DCT and PCA: the bases against OpenCV's and NumPy's, and L against finite differences of the
rendered picture.
"""

import cv2
import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.luminance import Luminance
from deepservo.features.projection import Projection, dct_basis, pca_basis, zigzag
from deepservo.geometry import se3
from deepservo.scene import PlanarScene, sampling
from tiny import waves

CAMERA = Camera(192, 160, 260.0, 260.0, 92.0, 82.0)


def test_zigzag_is_jpegs():
    assert zigzag(10) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (2, 0),
        (1, 1),
        (0, 2),
        (0, 3),
        (1, 2),
        (2, 1),
        (3, 0),
    ]


def test_dct_against_opencv(generator):
    image = torch.rand(60, 76, generator=generator)
    ours = dct_basis(32, 60, 76) @ image.flatten()
    theirs = cv2.dct(image.numpy())
    assert np.abs(ours.numpy() - [theirs[v, u] for v, u in zigzag(32)]).max() < 1e-4


def test_pca_against_numpy(generator):
    grey = torch.randn(50, 6, generator=generator) @ torch.randn(6, 300, generator=generator) + 3
    basis, mean = pca_basis(grey, 4)
    _, values, rows = np.linalg.svd((grey - grey.mean(0)).numpy(), full_matrices=False)
    assert (mean - grey.mean(0)).abs().max() < 1e-6
    assert (basis @ basis.mT - torch.eye(4)).abs().max() < 1e-4
    assert np.abs(np.abs((basis.numpy() * rows[:4]).sum(1)) - 1).max() < 1e-3, (
        f"the same directions; singular values {values[:5]}"
    )
    assert (basis.gather(1, basis.abs().argmax(1, keepdim=True)) > 0).all(), "signs are fixed"


def projections() -> dict[str, Projection]:
    luminance = Luminance(CAMERA, border=5)
    grey = torch.rand(40, luminance.x.numel(), generator=torch.Generator().manual_seed(0))
    smooth = dct_basis(60, *luminance.x.shape)
    return {
        "dct": Projection(luminance, dct_basis(20, *luminance.x.shape)),
        "pca": Projection(luminance, *pca_basis(grey @ smooth.mT @ smooth, 20)),
    }


@pytest.mark.parametrize("name", ["dct", "pca"])
def test_interaction_matrix_against_the_rendered_picture(name):
    scene, features = PlanarScene(waves(), antialias=False), projections()[name]
    for T in (
        sampling.fronto_parallel(0.6),
        sampling.look_at(
            torch.tensor([[0.15, -0.1, -0.5]], dtype=torch.float64),
            torch.zeros(1, 3, dtype=torch.float64),
            torch.tensor([0.6]),
        ),
    ):
        L = features.L(scene.render(CAMERA, T), scene.depth(CAMERA, T))[0]
        for axis in range(6):
            twist = torch.zeros(6, dtype=torch.float64)
            twist[axis] = 2e-3
            there, back = (
                features.s(scene.render(CAMERA, T @ se3.exp(sign * twist)))[0] for sign in (1, -1)
            )
            numeric = (there - back) / 4e-3
            assert (L[:, axis] - numeric).norm() < 0.02 * numeric.norm(), f"axis {axis}"


@pytest.mark.parametrize("map_of_depths", [False, True])
@pytest.mark.parametrize("name", ["dct", "pca"])
def test_projection_against_the_luminance_row_by_row(name, map_of_depths, generator):
    """The plain twin multiplies the basis with the luminance's s and L. There are three pictures,
    because the fast form takes two at a time.
    """
    images = torch.rand(3, 1, 160, 192, generator=generator)
    depth = (
        0.5 + torch.rand(1, 160, 192, generator=generator)
        if map_of_depths
        else torch.full((1, 1, 1), 0.6)
    )
    features = projections()[name]
    slow_s = (
        torch.stack([features.basis @ s for s in features.luminance.s(images)]) - features.offset
    )
    slow_L = torch.stack([features.basis @ L for L in features.luminance.L(images, depth)])
    for s, L in (
        features.measure(images, depth),
        features.reference(images, depth),
        (features.s(images), features.L(images, depth)),
    ):
        torch.testing.assert_close(s, slow_s, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(L, slow_L, rtol=1e-4, atol=2e-3)


def test_bases_that_cannot_be():
    with pytest.raises(InputError, match="too many"):
        dct_basis(10_000, 20, 20)
    with pytest.raises(InputError, match="cannot be learned"):
        pca_basis(torch.rand(5, 30), 5)
