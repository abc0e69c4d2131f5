"""The training loop: every step is reproducible, a stopped training is resumed, and the minutes
given are kept.
"""

import copy
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import deepservo
from deepservo.cli import main
from deepservo.images.camera_file import CalibratedCamera
from deepservo.models.checkpoint import load
from deepservo.models.scene_model import load_model
from deepservo.nets.pose import PoseNet
from deepservo.scene.build import Setup, make_scene
from deepservo.training import exam, learn, rehearsal, train
from deepservo.training.plan import Plan, Training
from deepservo.training.progress import Checkpoint, peek
from deepservo.training.tasks.pose import PoseTask
from tiny import STEPS, interrupt_at, learn_args, start, weights


def same(a: Path, b: Path) -> bool:
    """Bit for bit."""
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_same_steps_give_the_same_weights(files: Path, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # neither depends on earlier code nor changes later code
    before = torch.get_rng_state()
    assert main(learn_args(files, tmp_path / "a.safetensors", "--steps", str(STEPS))) == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert same(files / "model.safetensors", tmp_path / "a.safetensors")
    assert (
        main(learn_args(files, tmp_path / "b.safetensors", "--steps", str(STEPS), "--seed", "1"))
        == 0
    )
    assert not same(files / "model.safetensors", tmp_path / "b.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("method", ["cnn", "aevs", "mlvs", "siamese-se3", "keypoints", "cnn-pair"])
def test_several_threads_give_the_same_weights_without_half_precision_too(
    method: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some operations sum floats in the order in which threads finish.
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(rehearsal, "RUNS", 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for name in ("a", "b"):
            args = learn_args(files, tmp_path / name, "--method", method, "--steps", "3")
            any_scene = method in ("keypoints", "cnn-pair")  # they take neither picture nor camera
            assert main([*args[:1], *args[2:4], *args[6:]] if any_scene else args) == 0
    finally:
        torch.set_num_threads(threads)
    assert same(tmp_path / "a", tmp_path / "b")


KILLS = {
    "in a step": """
train.CHECKPOINT_S, advance = 0, train.Optimization.advance
def killed(optimization, step, *args):
    return os.kill(os.getpid(), signal.SIGKILL) if step == 3 else advance(optimization, step, *args)
train.Optimization.advance = killed
""",
    "in a save": """
train.CHECKPOINT_S, replace, saved = 0, os.replace, []
def kill(source, target):
    saved.append(target)
    os.kill(os.getpid(), signal.SIGKILL) if len(saved) == 4 else replace(source, target)
os.replace = kill
""",
}


@pytest.mark.parametrize("where", KILLS)
def test_killed_and_resumed(where: str, files: Path, tmp_path: Path) -> None:
    args = learn_args(files, tmp_path / "m.safetensors", "--steps", str(STEPS))
    process = start(args, KILLS[where])
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    assert not (tmp_path / "m.safetensors").exists()
    _, config = load(tmp_path / "m.safetensors.partial")
    assert config["progress"]["step"] == (3 if where == "in a step" else 2), (
        "the last whole checkpoint"
    )
    assert main([*args, "--resume"]) == 0
    assert same(files / "model.safetensors", tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors.partial").exists()


def test_stopped_twice_and_resumed(files: Path, tmp_path: Path, interruptible: None) -> None:
    args = learn_args(files, tmp_path / "m.safetensors", "--steps", str(STEPS))
    for step, more in ((1, []), (3, ["--resume"])):
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(step, patch)
            assert main([*args, *more]) == 2
    assert main([*args, "--resume"]) == 0
    assert same(files / "model.safetensors", tmp_path / "m.safetensors")
    training = load_model(tmp_path / "m.safetensors").training
    assert [step for step, _ in training["loss"]] == list(range(1, STEPS + 1)), "the curve is whole"


def test_minutes_are_timed_once(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    timed: list[float] = []
    monkeypatch.setattr(learn, "steps_in", lambda minutes, *_: timed.append(minutes) or 5)
    monkeypatch.setattr(exam, "home", lambda *_: 0)
    out, partial = tmp_path / "m.safetensors", tmp_path / "m.safetensors.partial"
    args = learn_args(files, out, "--minutes", "2")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(2, patch)
        assert main(args) == 2
    assert peek(partial)[1] == 5
    assert peek(partial)[0]["minutes"] == 2
    assert main([*args, "--resume"]) == 0
    assert timed == [2]
    training = load_model(out).training
    assert (training["steps"], training["minutes"]) == (5, 2)
    first = weights(out)
    assert main(args) == 0
    assert timed == [2], "a repetition uses the recorded number"
    assert all(torch.equal(first[k], v) for k, v in weights(out).items())
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(2, patch)
        assert main(args) == 2
    out.unlink()
    assert main(args) == 0
    assert timed == [2], "the checkpoint's number serves a repetition too"
    assert main(learn_args(files, out, "--minutes", "3")) == 0
    assert timed == [2, 3], "other settings are timed anew"


def test_demo_goes_on_where_it_was_stopped(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    monkeypatch.setattr(learn, "steps_in", lambda *_: 4)
    monkeypatch.setattr(exam, "home", lambda *_: 0)
    monkeypatch.setattr("deepservo.cli.servo.carry_out", lambda *_: None)
    out = tmp_path / "demo"
    args = ["demo", "--image", str(files / "picture.png"), "--out", str(out), "--minutes", "1"]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, patch)
        assert main(args) == 2
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        advance = train.Optimization.advance
        patch.setattr(train.Optimization, "advance", lambda *a: steps.append(a[1]) or advance(*a))
        assert main(args) == 0
    assert steps == [2, 3]
    (out / "model.safetensors").rename(tmp_path / "stopped.safetensors")
    assert main(args) == 0
    assert same(out / "model.safetensors", tmp_path / "stopped.safetensors")


def plan(steps: int, partial: Path) -> Plan:
    return Plan(steps, 0, Checkpoint(partial, {}))


class Clock:
    """Stands in for the module `time`: each step takes as long as given."""

    rate = 1e-3

    def __init__(self, *durations: float) -> None:
        self.now, self.durations, self.steps = 0.0, durations, 0

    def perf_counter(self) -> float:
        return self.now

    def loss(self, net: torch.nn.Module, seed: int, step: int) -> torch.Tensor:
        self.now += self.durations[self.steps % len(self.durations)]
        self.steps += 1
        return net(torch.ones(1, 2)).square().sum()


@pytest.mark.parametrize("durations", [(0.1,), (0.1, 0.1, 0.1, 0.1, 0.6), (8.0,), (0.05, 0.25)])
def test_training_ends_after_the_minutes_given(
    durations: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(*durations)
    monkeypatch.setattr(train, "time", clock)
    net = torch.nn.Linear(2, 2)
    before = copy.deepcopy(net.state_dict())
    steps = train.steps_in(4.5, net, clock, 0)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items()), (
        "the network itself is unchanged"
    )
    total = clock.now + steps * sum(durations) / len(durations)
    assert 0.8 * 270 < total < 1.05 * 270


def test_little_is_lost_to_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kept = Clock(0.4, 4.0), [0.0]
    keep = Checkpoint.keep
    monkeypatch.setattr(train, "time", clock)
    monkeypatch.setattr(Checkpoint, "keep", lambda *a: kept.append(clock.now) or keep(*a))
    train.train(torch.nn.Linear(2, 2), clock, plan(40, tmp_path / "p"), lambda progress: None)
    assert len(kept) > 4
    assert max(b - a for a, b in zip(kept, [*kept[1:], clock.now], strict=True)) <= 20


@pytest.mark.parametrize(
    ("factor", "diverges"), [(torch.nan, True), (torch.inf, True), (11.0, True), (9.0, False)]
)
def test_divergence_is_reported_and_the_checkpoint_before_it_kept(
    factor: float, diverges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_S", 0)

    class Task:
        rate = 0.0

        def loss(self, net: torch.nn.Module, seed: int, step: int) -> torch.Tensor:
            return net(torch.ones(1, 2)).square().sum() * (factor if step == 7 else 1)

    def go() -> None:
        train.train(torch.nn.Linear(2, 2), Task(), plan(9, tmp_path / "p"), lambda progress: None)

    if not diverges:
        return go()
    with pytest.raises(
        deepservo.InputError,
        match=r"diverged at step 8, its loss is .*; the checkpoint before it is kept",
    ):
        go()
    assert load(tmp_path / "p")[1]["progress"]["step"] == 7


def test_loss_falls(files: Path, tmp_path: Path) -> None:
    scene = load_model(files / "model.safetensors").scene
    torch.manual_seed(0)
    camera = deepservo.Camera(64, 64, 86.0, 86.0, 31.5, 31.5)
    progress = train.train(
        PoseNet(32),
        PoseTask(scene, camera, 0.6),
        plan(60, tmp_path / "p"),
        lambda progress: None,
    )
    values = [loss for _, loss in progress.loss]
    first, last = sum(values[:5]) / 5, sum(values[-10:]) / 10
    assert last < first - 0.4, (first, last)


def test_model_round_trip(files: Path, tmp_path: Path) -> None:
    found = load_model(files / "model.safetensors")
    path = tmp_path / "again.safetensors"
    replace(found, distortion=(0.1, 0.0, 0.0, 0.0), version="7").save(path)
    again = load_model(path)
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(found.net(images), again.net(images))
    assert not again.net.training
    assert all(p.requires_grad for p in again.net.parameters()), "it can be trained further"
    assert again.camera == found.camera == deepservo.Camera(64, 64, 86.0, 86.0, 31.5, 31.5)
    assert torch.equal(again.scene.texture, found.scene.texture)
    assert (again.scene.width, again.scene.height, again.scene.background) == (
        0.8,
        pytest.approx(0.6),
        1.0,
    )
    assert (again.distance, again.picture, again.method) == (0.6, "picture.png", "cnn")
    assert again.training == found.training
    assert (again.distortion, again.version) == ((0.1, 0.0, 0.0, 0.0), "7")


def test_loading_touches_no_random_numbers(files: Path) -> None:
    before = torch.get_rng_state()
    deepservo.load(files / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_library_trains_as_the_command_does(files: Path, tmp_path: Path) -> None:
    picture = deepservo.images.pictures.read_picture(files / "picture.png")
    camera = CalibratedCamera(deepservo.Camera(64, 64, 86.0, 86.0, 31.5, 31.5), (0.0,) * 5)
    scene = make_scene(picture, camera, "picture.png")
    shown = []
    learn.learn(
        Setup(scene, camera.camera, 0.6, "picture.png", camera.distortion),
        tmp_path / "m",
        Training(steps=STEPS),
        show=lambda progress: shown.append(progress.step),
    )
    assert shown == list(range(1, STEPS + 1))
    assert same(tmp_path / "m", files / "model.safetensors")
