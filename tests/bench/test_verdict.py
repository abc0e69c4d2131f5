"""`python -m benchmarks verdict`: scenes that mislead do, a view changes when it should, what is
counted is what the runs say, and what was measured is not measured again.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.common.rows import ResultsFile
from benchmarks.methods import verdict, verdict_scenes
from benchmarks.methods.verdict_marks import counted, false_arrivals, marks
from benchmarks.methods.verdict_runs import by_run, steered
from benchmarks.methods.verdict_scenes import Change, ChangingView
from benchmarks.methods.verdict_sets import cells, group_of, kinds
from benchmarks.methods.verdict_worlds import Ready
from benchmarks.tables import verdict as tables
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA, Camera
from deepservo.images.pictures import BUNDLED
from deepservo.methods.base import Controller
from deepservo.methods.verdict import Belief
from deepservo.scene import sampling

SMALL = Camera(48, 48, 64.0, 64.0, 23.5, 23.5)
HERE = sampling.fronto_parallel(0.6)


def shifted(x: float, y: float) -> torch.Tensor:
    """A pose beside the reference pose [m]."""
    T = HERE.clone()
    T[:, 0, 3] += x
    T[:, 1, 3] += y
    return T


def alike(scene, x: float, y: float) -> bool:
    first, second = (scene.render(PAPER_CAMERA, T) for T in (HERE, shifted(x, y)))
    return bool((first - second).abs().quantile(0.99) < 0.02)


def test_patterns_look_the_same_one_period_on_and_those_with_a_border_do_not():
    assert alike(verdict_scenes.checkerboard(border=False), 0.05, 0.05)
    assert not alike(verdict_scenes.checkerboard(border=False), 0.05, 0)
    assert not alike(verdict_scenes.checkerboard(border=True), 0.05, 0.05)
    assert alike(verdict_scenes.tiled(scene_of("coffee").texture), 0.8 / 6, 0)
    brick, course = 0.8 / 10, 0.8 * 30 / 800
    assert alike(verdict_scenes.bricks(0.0), brick / 2, course)
    assert not alike(verdict_scenes.bricks(verdict_scenes.SHADES), brick / 2, course)


@pytest.mark.parametrize("how", ["moved", "exchanged", "covered"])
def test_some_of_a_picture_is_of_another_time(how):
    scene, other = scene_of("coffee"), scene_of("moon")
    shares = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        changed = verdict_scenes.of_another_time(scene, how, other, generator)
        shares.append(float((changed.texture != scene.texture).float().mean()))
    assert all(0.03 < share <= 0.31 for share in shares), "places may lie over each other"
    assert max(shares) > 0.15
    assert scene_of("coffee").texture.equal(scene.texture), "the goal's scene stays as it was"


def grey(level: float):
    return lambda T, picture: torch.full((1, 1, 48, 48), level)


def test_each_run_has_the_change_of_its_own_at_its_own_picture():
    there = [False, False, False]
    changes = [Change(grey(0.9), 2), Change(grey(0.8), 1, after_arrival=True), Change(grey(0.7), 1)]
    views = [grey(0.1), grey(0.2), grey(0.3)]
    world = ChangingView(HERE.repeat(3, 1, 1), views, changes, lambda: there)

    def seen() -> list[float]:
        found = world.observe().mean((1, 2, 3)).tolist()
        world.apply(torch.zeros(len(found), 6), 1.0)
        return pytest.approx(found)

    assert seen() == [0.1, 0.2, 0.3]
    assert seen() == [0.1, 0.2, 0.7]
    world.select_runs(torch.tensor([1, 2]))
    there[:] = [True, False]
    assert seen() == [0.2, 0.7], "after this picture the run is said to have arrived"
    assert seen() == [0.2, 0.7]
    assert seen() == [0.8, 0.7]
    assert world.changed_at == {1: 4, 2: 1}


class ByBrightness(Controller):
    """Recognises the goal where the picture is about as bright, and knows where it is."""

    def _set_goal(self, goal):
        self.goal = goal

    def _velocity(self, image):
        self.state["known"] = (image - self.goal).mean((1, 2, 3)).abs() < 0.1
        return torch.full((len(image), 6), 1e-5, dtype=torch.float64)

    def belief(self, n):
        known = self.state["known"]
        some = Belief.nothing(n)
        sure = 1e-12 * torch.eye(6, dtype=torch.float64)
        return replace(
            some,
            recognised=known,
            T_goal_cam=torch.eye(4, dtype=torch.float64).repeat(n, 1, 1),
            covariance=sure.repeat(n, 1, 1),
            agree=torch.ones(n),
            blocks=torch.full((n,), 100.0),
        )


@pytest.mark.parametrize("group", ["lost", "wrong"])
def test_what_the_status_says_is_kept_beside_the_truth(group, monkeypatch):
    monkeypatch.setattr(ByBrightness, "max_steps", 60)
    scene = scene_of("coffee")
    view = verdict_scenes.before(scene, SMALL)
    T = torch.cat([HERE, shifted(0.01, 0)])
    controller = ByBrightness(SMALL)
    world = ChangingView(T, [view, view], [Change(grey(0.99), 20), Change(view, 20)])
    goal = scene.render(SMALL, HERE)
    Ts_goal = HERE.expand(2, 4, 4)
    ready = Ready(controller, world, goal, None, Ts_goal, lambda a, b: torch.ones(1), 1 / 30)
    runs = steered(ready, group)
    assert runs["changed_at"] == [20, 20]
    # 0.8 s of pictures, the first of which is the changed one.
    assert runs["lost_s"] == [pytest.approx(0.8, abs=0.05), None]
    assert runs["lost_at"] == [None, None]
    assert runs["said_mm"] == [pytest.approx(0, abs=0.1), pytest.approx(10, abs=0.1)]
    assert runs["false"] == ([1, 1] if group == "wrong" else [0, 1])
    assert runs["sentence"][1].startswith("arrived: within the tolerance")


def test_statuses_are_those_of_the_run_that_they_are_of():
    trajectory = SimpleNamespace(
        steps=torch.tensor([1, 3, 2]),
        ends=[SimpleNamespace(status=f"{name} at the end") for name in "abc"],
    )
    statuses = [["b 0", "c 0"], ["b 1"]]
    assert by_run(trajectory, statuses) == [
        ["a at the end"],
        ["b 0", "b 1", "b at the end"],
        ["c 0", "c at the end"],
    ]


COLUMNS = {
    "ending": "arrived", "reason": "within the tolerance", "converged": 1, "false": 0, "within": 1,
    "seen_mm": 0.1, "seen_deg": 0.01, "most_mm": 0.2, "most_deg": 0.02, "said_mm": 0.5,
    "said_deg": 0.05, "steps": 100, "changed_at": None, "lost_at": None, "lost_s": None,
    "in_view": None, "sentence": None,
}  # fmt: skip


def row(group: str, *runs: dict, name: str = "made") -> dict:
    runs = [{**COLUMNS, **run} for run in runs]
    where = {"method": "auto", "group": group, "set": name, "part": "", "scene": "coffee"}
    return {**where, "runs": {key: [run[key] for run in runs] for key in COLUMNS}}


def test_marks_are_counted_over_the_runs_that_they_are_about():
    stopped, lost = {"ending": "stopped"}, {"lost_at": 7, "in_view": 0.6}
    far = {"false": 1, "within": 0, "said_mm": 30.0, "sentence": "arrived: here"}
    covered = {"ending": "lost", "within": 0, "converged": 0, "changed_at": 20}
    rows = [
        row("clean", *[{}] * 18, {"most_mm": 0.05}, {"most_deg": None}, stopped, lost),
        row("solid", stopped, {**lost, "converged": 0, "within": 0, "ending": "lost"}, name="s"),
        row("repeated", far, stopped, name="r"),
        row("wrong", {**far, "converged": 0}, name="w"),
        row("lost", {**covered, "lost_s": 0.8}, {**covered, "lost_s": 1.1}, covered, name="l"),
    ]
    found = counted(rows)
    assert (found.runs, found.arrived, found.false) == (30, 23, 2)
    assert found.missed == (2, 23), "a pattern that repeats need not be recognised"
    assert (found.held_mm, found.held_deg) == ((21, 22), (21, 22))
    assert found.lost == (1, 25) and found.in_view == 1
    assert found.covered == (1, 3)
    by_name = {mark.what: mark for mark in marks(rows)}
    assert by_name["missed arrivals, clean sets"].found == (1, 22)
    assert by_name["missed arrivals, other sets"].found == (1, 1)
    for what in ("distance", "angle"):
        mark = by_name[f"sets in which the bound of the {what} holds in 90 to 98 %"]
        assert mark.found == (1, 1) and mark.met, "20 of 21; few runs of a set are not judged"
    assert not any(mark.met for mark in by_name.values() if "bound" not in mark.what)
    assert [run["set"] for run in false_arrivals(rows)] == ["r", "w"]
    assert "| r, coffee | arrived: here | 0 | 30 |" in tables.false_arrivals(rows)
    assert "| `auto` | lost | l | 3 | 0 | 0 |" in tables.by_set(rows)
    assert all(mark.met is None for mark in marks([row("clean")]))


def test_all_sets_together_have_the_runs_that_the_issue_asks_for_and_no_two_cells_the_same_starts():
    every = [
        cell
        for name, kind in kinds(BUNDLED).items()
        for cell in cells("auto", name, kind, verdict.Options.n, 0)
    ]
    assert 5000 <= sum(cell.n for cell in every) <= 6000
    assert len({cell.own_seed for cell in every}) == len(every)
    few = cells("auto", "hard-blur", kinds(BUNDLED)["hard-blur"], 3, 0)
    assert [cell.n for cell in few] == [1, 1, 1]
    assert group_of("lookat") == "clean" and group_of("hard-light") == "perturbed"


def test_what_was_measured_before_it_was_stopped_is_not_measured_again(
    tmp_path, monkeypatch, capsys
):
    measured = []

    def stopped_after(count: int):
        def work(cells, options):
            for cell in cells:
                if len(measured) == count:
                    raise KeyboardInterrupt
                measured.append(cell)
                yield cell, {"runs": row(cell.group, *[{}] * cell.n)["runs"], "seconds": 1.0}

        return work

    options = verdict.Options(sets=("lookat", "coverd"), n=7, out=tmp_path / "verdict.json")
    assert verdict.main(options) == 2
    assert "there is no set 'coverd'; did you mean covered?" in capsys.readouterr().err
    options = replace(options, sets=("lookat", "covered"))
    monkeypatch.setattr(verdict, "measured", stopped_after(3))
    assert verdict.main(options) == 130
    assert len(ResultsFile(options.out).rows) == 3
    monkeypatch.setattr(verdict, "measured", stopped_after(-1))
    assert verdict.main(options) == 0
    rows = ResultsFile(options.out).rows
    assert sum(len(each["runs"]["ending"]) for each in rows) == 7 + 14
    keys = [tuple(asdict(cell).values()) for cell in measured]
    assert len(set(keys)) == len(keys) == len(rows)
    assert verdict.main(replace(options, n=8)) == 2, "other runs of the same sets are not mixed"
    assert "--n 7 --seed 0" in capsys.readouterr().err


def test_a_killed_measurement_leaves_no_process_behind(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "verdict", "--sets", "near", "--n", "2000"]
    first = subprocess.Popen(
        [*command, "--workers", "1", "--out", str(tmp_path / "verdict.json")],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _within(60, lambda: len(_session(first.pid)) > 2)
        first.kill()
        first.wait()
        _within(60, lambda: not _session(first.pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)


def _session(leader: int) -> list[str]:
    """The processes that this one has started, and itself, as long as they run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, _, session = path.read_text().rsplit(")", 1)[1].split()[:4]
            found += [path.parent.name] if session == str(leader) and state != "Z" else []
    return found


def _within(seconds: float, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)
