"""Input of the benchmark: bad options, a folder of other settings, a full disk, pictures of a
folder.
"""

import json
import resource
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from deepservo.bench.runs import Job, Prepared
from deepservo.bench.tables import by_condition
from deepservo.cli import main
from deepservo.evaluation.sets import SETS
from deepservo.methods.base import Controller
from small_bench import CAMERA, small
from tiny import picture


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--methods", "dsv"], "did you mean dvs?"),
        (["--sets", "lookat-zr"], "did you mean lookat"),
        (["--scenes", "cofee"], "did you mean coffee?"),
        (["--methods", ","], "an empty list"),
        (["--methods", "cnn"], "--models"),
        (["--scenes", "moon", "--image", "x.png"], "both name scenes"),
        (["--n", "0"], "at least 1 run"),
        (["--sets", "poses"], "--poses"),
        (["--poses", "none.npz"], "no such file"),
        (["--compare", "none.json", "none.json"], "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused(args, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *args]) == 2
    err = capfd.readouterr().err
    assert words in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_poses_of_a_file_are_all_run(tmp_path, capfd):
    """Every picture takes all poses of the file, whatever --n is."""
    T = np.eye(4)
    T[2, 3] = -0.6
    np.savez(tmp_path / "poses.npz", T_world_cam=np.stack([T, T]), T_world_goal=T[None])
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(
            str(tmp_path / "pictures" / name),
            np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8),
        )
    args = [
        "bench",
        "--image",
        str(tmp_path / "pictures"),
        "--poses",
        str(tmp_path / "poses.npz"),
        "--methods",
        "pbvs",
    ]
    assert main([*args, "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [(row["scene"], row["n"]) for row in rows if row["scene"] in ("a.png", "b.png")] == [
        ("a.png", 2),
        ("b.png", 2),
    ]
    assert main([*args, "--quick", "--out", str(tmp_path / "quick")]) == 0
    capfd.readouterr()
    assert main([*args, "--n", "3", "--out", str(tmp_path / "more")]) == 2
    assert "holds 2 poses; give no more than those" in capfd.readouterr().err


def test_a_folder_of_other_settings_is_refused(tmp_path, capfd):
    out = str(tmp_path / "out")
    args = [
        "bench",
        "--methods",
        "dvs",
        "--sets",
        "published-starts",
        "--scenes",
        "moon",
        "--quick",
        "--out",
        out,
    ]
    assert main(args) == 0
    before = (tmp_path / "out" / "results.json").read_bytes()
    for more, words in (
        ([], "--resume goes on"),
        (["--resume", "--seed", "5"], "other settings (seed)"),
    ):
        capfd.readouterr()
        assert main([*args, *more]) == 2
        assert words in capfd.readouterr().err
    assert main([*args, "--resume"]) == 0
    assert (tmp_path / "out" / "results.json").read_bytes() == before, "nothing was run again"
    (tmp_path / "out" / "mine.txt").write_text("x")
    capfd.readouterr()
    assert main([*args, "--resume"]) == 2
    assert "holds other things (mine.txt)" in capfd.readouterr().err


def test_a_full_disk_leaves_the_earlier_results_whole(tmp_path, capfd):
    out = tmp_path / "out"
    args = [
        "bench",
        "--sets",
        "lookat",
        "--scenes",
        "coffee",
        "--n",
        "1",
        "--quick",
        "--out",
        str(out),
        "--methods",
    ]
    assert main([*args, "dvs"]) == 0
    before, whole = (
        json.loads((out / "results.json").read_text())["rows"],
        (out / "report.html").read_bytes(),
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    capfd.readouterr()
    try:
        assert main([*args, "dvs,pbvs", "--resume"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    err = capfd.readouterr().err
    assert (
        "report.html: cannot be written" in err
        and "free some space" in err
        and "Traceback" not in err
    )
    assert (out / "report.html").read_bytes() == whole and not list(out.glob(".*"))
    assert main([*args, "dvs,pbvs", "--resume"]) == 0
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["dvs", "pbvs"] and rows[0][
        "end_mm_median_all"
    ] == before[0]["end_mm_median_all"]


def test_a_trained_method_runs_where_it_was_trained(files, tmp_path, capfd):
    args = [
        "bench",
        "--models",
        str(files / "model.safetensors"),
        "--n",
        "1",
        "--quick",
        "--sets",
        "hard-texture",
    ]
    assert main([*args, "--methods", "dvs,cnn", "--out", str(tmp_path / "both")]) == 0
    rows = json.loads((tmp_path / "both" / "results.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"dvs"} and len(rows) == len(
        SETS["hard-texture"][0].scenes
    ) + 1
    capfd.readouterr()
    assert main([*args, "--methods", "cnn", "--out", str(tmp_path / "none")]) == 2
    assert (
        "cnn: the models given were not trained on the pictures of hard-texture"
        in capfd.readouterr().err
    )
    assert not (tmp_path / "none").exists()


def test_a_method_that_ran_on_fewer_scenes_says_so():
    rows = [
        {
            "method": m,
            "set": "hard-texture",
            "part": "",
            "n": n,
            "converged": 1.0,
            "converged_ci": [0.5, 1.0],
            "end_mm_median": 0.5,
        }
        for m, n in (("sift", 48), ("cnn", 12))
    ]
    assert "| **100** [50, 100], 0.5 mm | **100** [50, 100], 0.5 mm, of 12 only |" in by_condition(
        rows
    )


# a folder of pictures


def _folder(tmp_path, *names: str):
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(names):
        cv2.imwrite(str(tmp_path / "pictures" / name), picture(seed=seed))
    return tmp_path / "pictures"


def test_each_picture_of_a_folder_has_starts_of_its_own_and_together_they_are_the_set():
    bench = replace(small(("coffee", "moon", "page")), own_starts=True)
    part = SETS["lookat-rz"][0]
    drawn, _ = part.draw(12, torch.Generator().manual_seed(1), 0.6, CAMERA)
    found = [Prepared(Job("sift", "lookat-rz", "", name, 4), bench).Ts_cam for name in bench.scenes]
    assert torch.equal(torch.stack(found, 1).flatten(0, 1), drawn)
    other = Prepared(
        Job("sift", "hard-texture", "", "brick", 4), bench
    ).Ts_cam  # a scene of the set itself is unchanged
    assert torch.equal(other, Prepared(Job("sift", "hard-texture", "", "brick", 4), small()).Ts_cam)


def test_a_folder_of_pictures_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(Controller, "max_steps", 30)
    folder = _folder(tmp_path, "b.png", "a.PNG")
    (folder / "notes.txt").write_text("no picture")
    args = [
        "bench",
        "--methods",
        "sift",
        "--sets",
        "unseen",
        "--image",
        str(folder),
        "--n",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(args) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [row["scene"] for row in rows if row["part"] == "gaussian"] == ["a.PNG", "b.png", "all"]
    assert {row["part"] for row in rows} == {
        "gaussian",
        "gaussian, perturbed",
        "lookat-rz",
        "lookat-rz, perturbed",
    }


def test_folders_without_pictures_or_with_broken_ones_are_refused(tmp_path, capsys):
    folder = _folder(tmp_path)
    args = [
        "bench",
        "--methods",
        "sift",
        "--sets",
        "unseen",
        "--image",
        str(folder),
        "--n",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(args) == 2
    assert "holds no picture" in capsys.readouterr().err
    (folder / "broken.jpg").write_bytes(b"no picture")
    assert main(args) == 2
    assert "broken.jpg: cannot be read as a picture" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
