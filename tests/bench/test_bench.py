"""The benchmark's runs do not depend on how they are cut into chunks, are resumed after a stop, and
are written in full.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from browser import measured, needs_browser, opened
from deepservo.bench import bench as benching
from deepservo.bench.bench import (
    Standing,
    chunks_of,
    collect,
    open_folder,
    run_all,
    write_all,
)
from deepservo.bench.runs import Chunk, Job, Prepared, Runs, jobs
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.evaluation.conditions import (
    SIZE,
)
from deepservo.evaluation.sets import SETS
from small_bench import same, small


@pytest.mark.parametrize("name", ["lookat-rz-perturbed", "hard-occlusion", "gaussian"])
def test_runs_do_not_depend_on_how_they_are_cut(name):
    job = Job("dvs", name, SETS[name][0].label, "coffee", 6)
    whole, prepared = Prepared(job, small()).run(range(6)).runs, Prepared(job, small())
    assert same(whole, Runs.joined([prepared.run(range(4, 6)).runs, prepared.run(range(4)).runs]))


@pytest.mark.parametrize("part", ["noisy map", "depth x 0.7"])
def test_runs_before_solids_do_not_depend_on_how_they_are_cut(part):
    job, bench = Job("sift+dvs", "solid-clutter", part, "coffee", 4), small(max_steps=4)
    whole, prepared = Prepared(job, bench).run(range(4)).runs, Prepared(job, bench)
    assert same(whole, Runs.joined([prepared.run(range(3, 4)).runs, prepared.run(range(3)).runs]))


def test_the_parts_of_a_solid_set_are_resumed_and_have_rows_of_their_own(tmp_path):
    bench = small(max_steps=2)
    work = jobs(("sift",), ("solid-steps",), bench, 2)
    assert [job.part for job in work] == [part.label for part in SETS["solid-steps"]]
    for some in (work[:3], work):
        open_folder(tmp_path / "out", bench, resume=some == work)
        run_all(some, bench, tmp_path / "out", lambda *_: None)
    rows = write_all(work, bench, tmp_path / "out")
    assert [(row["set"], row["part"]) for row in rows] == [(job.set, job.part) for job in work]
    runs = collect(work, bench, tmp_path / "out")[1]
    assert all((each.start_mm == runs[work[0]].start_mm).all() for each in runs.values())
    assert all((each.share >= 0.1).all() for each in runs.values())


@pytest.mark.parametrize("method", ["pca-4", "sift+dvs", "particle", "pbvs"])
def test_a_controller_is_reset_between_runs(method):
    prepared = Prepared(Job(method, "lookat", "", "coffee", 4), small())
    first = prepared.run(range(2)).runs
    prepared.run(range(2, 4))
    assert same(prepared.run(range(2)).runs, first)


def test_selected_runs_are_run_and_a_published_start_once():
    assert [job.n for job in jobs(("dvs",), ("lookat", "published-starts"), small(), 3)] == [3] + [
        1
    ] * 7
    assert {job.scene for job in jobs(("dvs",), ("hard-texture",), small(), 3)} == set(
        SETS["hard-texture"][0].scenes
    )


def test_a_chunk_is_read_back_from_its_file_and_no_other_file_is_accepted(tmp_path):
    chunk = Prepared(Job("dvs", "lookat", "", "coffee", 2), small(max_steps=2)).run(range(2))
    chunk.save(tmp_path / "a.npz")
    assert (
        same(Chunk.load(tmp_path / "a.npz").runs, chunk.runs)
        and Chunk.load(tmp_path / "a.npz").facts == chunk.facts
    )
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    with pytest.raises(InputError, match=r"b\.npz: is no chunk"):
        Chunk.load(tmp_path / "b.npz")


def test_killed_and_resumed_is_uninterrupted(tmp_path):
    bench = replace(small(("coffee", "moon")), chunk=2)
    work = jobs(("dvs", "sift"), ("lookat", "hard-size"), bench, 3)
    assert len(work) == 2 * 2 * (1 + len(SIZE)) and [
        len(r) for r in chunks_of(work[0], bench.chunk)
    ] == [2, 1]
    seen = []

    def stop(at: Standing) -> None:
        seen.append(at.done)
        if at.done == 7 and at.step == 3:
            raise KeyboardInterrupt

    open_folder(tmp_path / "a", bench, resume=False)
    with pytest.raises(KeyboardInterrupt):
        run_all(work, bench, tmp_path / "a", stop)
    open_folder(tmp_path / "a", bench, resume=True)
    run_all(work, bench, tmp_path / "a", lambda *_: None)
    open_folder(tmp_path / "b", bench, resume=False)
    run_all(work, bench, tmp_path / "b", lambda *_: None)
    (first, runs), (second, others) = (collect(work, bench, tmp_path / name) for name in "ab")
    times = {"time_s", "ms_per_step_p50", "ms_per_step_p99", "steps_per_s", "peak_mb"}
    assert [{k: v for k, v in row.items() if k not in times} for row in first] == [
        {k: v for k, v in row.items() if k not in times} for row in second
    ]
    assert all(same(runs[job], others[job]) for job in work)


def test_two_processes_give_the_rows_of_one(tmp_path):
    args = [
        "bench",
        "--methods",
        "dvs",
        "--sets",
        "hard-size",
        "--scenes",
        "moon",
        "--n",
        "2",
        "--quick",
    ]
    assert main([*args, "--out", str(tmp_path / "one")]) == 0
    args[args.index("--n")] = "--runs"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "deepservo",
        *args,
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [
        json.loads((tmp_path / name / "results.json").read_text())["rows"]
        for name in ("one", "two")
    ]
    for one, two in zip(*rows, strict=True):
        assert (one["method"], one["part"], one["converged"]) == (
            two["method"],
            two["part"],
            two["converged"],
        )
        assert one["end_mm_median_all"] == pytest.approx(two["end_mm_median_all"], abs=1e-3)


def test_processes_share_runs_evenly_though_the_last_chunk_of_a_job_is_small():
    todo = [
        each
        for name in "abcdef"
        for each in (
            (Job(name, "s", "", "moon", 30), range(25)),
            (Job(name, "s", "", "moon", 30), range(25, 30)),
        )
    ]
    shares = benching.shared_out(todo, 2)
    assert sorted(each for share in shares for each in map(repr, share)) == sorted(map(repr, todo))
    counts = [sum(len(numbers) for _, numbers in share) for share in shares]
    assert sum(counts) == 180 and abs(counts[0] - counts[1]) <= 25
    assert benching.shared_out(todo, 1) == [todo]


def test_everything_is_written(tmp_path):
    bench = small()
    work = jobs(("dvs", "dct-20"), ("lookat", "published-starts"), bench, 1)
    open_folder(tmp_path / "out", bench, resume=False)
    run_all(work, bench, tmp_path / "out", lambda *_: None)
    rows = write_all(work, bench, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(benching.FILES)
    arrays = np.load(tmp_path / "out" / "runs.npz")
    assert arrays["lookat||coffee|dvs|path"].shape == (1, 9, 6)
    text = (tmp_path / "out" / "results.md").read_text()
    assert "59.0" in text and "`dct-20`" in text and len(rows) == len(work)


@needs_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_draws_everything_and_nothing_overflows_its_card(tmp_path, width):
    bench = small(("coffee", "moon"), max_steps=3)
    work = jobs(("dvs", "sift+dvs"), ("lookat-rz-perturbed", "hard-size"), bench, 2)
    open_folder(tmp_path / "out", bench, resume=False)
    run_all(work, bench, tmp_path / "out", lambda *_: None)
    write_all(work, bench, tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    assert len(re.findall(r'class="[^"]*js-plotly-plot', opened(page, "1200,1000"))) == 7, (
        "six plots, and the cost of dvs"
    )
    found = measured(page, width)
    assert found["width"] == str(width) and not found["wide"]
