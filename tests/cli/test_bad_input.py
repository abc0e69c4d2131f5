"""Bad input at the command line gives one sentence that says what, where and what to do, exit code
2, and no half-written file.
"""

import os
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

import deepservo
from deepservo.cli import main
from tiny import CAMERA, Refused, learn_args, picture, sentence, start

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
        path.write_bytes(
            {"text": b"not a picture", "empty": b"", "half": good[: len(good) // 2]}[kind]
        )
    return path


PICTURES = {
    "missing": "no such file", "folder": "no such file", "text": "cannot be read as a picture",
    "empty": "cannot be read as a picture", "half": "cannot be read as a picture",
    "20x20": "20 x 20 pixels is too small", "NaN": "finite",
}  # fmt: skip


@pytest.mark.parametrize("kind", PICTURES)
def test_picture(kind: str, refused: Refused, tmp_path: Path, files: Path) -> None:
    path = bad_picture(kind, tmp_path / "bad.png")
    learned = (
        "holds no picture" if kind == "folder" else PICTURES[kind]
    )  # a folder of pictures is many scenes
    refused(["learn", path, "--out", "m.safetensors"], str(path), learned, "; ")
    refused(["demo", "--image", path, "--out", "d"], str(path), PICTURES[kind])
    for option in ("--image", "--goal"):
        refused(["servo", files / "model.safetensors", option, path], str(path), PICTURES[kind])


CAMERAS = {
    "missing": (None, "no such file"),
    "text": ("hello", "holds no fields"),
    "field missing": (
        CAMERA.replace("image_width: 64\n", ""),
        "the field image_width or width is missing",
    ),
    "NaN": (CAMERA.replace("86.", ".Nan"), "not a number"),
    "wrong size": (CAMERA.replace("[ 86., 0.,", "[ 86.,"), "8 numbers, not 9"),
    "fisheye": (
        CAMERA + "fisheye_model: 1\n",
        "lens model 'fisheye' is not supported; rectify the pictures",
    ),
}


@pytest.mark.parametrize("kind", CAMERAS)
def test_camera(kind: str, refused: Refused, tmp_path: Path, files: Path) -> None:
    text, why = CAMERAS[kind]
    if text is not None:
        (tmp_path / "bad.yaml").write_text(text)
    refused(
        ["learn", files / "picture.png", "--out", "m.safetensors", "--camera", "bad.yaml"],
        "bad.yaml: ",
        why,
    )


def test_view_of_another_camera(refused: Refused, files: Path, tmp_path: Path) -> None:
    refused(
        learn_args(files, tmp_path / "m", "--view"),
        "picture.png is 96 x 72 pixels, the camera's pictures are 64 x 64",
    )


def test_goal_of_another_size(refused: Refused, files: Path) -> None:
    model, goal = files / "model.safetensors", files / "picture.png"
    refused(
        ["servo", model, "--goal", goal],
        "picture.png is 96 x 72 pixels, the camera's pictures are 64 x 64",
    )


def test_camera_that_disagrees_with_the_model(files: Path) -> None:
    model = deepservo.load_model(files / "model.safetensors")
    camera = deepservo.Camera(64, 64, 90.0, 90.0, 31.5, 31.5)
    for method in ("cnn", "cnn+dvs"):
        with pytest.raises(
            deepservo.InputError,
            match=r"the model was trained for .* not for .*; learn the scene again",
        ):
            deepservo.build(method, camera, model=model)
    with pytest.raises(
        deepservo.InputError,
        match="the goal picture is 32 x 32 pixels, the camera's pictures are 64 x 64",
    ):
        deepservo.load(files / "model.safetensors").set_goal(np.zeros((32, 32), np.uint8))


def test_scene_smaller_than_the_view(refused: Refused, files: Path, tmp_path: Path) -> None:
    refused(
        learn_args(files, tmp_path / "m", "--width", "0.2"),
        "0.2 x 0.15 m is too small a scene",
        "give a larger --width",
    )
    cv2.imwrite("strip.png", picture(400, 40))
    refused(
        ["servo", files / "model.safetensors", "--image", "strip.png"],
        "strip.png: 0.8 x 0.08 m is too small a scene",
    )


# Options

LEARN_OPTIONS = {
    "--width 0": "positive number of metres, not 0", "--width -1": "positive",
    "--width nan": "not nan", "--width inf": "not inf",
    "--width 1 --view": "--width and --view exclude each other",
    "--distance 0": "distance must be a positive number of metres", "--distance -1": "distance",
    "--distance nan": "distance", "--distance inf": "distance", "--distance 1e-300": "distance",
    "--minutes 0": "positive number of minutes", "--minutes -1": "positive",
    "--minutes nan": "positive", "--minutes inf": "positive", "--steps 0": "positive",
    "--steps -5": "positive", "--steps 3 --minutes 1": "either --minutes or --steps",
    "--seed -1": "the seed must be", f"--seed {2**64}": "the seed must be",
    "--method warp": "no trained method 'warp'; choose one of cnn",
    "--method dvs": "no trained method 'dvs'",
    "--resume": "m.safetensors.partial: there is nothing to resume",
}  # fmt: skip


@pytest.mark.parametrize("options", LEARN_OPTIONS)
def test_learn_options(options: str, refused: Refused, files: Path, tmp_path: Path) -> None:
    refused(learn_args(files, tmp_path / "m.safetensors", *options.split()), LEARN_OPTIONS[options])


SERVO_OPTIONS = {
    "--method warp": "no method 'warp'; choose one of dvs",
    "--set nowhere": "no set 'nowhere'; choose one of lookat", "--starts 0": "0 starts",
    "--starts -4": "-4 starts", "--starts 1000000000": "1000000000 starts",
    "--seed -1": "the seed must be",
}  # fmt: skip


@pytest.mark.parametrize("options", SERVO_OPTIONS)
def test_servo_options(options: str, refused: Refused, files: Path) -> None:
    refused(["servo", files / "model.safetensors", *options.split()], SERVO_OPTIONS[options])


def test_servo_without_a_scene(refused: Refused) -> None:
    refused(["servo"], "no scene")


@pytest.mark.parametrize("options", ["--starts 0", "--minutes 0", "--minutes nan", "--seed -1"])
def test_demo_options(options: str, refused: Refused) -> None:
    refused(["demo", "--out", "d", *options.split()])


@pytest.mark.parametrize(
    "args",
    ["", "fly", "learn", "learn a.png --out m --speed 3", "learn a.png --out m --steps many"],
)
def test_unknown_options(args: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args.split())
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# Where results go


def test_folder_that_holds_other_things(refused: Refused, files: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_text("precious")
    refused(
        ["demo", "--out", "d"], "d: holds other things (thesis.tex); give a new or an empty folder"
    )
    refused(
        ["servo", files / "model.safetensors", "--out", "d"], "d: holds other things (thesis.tex)"
    )


def test_file_for_a_folder_and_folder_for_a_file(
    refused: Refused, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("precious")
    (tmp_path / "d").mkdir()
    refused(["demo", "--out", "f"], "f: is a file; give a folder")
    refused(["servo", files / "model.safetensors", "--out", "f"], "f: is a file; give a folder")
    refused(["demo", "--out", "f/d"], "cannot be written", "choose another place")
    refused(learn_args(files, Path("f/m.safetensors")), "f/m.safetensors: cannot be written")
    refused(
        learn_args(files, Path("d")),
        "d: is a folder; give the model a file name, such as d/model.safetensors",
    )


def test_other_peoples_files_are_not_replaced(
    refused: Refused, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    refused(
        learn_args(files, Path("notes.txt"), "--steps", "1"),
        "notes.txt: exists and is no model of deepservo's; choose another name",
    )
    refused(
        learn_args(files, files / "picture.png", "--steps", "1"),
        "picture.png: exists and is no model",
    )


def test_no_permission(refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    refused(
        ["servo", files / "model.safetensors", "--out", "d"],
        "cannot be written (no permission in ",
        "choose another place",
    )
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
        refused(
            learn_args(files, Path("m.safetensors"), "--steps", "1"),
            "m.safetensors.partial: cannot be written",
            "free some space",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_bad_input_to_a_process(tmp_path: Path) -> None:
    process = start(["info", str(tmp_path / "none.safetensors")])
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    sentence(err, "none.safetensors: no such model; make one with")
