"""Files of poses, models and checkpoints that cannot be used: one sentence, exit 2, nothing
half-written.
"""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import deepservo
from deepservo.cli import main
from deepservo.evaluation.poses import read_object_pose, read_poses
from deepservo.models import scene_model as model
from tiny import Refused, interrupt_at, learn_args, picture

# Poses


def fronto(n: int = 2) -> np.ndarray:
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, 2, 3] = -0.6
    return T


def changed(place: tuple, value: float) -> np.ndarray:
    T = fronto()
    T[(1, *place)] = value
    return T


POSES = {
    "behind the plane": (
        changed((2, 3), 0.5),
        "T_world_cam[1] has z = 0.5: behind the plane z = 0",
    ),
    "in the plane": (changed((2, 3), 0.0), "T_world_cam[1] has z = 0"),
    "NaN": (changed((0, 3), np.nan), "T_world_cam[1] holds NaN"),
    "infinite": (changed((0, 3), np.inf), "T_world_cam[1] holds NaN or infinite"),
    "very far": (changed((0, 3), 1e300), "T_world_cam[1] lies over 10000 m away"),
    "stretched": (changed((0, 0), 1.1), "T_world_cam[1] is not a rigid motion"),
    "mirrored": (changed((0, 0), -1.0), "T_world_cam[1] is not a rigid motion"),
    "last row": (changed((3, 0), 0.5), "T_world_cam[1] is not a rigid motion"),
    "transposed": (
        np.swapaxes(fronto(), 1, 2),
        "T_world_cam[0] is not a rigid motion: it is transposed",
    ),
    "left-handed": (
        changed((1, 1), -1.0),
        "T_world_cam[1] is not a rigid motion: its axes are left-handed",
    ),
    "scaled": (
        np.diag([2.0, 2, 2, 1]) @ fronto(),
        "T_world_cam[0] is not a rigid motion: its axes are not of length 1",
    ),
    "millimetres": (
        changed((2, 3), -600.0),
        "T_world_cam[1] lies 600 m from a scene whose distance is 0.6 m",
    ),
    "an axis of zeros": (changed((0, 0), 0.0), "T_world_cam[1] is not a rigid motion: its axes"),
    "true and false": (fronto().astype(bool), "give numbers"),
    "stacks of stacks": (fronto()[None], "shape (1, 2, 4, 4)"),
    "one pose alone": (fronto()[0], "shape (4, 4)"),
    "3 x 4": (fronto()[:, :3], "shape (2, 3, 4)"),
    "none": (fronto(0), "shape (0, 4, 4)"),
    "words": (np.full((2, 4, 4), "a"), "give numbers"),
    "complex": (fronto().astype(complex), "give numbers"),
}


@pytest.mark.parametrize("kind", POSES)
def test_poses(kind: str, refused: Refused, files: Path) -> None:
    Ts, why = POSES[kind]
    np.savez("poses.npz", T_world_cam=Ts, T_world_goal=fronto())
    refused(["servo", files / "model.safetensors", "--poses", "poses.npz"], "poses.npz: ", why)
    np.savez("poses.npz", T_world_cam=fronto(), T_world_goal=Ts)
    refused(
        ["servo", files / "model.safetensors", "--poses", "poses.npz"],
        "poses.npz: ",
        why.replace("T_world_cam", "T_world_goal"),
    )


def test_poses_that_do_not_fit_together(refused: Refused, files: Path) -> None:
    servo = ["servo", files / "model.safetensors", "--poses", "poses.npz"]
    np.savez("poses.npz", T_world_cam=fronto(3), T_world_goal=fronto(2))
    refused(
        servo,
        "poses.npz: T_world_cam has 3 poses and T_world_goal 2; give one goal for all, or one each",
    )
    np.savez("poses.npz", T_world_cam=fronto())
    refused(
        servo, "poses.npz: holds no T_world_goal; add it, or give the goal's picture with --goal"
    )
    np.savez("poses.npz", T_world_goal=fronto())
    refused(servo, "poses.npz: holds no T_world_cam, but T_world_goal; write it with")
    cv2.imwrite("goal.png", picture(64, 64))
    refused(
        ["servo", files / "model.safetensors", "--goal", "goal.png", "--method", "pbvs"],
        "pbvs: needs the goal's true pose",
    )


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return open, ("executed", "w")


POSE_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not poses"),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Evil())),
    "pickle inside": lambda path: np.savez(path, T_world_cam=np.array([Evil()], dtype=object)),
    "npy": lambda path: np.save(path.open("wb"), fronto()),
    "half": lambda path: (
        np.savez(path, T_world_cam=fronto()),
        path.write_bytes(path.read_bytes()[:200]),
    ),
    "garbled inside": lambda path: (
        np.savez_compressed(path, T_world_cam=fronto(50)),
        garble(path, 120, 160),
    ),
}


def garble(path: Path, begin: int, end: int) -> None:
    data = bytearray(path.read_bytes())
    data[begin:end] = bytes(255 - b for b in data[begin:end])
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", POSE_FILES)
def test_pose_files(kind: str, refused: Refused, files: Path, tmp_path: Path) -> None:
    POSE_FILES[kind](tmp_path / "poses.npz")
    refused(
        ["servo", files / "model.safetensors", "--poses", "poses.npz"], "poses.npz: ", "numpy.savez"
    )


def test_a_pose_far_off_a_scene_far_away(files: Path, tmp_path: Path) -> None:
    """What is far depends on the scene: 600 m before a wall that is 50 m away are few."""
    np.savez(tmp_path / "poses.npz", T_world_cam=changed((2, 3), -600.0))
    assert read_poses(tmp_path / "poses.npz", 50.0)[0][1, 2, 3] == -600


OBJECT = np.array([[1.0, 0, 0, 0.1], [0, -1, 0, 0], [0, 0, -1, 0.4], [0, 0, 0, 1]])
OBJECT_POSES = {
    "two": (
        np.stack([OBJECT, OBJECT]),
        "T_object_cam has shape (2, 4, 4) of float64; give the numbers of one pose, of shape (4, "
        "4)",
    ),
    "a stack of a stack": (OBJECT[None, None], "T_object_cam has shape (1, 1, 4, 4)"),
    "3 x 4": (OBJECT[:3], "T_object_cam has shape (3, 4)"),
    "sixteen numbers": (OBJECT.ravel(), "T_object_cam has shape (16,)"),
    "one number": (np.array(1.0), "T_object_cam has shape ()"),
    "words": (np.full((4, 4), "a"), "give the numbers"),
    "NaN": (OBJECT * np.nan, "T_object_cam holds NaN"),
    "transposed": (OBJECT.T, "T_object_cam is not a rigid motion: it is transposed"),
    "left-handed": (
        OBJECT * [[1], [1], [-1], [1]],
        "T_object_cam is not a rigid motion: its axes are left-handed",
    ),
    "another last row": (
        OBJECT + np.eye(4)[3][:, None],
        "T_object_cam is not a rigid motion: its last row is not 0 0 0 1",
    ),
    "scaled": (
        np.diag([1e3, 1e3, 1e3, 1]) @ OBJECT,
        "T_object_cam is not a rigid motion: its axes are not of length 1",
    ),
    "millimetres": (
        OBJECT * [[1, 1, 1, 1e3], [1, 1, 1, 1e3], [1, 1, 1, 1e3], [1, 1, 1, 1]],
        "T_object_cam lies 412.3 m from the object",
    ),
    "another name": (
        {"T_cam_object": OBJECT, "K": OBJECT},
        "holds no T_object_cam, but T_cam_object, K; write it with numpy.savez",
    ),
    "no name": ({}, "holds no T_object_cam, but nothing; write it with numpy.savez"),
    "objects": (np.array([Evil()], dtype=object), "cannot be read as an .npz file of poses"),
}


@pytest.mark.parametrize("kind", OBJECT_POSES)
def test_poses_of_an_object(kind: str, tmp_path: Path) -> None:
    given, why = OBJECT_POSES[kind]
    np.savez(
        tmp_path / "pose.npz", **(given if isinstance(given, dict) else {"T_object_cam": given})
    )
    with pytest.raises(deepservo.InputError) as refusal:
        read_object_pose(tmp_path / "pose.npz")
    assert str(refusal.value).startswith(f"{tmp_path / 'pose.npz'}: ")
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    "given", [OBJECT, OBJECT[None], OBJECT.astype(np.float32), OBJECT.astype(">f8")], ids=str
)
def test_one_pose_of_an_object_however_it_is_stacked(given: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "pose.npz", T_object_cam=given)
    assert np.allclose(read_object_pose(tmp_path / "pose.npz"), OBJECT)


# Models


def rewritten(
    files: Path,
    path: Path,
    tensors: Callable[[dict], Any] = lambda t: t,
    config: Callable[[dict], Any] = lambda c: c,
) -> None:
    """The model of `files` with its tensors or its description changed."""
    with safe_open(files / "model.safetensors", "pt") as file:
        description = json.loads(file.metadata()["deepservo"])
    found, described = load_file(files / "model.safetensors"), description
    found, described = tensors(found) or found, config(described) or described
    save_file(
        found,
        path,
        {"deepservo": described if isinstance(described, str) else json.dumps(described)},
    )


def bytes_of(files: Path) -> bytes:
    return (files / "model.safetensors").read_bytes()


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
        "training": {**dict.fromkeys(model.TOLD, 1), "loss": [], "rehearsed": "well"}
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
    """Whatever byte is wrong: a sentence, or a model that still loads; never another exception."""
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
