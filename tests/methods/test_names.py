"""Names of methods are composed, numbered, refused. A user's methods come from a file or an entry
point, and see one picture at a time.
"""

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

import deepservo
from closed_loop import CAMERA, assert_converged, goals, model_of, offset_from
from deepservo import methods
from deepservo.errors import InputError
from deepservo.loop import servo
from deepservo.methods import (
    METHODS,
    REFINED,
    REFINEMENTS,
    Name,
    SingleController,
    build,
    check_method,
    names,
    parsed,
    plug_in,
    trained_as,
)
from deepservo.methods.auto import AutoServo
from deepservo.methods.coarse_to_fine import CoarseToFine
from deepservo.methods.model_based import EdgeServo
from deepservo.scene import PlanarScene
from deepservo.worlds.simulator import Simulator

COMPOSED = [name for name in names() if "+" in name]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("dvs", Name("dvs")),
        ("sift+dvs", Name("sift", None, "dvs")),
        ("mlvs-50", Name("mlvs", 50)),
        ("mlvs-50+dvs", Name("mlvs", 50, "dvs")),
        ("mlvs+dvs-50", Name("mlvs", 50, "dvs")),
        ("siamese-se3+dvs", Name("siamese-se3", None, "dvs")),
        ("dfbvs-sift+edges", Name("dfbvs-sift", None, "edges")),
    ],
)
def test_a_name_is_parsed_once(name: str, parts: Name) -> None:
    assert parsed(name) == parts
    check_method(name)
    assert trained_as(name) == (
        parts.coarse if parts.coarse.startswith(("mlvs", "siamese")) else None
    )


@pytest.mark.parametrize("name", COMPOSED)
def test_every_coarse_method_takes_every_refinement(name: str, scene: PlanarScene) -> None:
    controller = build(name, CAMERA, 0.6, model_of(name, scene))
    coarse, refinement = name.split("+")
    assert isinstance(controller, EdgeServo if refinement == "edges" else CoarseToFine)
    last = controller.coarse.witnesses[-1]
    assert type(last) is type(build(coarse, CAMERA, 0.6, model_of(coarse, scene)))


def test_auto_asks_the_model_that_it_is_given(scene: PlanarScene) -> None:
    for method in ("cnn", "siamese-se3"):
        controller = build("auto", CAMERA, 0.6, model_of(method, scene))
        kinds = [type(each) for each in controller.coarse.witnesses]
        assert kinds == [AutoServo, type(build(method, CAMERA, 0.6, model_of(method, scene)))]


def test_all_names_are_composed() -> None:
    assert len(COMPOSED) == (len(METHODS) - len(REFINED)) * len(REFINEMENTS)


@pytest.mark.parametrize("name", ["orb+dvs", "dct-20+dvs", "particle+dvs", "dfbvs-sift+dvs"])
def test_newly_composed_methods_converge(name: str, scene: PlanarScene) -> None:
    T_goal = goals(2)
    world = Simulator(scene, CAMERA, offset_from(T_goal, (0.01, 0.02)))
    controller, goal = build(name, CAMERA, 0.6, model_of(name, scene)), scene.render(CAMERA, T_goal)
    controller.set_goal(goal)
    assert_converged(servo(world, controller, goal, 150), T_goal, 0.05)


def test_a_refinement_and_its_coarse_method_know_the_same_depth() -> None:
    Z = np.full((CAMERA.height, CAMERA.width), np.nan)
    Z[20:100, 20:100] = 0.7
    controller = build("sift+edges", CAMERA, Z)
    assert controller.coarse.goal_depth is controller.goal_depth
    assert controller.goal_depth.metres == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("auto+dvs", "auto refines on grey levels already; leave \\+dvs away"),
        ("pbvs+edges", "pbvs has the true pose"),
        ("sift-3", "sift takes no number; only dct, pca, mlvs do"),
        ("sift+dsv", "did you mean sift\\+dvs"),
        ("sfit", "did you mean sift"),
        ("", "choose one of"),
    ],
)
def test_an_unknown_method_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(name, CAMERA)


MINE = '''
import numpy as np
from deepservo import SingleController
class Mine(SingleController):
    """Stands still."""
    def start(self, goal): pass
    def step(self, image): return np.zeros(6)
'''


def test_a_method_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert plug_in(f"{tmp_path / 'mine.py'}:Mine+dvs") == "Mine+dvs"
    assert plug_in(f"{tmp_path / 'mine.py'}:Mine") == "Mine" and plug_in("sift+dvs") == "sift+dvs"
    assert isinstance(build("Mine+dvs", CAMERA).coarse, SingleController)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (None, "mine.py:Mine", "no such file"),
        (MINE, "mine.py:Yours", "has no class or function Yours"),
        ("import nothing_of_that_name", "mine.py:Mine", "does not run \\(ModuleNotFoundError"),
        (MINE.replace("Mine", "sift"), "mine.py:sift", "there is a method sift already"),
    ],
)
def test_a_file_without_a_method_is_refused(
    text: str | None, name: str, words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match=words):
        plug_in(str(tmp_path / name))


def test_a_method_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", "deepservo.methods.keypoint:PointServo", "deepservo.methods")
    monkeypatch.setattr(
        methods, "entry_points", lambda group: [entry] if group == "deepservo.methods" else []
    )
    assert build("theirs+dvs", CAMERA, 0.7).coarse.goal_depth.metres == 0.7


class Counting(SingleController):
    """Answers how many pictures it has seen, and the goal's grey level."""

    def __init__(self, camera: deepservo.Camera) -> None:
        super().__init__(camera)
        self.net, self.seen = torch.nn.Linear(2, 2), []

    def start(self, goal: np.ndarray) -> None:
        self.level = float(goal.mean())

    def step(self, image: np.ndarray) -> np.ndarray:
        self.seen.append(image.shape)
        return np.array([len(self.seen), self.level, self.gain, self.dt, 0, 0])


def test_each_run_has_a_copy_of_its_own() -> None:
    controller, size = Counting(CAMERA), (CAMERA.height, CAMERA.width)
    goal = torch.stack([torch.full((1, *size), level) for level in (0.1, 0.2, 0.3)])
    controller.set_goal(goal)
    images = torch.rand(3, 1, *size)
    first = controller.velocity(images)
    assert first[:, 0].tolist() == [1, 1, 1] and first[:, 1].tolist() == pytest.approx(
        [0.1, 0.2, 0.3]
    )
    assert controller.velocity_of(images[[1]], torch.tensor([1]), 3)[0, 0] == 2
    controller.gain, controller.dt = 0.7, 0.04
    assert controller.velocity(images)[:, [0, 2, 3]].tolist() == pytest.approx(
        np.array([[2, 0.7, 0.04], [3, 0.7, 0.04], [2, 0.7, 0.04]])
    )
    controller.select_runs(torch.tensor([1]))
    assert controller.velocity(images[:1])[0, :2].tolist() == pytest.approx([4, 0.2])
    assert all(run.net is controller.net for run in controller._runs) and controller.seen == [], (
        "networks are shared, lists are not"
    )
    controller.set_goal(goal[:1])
    assert controller.velocity(images)[:, 0].tolist() == [1, 1, 1], "a new goal starts anew"


@pytest.mark.parametrize("answer", [np.zeros(5), np.full(6, np.nan)])
def test_an_answer_that_is_no_velocity_is_refused(
    answer: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counting, "step", lambda self, image: answer)
    controller = Counting(CAMERA)
    controller.set_goal(torch.rand(1, 1, CAMERA.height, CAMERA.width))
    with pytest.raises(InputError, match=r"Counting\.step must answer six finite numbers"):
        controller.velocity(torch.rand(1, 1, CAMERA.height, CAMERA.width))


def test_colours_come_as_the_last_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Counting(CAMERA)
    controller.colour = True
    controller.set_goal(torch.rand(1, 3, CAMERA.height, CAMERA.width))
    controller.velocity(torch.rand(1, 3, CAMERA.height, CAMERA.width))
    assert controller._runs[0].seen == [(CAMERA.height, CAMERA.width, 3)]
