"""A training ends when more of it brings no more runs home, on any machine after the same step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepservo.camera import PAPER_CAMERA
from deepservo.cli import main
from deepservo.images.pictures import bundled
from deepservo.methods import build
from deepservo.models.scene_model import load_model
from deepservo.nets.pose import PoseNet
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.build import Setup
from deepservo.training import exam, learn
from deepservo.training.exam import RUNS, Exam
from deepservo.training.presets import preset_of
from deepservo.training.tasks.pose import PoseTask
from deepservo.training.train import Optimization
from tiny import learn_args, weights


def exams(monkeypatch: pytest.MonkeyPatch, results: list[int | type], most: int = 12) -> list[int]:
    """Let a training have an exam after every second of `most` steps, with these results, and
    answer the list of the steps of the runs that it is told of.
    """
    told: list[int] = []

    def home(model, show) -> int:
        assert not model.net.training
        show(7)
        told.append(7)
        result = results.pop(0)
        if not isinstance(result, int):
            raise result
        return result

    def short(method: str, preset: str):
        return replace(preset_of(method, preset), steps=most, exam_every=2)

    monkeypatch.setattr(exam, "home", home)
    monkeypatch.setattr(learn, "preset_of", short)
    return told


def test_it_ends_where_an_exam_is_no_better(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    told, out = exams(monkeypatch, [20, 25, 26]), tmp_path / "m.safetensors"
    assert main(learn_args(files, out)) == 0
    training = load_model(out).training
    assert training["exams"] == [[2, 20], [4, 25], [6, 26]] and training["exam runs"] == RUNS
    assert training["steps"] == 6 and len(told) == 3
    said = capsys.readouterr().out
    assert "26 of 32 runs of its own came home (65 to 91 %)" in " ".join(said.split())


def test_it_ends_at_the_most_steps_or_minutes(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exams(monkeypatch, [1, 4, 9, 5, 8], most=5)
    assert main(learn_args(files, tmp_path / "a.safetensors")) == 0
    assert load_model(tmp_path / "a.safetensors").training["exams"] == [[2, 1], [4, 4], [5, 9]]
    monkeypatch.setattr(learn, "steps_in", lambda *_: 3)
    assert main(learn_args(files, tmp_path / "b.safetensors", "--minutes", "1")) == 0
    assert load_model(tmp_path / "b.safetensors").training["exams"] == [[2, 5], [3, 8]]


def test_exact_steps_take_no_exam(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not exams(monkeypatch, [])
    assert main(learn_args(files, tmp_path / "m.safetensors", "--steps", "3")) == 0
    assert "exams" not in load_model(tmp_path / "m.safetensors").training


def test_one_stopped_in_an_exam_goes_on_with_it(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    exams(monkeypatch, [20, 25, 26, 20, KeyboardInterrupt, 25, 26])
    assert main(learn_args(files, whole)) == 0
    assert main(learn_args(files, stopped)) == 2
    assert main(learn_args(files, stopped, "--resume")) == 0
    first, second = weights(whole), weights(stopped)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_model(stopped).training["exams"] == [[2, 20], [4, 25], [6, 26]]


def test_when_it_is_due_and_enough() -> None:
    each = Exam(500, lambda show: 0)
    assert [s for s in range(1201) if each.due(s, 1200, [])] == [500, 1000, 1200]
    assert not each.due(500, 1200, [(500, 3)])
    for home, enough in (([32], False), ([3, 5], False), ([30, 32], False), ([31, 32], True),
                         ([20, 30, 29], True), ([20, 21], True)):  # fmt: skip
        assert each.enough([(500 * (i + 1), n) for i, n in enumerate(home)]) == enough, home


def test_each_round_has_a_learning_rate_of_its_own() -> None:
    task = PoseTask(PlanarScene(bundled("coffee"), 0.8), PAPER_CAMERA, 0.6, batch=2)
    learning, rates = Optimization(PoseNet(), task, 0, 10, every=4), []
    for step in range(10):
        learning.advance(step)
        rates.append(learning.optimizer.param_groups[0]["lr"])
    assert rates[:4] == rates[4:8] and rates[3] < rates[0]
    assert rates[8] == rates[0] and rates[9] < rates[8], "the last round is a short one"


def test_runs_come_home_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the refinement alone a camera stays at the goal, and a far one where it is."""
    monkeypatch.setattr(exam, "RUNS", 4)
    monkeypatch.setattr(exam, "MAX_STEPS", 12)
    lookat, asked = sampling.lookat_rz, []

    def starts(n, g, distance):
        T, T_goal = lookat(n, g, distance)
        return torch.cat([T[:1], T_goal[1:]]), T_goal

    def refinement(method, camera, distance, model):
        asked.append((method, model.net.training))
        return build("photometric", camera, distance)

    monkeypatch.setattr(sampling, "lookat_rz", starts)
    monkeypatch.setattr(exam, "build", refinement)
    setup = Setup(PlanarScene(bundled("coffee"), 0.8), PAPER_CAMERA, 0.6, "coffee")
    net, before, steps = PoseNet().train(), torch.get_rng_state(), []
    assert exam.home(learn._model(setup, "cnn", net, {}), steps.append) == 3
    assert asked == [("cnn+dvs", False)]
    assert steps and net.training and torch.equal(torch.get_rng_state(), before)


def test_a_training_of_a_few_steps_takes_a_real_exam(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exam, "RUNS", 2)
    monkeypatch.setattr(exam, "MAX_STEPS", 3)
    monkeypatch.setattr(learn, "steps_in", lambda *_: 2)
    assert main(learn_args(files, tmp_path / "m.safetensors", "--minutes", "1")) == 0
    (step, home), *others = load_model(tmp_path / "m.safetensors").training["exams"]
    assert step == 2 and 0 <= home <= 2 and not others
