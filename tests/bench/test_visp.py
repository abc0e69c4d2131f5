"""Our pictures, errors, interaction matrices and trajectories equal those of ViSP, which
benchmarks/visp/judge.py saved.
"""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.visp import judge

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def apart() -> dict[str, float]:
    return judge.apart(dict(np.load(ROOT / "tests" / "golden" / "visp.npz")))


def test_pictures_are_visps(apart):
    assert apart["pixels that differ %"] < 0.05 and apart["grey levels at most"] <= 1, (
        "a half may be rounded up or down"
    )


def test_luminance_interaction_matrix_is_visps(apart):
    assert apart["L, relative"] < 1e-6


def test_trajectories_are_visps(apart):
    """The camera's pose after each of 60 steps, from 3 to 8 cm away, with the goal's L and 8-bit
    pictures.
    """
    assert apart["trajectory mm at most"] < 0.05
