"""`learn --view --depth`: a scene is learned with its depth, or refused before any training."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import deepservo
from deepservo.cli import main
from deepservo.features.registration import Registration
from deepservo.models.scene_model import load_model
from deepservo.scene import SolidScene
from solid_pair import CAMERA, write_pair
from tiny import Refused, interrupt_at


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair"))


def words(pair: Path, out: object, *more: object, depth: object = "depth.png") -> list[str]:
    given = ["--camera", pair / "camera.yaml", "--depth", pair / str(depth), "--out", out]
    return [str(word) for word in ("learn", pair / "rgb.png", *given, *more)]


@pytest.fixture(scope="module")
def model(pair: Path) -> Path:
    """Of a training of three steps."""
    out = pair / "cnn.safetensors"
    assert main(words(pair, out, "--view", "--steps", 3)) == 0
    return out


def test_the_median_depth_is_the_distance(pair: Path, model: Path) -> None:
    learned, Z = load_model(model), cv2.imread(str(pair / "depth.png"), cv2.IMREAD_UNCHANGED)
    assert isinstance(learned.scene, SolidScene) and learned.camera == CAMERA
    assert learned.distance == pytest.approx(np.median(Z[Z > 0]) / 1000, abs=1e-9)
    assert len(learned.training["settings"]["depth"]) == 64


@pytest.mark.parametrize("method", ["cnn", "cnn+dvs"])
def test_servo_runs_before_the_learned_scene(model: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "out"
    given = ["servo", model, "--method", method, "--starts", 2, "--out", out]
    assert main([str(word) for word in given]) == 0
    (row,) = json.loads((out / "results.json").read_text())["rows"]
    assert row["set"] == "near" and row["n"] == 2 and row["scene"] == "rgb.png"
    assert (out / "report.html").stat().st_size > 10_000


def test_bench_and_info_take_the_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["bench", "--models", model, "--methods", "cnn", "--sets", "gaussian", "--n", 2]
    words = [str(word) for word in (*given, "--quick", "--out", tmp_path / "bench")]
    assert main(words) == 0
    rows = json.loads((tmp_path / "bench" / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["cnn"]
    assert main(["info", str(model)]) == 0
    assert "with its depth" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["aevs", "mlvs", "siamese-se3", "siamese-SE3"])
def test_every_other_method_learns_it_too(
    pair: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepservo.methods.aevs.GALLERY_SIZE", 512)
    monkeypatch.setattr("deepservo.training.rehearsal.RUNS", 2)
    out = tmp_path / "m.safetensors"
    assert main(words(pair, out, "--view", "--steps", 2, "--method", method)) == 0
    model = load_model(out)
    goal = model.scene.render(CAMERA, deepservo.scene.sampling.fronto_parallel(model.distance))
    controller = deepservo.load(out)
    controller.set_goal(goal)
    assert controller.velocity(goal).isfinite().all()


def test_colours_are_learned_with_depth(pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    more = ("--view", "--steps", 2, "--method", "siamese-se3", "--colour")
    assert main(words(pair, out, *more)) == 0
    assert len(load_model(out).scene.texture) == 3


def test_a_training_goes_on_with_the_same_depth_alone(
    pair: Path,
    tmp_path: Path,
    refused: Refused,
    interruptible: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "m.safetensors"
    with monkeypatch.context() as patch:
        interrupt_at(2, patch)
        assert main(words(pair, out, "--view", "--steps", 4)) != 0
    np.save(tmp_path / "other.npy", 1.01 * np.load(pair / "depth.npy"))
    again = words(pair, out, "--view", "--steps", 4, "--resume")
    other = [str(tmp_path / "other.npy") if "depth.png" in word else word for word in again]
    refused(other, "depth")
    assert main(again) == 0


REFUSED: dict[str, tuple[list[object], str]] = {
    "no view": ([], "depth.png: is the depth of what the camera sees in its own picture; add"),
    "distance": (["--view", "--distance", 0.6], "the width; leave --distance away"),
    "width": (["--view", "--width", 0.8], "the width; leave --width away"),
    "both": (["--view", "--width", 1, "--distance", 1], "leave --distance and --width away"),
    "ibvs": (
        ["--view", "--method", "siamese-ibvs"],
        "siamese-ibvs: cannot learn a scene with depth, as its velocities follow from points",
    ),
    "published ibvs": (
        ["--view", "--method", "siamese-ibvs", "--preset", "paper"],
        "take one of cnn, aevs, mlvs, siamese-se3, siamese-SE3",
    ),
    "any scene": (["--method", "cnn-pair"], "learns for any scene and any camera; leave --depth"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_go_with_depth(pair: Path, refused: Refused, kind: str) -> None:
    more, sentence = REFUSED[kind]
    refused(words(pair, "m.safetensors", *more), sentence)


def test_a_folder_has_no_one_depth(pair: Path, tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes((pair / "rgb.png").read_bytes())
    given = words(pair, "m", "--view", "--method", "siamese-se3")
    given[1] = str(folder)
    refused(given, "depth.png: is the depth of one picture; give that, not a folder")


def test_a_bad_map_is_refused(pair: Path, tmp_path: Path, refused: Refused) -> None:
    Z = np.load(pair / "depth.npy")
    Z[25:45, 30:60] = 0.05
    bad = {
        "near.npy": (Z, "rgb.png: cameras about this picture's have hardly any room"),
        "size.npy": (np.ones((40, 40)), "size.npy is 40 x 40 pixels"),
        "unknown.npy": (0 * Z, "unknown.npy is known nowhere"),
        "specks.npy": (
            np.where(np.indices(Z.shape).sum(0) % 2, 0.5, np.nan),
            "specks.npy: scene: no four neighbours",
        ),
    }
    for name, (array, sentence) in bad.items():
        np.save(tmp_path / name, array)
        given = words(pair, "m", "--view")
        given[given.index("--depth") + 1] = str(tmp_path / name)
        refused(given, sentence)
    given[given.index("--depth") + 1] = str(tmp_path / "none.npy")
    refused(given, "none.npy: no such file")


def test_a_learned_solid_refuses_another_picture_and_the_gantry(
    model: Path, pair: Path, refused: Refused
) -> None:
    refused(
        ["servo", model, "--image", pair / "rgb.png"],
        "another picture has not the depth of rgb.png",
    )
    refused(["servo", model, "--world", "gantry"], "this needs a flat scene")


def test_the_refinement_registers_by_the_depth_of_the_learned_scene(model: Path) -> None:
    learned = load_model(model)
    controller = deepservo.load(model)
    T = deepservo.scene.sampling.fronto_parallel(learned.distance)
    controller.set_goal(learned.scene.render(CAMERA, T))
    registration: Registration = controller.registration  # type: ignore[attr-defined]
    assert registration.levels[0].map is not None
