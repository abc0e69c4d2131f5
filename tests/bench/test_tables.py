"""A benchmark's tables compare two methods run by run and two results row by row."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from deepservo.bench import bench as benching
from deepservo.bench import tables
from deepservo.bench.runs import Job, Runs
from deepservo.bench.tables import compared
from deepservo.evaluation import metrics


def test_runs_are_paired_by_scene_and_number_over_all_parts():
    """Checked by counting: a method that ran on fewer scenes is compared on those alone."""

    def runs(converged: list[int]) -> Runs:
        filled = {
            f.name: np.zeros((len(converged), 1, 6) if f.name == "path" else len(converged))
            for f in fields(Runs)
        }
        return Runs(
            **{**filled, "converged": np.array(converged, bool), "run": np.arange(len(converged))}
        )

    all_runs = {
        Job("a", "s", "one", "moon", 4): runs([1, 1, 1, 0]),
        Job("b", "s", "one", "moon", 4): runs([0, 0, 1, 1]),
        Job("a", "s", "one", "page", 2): runs([1, 1]),
        Job("a", "s", "two", "moon", 2): runs([1, 0]),
        Job("b", "s", "two", "moon", 2): runs([0, 0]),
    }  # fmt: skip
    rows = [
        {"set": "s", "part": part, "method": method} for part in ("one", "two") for method in "ab"
    ]
    for each in rows:
        each["paired"] = benching.paired(each, all_runs)
    assert [each["paired"] for each in rows] == [
        {"b": [2, 1]},
        {"a": [1, 2]},
        {"b": [1, 0]},
        {"a": [0, 1]},
    ]
    assert tables.pairs(rows) == [("s", "a", "b", 3, 1, pytest.approx(0.625))]
    assert "| s | `a` | `b` | 3 | 1 | 0.6250 |" in tables.in_pairs(rows)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial(won, lost):
    if won + lost:
        assert metrics.mcnemar(won, lost) == pytest.approx(
            binomtest(won, won + lost).pvalue, rel=1e-6
        )
    assert metrics.mcnemar(0, 0) == 1


def test_compare_says_what_moved():
    def row(share: float, low: float, high: float) -> dict:
        return {
            "method": "dvs",
            "set": "lookat",
            "part": "",
            "scene": "moon",
            "converged": share,
            "converged_ci": (low, high),
            "end_mm_median": 0.1,
        }

    for after, word, worse in (
        (row(0.2, 0.1, 0.3), "fell", True),
        (row(0.95, 0.9, 0.99), "rose", False),
        (row(0.6, 0.5, 0.7), "within", False),
    ):
        table, fell = compared([row(0.6, 0.5, 0.7)], [after])
        assert word in table and fell == worse
