"""ViSP's own pictures, errors, interaction matrices and trajectories, as benchmarks/visp/judge.py
wrote them down.
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
        "a tie may be rounded either way"
    )


def test_luminance_interaction_matrix_is_visps(apart):
    assert apart["L, relative"] < 1e-6


def test_trajectories_are_visps(apart):
    """Where the camera is after each of 60 steps, from 3 to 8 cm away, at the goal's L, in
    bytes.
    """
    assert apart["trajectory mm at most"] < 0.05
