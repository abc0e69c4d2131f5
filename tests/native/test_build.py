"""The libraries compiled into a wheel: one for each instruction set, and the best one for the
processor is loaded.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deepservo import native
from deepservo.images.sampler import build_pyramid, sample, sample_reference
from deepservo.native import build
from tiny import mild_homographies

pytestmark = pytest.mark.skipif(
    build.compiler() is None or build.machine() != "x86_64", reason="no C compiler for x86-64"
)
ALL = build.SETS["x86_64"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like an installed wheel."""
    folder = tmp_path_factory.mktemp("native")
    assert [path.name.split("-")[1] for path in build.into_wheel(folder)] == list(ALL)
    return folder


@pytest.fixture
def installed(wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """There is no compiler and an empty cache, and the wheel's libraries are there."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setattr(build, "HERE", wheel)
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@pytest.mark.parametrize(
    ("able", "taken"),
    [
        (" ".join(needed for _, needed in ALL.values()), "v4"),
        (f"{ALL['v3'][1]} {ALL['v2'][1]} avx512f", "v3"),
        (ALL["v2"][1], "v2"),
        ("sse2", None),
    ],
)
@pytest.mark.usefixtures("installed")
def test_the_best_library_for_the_processor_is_loaded(
    able: str, taken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "processor", lambda: f"flags : {able}")
    path = build.shipped()
    assert (path and path.name.split("-")[1]) == taken


@pytest.mark.usefixtures("installed")
def test_a_library_of_other_sources_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "digest", lambda: "0" * 16)
    assert build.shipped() is None
    with pytest.warns(UserWarning, match="no C compiler found"):
        assert native.library() is None


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("installed")
def test_each_draws_what_the_slow_twin_draws_without_a_compiler(
    name: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
):
    if not set(ALL[name][1].split()) <= set(build.processor().split()):
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setattr(build, "SETS", {"x86_64": {name: ALL[name]}})
    pyramid = build_pyramid(torch.rand(1, 1, 60, 80, generator=generator))
    Hs = mild_homographies(3, (40, 50), (60, 80), generator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is not None
        found = sample(pyramid, Hs, (40, 50), torch.ones(1, 1))
    assert (found - sample_reference(pyramid, Hs, (40, 50), torch.ones(1, 1))[0]).abs().max() < 2e-5


def test_without_a_compiler_a_wheel_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "false")
    assert build.into_wheel(tmp_path) == [] and not list(tmp_path.iterdir())
    monkeypatch.delenv("CC")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert build.into_wheel(tmp_path) == []
