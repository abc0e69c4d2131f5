"""The command line from end to end, on small pictures and short trainings."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import deepservo
from deepservo.cli import main
from deepservo.methods.base import Controller
from deepservo.scene import sampling
from tiny import CAMERA, learn_args, picture

ROW = """
    method set scene n converged converged_ci strict settled end_mm_mean end_mm_std end_mm_median
    end_mm_ci end_deg_mean end_deg_std end_deg_median end_mm_median_all ape_cm ape_deg length_ratio
    steps_median time_s ms_per_step_p50 ms_per_step_p99 steps_per_s peak_mb camera gain dt max_steps
    seed
""".split()
POSE_FIGURES = [
    k
    for k in ROW
    if k.startswith(("converged", "strict", "settled", "end_", "ape_", "length_", "steps_median"))
]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Controller, "max_steps", 6)


def row_of(out: Path) -> dict[str, Any]:
    """The only row of results.json, which must be strict JSON (no NaN)."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    found = json.loads((out / "results.json").read_text(), parse_constant=refuse)
    assert found.keys() == {"machine", "version", "rows"}
    assert found["version"] == deepservo.__version__
    (row,) = found["rows"]
    assert set(ROW) <= row.keys()
    assert (out / "report.html").stat().st_size > 100_000
    assert {p.name for p in out.iterdir()} <= {"results.json", "report.html", "model.safetensors"}
    return row


def test_info(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(files / "model.safetensors")]) == 0
    said = capsys.readouterr().out
    for word in (
        "cnn",
        "picture.png, 96 x 72 pixels on 0.8 x 0.6 m",
        "distance 0.6 m",
        "64 x 64, fx 86, fy 86, centre (31.5, 31.5)",
        "6 steps of 64 pictures",
        "seed 0",
        f"deepservo {deepservo.__version__}",
    ):
        assert word in said


def test_servo_from_sampled_starts(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["servo", str(files / "model.safetensors"), "--starts", "3", "--seed", "4"]
    assert main([*args, "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "cnn+auto" in said
    assert "lookat-rz" in said
    assert "…" not in said, "nothing in the table is cut off"
    row = row_of(tmp_path / "a")
    assert (row["method"], row["set"], row["scene"], row["n"], row["seed"]) == (
        "cnn+auto",
        "lookat-rz",
        "picture.png",
        3,
        4,
    )
    assert 0 <= row["converged_ci"][0] <= row["converged"] <= row["converged_ci"][1] <= 1
    assert (row["gain"], row["dt"], row["max_steps"]) == (0.1, 1.0, 6)
    assert row["camera"] == {
        "width": 64,
        "height": 64,
        "fx": 86.0,
        "fy": 86.0,
        "cx": 31.5,
        "cy": 31.5,
    }
    assert main([*args, "--out", str(tmp_path / "a")]) == 0, "a folder of ours may be written again"
    again = row_of(tmp_path / "a")
    timing = ("time_s", "ms_per_step_p50", "ms_per_step_p99", "steps_per_s", "peak_mb")
    assert {k: v for k, v in again.items() if k not in timing} == {
        k: v for k, v in row.items() if k not in timing
    }


@pytest.mark.parametrize("name", ["screw", "lookat", "lookat-rz-perturbed"])
def test_servo_on_other_sets(name: str, files: Path, tmp_path: Path) -> None:
    args = [
        "servo",
        str(files / "model.safetensors"),
        "--starts",
        "2",
        "--set",
        name,
        "--method",
        "pbvs",
        "--out",
        str(tmp_path),
    ]
    assert main(args) == 0
    assert row_of(tmp_path)["set"] == name


def poses(path: Path, with_goal: bool = True, n: int = 2) -> Path:
    Ts_cam, Ts_goal = sampling.lookat(n, torch.Generator().manual_seed(0))
    np.savez(
        path, T_world_cam=Ts_cam.numpy(), **({"T_world_goal": Ts_goal.numpy()} if with_goal else {})
    )
    return path


def goal_picture(files: Path, path: Path) -> Path:
    model = deepservo.load_model(files / "model.safetensors")
    image = model.scene.render(model.camera, sampling.fronto_parallel(0.6))
    cv2.imwrite(str(path), (255 * image[0, 0]).round().byte().numpy())
    return path


def test_servo_from_given_poses(files: Path, tmp_path: Path) -> None:
    given = poses(tmp_path / "poses.npz")
    model = str(files / "model.safetensors")
    assert (
        main(
            [
                "servo",
                model,
                "--method",
                "pbvs",
                "--poses",
                str(given),
                "--out",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    row = row_of(tmp_path / "o")
    assert (row["set"], row["n"], row["seed"]) == ("poses.npz", 2, None)
    assert row["end_mm_median_all"] > 0
    goal = goal_picture(files, tmp_path / "goal.png")
    assert (
        main(
            [
                "servo",
                model,
                "--method",
                "pbvs",
                "--poses",
                str(given),
                "--goal",
                str(goal),
                "--out",
                str(tmp_path / "g"),
            ]
        )
        == 0
    )
    assert row_of(tmp_path / "g")["end_mm_median_all"] == pytest.approx(row["end_mm_median_all"]), (
        "with both, the pose decides"
    )


@pytest.mark.parametrize("given", ["sampled", "poses"])
def test_goal_picture_of_unknown_pose(given: str, files: Path, tmp_path: Path) -> None:
    goal = goal_picture(files, tmp_path / "goal.png")
    starts = (
        ["--starts", "2"]
        if given == "sampled"
        else ["--poses", str(poses(tmp_path / "poses.npz", with_goal=False))]
    )
    assert (
        main(
            [
                "servo",
                str(files / "model.safetensors"),
                "--goal",
                str(goal),
                *starts,
                "--out",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    row = row_of(tmp_path / "o")
    assert [row[k] for k in POSE_FIGURES] == [None] * len(POSE_FIGURES)
    assert 0 < row["image_error_median"] < 1


def test_another_picture_on_the_plane(files: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "other.png"), picture(seed=1))
    args = [
        "servo",
        str(files / "model.safetensors"),
        "--image",
        str(tmp_path / "other.png"),
        "--starts",
        "2",
        "--method",
        "sift",
    ]
    assert main([*args, "--out", str(tmp_path / "o")]) == 0
    row = row_of(tmp_path / "o")
    assert (row["method"], row["scene"]) == ("sift", "other.png")


def test_view_through_a_lens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "view.png"), picture(64, 64))
    (tmp_path / "camera.yaml").write_text(
        CAMERA.replace("[ 0., 0., 0., 0., 0. ]", "[ -0.1, 0.01, 0., 0., 0. ]")
    )
    out = tmp_path / "m.safetensors"
    options = [
        "--view",
        "--distance",
        "0.5",
        "--camera",
        str(tmp_path / "camera.yaml"),
        "--steps",
        "2",
    ]
    assert main(["learn", str(tmp_path / "view.png"), "--out", str(out), *options]) == 0
    model = deepservo.load_model(out)
    assert model.scene.width == pytest.approx(0.5 * 64 / 86)
    assert model.distance == 0.5
    assert model.distortion == (-0.1, 0.01, 0.0, 0.0, 0.0)
    read = deepservo.images.pictures.read_picture(tmp_path / "view.png")
    assert not torch.equal(model.scene.texture, read), "the texture is rectified"
    assert main(["info", str(out)]) == 0
    assert "distortion [-0.1, 0.01, 0.0, 0.0, 0.0]" in capsys.readouterr().out
    goal = ["--goal", str(tmp_path / "view.png"), "--starts", "1", "--out", str(tmp_path / "o")]
    assert main(["servo", str(out), *goal]) == 0, "the goal is rectified too"


@pytest.mark.parametrize("flags", [cv2.IMREAD_COLOR, "rgba", "16 bits"])
def test_pictures_of_every_kind_are_learned(flags: object, files: Path, tmp_path: Path) -> None:
    grey = picture()
    kinds = {"rgba": np.dstack([grey] * 4), "16 bits": grey.astype(np.uint16) * 257}
    cv2.imwrite(str(tmp_path / "picture.png"), kinds.get(flags, np.dstack([grey] * 3)))  # type: ignore[call-overload]
    (tmp_path / "camera.yaml").write_text(CAMERA)
    assert main(learn_args(tmp_path, tmp_path / "m.safetensors", "--steps", "1")) == 0


def test_names_are_shown_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a [red] [" + "x" * 90 + "] :smile:.png"  # markup of rich, and longer than a line
    cv2.imwrite(str(tmp_path / name), picture())
    (tmp_path / "camera.yaml").write_text(CAMERA)
    out = tmp_path / "[bold]"
    options = ["--camera", str(tmp_path / "camera.yaml"), "--steps", "1"]
    assert (
        main(["learn", str(tmp_path / name), "--out", str(out / "m [i].safetensors"), *options])
        == 0
    )
    assert f"{out / 'm [i].safetensors'}: learned {name} in 1 steps" in capsys.readouterr().out
    assert main(["info", str(out / "m [i].safetensors")]) == 0
    assert f"scene     {name}, 96 x 72" in capsys.readouterr().out
    assert (
        main(["servo", str(out / "m [i].safetensors"), "--starts", "1", "--out", str(out / "[o]")])
        == 0
    )
    assert f"{out / '[o]' / 'results.json'}\n" in capsys.readouterr().out


def test_demo(files: Path, tmp_path: Path) -> None:
    args = [
        "demo",
        "--image",
        str(files / "picture.png"),
        "--minutes",
        "0.02",
        "--starts",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert main(args) == 0
    row = row_of(tmp_path)
    assert (row["method"], row["set"], row["n"], row["scene"]) == (
        "cnn+auto",
        "lookat-rz",
        2,
        "picture",
    )
    training = deepservo.load_model(tmp_path / "model.safetensors").training
    assert (training["minutes"], training["settings"]["seed"]) == (0.02, 0)


def test_public_api(files: Path) -> None:
    assert set(deepservo.__all__) <= set(dir(deepservo))
    assert all(getattr(deepservo, name) is not None for name in deepservo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = deepservo.nothing
    controller = deepservo.load(files / "model.safetensors")
    controller.set_goal(picture(64, 64))
    v_cam = controller.velocity(torch.rand(3, 1, 64, 64))
    assert v_cam.shape == (3, 6)
    assert torch.isfinite(v_cam).all()


def test_progress_where_no_bar_can_be_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepservo.cli import console

    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.servo_bar("cnn", 300) as show:
        for step in range(1, 301):
            now[0] = step / 8
            show(step, 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["cnn: step 161, 5 runs to go"], "a line every 20 s, no more"


def test_help_is_quick() -> None:
    begin = time.perf_counter()
    said = subprocess.run(
        [sys.executable, "-m", "deepservo", "--help"], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - begin < 3
    for command in ("demo", "learn", "servo", "info"):
        assert command in said.stdout


def test_every_help_without_torch() -> None:
    script = """
import sys
from deepservo.cli import main
for command in ("demo", "learn", "servo", "info"):
    try:
        main([command, "--help"])
    except SystemExit as stop:
        assert not stop.code
assert "torch" not in sys.modules and "cv2" not in sys.modules, "help must not wait for them"
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    for option in ("--minutes", "--resume", "--view", "--distance", "--poses", "--goal", "--set"):
        assert option in said.stdout
