"""Too little memory is reported in one sentence before anything is allocated, and also where it
runs out later.
"""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepservo import cli
from deepservo.errors import InputError
from deepservo.system import memory
from tiny import CAMERA, Refused

HUGE = CAMERA.replace("64", "5000").replace("86.", "6000.").replace("31.5", "2499.5")


@pytest.mark.parametrize(
    "options",
    [
        "--method pbvs",
        "--method sift --starts 40",
        "--method auto --starts 1",
        "--poses poses.npz --method dvs",
    ],
)
def test_servo_says_how_much_it_needs(
    options: str, refused: Refused, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2 * 10**9)
    (tmp_path / "huge.yaml").write_text(HUGE)
    T = np.eye(4)
    T[2, 3] = -0.6
    np.savez(tmp_path / "poses.npz", T_world_cam=np.stack([T] * 30), T_world_goal=T[None])
    given = [str(tmp_path / word) if word.endswith(".npz") else word for word in options.split()]
    command = [
        "servo",
        "--image",
        files / "picture.png",
        "--camera",
        tmp_path / "huge.yaml",
        "--out",
        "o",
        *given,
    ]
    refused(
        command,
        "5000 x 5000 pixels at once needs",
        "GB of memory, and 2.0 GB are free; use fewer --starts",
    )


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    memory.check(999_999_999, "it", "take less")
    with pytest.raises(
        InputError, match=r"it needs 1\.1 GB of memory, and 1\.0 GB are free; take less"
    ):
        memory.check(1_100_000_000, "it", "take less")


def test_the_process_own_limit_counts() -> None:
    """`ulimit -v` in a separate process."""
    limit = 4 * 10**9
    code = "from deepservo.system import memory; print(memory.available())"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert 0 < int(found.stdout) < limit <= memory.available() + limit


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,)"),
    ],
)
def test_memory_that_runs_out_is_one_sentence(
    error: BaseException,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    files: Path,
) -> None:
    def fail(self: cli.Info) -> None:
        raise error

    monkeypatch.setattr(cli.Info, "run", fail)
    assert cli.main(["info", str(files / "model.safetensors")]) == 2
    assert capsys.readouterr().err.startswith("deepservo: memory ran out; use fewer --starts")


def test_other_errors_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    def fail(self: cli.Info) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(cli.Info, "run", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        cli.main(["info", str(files / "model.safetensors")])
