"""The tables of docs/results.md tell what results files say, and nothing where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

import published
from deepservo.models.any_scene_model import SHIPPED

MIB = 2**20


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """A folder of results, with ViSP's speed in it."""
    monkeypatch.setattr(published, "RESULTS", tmp_path)
    published._rows.cache_clear()
    (tmp_path / "full-scale").mkdir()
    (tmp_path / "speed.json").write_text(
        json.dumps({"rows": [{"what": published.AS_VISP, "theirs": 200.0}]})
    )
    return tmp_path


def ran(results: Path, name: str, full: bool, *rows: tuple[str, str, float, float | None]) -> None:
    told = [
        {
            "method": method,
            "set": part,
            "scene": "coffee",
            "n": 500,
            "converged": share,
            "trained_s": seconds,
            "time_s": 60.0,
        }
        | {"end_mm_median": 0.5}
        for method, part, share, seconds in rows
    ]
    training = {"seconds": 300.0, "samples_per_s": 1e4, "rendering_share": 0.25}
    content: dict[str, Any] = {
        "full": full,
        "training": training,
        "machine": {"processor": "P", "gpu": "H"},
        "rows": told,
    }
    (results / "full-scale" / f"{name}.json").write_text(json.dumps(content))


def line(table: str, *words: str) -> str:
    (found,) = [line for line in table.splitlines() if all(word in line for word in words)]
    return found


def test_what_was_not_run_is_said_to_be(results):
    ran(results, "mlvs", False, ("mlvs", "lookat-rz", 1.0, 300.0))
    assert line(published.published([]), "lookat-rz |", "`mlvs`").count("not run") == 2, (
        "a part of an experiment is no result"
    )
    assert published.marks([]).count("not run") == 8
    assert published.recipes([]).count("not run") == 11


def test_what_was_run_is_told(results):
    ran(
        results,
        "aevs",
        True,
        ("aevs", "lookat", 0.96, 300.0),
        ("dvs", "lookat", 0.5, None),
        ("aevs", "lookat-rz", 0.4, 300.0),
    )
    table = published.published([])
    assert "| 96.0 [93.9, 97.4] | 0.5 | 5.0 min | not run" in line(table, "lookat |", "`aevs`")
    assert "| 50.0 [45.6, 54.4] | 0.5 | - | not run" in line(table, "lookat |", "`dvs`"), (
        "what learns nothing has no time of learning"
    )
    rows = [{"method": "aevs", "runs": 1, "ms_p50": 1.25, "steps_per_s": 700.0}]
    rows += [
        {"method": "dvs-visp", "runs": runs, "steps_per_s": each}
        for runs, each in ((64, 3e5), (4096, None))
    ]
    (results / "gpu.json").write_text(json.dumps({"rows": rows}))
    table = published.marks([])
    assert "| 96.0 %, 5.0 min |" in line(table, "`aevs` learned") and "| 1.25 ms |" in line(
        table, "control step of `aevs`"
    )
    assert "| 1.0 min, `aevs` |" in line(table, "the slowest") and "| 1500 times |" in line(
        table, "ViSP"
    )
    assert "| 5.0 | 10000 | 25 | H |" in line(published.recipes([]), "`aevs`")


def test_speed_is_told_beside_the_floors_and_what_no_memory_held(results):
    row = {
        "method": "mlvs",
        "runs": 64,
        "steps_per_s": 500.0,
        "memory_floor": 1e6,
        "flop_floor": 2e3,
    }
    row |= {"ms_p50": 1.5, "ms_p99": 2.0, "ms_compiled": 1.25}
    table = published.gpu([row, dict.fromkeys(row) | {"method": "mlvs", "runs": 4096}])
    assert line(table, " 64 ") == "| `mlvs` | 64 | 500 | 0.0005 | 0.25 | 1.50 | 2.00 | 1.25 |"
    assert line(table, " 4096 ") == "| `mlvs` | 4096 | out of memory | - | - | - | - | - |"


def test_files_that_ship_are_small():
    sizes = [path.stat().st_size for path in SHIPPED.iterdir()]
    assert sizes and max(sizes) <= 15 * MIB and sum(sizes) <= 60e6
