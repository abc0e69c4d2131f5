"""A small picture, a small camera and a model trained for a moment: what the command line's tests work on."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file
from torch import Tensor

from deepservo.cli import main
from deepservo.nets.resnet import Shape
from deepservo.training import train

CAMERA = """%YAML:1.0
---
image_width: 64
image_height: 64
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 86., 0., 31.5, 0., 86., 31.5, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ 0., 0., 0., 0., 0. ]
"""
STEPS = 6

Refused = Callable[..., None]


def picture(width: int = 96, height: int = 72, seed: int = 0) -> np.ndarray:
    """Grey blotches of several sizes, uint8."""
    rng = np.random.default_rng(seed)
    values = sum(cv2.GaussianBlur(rng.standard_normal((height, width)), None, s) * s for s in (1.5, 4, 10))
    return cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def make_files(folder: Path) -> Path:
    """picture.png, camera.yaml and model.safetensors (of STEPS steps) in `folder`."""
    cv2.imwrite(str(folder / "picture.png"), picture())
    (folder / "camera.yaml").write_text(CAMERA)
    assert main(learn_args(folder, folder / "model.safetensors", "--steps", str(STEPS))) == 0
    return folder


def learn_args(files: Path, out: Path, *more: str) -> list[str]:
    return ["learn", str(files / "picture.png"), "--out", str(out), "--camera", str(files / "camera.yaml"), *more]


def weights(model: Path) -> dict[str, Tensor]:
    return {k: v for k, v in load_file(model).items() if k.startswith("net.")}


def listing(folder: Path) -> dict[str, bytes]:
    """Every file under `folder` with what it holds, and every folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def start(args: list[str], before: str = "") -> subprocess.Popen[str]:
    """The command line as a process of its own, after the statements `before`; it takes Ctrl-C even when started without it."""
    script = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from deepservo.models import checkpoint
from deepservo.cli import console
from deepservo.training import train
{before}
from deepservo.cli import main
from deepservo.nets.resnet import Shape
sys.exit(main({args!r}))
"""
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sentence(err: str, *words: str) -> None:
    """`err` is one sentence of the program's that holds the words."""
    assert err.startswith("deepservo: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch, advance: Callable = train._advance) -> None:
    """Ctrl-C strikes in that step of the next trainings."""

    def struck(*args: Any) -> float:
        if args[4] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(*args)

    monkeypatch.setattr(train, "_advance", struck)


def small(**changes: object) -> Shape:
    """An encoder that a test can afford."""
    return Shape(**{"layers": 18, "width": 4, "latent": 8, "size": 64, **changes})  # type: ignore[arg-type]
