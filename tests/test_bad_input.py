"""Bad input at the command line: one sentence that says what, where and what to do; exit 2; nothing half-written."""

import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import deepservo
from deepservo import model, train
from deepservo.cli import main
from deepservo.methods.handoff import Handoff
from deepservo.model import Model
from tiny import CAMERA, interrupt_at, learn_args, listing, picture, start

Refused = Callable[..., None]


@pytest.fixture
def refused(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Refused]:
    """`refused(args, *words)`: exit code 2, one sentence that holds the words, and every file as before."""
    monkeypatch.chdir(tmp_path)

    def check(args: list[Any], *words: str) -> None:
        before = listing(tmp_path), listing(files)
        capfd.readouterr()
        assert main([str(a) for a in args]) == 2
        sentence(capfd.readouterr().err, *words)
        assert (listing(tmp_path), listing(files)) == before, "nothing written, nothing changed"

    yield check


def sentence(err: str, *words: str) -> None:
    assert err.startswith("deepservo: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


# Pictures and cameras


def bad_picture(kind: str, path: Path) -> Path:
    good = cv2.imencode(".png", picture())[1].tobytes()
    if kind == "folder":
        path.mkdir()
    elif kind == "20x20":
        cv2.imwrite(str(path), picture(20, 20))
    elif kind == "NaN":
        path = path.with_suffix(".tiff")
        cv2.imwrite(str(path), np.full((40, 40), np.nan, np.float32))
    elif kind != "missing":
        path.write_bytes({"text": b"not a picture", "empty": b"", "half": good[: len(good) // 2]}[kind])
    return path


PICTURES = {
    "missing": "no such file", "folder": "no such file", "text": "cannot be read as a picture", "empty": "cannot be read as a picture",
    "half": "cannot be read as a picture", "20x20": "20 x 20 pixels is too small", "NaN": "finite",
}  # fmt: skip


@pytest.mark.parametrize("kind", PICTURES)
def test_picture(kind: str, refused: Refused, tmp_path: Path, files: Path) -> None:
    path = bad_picture(kind, tmp_path / "bad.png")
    learned = "holds no picture" if kind == "folder" else PICTURES[kind]  # a folder of pictures is many scenes
    refused(["learn", path, "--out", "m.safetensors"], str(path), learned, "; ")
    refused(["demo", "--image", path, "--out", "d"], str(path), PICTURES[kind])
    for option in ("--image", "--goal"):
        refused(["servo", files / "model.safetensors", option, path], str(path), PICTURES[kind])


CAMERAS = {
    "missing": (None, "cannot be read"),
    "text": ("hello", "holds no fields"),
    "field missing": (CAMERA.replace("image_width: 64\n", ""), "the field image_width or width is missing"),
    "NaN": (CAMERA.replace("86.", ".Nan"), "not a number"),
    "wrong size": (CAMERA.replace("[ 86., 0.,", "[ 86.,"), "8 numbers, not 9"),
    "fisheye": (CAMERA + "fisheye_model: 1\n", "lens model 'fisheye' is not supported; rectify the pictures"),
}


@pytest.mark.parametrize("kind", CAMERAS)
def test_camera(kind: str, refused: Refused, tmp_path: Path, files: Path) -> None:
    text, why = CAMERAS[kind]
    if text is not None:
        (tmp_path / "bad.yaml").write_text(text)
    refused(["learn", files / "picture.png", "--out", "m.safetensors", "--camera", "bad.yaml"], "bad.yaml: ", why)


def test_view_of_another_camera(refused: Refused, files: Path, tmp_path: Path) -> None:
    refused(learn_args(files, tmp_path / "m", "--view"), "picture.png is 96 x 72 pixels, the camera's pictures are 64 x 64")


def test_goal_of_another_size(refused: Refused, files: Path) -> None:
    model, goal = files / "model.safetensors", files / "picture.png"
    refused(["servo", model, "--goal", goal], "picture.png is 96 x 72 pixels, the camera's pictures are 64 x 64")


def test_camera_that_disagrees_with_the_model(files: Path) -> None:
    model = deepservo.load_model(files / "model.safetensors")
    camera = deepservo.Camera(64, 64, 90.0, 90.0, 31.5, 31.5)
    for method in ("cnn", "cnn+dvs"):
        with pytest.raises(deepservo.InputError, match=r"the model was trained for .* not for .*; learn the scene again"):
            deepservo.METHODS[method](camera, model=model)
    with pytest.raises(deepservo.InputError, match="the goal picture is 32 x 32 pixels, the camera's pictures are 64 x 64"):
        deepservo.load(files / "model.safetensors").set_goal(np.zeros((32, 32), np.uint8))


def test_scene_smaller_than_the_view(refused: Refused, files: Path, tmp_path: Path) -> None:
    refused(learn_args(files, tmp_path / "m", "--width", "0.2"), "0.2 x 0.15 m is too small a scene", "give a larger --width")
    cv2.imwrite("strip.png", picture(400, 40))
    refused(["servo", files / "model.safetensors", "--image", "strip.png"], "strip.png: 0.8 x 0.08 m is too small a scene")


# Options

LEARN_OPTIONS = {
    "--width 0": "positive number of metres, not 0", "--width -1": "positive", "--width nan": "not nan", "--width inf": "not inf",
    "--width 1 --view": "--width and --view exclude each other",
    "--distance 0": "distance must be a positive number of metres", "--distance -1": "distance", "--distance nan": "distance",
    "--distance inf": "distance", "--distance 1e-300": "distance", "--minutes 0": "positive number of minutes", "--minutes -1": "positive",
    "--minutes nan": "positive", "--minutes inf": "positive", "--steps 0": "positive", "--steps -5": "positive",
    "--steps 3 --minutes 1": "either --minutes or --steps", "--seed -1": "the seed must be", f"--seed {2**64}": "the seed must be",
    "--method warp": "no trained method 'warp'; choose one of cnn", "--method dvs": "no trained method 'dvs'",
    "--resume": "m.safetensors.partial: there is nothing to resume",
}  # fmt: skip


@pytest.mark.parametrize("options", LEARN_OPTIONS)
def test_learn_options(options: str, refused: Refused, files: Path, tmp_path: Path) -> None:
    refused(learn_args(files, tmp_path / "m.safetensors", *options.split()), LEARN_OPTIONS[options])


SERVO_OPTIONS = {
    "--method warp": "no method 'warp'; choose one of dvs", "--set nowhere": "no set 'nowhere'; choose one of lookat",
    "--starts 0": "0 starts", "--starts -4": "-4 starts", "--starts 1000000000": "1000000000 starts", "--seed -1": "the seed must be",
}  # fmt: skip


@pytest.mark.parametrize("options", SERVO_OPTIONS)
def test_servo_options(options: str, refused: Refused, files: Path) -> None:
    refused(["servo", files / "model.safetensors", *options.split()], SERVO_OPTIONS[options])


def test_servo_without_a_scene(refused: Refused) -> None:
    refused(["servo"], "no scene")


@pytest.mark.parametrize("options", ["--starts 0", "--minutes 0", "--minutes nan", "--seed -1"])
def test_demo_options(options: str, refused: Refused) -> None:
    refused(["demo", "--out", "d", *options.split()])


@pytest.mark.parametrize("args", ["", "fly", "learn", "learn a.png --out m --speed 3", "learn a.png --out m --steps many"])
def test_unknown_options(args: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args.split())
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


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
    "behind the plane": (changed((2, 3), 0.5), "T_world_cam[1] has z = 0.5: behind the plane z = 0"),
    "in the plane": (changed((2, 3), 0.0), "T_world_cam[1] has z = 0"),
    "NaN": (changed((0, 3), np.nan), "T_world_cam[1] holds NaN"),
    "infinite": (changed((0, 3), np.inf), "T_world_cam[1] holds NaN or infinite"),
    "very far": (changed((0, 3), 1e300), "T_world_cam[1] lies over 10000 m away"),
    "stretched": (changed((0, 0), 1.1), "T_world_cam[1] is not a rigid motion"),
    "mirrored": (changed((0, 0), -1.0), "T_world_cam[1] is not a rigid motion"),
    "last row": (changed((3, 0), 0.5), "T_world_cam[1] is not a rigid motion"),
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
    refused(["servo", files / "model.safetensors", "--poses", "poses.npz"], "poses.npz: ", why.replace("T_world_cam", "T_world_goal"))


def test_poses_that_do_not_fit_together(refused: Refused, files: Path) -> None:
    servo = ["servo", files / "model.safetensors", "--poses", "poses.npz"]
    np.savez("poses.npz", T_world_cam=fronto(3), T_world_goal=fronto(2))
    refused(servo, "poses.npz: T_world_cam has 3 poses and T_world_goal 2; give one goal for all, or one each")
    np.savez("poses.npz", T_world_cam=fronto())
    refused(servo, "poses.npz: holds no T_world_goal; add it, or give the goal's picture with --goal")
    np.savez("poses.npz", T_world_goal=fronto())
    refused(servo, "poses.npz: holds no T_world_cam")
    cv2.imwrite("goal.png", picture(64, 64))
    refused(["servo", files / "model.safetensors", "--goal", "goal.png", "--method", "pbvs"], "pbvs: needs the goal's true pose")


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
    "half": lambda path: (np.savez(path, T_world_cam=fronto()), path.write_bytes(path.read_bytes()[:200])),
    "garbled inside": lambda path: (np.savez_compressed(path, T_world_cam=fronto(50)), garble(path, 120, 160)),
}


def garble(path: Path, begin: int, end: int) -> None:
    data = bytearray(path.read_bytes())
    data[begin:end] = bytes(255 - b for b in data[begin:end])
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", POSE_FILES)
def test_pose_files(kind: str, refused: Refused, files: Path, tmp_path: Path) -> None:
    POSE_FILES[kind](tmp_path / "poses.npz")
    refused(["servo", files / "model.safetensors", "--poses", "poses.npz"], "poses.npz: ", "numpy.savez")


# Models


def rewritten(files: Path, path: Path, tensors: Callable[[dict], Any] = lambda t: t, config: Callable[[dict], Any] = lambda c: c) -> None:
    """The model of `files` with its tensors or its description changed."""
    with safe_open(files / "model.safetensors", "pt") as file:
        description = json.loads(file.metadata()["deepservo"])
    found, described = load_file(files / "model.safetensors"), description
    found, described = tensors(found) or found, config(described) or described
    save_file(found, path, {"deepservo": described if isinstance(described, str) else json.dumps(described)})


def bytes_of(files: Path) -> bytes:
    return (files / "model.safetensors").read_bytes()


HEAD = "net.head.1.weight"
MODEL_FILES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "missing": (lambda f, p: None, "no such model; make one with"),
    "folder": (lambda f, p: p.mkdir(), "no such model"),
    "empty": (lambda f, p: p.write_bytes(b""), "is not a whole safetensors file"),
    "text": (lambda f, p: p.write_text("hello, not a model"), "is not a whole safetensors file"),
    "pickle": (lambda f, p: p.write_bytes(pickle.dumps(Evil())), "is not a whole safetensors file"),
    "torch's pickle": (lambda f, p: torch.save({"a": Evil()}, p), "is not a whole safetensors file"),
    "truncated": (lambda f, p: p.write_bytes(bytes_of(f)[:-1000]), "is not a whole safetensors file"),
    "truncated early": (lambda f, p: p.write_bytes(bytes_of(f)[:100]), "is not a whole safetensors file"),
    "longer": (lambda f, p: p.write_bytes(bytes_of(f) + b"x"), "is not a whole safetensors file"),
    "vast header": (lambda f, p: p.write_bytes(struct.pack("<Q", 2**60) + bytes_of(f)[8:]), "is not a whole safetensors file"),
    "foreign": (lambda f, p: save_file({"a": torch.zeros(2)}, p), "was not made by deepservo"),
    "foreign metadata": (lambda f, p: save_file({"a": torch.zeros(2)}, p, {"format": "pt"}), "was not made by deepservo"),
    "description no JSON": (lambda f, p: rewritten(f, p, config=lambda c: "{"), "was not made by deepservo"),
    "description a list": (lambda f, p: rewritten(f, p, config=lambda c: "[1]"), "was not made by deepservo"),
    "description very deep": (lambda f, p: rewritten(f, p, config=lambda c: "[" * 5000), "was not made by deepservo"),
    "newer": (lambda f, p: rewritten(f, p, config=lambda c: {**c, "format": 99}), "has format 99"),
    "infinite format": (lambda f, p: rewritten(f, p, config=lambda c: {**c, "format": float("inf")}), "was not made by deepservo"),
    "other shape": (lambda f, p: rewritten(f, p, lambda t: {**t, HEAD: t[HEAD][:5]}), "head.1.weight have shape (5, "),
    "other type": (lambda f, p: rewritten(f, p, lambda t: {**t, HEAD: t[HEAD].double()}), "torch.float64"),
    "NaN weights": (lambda f, p: rewritten(f, p, lambda t: {**t, HEAD: t[HEAD] * torch.nan}), "head.1.weight are not finite"),
    "weights missing": (lambda f, p: rewritten(f, p, lambda t: t.pop(HEAD) is None), "head.1.weight are missing"),
    "weights too many": (lambda f, p: rewritten(f, p, lambda t: {**t, "net.more": torch.zeros(1)}), "unknown weights more"),
    "no picture": (lambda f, p: rewritten(f, p, lambda t: t.pop("texture") is None), "'texture'"),
    "colour picture": (lambda f, p: rewritten(f, p, lambda t: {**t, "texture": t["texture"].repeat(3, 1, 1)}), "the learned picture"),
    "NaN picture": (lambda f, p: rewritten(f, p, lambda t: {**t, "texture": t["texture"] * torch.nan}), "the learned picture"),
    "picture of bytes": (lambda f, p: rewritten(f, p, lambda t: {**t, "texture": t["texture"].byte()}), "the learned picture"),
}
DESCRIPTIONS = {
    "no camera": {"camera": None}, "camera of words": {"camera": "wide"}, "camera without fx": {"camera": {"width": 64}},
    "negative focal length": {"camera": {"width": 64, "height": 64, "fx": -1, "fy": 1, "cx": 0, "cy": 0}},
    "unknown method": {"method": "warp"}, "net of words": {"net": {"width": "wide"}}, "vast net": {"net": {"width": 10**9}},
    "other net": {"net": {"width": 66}}, "negative net": {"net": {"width": -4}}, "no scene": {"scene": 3},
    "NaN distance": {"scene": {"width": 0.8, "background": 1.0, "distance": float("nan")}},
    "scene without width": {"scene": {"width": 0, "background": 1.0, "distance": 0.6}},
    "NaN distortion": {"distortion": [float("nan")]}, "distortion of words": {"distortion": "ab"}, "training of words": {"training": "ab"},
    "training without steps": {"training": {"loss": []}},
    "rehearsed in words": {"training": {**dict.fromkeys(model.TOLD, 1), "loss": [], "rehearsed": "well"}},
    "NaN background": {"scene": {"width": 0.8, "background": float("nan"), "distance": 0.6}},
}  # fmt: skip


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


# Where results go


def test_folder_that_holds_other_things(refused: Refused, files: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_text("precious")
    refused(["demo", "--out", "d"], "d: holds other things (thesis.tex); give a new or an empty folder")
    refused(["servo", files / "model.safetensors", "--out", "d"], "d: holds other things (thesis.tex)")


def test_file_for_a_folder_and_folder_for_a_file(refused: Refused, files: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("precious")
    (tmp_path / "d").mkdir()
    refused(["demo", "--out", "f"], "f: is a file; give a folder")
    refused(["servo", files / "model.safetensors", "--out", "f"], "f: is a file; give a folder")
    refused(["demo", "--out", "f/d"], "cannot be written", "choose another place")
    refused(learn_args(files, Path("f/m.safetensors")), "f/m.safetensors: cannot be written")
    refused(learn_args(files, Path("d")), "d: is a folder; give the model a file name, such as d/model.safetensors")


def test_other_peoples_files_are_not_replaced(refused: Refused, files: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    refused(learn_args(files, Path("notes.txt"), "--steps", "1"), "notes.txt: exists and is no model of deepservo's; choose another name")
    refused(learn_args(files, files / "picture.png", "--steps", "1"), "picture.png: exists and is no model")


def test_no_permission(refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may do everything
    refused(["servo", files / "model.safetensors", "--out", "d"], "cannot be written (no permission in ", "choose another place")
    refused(learn_args(files, Path("m"), "--steps", "1"), "m: cannot be written (no permission in ")


def test_name_too_long(refused: Refused, files: Path) -> None:
    name = "n" * 300
    refused(["learn", files / "picture.png", "--out", name, "--steps", "1"], name)
    refused(["info", name], name)
    refused(["learn", name, "--out", "m"], name)


def test_full_disk(refused: Refused, files: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        refused(learn_args(files, Path("m.safetensors"), "--steps", "1"), "m.safetensors.partial: cannot be written", "free some space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Going on with a training


@pytest.fixture
def stopped(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None) -> Path:
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
        refused(learn_args(files, out, "--resume", *more), f"{stopped}: was made with another {what}", "use the same settings")
    refused(["learn", files / "picture.png", "--out", out, "--steps", "4", "--resume"], "another camera")


def test_resume_from_a_broken_checkpoint(refused: Refused, files: Path, stopped: Path) -> None:
    resume = learn_args(files, stopped.with_suffix(""), "--resume", "--steps", "4")
    whole = stopped.read_bytes()
    stopped.write_bytes(whole[:-500])
    refused(resume, f"{stopped}: is not a whole safetensors file")
    stopped.write_bytes(pickle.dumps(Evil()))
    refused(resume, f"{stopped}: is not a whole safetensors file")
    stopped.write_bytes(bytes_of(files))
    refused(resume, f"{stopped}: is a finished model, not a checkpoint")
    for garbled in ({"partial": 3}, {"progress": {}}, {"progress": {"steps": 4, "step": 2, "seconds": 1.0, "loss": [1]}}):
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
    refused(["info", stopped], f"{stopped}: is the checkpoint of a training that has not ended", "--resume")


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
    process = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    sentence(process.stderr, "stopped by Ctrl-C, nothing was begun\n")


def test_ctrl_c_while_timing(refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None) -> None:
    interrupt_at(1, monkeypatch)
    refused(learn_args(files, Path("m.safetensors"), "--minutes", "1"), "stopped by Ctrl-C, nothing half-written\n")


def test_ctrl_c_while_training(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None, capfd: pytest.CaptureFixture[str]
) -> None:
    args = learn_args(files, tmp_path / "m", "--steps", "4")
    interrupt_at(1, monkeypatch)
    assert main(args) == 2
    said = f"stopped by Ctrl-C, nothing half-written; {tmp_path / 'm.partial'} keeps step 2 of 4: --resume goes on from it"
    sentence(capfd.readouterr().err, said)
    assert [p.name for p in tmp_path.iterdir()] == ["m.partial"]
    assert main([*args, "--resume"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_ctrl_c_while_saving_the_model(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None) -> None:
    save = Model.save
    monkeypatch.setattr(Model, "save", lambda *args: os.kill(os.getpid(), signal.SIGINT) or save(*args))
    assert main(learn_args(files, tmp_path / "m", "--steps", "1")) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["m"], "a moment's work, so it is finished first"
    assert deepservo.load_model(tmp_path / "m").training["steps"] == 1


def test_ctrl_c_while_servoing(refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None) -> None:
    monkeypatch.setattr(Handoff, "_velocity", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    refused(["servo", files / "model.safetensors", "--starts", "2", "--out", "d"], "stopped by Ctrl-C, nothing half-written\n")


def test_ctrl_c_while_writing(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruptible: None) -> None:
    replace, struck = os.replace, []

    def strike(source: Any, target: Any) -> None:
        struck.append(Path(target).name)
        os.kill(os.getpid(), signal.SIGINT)
        replace(source, target)

    monkeypatch.setattr(os, "replace", strike)
    monkeypatch.setattr(Handoff, "budget", 2)
    assert main(["servo", str(files / "model.safetensors"), "--starts", "2", "--out", str(tmp_path / "d")]) == 2
    assert struck == ["results.json"]
    assert listing(tmp_path / "d") == {}


@pytest.mark.parametrize("command", ["learn", "servo"])
def test_ctrl_c_to_a_process(command: str, files: Path, tmp_path: Path) -> None:
    args = learn_args(files, tmp_path / "m.safetensors", "--steps", "100000")
    if command == "servo":
        args = ["servo", str(files / "model.safetensors"), "--starts", "2", "--out", str(tmp_path / "d")]
    process = start(args, "commands.LOG_S = 0")
    assert process.stdout is not None
    assert "step" in process.stdout.readline(), "a line of progress: the work goes on"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    sentence(err, "stopped by Ctrl-C, nothing half-written")
    assert [p.name for p in tmp_path.iterdir()] == (["m.safetensors.partial"] if command == "learn" else [])
    if command == "learn":
        settings, steps = train.peek(tmp_path / "m.safetensors.partial")
        assert (settings["method"], steps) == ("cnn", 100000)


def test_bad_input_to_a_process(tmp_path: Path) -> None:
    process = start(["info", str(tmp_path / "none.safetensors")])
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    sentence(err, "none.safetensors: no such model; make one with")
