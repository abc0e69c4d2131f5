"""Pictures made by code: each kind has its stated statistics, none is flat, and the seed alone
decides.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.evaluation import metrics
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods.direct import PhotometricServo
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.texture_kinds import CLOUD_EXPONENTS
from deepservo.scene.textures import TEXTURES, texture
from deepservo.worlds.simulator import Simulator

SEEDS = 20


def draw(kind: str, seed: int, size: tuple[int, int] = (256, 256)) -> torch.Tensor:
    return texture(size, torch.Generator().manual_seed(seed), kind)


def of_all(kind: str, measure: Callable[[torch.Tensor], float], seeds: int = SEEDS) -> torch.Tensor:
    """The measure of each of some pictures (H, W) in float64."""
    return torch.tensor([float(measure(picture)) for picture in pictures(kind, seeds)])


@lru_cache
def pictures(kind: str, seeds: int) -> list[torch.Tensor]:
    return [draw(kind, seed)[0].double() for seed in range(seeds)]


def gradient(picture: torch.Tensor) -> torch.Tensor:
    return torch.cat([picture.diff(dim=0).flatten(), picture.diff(dim=1).flatten()])


def kurtosis(picture: torch.Tensor) -> torch.Tensor:
    """Of the gradient: 3 for Gaussian noise, and more where edges are rare and sharp."""
    g = gradient(picture)
    return g.pow(4).mean() / g.square().mean() ** 2


def slope(picture: torch.Tensor) -> float:
    """How steeply the amplitude falls with the frequency f: the a of 1/f^a, from 4 to 60 cycles a
    side.
    """
    window = torch.hann_window(len(picture), dtype=torch.float64)
    power = torch.fft.fft2((picture - picture.mean()) * window * window[:, None]).abs().square()
    f = torch.fft.fftfreq(len(picture), 1 / len(picture))
    f = torch.hypot(f, f[:, None])
    edges = torch.logspace(np.log10(4), np.log10(60), 9)
    rings = [power[(f >= low) & (f < high)].mean() for low, high in pairwise(edges)]
    middle = (edges[:-1] * edges[1:]).sqrt()
    return -np.polyfit(middle.log().numpy(), torch.stack(rings).log().numpy(), 1)[0] / 2


def patches(picture: torch.Tensor, side: int = 16) -> torch.Tensor:
    """(n, side * side): the picture cut into squares."""
    return torch.nn.functional.unfold(picture[None, None], side, stride=side)[0].T


def repetition(picture: torch.Tensor) -> float:
    """The highest correlation of a picture with itself shifted by up to half a side, outside of the
    peak at no shift.
    """
    picture, size = (
        picture - picture.mean(),
        [2 * n for n in picture.shape],
    )  # room for the move: nothing wraps around
    both = torch.fft.irfft2(torch.fft.rfft2(picture, s=size).abs().square(), s=size)
    overlap = torch.fft.irfft2(
        torch.fft.rfft2(torch.ones_like(picture), s=size).abs().square(), s=size
    )
    match = both / overlap.clamp(min=1) / picture.var()
    y, x = (torch.fft.fftfreq(n, 1 / n) for n in size)
    move = torch.hypot(y[:, None], x).round().long()
    ring = (
        torch.zeros(int(move.max()) + 1, dtype=match.dtype).index_add(
            0, move.flatten(), match.flatten()
        )
        / move.flatten().bincount()
    )
    foot = int((ring < 0.1).int().argmax())
    beyond = match[(move > foot) & (move <= len(picture) / 2)]
    return float(beyond.max()) if len(beyond) else 0.0


@pytest.mark.parametrize("kind", TEXTURES)
@pytest.mark.parametrize("size", [(256, 256), (120, 160), (16, 16), (17, 301), (300, 23)])
def test_pictures_have_the_size_and_stay_in_range(kind, size):
    for seed in range(5):
        picture = draw(kind, seed, size)
        assert (
            picture.shape == (1, *size)
            and picture.dtype == torch.float32
            and picture.is_contiguous()
        )
        assert picture.min() >= 0 and picture.max() <= 1, "also catches NaN"


@pytest.mark.parametrize("kind", TEXTURES)
def test_the_seed_alone_gives_the_picture(kind):
    first = draw(kind, 3)
    draw("mixed", 8)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        assert torch.equal(first, draw(kind, 3))
    finally:
        cv2.setNumThreads(threads)
    assert (first - draw(kind, 4)).abs().mean() > 0.01
    assert torch.equal(first, TEXTURES[kind]((256, 256), torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("kind", TEXTURES)
def test_pictures_of_one_generator_differ_and_do_not_depend_on_the_kinds_before(kind):
    generator, other = (torch.Generator().manual_seed(0) for _ in range(2))
    first, second = (texture((64, 64), generator, kind) for _ in range(2))
    texture((128, 32), other, "mixed")
    assert not torch.equal(first, second) and torch.equal(second, texture((64, 64), other, kind))


@pytest.mark.parametrize("kind", TEXTURES)
def test_nobody_elses_random_numbers_are_drawn(kind):
    states = torch.get_rng_state(), np.random.get_state()[2]
    draw(kind, 0, (32, 32))
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == np.random.get_state()[2]


@pytest.mark.parametrize("kind", TEXTURES)
def test_no_picture_is_flat(kind):
    for seed in range(60):
        picture = draw(kind, seed, (128, 128))
        assert picture.std() > 0.008, f"seed {seed}"
        assert gradient(picture[0]).square().mean().sqrt() > 5e-4, f"seed {seed}"


def test_clouds_have_the_promised_spectrum():
    a = of_all("clouds", slope)
    assert CLOUD_EXPONENTS[0] - 0.3 < a.min() and a.max() < CLOUD_EXPONENTS[1] + 0.3
    assert a.max() - a.min() > 0.5, "not all alike"


def test_leaves_have_edges_and_clouds_have_none():
    leaves, clouds = of_all("leaves", kurtosis), of_all("clouds", kurtosis)
    assert leaves.min() > clouds.max() and leaves.median() > 3 * clouds.median()


def test_strokes_are_mostly_ground():
    def ground(picture: torch.Tensor) -> torch.Tensor:
        return ((picture - picture.median()).abs() < 0.1).double().mean()

    share = of_all("strokes", ground)
    assert share.min() > 0.5 and share.median() > 0.75 and share.max() < 1


def test_tiles_repeat():
    tiles, leaves = of_all("tiles", repetition), of_all("leaves", repetition)
    assert tiles.min() > 0.3 and tiles.median() > 0.6
    assert leaves.median() < 0.35, "and not every picture does"


def test_faint_pictures_are_faint_and_not_flat():
    local = of_all("faint", lambda picture: patches(picture).std(1).median())
    whole = of_all("faint", torch.Tensor.std)
    assert local.max() < 0.02 and local.min() > 5e-4
    assert whole.max() < 0.08 and whole.min() > 0.008


# What nine tenths of 635 photographs have, and between which values their middle half lies, as grey
# squares of 256 pixels.
PHOTOGRAPHS = {
    "mean": (torch.mean, (0.27, 0.66), (0.37, 0.52)),
    "deviation": (torch.std, (0.11, 0.31), (0.16, 0.24)),
    "kurtosis": (kurtosis, (6.0, 48.0), (10.0, 22.0)),
    "slope": (slope, (0.85, 1.56), (1.11, 1.39)),
    "local contrast": (
        lambda picture: patches(picture).std(1).median(),
        (0.019, 0.143),
        (0.049, 0.097),
    ),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_mixed_pictures_have_the_statistics_of_photographs(name):
    measure, (low, high), (quarter, three_quarters) = PHOTOGRAPHS[name]
    values = of_all("mixed", measure, 80)
    assert quarter < values.median() < three_quarters
    assert ((low < values) & (values < high)).double().mean() > 0.65, "few are like no photograph"
    assert values.quantile(0.95) - values.quantile(0.05) > 0.7 * (high - low), (
        "and they vary as much"
    )


@pytest.mark.parametrize("seed", range(4))
def test_cameras_converge_before_each_kind(seed):
    camera, scene = (
        Camera(96, 96, 128.0, 128.0, 50.0, 46.0),
        PlanarScene(draw("mixed", seed, (240, 320))),
    )
    T_goal = sampling.fronto_parallel(0.6)
    T_start = T_goal @ se3.exp(
        torch.tensor([[0.012, -0.008, 0.006, 0.01, 0.015, -0.02]], dtype=torch.float64)
    )
    goal, coverage = scene.render_covered(camera, T_goal)
    assert goal.shape == (1, 1, 96, 96) and coverage.min() == 1
    controller = PhotometricServo(camera)
    controller.set_goal(goal)
    trajectory = servo(Simulator(scene, camera, T_start), controller, goal, 40)
    metres, radians = metrics.errors(trajectory.Ts_world_cam[-1], T_goal)
    assert metres < 3e-3 and radians < 5e-3


@pytest.mark.parametrize("kind", ["nonsense", "", "Clouds"])
def test_an_unknown_kind_is_refused_with_the_list_of_kinds(kind):
    with pytest.raises(
        InputError, match="choose one of clouds, leaves, strokes, tiles, faint, mixed"
    ):
        texture((64, 64), torch.Generator(), kind)


@pytest.mark.parametrize(
    "size",
    [
        (15, 64),
        (64, 15),
        (4097, 64),
        (64, 4097),
        (0, 0),
        (-64, 64),
        (64.0, 64),
        (64,),
        (64, 64, 1),
        64,
        "ab",
    ],
)
@pytest.mark.parametrize("kind", ["clouds", "mixed"])
def test_impossible_sizes_are_refused(kind, size):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    with pytest.raises(InputError, match="16 to 4096"):
        texture(size, generator, kind)
    assert torch.equal(before, generator.get_state())


def test_the_largest_and_smallest_sides_are_possible():
    for size in ((16, 4096), (4096, 16)):
        assert draw("mixed", 0, size).shape == (1, *size)
