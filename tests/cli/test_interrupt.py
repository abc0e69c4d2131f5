"""Ctrl-C gives one sentence, and no file is half-written."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import deepservo
from deepservo.cli import main
from deepservo.methods.coarse_to_fine import CoarseToFine
from deepservo.models.scene_model import Model
from deepservo.training import progress
from tiny import Refused, interrupt_at, learn_args, listing, sentence, start

# Ctrl-C


def test_ctrl_c_before_the_first_word_is_read() -> None:
    script = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Strikes:
    def find_spec(self, name, *_):
        if name == "tyro":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Strikes())
from deepservo.__main__ import start
sys.exit(start())
"""
    process = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 2
    sentence(process.stderr, "stopped by Ctrl-C, nothing was begun\n")


def test_ctrl_c_while_timing(
    refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    interrupt_at(1, monkeypatch)
    refused(
        learn_args(files, Path("m.safetensors"), "--minutes", "1"),
        "stopped by Ctrl-C, nothing half-written\n",
    )


def test_ctrl_c_while_training(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interruptible: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    args = learn_args(files, tmp_path / "m", "--steps", "4")
    interrupt_at(1, monkeypatch)
    assert main(args) == 2
    said = (
        f"stopped by Ctrl-C, nothing half-written; {tmp_path / 'm.partial'} keeps step 2 of 4: "
        "--resume goes on from it"
    )
    sentence(capfd.readouterr().err, said)
    assert [p.name for p in tmp_path.iterdir()] == ["m.partial"]
    assert main([*args, "--resume"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_ctrl_c_while_saving_the_model(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    save = Model.save
    monkeypatch.setattr(
        Model, "save", lambda *args: os.kill(os.getpid(), signal.SIGINT) or save(*args)
    )
    assert main(learn_args(files, tmp_path / "m", "--steps", "1")) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["m"], (
        "saving is short, so it is completed first"
    )
    assert deepservo.load_model(tmp_path / "m").training["steps"] == 1


def test_ctrl_c_while_servoing(
    refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    monkeypatch.setattr(CoarseToFine, "_velocity", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    refused(
        ["servo", files / "model.safetensors", "--starts", "2", "--out", "d"],
        "stopped by Ctrl-C, nothing half-written\n",
    )


def test_ctrl_c_while_writing(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> None:
    replace, struck = os.replace, []

    def strike(source: Any, target: Any) -> None:
        struck.append(Path(target).name)
        os.kill(os.getpid(), signal.SIGINT)
        replace(source, target)

    monkeypatch.setattr(os, "replace", strike)
    monkeypatch.setattr(CoarseToFine, "max_steps", 2)
    assert (
        main(
            [
                "servo",
                str(files / "model.safetensors"),
                "--starts",
                "2",
                "--out",
                str(tmp_path / "d"),
            ]
        )
        == 2
    )
    assert struck == ["results.json"]
    assert listing(tmp_path / "d") == {}


@pytest.mark.parametrize("command", ["learn", "servo"])
def test_ctrl_c_to_a_process(command: str, files: Path, tmp_path: Path) -> None:
    args = learn_args(files, tmp_path / "m.safetensors", "--steps", "100000")
    if command == "servo":
        args = [
            "servo",
            str(files / "model.safetensors"),
            "--starts",
            "2",
            "--out",
            str(tmp_path / "d"),
        ]
    process = start(args, "console.LOG_S = 0")
    assert process.stdout is not None
    assert "step" in process.stdout.readline(), "a line of progress: it is still running"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    sentence(err, "stopped by Ctrl-C, nothing half-written")
    assert [p.name for p in tmp_path.iterdir()] == (
        ["m.safetensors.partial"] if command == "learn" else []
    )
    if command == "learn":
        settings, steps = progress.peek(tmp_path / "m.safetensors.partial")
        assert (settings["method"], steps) == ("cnn", 100000)
