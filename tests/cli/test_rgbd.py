"""`servo --depth`: one RGB-D picture is the world, and bad depth is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import noise_texture

from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.evaluation.sight import LEAST_FILLED, filled
from deepservo.evaluation.starts import sampled, with_depth
from deepservo.images.camera_file import CalibratedCamera, read_camera, write_camera
from deepservo.images.depth import as_depth
from deepservo.images.pictures import read_picture
from deepservo.methods import METHODS
from deepservo.methods.keypoint import HomographyServo
from deepservo.scene import PlanarScene, SolidScene, sampling, solid_kinds
from deepservo.scene.build import Setup, read_solid_setup
from deepservo.worlds.simulator import Simulator
from tiny import Refused

CAMERA = Camera(160, 120, 160.0, 160.0, 79.5, 59.5)
LENS = CalibratedCamera(CAMERA, (-0.2, 0.03, 0.0, 0.0, 0.0))
DISTANCE = 0.6


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rgb.png, depth.png (mm), depth.npy (m) and camera.yaml of one camera."""
    folder = tmp_path_factory.mktemp("rgbd")
    scene = solid_kinds.clutter(PlanarScene(noise_texture(3), 0.9), DISTANCE, 0)
    T = sampling.fronto_parallel(DISTANCE)
    picture = (255 * scene.render(CAMERA, T)[0, 0]).round().byte().numpy()
    Z = scene.depth(CAMERA, T)[0].numpy()
    assert np.isfinite(Z).all() and np.ptp(Z) > 0.1
    cv2.imwrite(str(folder / "rgb.png"), picture)
    cv2.imwrite(str(folder / "depth.png"), (1000 * Z).round().astype(np.uint16))
    np.save(folder / "depth.npy", Z)
    write_camera(folder / "camera.yaml", CalibratedCamera(CAMERA))
    write_camera(folder / "lens.yaml", LENS)
    return folder


def words(pair: Path, out: Path, *more: object) -> list[str]:
    given = ["--image", pair / "rgb.png", "--camera", pair / "camera.yaml", "--starts", 2]
    return [str(word) for word in ("servo", *given, "--out", out, *more)]


def setup_of(pair: Path, lens: CalibratedCamera, file: str = "depth.npy") -> Setup:
    _, maps = as_depth(pair / file, lens.camera)
    assert maps is not None
    return read_solid_setup(pair / "rgb.png", maps[0], lens, file)


@pytest.mark.parametrize("knows", ["all", "number", "nothing"])
def test_a_first_try_comes_home(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: str
) -> None:
    """And the method knows what it is said to know."""
    known = []

    class Asked(HomographyServo):
        def _set_goal(self, goal: torch.Tensor) -> None:
            known.append((self.goal_depth.metres, self.goal_depth.Z, goal))
            super()._set_goal(goal)

    monkeypatch.setitem(METHODS, "sift", Asked)
    more = ("--depth", pair / "depth.png", "--method", "sift", "--knows", knows)
    assert main(words(pair, tmp_path / "out", *more)) == 0
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert row["set"] == "near" and row["n"] == 2 and row["converged"] == 1.0
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    ((metres, Z, goal),) = known
    Z_true = np.load(pair / "depth.npy")
    if knows == "nothing":
        assert metres is None and Z is None
    else:
        assert metres == pytest.approx(np.median(Z_true), abs=2e-3)
        assert (Z is not None) == (knows == "all")
    if Z is not None:
        assert (Z[0] - torch.from_numpy(Z_true)).abs().nanmedian() < 1e-3
    shown = ~goal[0, 0].isnan()
    taken = read_picture(pair / "rgb.png")[0]
    assert shown.float().mean() > 0.6 and (goal[0, 0] - taken)[shown].abs().median() < 0.01


def test_a_number_is_what_the_method_takes_for_the_distance(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = []

    class Asked(HomographyServo):
        def _set_goal(self, goal: torch.Tensor) -> None:
            known.append(self.goal_depth.metres)
            super()._set_goal(goal)

    monkeypatch.setitem(METHODS, "sift", Asked)
    for more in (("--depth", 0.5), ("--depth", 0.5, "--knows", "nothing"), ()):
        given = ("--method", "sift", "--distance", 0.55, "--set", "near", *more)
        assert main(words(pair, tmp_path / "out", *given)) == 0
    assert known == [0.5, None, 0.55]


def test_picture_and_map_are_rectified_alike(pair: Path) -> None:
    """Before the rectified camera each pixel of the lens's picture keeps its grey and its depth."""
    lens = read_camera(pair / "lens.yaml")
    setup = setup_of(pair, lens)
    assert isinstance(setup.scene, SolidScene) and setup.distortion == LENS.distortion
    T = sampling.fronto_parallel(setup.distance)
    seen, Z = setup.scene.render(CAMERA, T)[0, 0], setup.scene.depth(CAMERA, T)[0]
    known = ~seen.isnan() & Z.isfinite()
    straight = lens.rectify(read_picture(pair / "rgb.png"), "rgb.png")[0]
    map_straight = lens.rectify_depth(torch.from_numpy(np.load(pair / "depth.npy")))
    assert known.float().mean() > 0.6
    assert (seen - straight)[known].abs().nanmedian() < 0.01
    assert (Z - map_straight)[known].abs().nanmedian() < 2e-3
    flat = torch.full((120, 160), 0.5, dtype=torch.float64)
    bulged = lens.rectify_depth(flat)
    assert set(bulged[~bulged.isnan()].tolist()) == {0.5}, "no depth but those of the map"


def test_goals_elsewhere_have_their_own_maps(pair: Path) -> None:
    """Of `gaussian`, whose goals are about the reference pose."""
    setup = setup_of(pair, CalibratedCamera(CAMERA))
    starts = with_depth(sampled("gaussian", 3, 0, setup), setup)
    assert starts.depth is not None and starts.depth.shape == (3, 120, 160)
    assert starts.Ts_world_goal is not None and isinstance(setup.scene, SolidScene)
    Z = setup.scene.depth(CAMERA, starts.Ts_world_goal[1:2])[0]
    assert torch.equal(starts.depth[1].isnan(), Z.isinf())
    assert (starts.depth[1] - Z)[Z.isfinite()].abs().max() == 0


def test_starts_see_enough(pair: Path) -> None:
    setup = setup_of(pair, CalibratedCamera(CAMERA))
    for name in ("near", "lookat-rz", "gaussian"):
        starts = sampled(name, 20, 1, setup)
        assert filled(setup, starts.Ts_world_cam).min() >= LEAST_FILLED
        assert len(torch.unique(starts.Ts_world_cam, dim=0)) == 20


def test_a_camera_that_has_lost_the_scene_does_not_end_the_others(pair: Path) -> None:
    setup = setup_of(pair, CalibratedCamera(CAMERA))
    Ts = sampling.fronto_parallel(setup.distance, 2)
    Ts[1, 0, 3] = 5.0
    here, lost = Simulator(setup.scene, CAMERA, Ts).observe()
    assert (lost == 1).all() and bool(here.isnan().any())


def damaged(kind: str, pair: Path, folder: Path) -> list[object]:
    """The options of one mistake; its files are in `folder`."""
    Z, file = np.load(pair / "depth.npy"), folder / "depth.npy"
    arrays = {
        "shape": np.full((100, 100), 0.5), "unknown": np.full((120, 160), np.nan),
        "millimetres": 1000 * Z, "negative": -Z, "three": np.stack([Z] * 3, 2),
        "holes": np.where(np.indices(Z.shape).sum(0) % 2, Z, np.nan),
        "corner": np.where((np.indices(Z.shape) < 30).all(0), Z, np.nan),
    }  # fmt: skip
    if kind in arrays:
        np.save(file, arrays[kind])
        return ["--depth", file]
    if kind == "8 bits":
        cv2.imwrite(str(folder / "grey.png"), np.full((120, 160), 90, np.uint8))
        return ["--depth", folder / "grey.png"]
    if kind == "picture":
        cv2.imwrite(str(folder / "small.png"), np.zeros((60, 80), np.uint8))
        return ["--image", folder / "small.png", "--depth", pair / "depth.png"]
    if kind == "poses":
        Ts = sampling.fronto_parallel(DISTANCE, 2).numpy()
        Ts[1, 0, 3] = 2.0
        np.savez(folder / "poses.npz", T_world_cam=Ts, T_world_goal=Ts[:1])
        return ["--poses", folder / "poses.npz", "--depth", pair / "depth.png"]
    return {
        "missing": ["--depth", "none.png"],
        "zero": ["--depth", 0],
        "no number": ["--depth", "nan"],
        "knows": ["--depth", 0.5, "--knows", "most"],
        **{
            name: ["--depth", pair / "depth.png", *more]
            for name, more in {
                "gantry": ["--world", "gantry"],
                "distance": ["--distance", 0.5],
                "width": ["--width", 0.5],
                "goal": ["--goal", pair / "rgb.png"],
            }.items()
        },
    }[kind]


REFUSED = {
    "shape": "depth.npy is 100 x 100 pixels and the camera's pictures are 160 x 120",
    "unknown": "depth.npy is known nowhere",
    "millimetres": "m away; are these millimetres?",
    "negative": "19200 pixels are behind the camera",
    "three": "of shape (120, 160, 3); give metres of each pixel",
    "holes": "depth.npy: scene: no four neighbours have a depth of one surface",
    "corner": "rgb.png: from hardly any start of near",
    "8 bits": "grey.png: is a picture of 8 bits",
    "picture": "small.png is 80 x 60 pixels, the camera's pictures are 160 x 120",
    "poses": "poses.npz: T_world_cam[1] sees 0% of its picture",
    "missing": "none.png: no such file; give a number of metres",
    "zero": "--depth must be a positive number of metres, not 0",
    "no number": "--depth must be a positive number of metres, not nan",
    "knows": "--knows takes all, number, nothing, not 'most'",
    "gantry": "gantry has a plane; leave --world away",
    "distance": "leave --distance away",
    "width": "leave --width away",
    "goal": "leave --goal away",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_depth(kind: str, refused: Refused, pair: Path, tmp_path: Path) -> None:
    more = damaged(kind, pair, tmp_path)
    refused(words(pair, tmp_path / "out", *more), REFUSED[kind])


def test_a_learned_scene_has_its_own_depth(refused: Refused, files: Path, pair: Path) -> None:
    refused(
        ["servo", files / "model.safetensors", "--depth", pair / "depth.png"],
        "was learned for its own camera, distance and width; leave --depth away",
    )
