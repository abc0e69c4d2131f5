"""A model file keeps a scene with its depth."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bad_models import rewritten
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.models import checkpoint, kept_depth
from deepservo.models.scene_model import Model, as_kept, load_model
from deepservo.scene import SolidScene, sampling
from solid_pair import CAMERA, HOLE, taken, write_pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pair and model.safetensors, of a short training."""
    folder = write_pair(tmp_path_factory.mktemp("pair"))
    words = ["learn", "rgb.png", "--view", "--depth", "depth.npy", "--camera", "camera.yaml"]
    named = [str(folder / word) if "." in word else word for word in words]
    out = str(folder / "model.safetensors")
    assert main([*named, "--steps", "3", "--out", out]) == 0
    return folder


def same_scene(a: Model, b: Model) -> None:
    assert isinstance(a.scene, SolidScene) and isinstance(b.scene, SolidScene)
    assert torch.equal(a.scene.texture, b.scene.texture)
    assert torch.equal(a.scene.triangles, b.scene.triangles)
    torch.testing.assert_close(a.scene.vertices, b.scene.vertices, atol=1e-12, rtol=0)
    assert (a.distance, a.camera, a.picture) == (b.distance, b.camera, b.picture)


def test_the_scene_in_the_file_is_what_the_picture_and_its_depth_show(folder: Path) -> None:
    model, setup = load_model(folder / "model.safetensors"), taken()
    assert isinstance(model.scene, SolidScene) and model.depth is not None
    assert model.distance == setup.distance and model.camera == CAMERA
    assert model.depth[HOLE].isnan().all() and setup.depth is not None
    known = ~setup.depth.isnan()
    assert torch.equal(known, ~model.depth.isnan())
    assert (model.depth - setup.depth)[known].abs().max() < 2e-5, "hundredths of a millimetre"
    T = sampling.workspace(4, torch.Generator().manual_seed(0), model.distance)
    found, wanted = (each.depth(CAMERA, T) for each in (model.scene, setup.scene))
    both = found.isfinite() & wanted.isfinite()
    assert both.double().mean() > 0.9 * wanted.isfinite().double().mean()
    assert (found - wanted)[both].abs().median() < 2e-5


def test_a_file_that_is_read_and_written_again_is_the_same(folder: Path, tmp_path: Path) -> None:
    first = load_model(folder / "model.safetensors")
    first.save(tmp_path / "again.safetensors")
    again = load_model(tmp_path / "again.safetensors")
    same_scene(first, again)
    one, other = (
        load_file(p) for p in (folder / "model.safetensors", tmp_path / "again.safetensors")
    )
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    assert one["depth"].dtype == torch.int16


def test_what_is_learned_is_what_the_file_holds() -> None:
    kept = as_kept(taken())
    again = as_kept(kept)
    assert torch.equal(kept.scene.texture, taken().scene.texture)
    torch.testing.assert_close(kept.depth, again.depth, atol=1e-12, rtol=0, equal_nan=True)
    assert kept.distance == taken().distance


def test_levels_are_even_in_inverse_depth() -> None:
    g = torch.Generator().manual_seed(0)
    Z = 1 / (0.3 + 3 * torch.rand(60, 80, generator=g, dtype=torch.float64))
    Z[0, :4] = torch.tensor([torch.nan, torch.inf, 0.0, -1.0])
    level, (low, high) = kept_depth.levels(Z)
    back = kept_depth.metres(level, low, high)
    assert back[0, :4].isnan().all() and not back[1:].isnan().any()
    step = (high - low) / 65534
    assert (1 / back - 1 / Z)[1:].abs().max() <= step / 2 * 1.001
    assert kept_depth.metres(*one_depth()).unique().tolist() == [0.5]


def one_depth() -> tuple[torch.Tensor, float, float]:
    level, (low, high) = kept_depth.levels(torch.full((3, 4), 0.5))
    return level, low, high


def test_planes_have_the_format_that_older_versions_read(folder: Path, files: Path) -> None:
    for file, wanted in ((files, 1), (folder, 2)):
        assert checkpoint.load(file / "model.safetensors")[1]["format"] == wanted


BAD = {
    "float": (lambda t: {**t, "depth": t["depth"].float()}, None, "garbles the learned depth"),
    "flat": (lambda t: {**t, "depth": t["depth"][0]}, None, "garbles the learned depth"),
    "size": (lambda t: {**t, "depth": t["depth"][1:]}, None, "must be of the camera's size"),
    "unknown": (lambda t: {**t, "depth": 0 * t["depth"] - 32768}, None, "no four neighbours"),
    "missing": (lambda t: t.pop("depth") is None, None, "lacks or garbles 'background'"),
    "behind": (None, [-1.0, 2.0], "inverse depths of -1.0 to 2.0"),
    "reversed": (None, [2.0, 1.0], "inverse depths of 2.0 to 1.0"),
    "NaN": (None, [float("nan"), 1.0], "inverse depths of nan"),
    "three": (None, [1.0, 2.0, 3.0], "too many values"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_depth_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    tensors, inverse, words = BAD[kind]

    def described(config: dict) -> dict:
        if inverse:
            config["scene"]["inverse_depth"] = inverse
        return config

    rewritten(folder, tmp_path / "bad", tensors or (lambda t: t), described)
    with pytest.raises(InputError, match=words):
        load_model(tmp_path / "bad")


def test_another_picture_has_not_its_depth(folder: Path) -> None:
    model = load_model(folder / "model.safetensors")
    with pytest.raises(InputError, match=r"rgb.png: another picture has not the depth of rgb.png"):
        model.with_picture(folder / "rgb.png")
    assert np.isfinite(model.distance)
