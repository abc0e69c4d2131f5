"""Messages to the user: starts at the goal, why runs stopped, goals that do not fit their pose, and
unknown poses.
"""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from closed_loop import CAMERA, NAMES
from deepservo.camera import PAPER_CAMERA
from deepservo.cli import main
from deepservo.evaluation import summary
from deepservo.geometry import se3
from deepservo.images.camera_file import CalibratedCamera, write_camera
from deepservo.images.pictures import read_picture
from deepservo.loop import Ending
from deepservo.scene import PlanarScene, perturb, sampling
from deepservo.scene.build import make_scene
from ended_runs import rested
from report_pages import data, page, runs

GOAL_POSE = sampling.fronto_parallel(0.6)
SEEN = [
    name
    for name in NAMES
    if not name.startswith(("cnn+", "cnn", "aevs", "mlvs", "siamese", "dfbvs"))
    or name == "cnn-pair"
]


@pytest.fixture(scope="module")
def plane_picture(tmp_path_factory: pytest.TempPathFactory, scene) -> Path:
    path = tmp_path_factory.mktemp("plane") / "plane.png"
    cv2.imwrite(str(path), (255 * scene.texture[0]).round().byte().numpy())
    return path


def poses(path: Path, Ts_cam: torch.Tensor, T_goal: torch.Tensor | None = GOAL_POSE) -> Path:
    np.savez(
        path,
        T_world_cam=Ts_cam.numpy(),
        **({} if T_goal is None else {"T_world_goal": T_goal.numpy()}),
    )
    return path


def row_of(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())["rows"][0]


@pytest.mark.parametrize("name", SEEN)
def test_a_start_at_the_goal_has_arrived(
    name: str, plane_picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = poses(tmp_path / "start.npz", GOAL_POSE)
    assert (
        main(
            [
                "servo",
                "--image",
                str(plane_picture),
                "--method",
                name,
                "--poses",
                str(where),
                "--out",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    row = row_of(tmp_path / "o")
    assert (row["converged"], row["steps_median"]) == (1.0, 0)
    assert "1 of 1 runs: arrived: the start is at the goal" in capsys.readouterr().out
    drawn = data((tmp_path / "o" / "report.html").read_text("utf-8"))["sets"][0]
    assert drawn["steps"] == [0] and drawn["reason"][0].startswith("arrived")


@pytest.mark.parametrize("name", ["dvs", "sift", "auto"])
def test_a_start_that_shows_the_goals_picture_has_arrived(
    name: str, plane_picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The goal's pose is unknown: one start shows its picture, and the other converges."""
    away = GOAL_POSE @ se3.exp(
        torch.tensor([[0.01, 0.0, 0.0, 0.0, 0.0, 0.02]], dtype=torch.float64)
    )
    scene = make_scene(read_picture(plane_picture), CalibratedCamera(PAPER_CAMERA), "plane")
    cv2.imwrite(
        str(tmp_path / "goal.png"),
        (65535 * scene.render(PAPER_CAMERA, GOAL_POSE)[0, 0]).round().numpy().astype(np.uint16),
    )
    write_camera(tmp_path / "cam.yaml", CalibratedCamera(PAPER_CAMERA))
    for starts, printed in (
        (GOAL_POSE, "1 of 1 runs: arrived"),
        (torch.cat([GOAL_POSE, away]), "of 2 runs"),
    ):
        where = poses(tmp_path / "p.npz", starts, None)
        words = [
            "--goal",
            tmp_path / "goal.png",
            "--camera",
            tmp_path / "cam.yaml",
            "--method",
            name,
            "--poses",
            where,
            "--out",
            tmp_path / "o",
        ]
        assert main(["servo", "--image", str(plane_picture), *map(str, words)]) == 0
        assert row_of(tmp_path / "o")["converged"] is None and printed in capsys.readouterr().out


def test_which_runs_are_at_the_goal() -> None:
    run = runs(4, steps=12, lost=3)
    trajectory, goal = run.trajectory, run.goal
    assert summary.started_at_goal(
        trajectory, goal, torch.tensor([True, False, True, True])
    ).tolist() == [
        True,
        False,
        True,
        False,
    ]
    like = replace(trajectory, image_error=trajectory.image_error.clone())
    like.image_error[0] = torch.tensor([0.0, 0.2, 0.001, 0.0])
    assert summary.started_at_goal(like, goal, None).tolist() == [True, False, True, False], (
        "without a pose the pictures decide"
    )
    assert not summary.started_at_goal(like, torch.full_like(goal, 0.5), None).any(), (
        "a blank goal shows nothing that could be recognised"
    )
    arrived = summary.as_arrived(
        replace(trajectory, ends=[rested("held still for 10 s; 9 matches agree")] * 4),
        torch.tensor([True] + [False] * 3),
    )
    assert arrived.steps.tolist() == [0, 12, 12, 12]
    assert arrived.ends[0].ending is Ending.ARRIVED
    assert arrived.reason[
        0
    ] == "arrived: the start is at the goal; 9 matches agree" and arrived.reason[1].startswith(
        "held still"
    )


def test_reasons_are_listed_with_their_numbers() -> None:
    why = [
        "settled; agreement 0.91, 20 matches agree",
        "settled; agreement 1.00, 9 matches agree",
        "still moving after 300 steps",
        "settled; agreement 0.95, 112 matches agree",
    ]
    assert summary.commonest_reasons(why, 3) == [
        "3 of 4 runs: settled; agreement 0.91 to 1.00, 9 to 112 matches agree",
        "1 of 4 runs: still moving after 300 steps",
    ]
    assert summary.commonest_reasons(["held still for 10 s"] * 2 + ["settled"], 1) == [
        "2 of 3 runs: held still for 10 s"
    ]


@pytest.mark.parametrize(
    "how", ["as rendered", "dimmed", "brighter", "noisy", "covered", "lit, noisy and covered"]
)
def test_a_goal_that_fits_its_pose_gives_no_warning(how: str, scene) -> None:
    goal, g = scene.render(CAMERA, GOAL_POSE), torch.Generator().manual_seed(3)
    made = {
        "as rendered": goal, "dimmed": 0.6 * goal, "brighter": (1.3 * goal).clamp(0, 1),
        "noisy": perturb.noise(goal, g, 0.03), "covered": goal.clone(),
        "lit, noisy and covered": perturb.as_mlvs(goal, g),
    }[how]  # fmt: skip
    if how == "covered":
        made[..., 20:70, 30:80] = 0
    assert summary.goal_offset(scene, CAMERA, made, GOAL_POSE[0], "goal.png") == ""


@pytest.mark.parametrize(
    ("twist", "said"),
    [
        ([0.02, 0, 0, 0, 0, 0], "taken 20"),
        ([0, 0, 0, 0, 0, 0.1], "5.7 deg"),
        ([0.05, -0.03, 0.04, 0.05, 0, 0.4], "deg away"),
    ],
)
def test_a_goal_taken_elsewhere_gives_a_warning(twist: list[float], said: str, scene) -> None:
    T = GOAL_POSE @ se3.exp(torch.tensor([twist], dtype=torch.float64))
    words = summary.goal_offset(scene, CAMERA, scene.render(CAMERA, T), GOAL_POSE[0], "goal.png")
    assert (
        words.startswith("goal.png was taken ")
        and said in words
        and words.endswith("the errors are against T_world_goal")
    )


def test_a_goal_of_another_scene_gives_a_warning(scene, texture) -> None:
    words = summary.goal_offset(
        scene, CAMERA, PlanarScene(texture(9)).render(CAMERA, GOAL_POSE), GOAL_POSE[0], "goal.png"
    )
    assert (
        words
        == "goal.png shows nothing that the scene has at T_world_goal; the errors are against "
        "T_world_goal"
    )


def test_a_goal_beside_its_pose_gives_a_warning_on_the_terminal_and_on_the_page(
    plane_picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = poses(tmp_path / "p.npz", GOAL_POSE)
    cv2.imwrite(
        str(tmp_path / "goal.png"), 255 - cv2.resize(cv2.imread(str(plane_picture)), (224, 224))
    )
    args = [
        "servo",
        "--image",
        str(plane_picture),
        "--method",
        "pbvs",
        "--poses",
        str(where),
        "--goal",
        str(tmp_path / "goal.png"),
    ]
    assert main([*args, "--out", str(tmp_path / "o")]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "T_world_goal" in line]
    assert (
        len(said) == 1
        and "goal.png" in said[0]
        and said[0] in (tmp_path / "o" / "report.html").read_text("utf-8")
    )


def test_a_page_says_that_the_goal_pose_is_unknown(tmp_path: Path) -> None:
    unknown = replace(runs(3, steps=9), Ts_world_goal=None, converged=None)
    text = page(tmp_path / "report.html", unknown)
    roles = [each["role"].lower() for each in data(text)["sets"][0]["film"]]
    assert not any("converge" in role for role in roles) and any(
        "least like its goal" in role for role in roles
    )
    assert "the goal's pose is not known" in text


def test_a_page_is_written_for_a_goal_of_another_scene(
    plane_picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], texture
) -> None:
    cv2.imwrite(str(tmp_path / "goal.png"), (255 * texture(9, 224, 224)[0]).round().byte().numpy())
    out = tmp_path / "o"
    assert (
        main(
            [
                "servo",
                "--image",
                str(plane_picture),
                "--goal",
                str(tmp_path / "goal.png"),
                "--starts",
                "2",
                "--out",
                str(out),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert (
        said.count("\n") <= 1
        and "was not moved from any start" in said
        and "report.html shows both" in said
    )
    assert {path.name for path in out.iterdir()} == {"results.json", "report.html"}
