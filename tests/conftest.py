"""Fixtures of many tests: cameras, pictures made by code, random generators. Threads do not
spin.
"""

import os

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # read when torch is loaded: threads that spin starve each other
if (
    "PYTEST_XDIST_WORKER" in os.environ
    # There is one process for each core. The processes that it starts train with as many threads.
):
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # before any drawing: in the other order its LLVM crashes with Mesa's
from hypothesis import settings

from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.geometry import se3
from deepservo.methods import METHODS
from deepservo.scene import PlanarScene
from tiny import Refused, listing, make_files, sentence

torch.set_num_threads(min(2, torch.get_num_threads()))
settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, database=None)
settings.load_profile("quick")


def noise_texture(
    seed: int, height: int = 300, width: int = 400, coarsest: int = 3
) -> torch.Tensor:
    """(1, H, W): noise at every scale from `coarsest` cells a side to single pixels, so that every
    view of it is unique.
    """
    generator = torch.Generator().manual_seed(seed)
    total, cells = torch.zeros(1, 1, height, width), coarsest
    while cells <= min(height, width):
        octave = torch.randn(1, 1, cells, cells, generator=generator)
        total += (
            torch.nn.functional.interpolate(octave, (height, width), mode="bicubic") / cells**0.7
        )
        cells *= 2
    return (0.5 + 0.2 * total[0] / total.std()).clamp(0, 1)


@pytest.fixture(scope="session")
def paper_camera() -> Camera:
    """The camera of the published experiments."""
    return Camera(224, 224, 300.0, 300.0, 119.0, 109.0)


@pytest.fixture(scope="session")
def small_camera() -> Camera:
    """64 x 64, the principal point off the middle."""
    return Camera(64, 64, 80.0, 84.0, 33.0, 30.0)


@pytest.fixture(scope="session")
def texture() -> Callable[..., torch.Tensor]:
    """`texture(seed, height, width)`: a rich picture made by code."""
    return noise_texture


@pytest.fixture(scope="session")
def scene() -> PlanarScene:
    """A rich picture, 0.8 x 0.6 m."""
    return PlanarScene(noise_texture(1))


@pytest.fixture(scope="session")
def other_scene() -> PlanarScene:
    """Another picture of the same kind and size."""
    return PlanarScene(noise_texture(2))


@pytest.fixture
def generator() -> torch.Generator:
    """Random numbers, the same for every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def T_goal_cam() -> torch.Tensor:
    """Four offsets of about 3 cm and 4 deg."""
    generator = torch.Generator().manual_seed(4)
    twist = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    return se3.exp(
        twist
        / twist.abs().amax(1, keepdim=True)
        * torch.tensor([0.03, 0.03, 0.03, 0.07, 0.07, 0.07])
    )


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with picture.png, camera.yaml and model.safetensors of a short training. No test may
    change it.
    """
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, even if the tests were started in the background with Ctrl-C
    ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def refused(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Refused:
    """`refused(args, *words)`: exit code 2, one sentence that holds the words, and all files
    unchanged.
    """
    monkeypatch.chdir(tmp_path)

    def check(args: list[Any], *words: str) -> None:
        before = listing(tmp_path), listing(files)
        capfd.readouterr()
        assert main([str(a) for a in args]) == 2
        sentence(capfd.readouterr().err, *words)
        assert (listing(tmp_path), listing(files)) == before, "nothing written, nothing changed"

    return check


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Methods that a test registers are removed after it."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)
