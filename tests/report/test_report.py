"""The report page is one file with correct numbers, loads nothing, and is drawn by a real
browser.
"""

import base64
import html
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from browser import measured, needs_browser, opened
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.report.page import SCRIPTS
from deepservo.report.run_page import Report, write_report
from report_pages import CAMERA, NASTY, ROW, SCENE, TRAINING, data, page, runs


def own(text: str) -> str:
    """The page without plotly's code."""
    parts = re.split(r"(?s)<script>/\*\*\n\* plotly\.js.*?</script>", text)
    assert len(parts) == 2, "plotly is in the page once"
    return "".join(parts)


def result(text: str) -> str:
    return html.unescape(re.search(r'(?s)class="result">(.*?)</p>', text)[1]).replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_page_loads_nothing(tmp_path: Path) -> None:
    text = own(page(tmp_path / "report.html", runs(), training=TRAINING))
    assert "default-src 'none'" in text
    assert not re.search(
        r"https?:|//cdn|<link|@import|<iframe|fetch\(|XMLHttpRequest|url\(|\bimport\b",
        re.sub(r"data:image/webp[^\"]*", "", text),
    )
    assert all(
        address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)"', text)
    )
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"], (
        "nothing is left beside the page"
    )


def test_pictures_are_what_the_world_of_the_runs_shows(tmp_path: Path) -> None:
    def look(Ts: torch.Tensor) -> torch.Tensor:
        return (
            (0.9 + Ts[:, 2, 3])
            .reshape(-1, 1, 1, 1)
            .expand(-1, 1, CAMERA.height, CAMERA.width)
            .float()
        )

    one = runs()
    write_report(tmp_path / "report.html", Report("", [ROW], [one], SCENE, CAMERA, look=look))
    film = data((tmp_path / "report.html").read_text("utf-8"))["sets"][0]["film"][0]
    for name, k in (("start", 0), ("end", -1)):
        packed = np.frombuffer(base64.b64decode(film[name].split(",")[1]), np.uint8)
        expected = 255 * float(look(one.trajectory.Ts_world_cam[[k], film["run"]])[0, 0, 0, 0])
        assert abs(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE).mean() - expected) < 2


def test_the_sentence_agrees_with_the_poses(tmp_path: Path) -> None:
    run = runs(n=5, lost=2)
    metres, radians = se3.distance(run.trajectory.Ts_world_cam[-1], run.Ts_world_goal)
    mm, deg = 1e3 * metres[2:].median(), torch.rad2deg(radians[2:].median())
    assert mm > 1e-3 > deg, "three digits, but five decimals at most"
    text = page(tmp_path / "report.html", run)
    assert (
        result(text)
        == f"2 of 5 cameras converged; the median one of those stopped {mm:.3g} mm and {deg:.5f} "
        "deg from the goal.".replace("2 of", "3 of")
    )
    packed = data(text)["sets"][0]
    assert packed["end_mm"] == pytest.approx((1e3 * metres).tolist(), rel=1e-3)
    assert packed["curves"]["mm"]["lines"][0][-1] == pytest.approx(
        packed["end_mm"][packed["drawn"][0]], rel=1e-3
    )
    assert packed["film"][0]["role"].startswith("did not converge")


def test_what_users_write_stays_text(tmp_path: Path) -> None:
    text = own(page(tmp_path / "report.html", runs(), runs(), title=NASTY, training=TRAINING))
    assert "alert(1)</script>" not in text
    assert "<script>alert" not in text
    assert html.escape(NASTY) in text
    assert data(text)["sets"][1]["label"] == NASTY


@pytest.mark.parametrize("n", [1, 3])
def test_pages_without_goal_pose_or_verdict(tmp_path: Path, n: int) -> None:
    run = replace(runs(n, steps=9), Ts_world_goal=None, converged=None)
    run.trajectory.image_error[:, 0] = torch.nan
    text = page(tmp_path / "report.html", run)
    packed = data(text)["sets"][0]
    assert "mm" not in packed["curves"] and packed["end_mm"] == [None] * n
    assert len(packed["film"]) == n
    end = run.trajectory.image_error[-1, 1:].median()
    assert ("unknown distance" if n == 1 else f"image error of {end:.3g}") in result(text)


def test_pages_of_a_robot_without_poses(tmp_path: Path) -> None:
    run = runs(1)
    run.trajectory.Ts_world_cam.fill_(torch.nan)
    packed = data(page(tmp_path / "report.html", run))["sets"][0]
    assert packed["space"] is None and packed["film"] == packed["movies"] == []
    assert packed["curves"]["image"]["lines"][0]


def test_pages_of_a_camera_that_went_through_the_picture(tmp_path: Path) -> None:
    run = runs(2, lost=1)
    run.trajectory.Ts_world_cam[5:, 0, 2, 3] = torch.linspace(0, 1, 26, dtype=torch.float64)
    assert data(page(tmp_path / "report.html", run))["sets"][0]["film"][0]["run"] == 0


def test_beside_a_camera_that_flies_off_the_others_are_not_one_dot(tmp_path: Path) -> None:
    run = runs(3, one_goal=False)
    T = run.trajectory.Ts_world_cam
    T[10:, 0, 0, 3] += torch.linspace(0, 600, 21, dtype=torch.float64)
    farthest = float((T[0, :, :3, 3] - run.Ts_world_goal[:, :3, 3]).norm(dim=1).max())
    packed = data(page(tmp_path / "report.html", run))["sets"][0]
    paths = [torch.tensor(path) for path in packed["space"]["paths"]]
    for i, path in zip(packed["drawn"], paths, strict=True):
        assert (path - run.Ts_world_goal[i, :3, 3]).norm(dim=1).max() < 1.6 * farthest
        assert len(path) > 1 and torch.allclose(path[0], T[0, i, :3, 3].float(), atol=1e-3)
        if i:
            assert torch.allclose(path[-1], T[-1, i, :3, 3].float(), atol=1e-3), "these converged"


def test_curves_end_where_runs_stop(tmp_path: Path) -> None:
    run = runs(3)
    run.trajectory.steps[1] = 10
    run.trajectory.image_error[10:, 1] = torch.nan
    packed = data(page(tmp_path / "report.html", run))["sets"][0]
    line = packed["drawn"].index(1)
    assert (
        len(packed["curves"]["mm"]["lines"][line]),
        len(packed["curves"]["image"]["lines"][line]),
    ) == (11, 10)
    assert packed["end_image"][1] == pytest.approx(
        float(run.trajectory.image_error[9, 1]), rel=1e-3
    )


def test_many_runs_stay_small(tmp_path: Path) -> None:
    run = runs(120, steps=210)
    packed = data(page(tmp_path / "report.html", run))["sets"][0]
    assert len(packed["drawn"]) == 100 and len(packed["end_mm"]) == 120
    assert len(packed["curves"]["step"]) <= 200 and packed["curves"]["step"][-1] == 210


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no runs"):
        page(tmp_path / "report.html")
    with pytest.raises(InputError, match="has 4 runs, but converged has 3"):
        replace(runs(4), converged=torch.ones(3, dtype=torch.bool))
    assert not list(tmp_path.iterdir())


@needs_browser
@pytest.mark.parametrize("known", [True, False], ids=["simulated", "no-goal-pose"])
def test_browser_draws_everything(tmp_path: Path, known: bool) -> None:
    run = (
        runs(4, one_goal=False, lost=1)
        if known
        else replace(runs(1), Ts_world_goal=None, converged=None)
    )
    path = tmp_path / "a report.html"
    page(path, run, run, title=NASTY, training=TRAINING)
    drawn = opened(path, "900,1200")
    assert len(re.findall(r'class="[^"]*js-plotly-plot', drawn)) == (9 if known else 5)
    assert len(re.findall(r'class="js-line"', drawn)) >= (5 if known else 3)
    assert "alert(1)" in drawn and "<script>alert" not in own(drawn)


@needs_browser
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_nothing_overflows_its_card(tmp_path: Path, width: int) -> None:
    """At a phone's width the table of results must not scroll in a box, however long a name or a
    figure is.
    """
    rates = {
        "converged": 0.987654,
        "converged_ci": [0.9630065, 1.0],
        "strict": 0.0123456,
        "settled": 1.0,
        "length_ratio": 1.0332830,
    }
    figures = {
        f"end_{unit}_{of}": x
        for unit in ("mm", "deg")
        for of, x in (("median", 1.176e-4), ("mean", 1.0815e-4), ("std", 9.4667e-6))
    }
    names = {
        "method": "cnn+dvs",
        "set": "lookat-rz-perturbed",
        "scene": "immunohistochemistry.png",
        "n": 10000,
        "steps_median": 122.5,
    }
    path = tmp_path / "report.html"
    row = rates | figures | names | {"ms_per_step_p50": 1308.53, "ms_per_step_p99": 9999.9}
    title = "cnn+dvs on coffee"
    write_report(path, Report(title, [row], [runs(4, lost=1)], SCENE, CAMERA, TRAINING))
    found = measured(path, width)
    assert found["width"] == str(width) and not found["wide"]
    assert (
        html.unescape(found["end"]).replace("\N{NO-BREAK SPACE}", " ")
        == "0.00012mean 0.00011 ± < 0.00001"
    )


def test_the_script_and_the_page_are_packed_with_the_package() -> None:
    """An installed package must find them, and a script must not close its own element."""
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8")
    globs = re.findall(
        r'"([^"]+)"', re.search(r"(?s)package-data\]\ndeepservo = \[(.*?)\]", text)[1]
    )
    root = resources.files("deepservo")
    others = [
        p for p in Path(str(root)).rglob("*.*") if p.suffix not in (".py", ".pyc") and p.is_file()
    ]
    scripts = {f"{name}.js" for names in SCRIPTS.values() for name in names}
    assert {"page_head.html", "run_page.html", "bench_page.html", *scripts} <= {
        p.name for p in others
    }
    for path in others:
        assert any(path.relative_to(str(root)).match(glob) for glob in globs), (
            f"{path.name} would not be installed"
        )
    for script in scripts:
        assert "</script" not in (root / "report" / script).read_text("utf-8")
