"""Module names of version 0.1 still import what they held."""

import importlib
import subprocess
import sys

import pytest

import deepservo
from deepservo import METHODS, Camera, InputError
from deepservo.methods.coarse_to_fine import CoarseToFine
from deepservo.moved import MOVED

# Of each module, the names that an old script is likely to import from it.
HELD = {
    "pictures": "read_picture bundled as_images",
    "camera_file": "read_camera CalibratedCamera write_camera",
    "learn": "make_scene check_scene learn PAPER_CAMERA",
    "model": "Model load_model texture_of Unlearned",
    "checkpoint": "save load replacing check_folder",
    "unseen": "shipped load_unseen UnseenModel KINDS",
    "data": "generator perturbed PoseTask",
    "data_latent": "to_reference MetricTask begun",
    "data_pair": "PairTask Textures spoiled",
    "data_siamese": "two_widths ways",
    "train": "Task Progress train planned halving peek partial_of",
    "robots.meshes": "read_mesh",
    "robots.target": "render_target read_target",
    "robots.gantry": "Gantry",
    "robots.objects": "PARTS",
    "bench.protocols": "measure sampled Starts",
    "bench.metrics": "errors converged",
    "bench.report": "write_report RunSet",
    "bench.poses": "read_poses",
    "memory": "check available",
    "lens": "fold bent",
    "methods.handoff": "Handoff Still",
}


@pytest.mark.parametrize("name", MOVED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_module_name_holds_what_it_held(name: str) -> None:
    module = importlib.import_module(f"deepservo.{name}")
    for held in HELD.get(name, "").split():
        assert hasattr(module, held), f"deepservo.{name} lacks {held}"


def test_an_old_name_is_the_same_object_and_gives_a_warning() -> None:
    code = "from deepservo import pictures; from deepservo.robots.meshes import Mesh\n"
    code += "from deepservo.worlds import meshes; assert Mesh is meshes.Mesh"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "deepservo.pictures is now deepservo.images.pictures, and goes in 0.3" in done.stderr
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("deepservo.nothing")


def test_the_simulator_is_importable_by_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"now in deepservo\.worlds\.simulator"):
        from deepservo.loop import Simulator
    assert Simulator is deepservo.Simulator
    with pytest.raises(AttributeError):
        _ = deepservo.loop.nothing


def test_a_composed_name_among_the_methods(small_camera: Camera) -> None:
    assert (
        isinstance(METHODS["sift+dvs"](small_camera, depth=0.6), CoarseToFine)
        and "sift+dvs" not in METHODS
    )
    with pytest.raises(InputError, match="did you mean sift"):
        METHODS["sfit"]


def test_a_controller_has_its_old_attributes(small_camera: Camera) -> None:
    controller = METHODS["dvs"](small_camera)
    gain = controller.gain
    with pytest.warns(DeprecationWarning, match="pace of a controller is now scale_gain"):
        controller.pace(0.1)
    assert controller.gain == pytest.approx(10 * gain)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = controller.nothing
