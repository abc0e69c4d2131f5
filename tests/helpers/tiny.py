"""A small picture, a small camera and a model of a short training, for tests of the command
line.
"""

import math
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
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

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
    values = sum(
        cv2.GaussianBlur(rng.standard_normal((height, width)), None, s) * s for s in (1.5, 4, 10)
    )
    return cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def make_files(folder: Path) -> Path:
    """picture.png, camera.yaml and model.safetensors (of STEPS steps) in `folder`."""
    cv2.imwrite(str(folder / "picture.png"), picture())
    (folder / "camera.yaml").write_text(CAMERA)
    assert main(learn_args(folder, folder / "model.safetensors", "--steps", str(STEPS))) == 0
    return folder


def learn_args(files: Path, out: Path, *more: str) -> list[str]:
    return [
        "learn",
        str(files / "picture.png"),
        "--out",
        str(out),
        "--camera",
        str(files / "camera.yaml"),
        *more,
    ]


def weights(model: Path) -> dict[str, Tensor]:
    return {k: v for k, v in load_file(model).items() if k.startswith("net.")}


def listing(folder: Path) -> dict[str, bytes]:
    """Every file under `folder` with its contents, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in folder.rglob("*")
    }


def start(args: list[str], before: str = "") -> subprocess.Popen[str]:
    """The command line as a separate process, after the statements `before`. Ctrl-C reaches it even
    where it was ignored.
    """
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
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def sentence(err: str, *words: str) -> None:
    """`err` is one sentence of the program that holds the words."""
    assert err.startswith("deepservo: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


def interrupt_at(
    step: int, monkeypatch: pytest.MonkeyPatch, advance: Callable = train.Optimization.advance
) -> None:
    """Ctrl-C comes in that step of the next trainings."""

    def struck(optimization: train.Optimization, at: int, *args: Any) -> Any:
        if at == step:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(optimization, at, *args)

    monkeypatch.setattr(train.Optimization, "advance", struck)


def small(**changes: object) -> Shape:
    """The shape of a small encoder."""
    return Shape(**{"layers": 18, "width": 4, "latent": 8, "size": 64, **changes})  # type: ignore[arg-type]


def lived_in(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """With biases and statistics other than the initial ones."""
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.3 * torch.randn(module.running_mean.shape, generator=generator)
            module.running_var = 0.5 + torch.rand(module.running_var.shape, generator=generator)
    return net.eval()


def waves(height: int = 1440, width: int = 1920) -> torch.Tensor:
    """A picture so smooth that its derivative is the same at all scales used: waves of 10 to 25 cm
    on 0.8 m.
    """
    y, x = torch.meshgrid(
        torch.arange(height) / width * 0.8, torch.arange(width) / width * 0.8, indexing="ij"
    )
    image = torch.zeros(height, width)
    for length, direction, phase in (
        (0.10, 0.3, 0.0),
        (0.13, 1.4, 1.0),
        (0.17, 2.5, 2.0),
        (0.25, 0.9, 3.0),
    ):
        image += torch.sin(
            2 * math.pi / length * (x * math.cos(direction) + y * math.sin(direction)) + phase
        )
    return (0.5 + 0.1 * image)[None]


def mild_homographies(
    n: int, size: tuple[int, int], texture: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Homographies whose views show most of the picture, turned, scaled from 1/3 to 3 and seen
    aslant.
    """
    (h, w), (th, tw) = size, texture
    turn = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    scale = tw / w * 3 ** (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1)
    H = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    H[:, 0, 0], H[:, 0, 1], H[:, 1, 0], H[:, 1, 1] = turn.cos(), -turn.sin(), turn.sin(), turn.cos()
    H[:, :2, :2] *= scale[:, None, None]
    H[:, 2, :2] = (torch.rand(n, 2, generator=generator, dtype=torch.float64) - 0.5) / torch.tensor(
        [w, h]
    )
    centre_out = torch.eye(3, dtype=torch.float64)
    centre_out[0, 2], centre_out[1, 2] = -(w - 1) / 2, -(h - 1) / 2
    centre_in = torch.eye(3, dtype=torch.float64)
    centre_in[0, 2], centre_in[1, 2] = (tw - 1) / 2, (th - 1) / 2
    return centre_in @ H @ centre_out
