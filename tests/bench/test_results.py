"""The tables of docs/results.md show the figures of the results files, and nothing where there is
no file.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tables import performance, published
from benchmarks.tables.measured import measured
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
    tables = [
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
        "rows": tables,
    }
    (results / "full-scale" / f"{name}.json").write_text(json.dumps(content))


def line(table: str, *words: str) -> str:
    (found,) = [line for line in table.splitlines() if all(word in line for word in words)]
    return found


def test_a_table_without_results_is_one_line_with_the_command(results):
    ran(results, "mlvs", False, ("mlvs", "lookat-rz", 1.0, 300.0))
    for text in (
        published.published([]),  # a part of an experiment is no result
        published.marks([]),
        published.recipes([]),
    ):
        assert text.startswith("Not measured yet") and "\n" not in text and "not run" not in text
        assert "`deepservo recipe --missing`" in text
    assert published.marks([]).count("; ") == 7 and published.recipes([]).count("; ") == 10
    assert performance.gpu([]).count("\n") == 0 and "python -m benchmarks gpu" in performance.gpu(
        []
    )


HEAD = ["method", "paper", "GPU", "GPU mm", "two cores"]
PAPER, GPU, BOTH = (
    ["`a`", "-", "not run", "-", "not run"],
    ["`b`", "2", "1", "-", "not run"],
    ["`c`", "3", "4", "0.5", "5"],
)


def test_rows_and_columns_in_which_nothing_has_run_are_not_shown():
    def shown(*lines: list[str]) -> list[str]:
        return measured(HEAD, lines, 1, slice(2, None), "Run it.").splitlines()

    one = shown(GPU)
    assert one == ["| method | paper | GPU |", "| --- | --: | --: |", "| `b` | 2 | 1 |"]
    assert shown(PAPER, GPU) == [*one, "", "Not measured yet: `a`. Run it."]
    both = shown(GPU, BOTH)
    assert both[0] == f"| {' | '.join(HEAD)} |" and both[2] == "| `b` | 2 | 1 | - | not run |", (
        "a cell stays where another of its row and another of its column have run"
    )
    assert len(both) == 4
    assert shown(PAPER) == ["Not measured yet: `a`. Run it."]
    assert shown() == ["Not measured yet. Run it."]


def test_results_are_in_their_tables(results):
    ran(
        results,
        "aevs",
        True,
        ("aevs", "lookat", 0.96, 300.0),
        ("dvs", "lookat", 0.5, None),
        ("aevs", "lookat-rz", 0.4, 300.0),
    )
    table = published.published([])
    assert line(table, "lookat |", "`aevs`").endswith("| 96.0 [93.9, 97.4] | 0.5 | 5.0 min |")
    assert line(table, "lookat |", "`dvs`").endswith("| 50.0 [45.6, 54.4] | 0.5 | - |"), (
        "an untrained method has no training time"
    )
    assert len([each for each in table.splitlines() if each.startswith("|")]) == 2 + 3
    row = {"set": "screw", "method": "aevs", "scene": "coffee", "n": 10, "converged": 0.5}
    content = {"rows": [row | {"end_mm_median": 0.25, "trained_s": 120.0}]}
    (results / "aevs.json").write_text(json.dumps(content))
    published._rows.cache_clear()
    table = published.published([])
    assert "| 96.0 [93.9, 97.4] | 0.5 | 5.0 min | not run | - | - |" in line(
        table, "lookat |", "`aevs`"
    )
    assert "| not run | - | - | 50.0 [23.7, 76.3] | 0.25 | 2.0 min |" in line(table, "screw |")
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


def test_speed_is_listed_with_the_floors_and_what_was_out_of_memory(results):
    row = {
        "method": "mlvs",
        "runs": 64,
        "steps_per_s": 500.0,
        "memory_floor": 1e6,
        "flop_floor": 2e3,
    }
    row |= {"ms_p50": 1.5, "ms_p99": 2.0, "ms_compiled": 1.25}
    table = performance.gpu([row, dict.fromkeys(row) | {"method": "mlvs", "runs": 4096}])
    assert line(table, " 64 ") == "| `mlvs` | 64 | 500 | 0.0005 | 0.25 | 1.50 | 2.00 | 1.25 |"
    assert line(table, " 4096 ") == "| `mlvs` | 4096 | out of memory | - | - | - | - | - |"


def test_files_that_ship_are_small():
    sizes = [path.stat().st_size for path in SHIPPED.iterdir()]
    assert sizes and max(sizes) <= 15 * MIB and sum(sizes) <= 60e6
