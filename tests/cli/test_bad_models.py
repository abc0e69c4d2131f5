"""Models and checkpoints that cannot be used give one sentence and exit code 2, and nothing is
half-written.
"""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import deepservo
from bad_models import Evil, bytes_of, rewritten
from deepservo.cli import main
from deepservo.models import scene_model as model
from tiny import Refused, interrupt_at, learn_args

HEAD = "net.head.1.weight"
MODEL_FILES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "missing": (lambda f, p: None, "no such model; make one with"),
    "folder": (lambda f, p: p.mkdir(), "no such model"),
    "empty": (lambda f, p: p.write_bytes(b""), "is not a whole safetensors file"),
    "text": (lambda f, p: p.write_text("hello, not a model"), "is not a whole safetensors file"),
    "pickle": (lambda f, p: p.write_bytes(pickle.dumps(Evil())), "is not a whole safetensors file"),
    "torch's pickle": (
        lambda f, p: torch.save({"a": Evil()}, p),
        "is not a whole safetensors file",
    ),
    "truncated": (
        lambda f, p: p.write_bytes(bytes_of(f)[:-1000]),
        "is not a whole safetensors file",
    ),
    "truncated early": (
        lambda f, p: p.write_bytes(bytes_of(f)[:100]),
        "is not a whole safetensors file",
    ),
    "longer": (lambda f, p: p.write_bytes(bytes_of(f) + b"x"), "is not a whole safetensors file"),
    "vast header": (
        lambda f, p: p.write_bytes(struct.pack("<Q", 2**60) + bytes_of(f)[8:]),
        "is not a whole safetensors file",
    ),
    "foreign": (lambda f, p: save_file({"a": torch.zeros(2)}, p), "was not made by deepservo"),
    "foreign metadata": (
        lambda f, p: save_file({"a": torch.zeros(2)}, p, {"format": "pt"}),
        "was not made by deepservo",
    ),
    "description no JSON": (
        lambda f, p: rewritten(f, p, config=lambda c: "{"),
        "was not made by deepservo",
    ),
    "description a list": (
        lambda f, p: rewritten(f, p, config=lambda c: "[1]"),
        "was not made by deepservo",
    ),
    "description very deep": (
        lambda f, p: rewritten(f, p, config=lambda c: "[" * 5000),
        "was not made by deepservo",
    ),
    "newer": (lambda f, p: rewritten(f, p, config=lambda c: {**c, "format": 99}), "has format 99"),
    "infinite format": (
        lambda f, p: rewritten(f, p, config=lambda c: {**c, "format": float("inf")}),
        "was not made by deepservo",
    ),
    "method a list": (
        lambda f, p: rewritten(f, p, config=lambda c: {**c, "method": ["cnn"]}),
        "was not made by deepservo",
    ),
    "no version": (
        lambda f, p: rewritten(
            f, p, config=lambda c: {k: v for k, v in c.items() if k != "version"}
        ),
        "lacks or garbles 'version'",
    ),
    "other shape": (
        lambda f, p: rewritten(f, p, lambda t: {**t, HEAD: t[HEAD][:5]}),
        "head.1.weight have shape (5, ",
    ),
    "other type": (
        lambda f, p: rewritten(f, p, lambda t: {**t, HEAD: t[HEAD].double()}),
        "torch.float64",
    ),
    "NaN weights": (
        lambda f, p: rewritten(f, p, lambda t: {**t, HEAD: t[HEAD] * torch.nan}),
        "head.1.weight are not finite",
    ),
    "weights missing": (
        lambda f, p: rewritten(f, p, lambda t: t.pop(HEAD) is None),
        "head.1.weight are missing",
    ),
    "weights too many": (
        lambda f, p: rewritten(f, p, lambda t: {**t, "net.more": torch.zeros(1)}),
        "unknown weights more",
    ),
    "no picture": (lambda f, p: rewritten(f, p, lambda t: t.pop("texture") is None), "'texture'"),
    "colour picture": (
        lambda f, p: rewritten(f, p, lambda t: {**t, "texture": t["texture"].repeat(3, 1, 1)}),
        "the learned picture",
    ),
    "NaN picture": (
        lambda f, p: rewritten(f, p, lambda t: {**t, "texture": t["texture"] * torch.nan}),
        "the learned picture",
    ),
    "picture of bytes": (
        lambda f, p: rewritten(f, p, lambda t: {**t, "texture": t["texture"].byte()}),
        "the learned picture",
    ),
}
DESCRIPTIONS = {
    "no camera": {"camera": None},
    "camera of words": {"camera": "wide"},
    "camera without fx": {"camera": {"width": 64}},
    "negative focal length": {
        "camera": {"width": 64, "height": 64, "fx": -1, "fy": 1, "cx": 0, "cy": 0}
    },
    "unknown method": {"method": "warp"},
    "net of words": {"net": {"width": "wide"}},
    "vast net": {"net": {"width": 10**9}},
    "other net": {"net": {"width": 66}},
    "negative net": {"net": {"width": -4}},
    "no scene": {"scene": 3},
    "NaN distance": {"scene": {"width": 0.8, "background": 1.0, "distance": float("nan")}},
    "scene without width": {"scene": {"width": 0, "background": 1.0, "distance": 0.6}},
    "NaN distortion": {"distortion": [float("nan")]},
    "distortion of words": {"distortion": "ab"},
    "training of words": {"training": "ab"},
    "training without steps": {"training": {"loss": []}},
    "rehearsed in words": {
        "training": {**dict.fromkeys(model.TRAINING_NUMBERS, 1), "loss": [], "rehearsed": "well"}
    },
    "NaN background": {"scene": {"width": 0.8, "background": float("nan"), "distance": 0.6}},
}


@pytest.mark.parametrize("kind", MODEL_FILES)
def test_model_files(kind: str, refused: Refused, files: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    make, why = MODEL_FILES[kind]
    make(files, path)
    for args in (["info", path], ["servo", path]):
        refused(args, f"{path}: ", why, "; ")


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_model_descriptions(kind: str, refused: Refused, files: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    rewritten(files, path, config=lambda c: {**c, **DESCRIPTIONS[kind]})
    refused(["info", path], f"{path}: ", "train the model anew")


def test_random_damage_to_a_model(files: Path, tmp_path: Path) -> None:
    """Whichever byte is wrong: one sentence, or a model that still loads, and never another
    exception.
    """
    path, rng, data = tmp_path / "m.safetensors", np.random.default_rng(0), bytes_of(files)
    header = 8 + struct.unpack("<Q", data[:8])[0]
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, header, 3):
            broken[place] = rng.integers(32, 127)
        path.write_bytes(bytes(broken))
        try:
            deepservo.load_model(path)
        except deepservo.InputError as error:
            assert str(path) in str(error)


# Going on with a training


@pytest.fixture
def stopped(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None
) -> Path:
    """A checkpoint of step 2 of 4."""
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        assert main(learn_args(files, tmp_path / "m.safetensors", "--steps", "4")) == 2
    return tmp_path / "m.safetensors.partial"


def test_resume_with_other_settings(refused: Refused, files: Path, stopped: Path) -> None:
    out = stopped.with_suffix("")
    for more, what in (
        (["--steps", "5"], "steps asked"),
        (["--steps", "4", "--seed", "1"], "seed"),
        (["--steps", "4", "--width", "0.9"], "width"),
        (["--minutes", "1"], "minutes"),
    ):
        refused(
            learn_args(files, out, "--resume", *more),
            f"{stopped}: was made with another {what}",
            "use the same settings",
        )
    refused(
        ["learn", files / "picture.png", "--out", out, "--steps", "4", "--resume"], "another camera"
    )


def test_resume_from_a_broken_checkpoint(refused: Refused, files: Path, stopped: Path) -> None:
    resume = learn_args(files, stopped.with_suffix(""), "--resume", "--steps", "4")
    whole = stopped.read_bytes()
    stopped.write_bytes(whole[:-500])
    refused(resume, f"{stopped}: is not a whole safetensors file")
    stopped.write_bytes(pickle.dumps(Evil()))
    refused(resume, f"{stopped}: is not a whole safetensors file")
    stopped.write_bytes(bytes_of(files))
    refused(resume, f"{stopped}: is a finished model, not a checkpoint")
    for garbled in (
        {"partial": 3},
        {"progress": {}},
        {"progress": {"steps": 4, "step": 2, "seconds": 1.0, "loss": [1]}},
    ):
        stopped.write_bytes(whole)
        with safe_open(stopped, "pt") as file:
            config = {**json.loads(file.metadata()["deepservo"]), **garbled}
        save_file(load_file(stopped), stopped, {"deepservo": json.dumps(config)})
        refused(resume, f"{stopped}: ")
    stopped.write_bytes(whole)
    with safe_open(stopped, "pt") as file:
        config = file.metadata()
    tensors = load_file(stopped)
    name = next(k for k in tensors if k.startswith("adam.") and k.endswith("exp_avg"))
    save_file({**tensors, name: torch.zeros(3)}, stopped, config)
    refused(resume, f"{stopped}: the optimizer's state of ", "has another shape")


def test_checkpoint_is_no_model(refused: Refused, stopped: Path) -> None:
    refused(
        ["info", stopped],
        f"{stopped}: is the checkpoint of a training that has not ended",
        "--resume",
    )
