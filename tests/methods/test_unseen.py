"""The network for unseen scenes from the command line: trained, saved, and used without a model of
the scene.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import deepservo
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.models import any_scene_model, checkpoint
from deepservo.nets.keypoint import KeypointNet
from tiny import interrupt_at, picture

STEPS = 3


def learn(out: Path, *more: str) -> int:
    return main(["learn", "--method", "cnn-pair", "--out", str(out), "--steps", str(STEPS), *more])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pair") / "pair.safetensors"
    assert learn(out) == 0
    return out


@pytest.fixture
def image(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "scene.png"), picture(320, 240))
    return tmp_path / "scene.png"


def test_the_file_keeps_it_in_half_precision(pair):
    model = any_scene_model.load_unseen(pair)
    assert model.training["steps"] == STEPS == len(model.training["loss"])
    tensors, _ = checkpoint.load(pair)
    kept = {k: v.float() for k, v in tensors.items()}
    assert all(torch.equal(kept[f"net.{k}"], v.float()) for k, v in model.net.state_dict().items())
    assert {v.dtype for v in tensors.values() if v.is_floating_point()} == {torch.half}


def test_a_keypoint_network_is_learned_and_kept_alike(tmp_path, capsys):
    """Parts that only the training needs are not in the file."""
    out = tmp_path / "keypoints.safetensors"
    assert main(["learn", "--method", "keypoints", "--out", str(out), "--steps", "2"]) == 0
    model = any_scene_model.load_unseen(out)
    assert model.method == "keypoints" and isinstance(model.net, KeypointNet)
    assert not [name for name in checkpoint.load(out)[0] if "outliers" in name]
    assert main(["info", str(out)]) == 0
    assert "keypoints, a network of" in capsys.readouterr().out


def test_stopped_and_resumed_it_is_the_same(pair, tmp_path, interruptible):
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, patch)
        assert learn(tmp_path / "pair.safetensors") == 2
    assert learn(tmp_path / "pair.safetensors", "--resume") == 0
    first, again = (checkpoint.load(path)[0] for path in (pair, tmp_path / "pair.safetensors"))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not (tmp_path / "pair.safetensors.partial").exists()


def test_it_learns_from_a_folder_of_pictures(pair, image, tmp_path):
    for i, size in enumerate(((320, 240), (500, 300), (200, 400))):
        cv2.imwrite(str(image.with_name(f"{i}.png")), picture(*size, seed=i))
    assert learn(tmp_path / "own.safetensors", str(image.parent)) == 0
    first, own = (checkpoint.load(path)[0] for path in (pair, tmp_path / "own.safetensors"))
    assert any(not torch.equal(first[k], own[k]) for k in first)


@pytest.mark.parametrize("text", ["net", "training", "version"])
def test_a_garbled_file_is_refused(pair, tmp_path, text):
    tensors, config = checkpoint.load(pair)
    checkpoint.save(
        tmp_path / "p.safetensors",
        tensors,
        {**config, text: {"width": 1e9} if text == "net" else None}
        if text != "version"
        else {k: v for k, v in config.items() if k != text},
    )
    with pytest.raises(InputError, match="train the model anew"):
        any_scene_model.load_unseen(tmp_path / "p.safetensors")


def test_info_shows_how_it_was_trained(pair, capsys):
    assert main(["info", str(pair)]) == 0
    assert "for any scene" in capsys.readouterr().out


def test_without_a_model_it_servoes_and_names_the_network(image, tmp_path, capsys):
    assert (
        main(["servo", "--image", str(image), "--starts", "3", "--out", str(tmp_path / "out")]) == 0
    )
    said = capsys.readouterr().out
    assert "3 of 3 runs: arrived: within the tolerance" in said and "by SIFT" in said
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_camera_takes_the_goal_pictures_size(image, tmp_path, capsys):
    scene = cv2.imread(str(image))
    cv2.imwrite(str(tmp_path / "goal.png"), scene[40:200, 60:260])
    args = [
        "servo",
        "--goal",
        str(tmp_path / "goal.png"),
        "--image",
        str(image),
        "--starts",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(args) == 0
    assert "no --camera: 200 x 160 pixels as goal.png" in capsys.readouterr().out


def refused(args: list[object], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*map(str, args), "--out", str(out)]) == 2
    assert not out.exists() or not any(out.iterdir())
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("deepservo: ")
    return said


def test_a_goal_of_another_scene_moves_nothing(image, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "goal.png"), picture(224, 224, seed=9))
    args = [
        "servo",
        "--goal",
        tmp_path / "goal.png",
        "--image",
        image,
        "--starts",
        "2",
        "--out",
        tmp_path / "out",
    ]
    assert main([*map(str, args)]) == 2
    said = capsys.readouterr().err
    assert "not moved from any start" in said and "nothing in common" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json",
        "report.html",
    }, "the report shows why"


def test_what_does_not_go_together_is_refused(pair, image, tmp_path, capsys):
    out = tmp_path / "out"
    assert "--image" in refused(["servo"], out, capsys)
    assert "--camera" in refused(
        ["learn", "--method", "cnn-pair", "--camera", "c.yaml"], out, capsys
    )
    assert "is no folder" in refused(["learn", image, "--method", "cnn-pair"], out, capsys)
    assert "give a picture" in refused(["learn", "--method", "cnn"], out, capsys)
    assert "trained for a scene" in refused(
        ["servo", "--image", image, "--method", "aevs"], out, capsys
    )
    assert "must be a positive" in refused(
        ["servo", "--image", image, "--distance", "0"], out, capsys
    )
    assert "two were trained for any scene" in refused(
        [
            "bench",
            "--models",
            f"{pair},{any_scene_model.SHIPPED / 'cnn-pair.safetensors'}",
            "--methods",
            "auto",
        ],
        out,
        capsys,
    )


def test_a_network_of_ones_own_is_benched(pair, image, tmp_path):
    args = [
        "bench",
        "--methods",
        "cnn-pair,sift",
        "--sets",
        "gaussian",
        "--image",
        str(image),
        "--quick",
        "--n",
        "1",
    ]
    assert main([*args, "--models", str(pair), "--out", str(tmp_path / "own")]) == 0
    assert main([*args, "--models", str(pair), "--out", str(tmp_path / "own"), "--resume"]) == 0
    assert main([*args, "--out", str(tmp_path / "own"), "--resume"]) == 2, (
        "another network is another benchmark"
    )


def test_weights_that_ship_are_loaded_by_name(pair, small_camera):
    for name, methods in (
        ("cnn-pair", (None, "auto", "cnn-pair")),
        ("keypoints", (None, "dfbvs+edges", "dfbvs")),
    ):
        depth = np.full((64, 64), 0.5) if name == "keypoints" else 0.5
        controllers = [deepservo.load(name, method, small_camera, depth) for method in methods]
        assert all(controller.camera == small_camera for controller in controllers)
        assert type(controllers[0]) is type(controllers[1]) is not type(controllers[2])
    own, ships = (
        deepservo.load(path, "cnn-pair", small_camera).cells.net.state_dict()
        for path in (pair, "cnn-pair")
    )
    assert not torch.equal(own["sharpness"], ships["sharpness"]), (
        "a file of one's own is another network"
    )


def test_what_cannot_be_loaded_is_named(pair, files, small_camera):
    with pytest.raises(InputError, match="cnn-pair: was learned for any camera; give yours"):
        deepservo.load("cnn-pair")
    with pytest.raises(InputError, match="has its own camera and distance"):
        deepservo.load(files / "model.safetensors", camera=small_camera)
    with pytest.raises(InputError, match="has its own camera and distance"):
        deepservo.load(files / "model.safetensors", depth=0.5)
    with pytest.raises(InputError, match="cnn-pare: no such model"):
        deepservo.load("cnn-pare", camera=small_camera)
    with pytest.raises(InputError, match="pca: its basis is learned from pictures of the scene"):
        deepservo.load("cnn-pair", "pca", small_camera)
