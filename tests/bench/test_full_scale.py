"""`deepservo recipe`: every experiment runs, is resumed after a stop, names what it lacks, and
writes a correct results file.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import deepservo
from deepservo.bench import full_scale
from deepservo.bench.full_scale import Plan, Watch, duration
from deepservo.cli import main
from deepservo.evaluation.sets import SETS
from deepservo.methods import check_method, trained_as
from deepservo.training import learn, plan, rehearsal
from deepservo.training.learn_any_scene import KINDS, learn_unseen
from deepservo.training.plan import Training, with_batch
from deepservo.training.presets import PRESETS
from deepservo.training.recipes import EXPERIMENTS
from deepservo.training.tasks.pair import TEXTURE
from deepservo.training.tasks.siamese import SiameseTask
from deepservo.training.tasks.stock import Stock, draw
from tiny import interrupt_at


def quick_run(name: str, folder: Path, *more: str) -> list[str]:
    return [
        "recipe",
        name,
        "--quick",
        "--out",
        str(folder / "out"),
        "--results",
        str(folder / "results"),
        *more,
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_recipe_trains_is_measured_and_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rehearsal, "RUNS", 2)
    assert main(quick_run(name, tmp_path)) == 0
    found = json.loads((tmp_path / "results" / f"{name}.json").read_text())
    experiment, training = EXPERIMENTS[name], found["training"]
    assert (found["recipe"], found["paper"], found["full"]) == (name, experiment.paper, False)
    assert training["steps"] == 20 and training["samples_per_s"] == pytest.approx(
        20 * training["batch"] / training["seconds"], rel=0.05
    )
    assert (
        0 < training["rendering_share"] < 1
        and training["peak_mb"] > 50
        and math.isfinite(training["loss"])
    )
    (row,) = found["rows"]
    assert (row["method"], row["set"]) == (
        experiment.methods[0],
        next(iter(experiment.sets)),
    ) and row["n"] == 2
    if experiment.method not in KINDS:
        assert row["trained_steps"] == 20
    capsys.readouterr()
    assert main(["recipe", "--missing", "--results", str(tmp_path / "results")]) == 0
    assert f" {name} " in capsys.readouterr().out, "a quick run is no full-scale result"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_recipe_can_be_run_whole(name):
    experiment = EXPERIMENTS[name]
    for method in experiment.methods:
        check_method(method)
        assert trained_as(method) in (None, experiment.method)
    assert experiment.sets.keys() <= SETS.keys() and all(
        runs > 0 for runs in experiment.sets.values()
    )
    if experiment.method not in KINDS:
        assert experiment.loss in (None, *PRESETS[experiment.method, "paper"].losses)
        assert len(experiment.scenes) == 1 or PRESETS[experiment.method, "paper"].many


def test_missing_experiments_are_listed_in_order_of_value(tmp_path, capsys):
    (tmp_path / "mlvs.json").write_text('{"full": true}')
    (tmp_path / "aevs.json").write_text('{"full": false}')
    assert full_scale.missing(tmp_path) == [name for name in EXPERIMENTS if name != "mlvs"]
    (tmp_path / "aevs.json").write_text("[]")
    assert main(["recipe", "--missing", "--results", str(tmp_path)]) == 2
    assert "aevs.json: is no result of deepservo recipe" in capsys.readouterr().err


def test_stopped_in_the_training_and_in_the_runs_it_goes_on(
    tmp_path, monkeypatch, interruptible, capsys
):
    args = [*quick_run("siamese-se3", tmp_path), "--steps", "3"]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, patch)
        assert main(args) == 2
    assert "keeps step 2 of 3: --resume goes on" in capsys.readouterr().err
    assert main(args) == 2
    assert (
        "holds this recipe's training already; --resume goes on with it" in capsys.readouterr().err
    )
    with pytest.MonkeyPatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(full_scale, "run_all", stop)
        assert main([*args, "--resume"]) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn, "train", None)  # what is learned is not learned again
        assert main([*args, "--resume"]) == 0
    assert (
        json.loads((tmp_path / "results" / "siamese-se3.json").read_text())["training"]["steps"]
        == 3
    )


def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Siame-se(3) with a memory that holds a batch of 16; returns the list of the batches that are
    tried.
    """
    loss, sizes = SiameseTask.loss, []

    def tight(task, net, seed, step):
        sizes.append(task.batch)
        if task.batch > 16:
            raise torch.cuda.OutOfMemoryError
        return loss(task, net, seed, step)

    monkeypatch.setattr(SiameseTask, "loss", tight)
    return sizes


def test_out_of_memory_halves_the_batch_and_says_so(tmp_path, monkeypatch, interruptible, capsys):
    sizes = short_of_memory(monkeypatch)
    args = [*quick_run("siamese-se3", tmp_path), "--steps", "3"]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, patch)
        assert main(args) == 2
    printed = capsys.readouterr().out
    assert (
        "out of memory; it begins again with 0.5 of the batch" in printed
        and "with 0.25 of the batch" in printed
    )
    assert main([*args, "--resume"]) == 0
    assert sizes == [64, 32, 16, 16, 16], "what did not fit is not tried again"
    assert (
        json.loads((tmp_path / "results" / "siamese-se3.json").read_text())["training"]["batch"]
        == 16
    )
    monkeypatch.setattr(plan, "MAX_HALVINGS", 1)
    assert main([*quick_run("siamese-se3", tmp_path / "other"), "--steps", "3"]) == 2
    assert "the memory does not hold 0.5 of the batch" in capsys.readouterr().err


def test_learn_halves_its_batch_too(files, tmp_path, monkeypatch, capsys):
    short_of_memory(monkeypatch)
    out = tmp_path / "model.safetensors"
    assert (
        main(
            [
                "learn",
                str(files / "picture.png"),
                "--method",
                "siamese-se3",
                "--steps",
                "2",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert "begins again with 0.25 of the batch" in capsys.readouterr().out
    assert deepservo.load_model(out).training["batch"] == 16


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_half_a_batch_is_half_of_it(method, preset, scene, paper_camera):
    task = PRESETS[method, preset].task(scene, paper_camera, 0.6)
    assert with_batch(task, 0).batch == task.batch
    assert with_batch(task, 1).batch == task.batch // 2


def test_without_a_gpu_it_says_how_long_it_would_take(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(
        full_scale,
        "learned",
        lambda plan, path, training, show: deepservo.Model(
            None,
            None,
            0.6,
            "",
            method="cnn",
            net=None,
            training={"seconds": 12.6 * training.steps},
        ),
    )
    args = ["recipe", "mlvs", "--out", "out", "--results", "results"]
    refused(
        args,
        "mlvs: its 5000 steps would take about 18 hours here, where there is no GPU",
        "--quick",
        "--steps N",
        "--preset cpu",
    )


def test_what_cannot_be_used_is_refused(tmp_path, refused):
    refused(["recipe"], "give the recipe's name: unseen, mlvs")
    refused(["recipe", "mlsv"], "there is no recipe 'mlsv'; did you mean mlvs")
    refused(["recipe", "mlvs", "--steps", "0"], "--steps 0")
    refused(["recipe", "mlvs", "--seed", "-1"], "seed")
    (tmp_path / "mlvs.json").write_text('{"full": true}')
    refused(
        ["recipe", "mlvs", "--quick", "--results", str(tmp_path)],
        "mlvs.json: holds the whole experiment",
    )


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (1e-4, "1 minutes"),
        (0.5, "30 minutes"),
        (1.63, "98 minutes"),
        (17.53, "18 hours"),
        (60, "2.5 days"),
    ],
)
def test_durations_are_written_in_words(hours, words):
    assert duration(hours) == words


def test_the_share_of_rendering_is_that_of_the_steps_that_are_watched(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(full_scale.time, "perf_counter", lambda: clock[0])

    def render() -> None:
        clock[0] += 1.0

    watch = Watch()
    call = watch._timed(render)
    for _ in range(60):
        call()
        clock[0] += 3.0 if watch.steps < 25 else 100.0
        watch.stepped()
    assert watch.share == 0.25


def test_a_stock_is_drawn_by_several_processes_and_a_function_of_the_seed():
    progress: list[int] = []
    pictures, again = draw(10, 3, progress.append), draw(12, 3)
    assert (
        pictures.shape == (10, 1, *TEXTURE)
        and pictures.dtype == torch.uint8
        and torch.equal(pictures, again[:10])
    )
    assert not torch.equal(pictures, draw(10, 4)) and progress == list(range(1, 11))
    assert pictures.float().flatten(1).std(1).min() > 1, "each shows something"
    stock = Stock(pictures, 4)
    shown = stock.at(0, 5)
    assert (
        shown.shape == (4, 1, *TEXTURE)
        and torch.equal(shown, Stock(pictures, 4).at(0, 5))
        and not torch.equal(shown, stock.at(0, 6))
    )
    assert all((shown[k] == pictures.float() / 255).flatten(1).all(1).any() for k in range(4))


def test_a_network_of_another_size_learns_from_a_stock(tmp_path):
    scale = replace(EXPERIMENTS["unseen"].scale, batch=12, stock=9)
    model = learn_unseen("cnn-pair", tmp_path / "m", Training(steps=2), scale=scale)
    assert model.net.config() == {"width": 32, "numbers": 96} and model.training["batch"] == 12
    assert model.training["settings"]["stock"] == 9
    training = Training(steps=1, halved=1)
    half = learn_unseen("cnn-pair", tmp_path / "half", training, scale=scale)
    assert half.training["batch"] == 6


def test_pictures_drawn_beforehand_are_no_steps(tmp_path, monkeypatch):
    """If they counted, only a stock's first pictures would be measured, and rendering would take no
    share of the time.
    """
    scale = replace(EXPERIMENTS["unseen"].scale, batch=4, stock=30)
    monkeypatch.setattr(full_scale, "TWO_CORES", scale)  # the length of a quick run
    full_scale.train(
        Plan.of("unseen", 8, True, 0), tmp_path / "unseen", False, lambda progress: None, print
    )
    assert (
        0
        < json.loads((tmp_path / "unseen" / full_scale.TRAINING).read_text())["rendering_share"]
        < 1
    )


def test_a_partial_experiment_is_no_full_result():
    whole, part = Plan.of("mlvs", None, False, 0), Plan.of("mlvs", 500, False, 0)
    assert whole.runs == EXPERIMENTS["mlvs"].sets and part.runs == dict.fromkeys(whole.runs, 50), (
        "as large a share of the runs"
    )
    assert (
        whole.full
        and not Plan.of("mlvs", 20, False, 0).full
        and not Plan.of("mlvs", None, True, 0).full
    )
