"""The README and the docs are correct: snippets run, tables are those of results/, every file and
link exists.
"""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import deepservo
from deepservo import Phase
from deepservo.images.camera_file import CalibratedCamera
from deepservo.images.pictures import bundled
from deepservo.methods.verdict import ARRIVED_PICTURES
from deepservo.scene.build import Setup, make_scene
from deepservo.training.learn import learn
from deepservo.training.plan import Training

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    camera = deepservo.Camera(width=224, height=224, fx=300, fy=300, cx=119, cy=109)
    picture, calibrated = bundled("coffee"), CalibratedCamera(camera)
    setup = Setup(make_scene(picture, calibrated, "coffee"), camera, 0.6, "coffee")
    learn(setup, tmp_path / "model.safetensors", Training(steps=2))
    seen = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    names = {"goal_image": seen, "image": seen}
    exec(snippet, names)
    assert names["v_cam"].shape == (1, 6) and names["v_cam"].abs().max() < 1e-6, (
        "at the goal the velocity is zero"
    )
    assert names["controller"].gain == pytest.approx(0.1 * 30)
    (loaded,) = re.findall(r"or (deepservo\.load\(.*?\))", snippet)
    exec(f"other = {loaded}", names)
    assert names["other"].camera == camera


@pytest.mark.parametrize("page", ["index.md", "how-to/loop.md"])
def test_the_snippets_of_the_docs_run(page: str, monkeypatch: pytest.MonkeyPatch):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    size = (480, 640) if "height=480" in snippet else (224, 224)
    cells = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    seen, sent = cv2.resize(cells, size[::-1], interpolation=cv2.INTER_CUBIC), []
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    names = {
        "goal_image": seen,
        "image": seen,
        "grab": lambda: seen,
        "send": sent.append,
    }
    exec(snippet, names)
    assert names["v_cam"].abs().max() < 1e-6, "at the goal the velocity is zero"
    if sent:
        assert len(sent) == ARRIVED_PICTURES + 1
        assert sent[-1] == [0.0] * 6 and sent[0].shape == (6,)
        assert names["phase"] is Phase.ARRIVED


def test_tables_are_those_of_the_results():
    command = [sys.executable, "-m", "benchmarks", "table", "--check"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if not (ROOT / "results" / "pictures.json").is_file():
        pytest.skip("results/pictures.json is not there yet: the README has no table to compare")
    assert "| `cnn+dvs` |" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_has_an_empty_column_or_an_unmeasured_figure(page: Path):
    """What was not measured is a line with the command that measures it, and no empty column."""
    for block in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE):
        head, _, *body = (re.split(r"(?<!\\)\|", row)[1:-1] for row in block.splitlines())
        assert all(len(row) == len(head) for row in body), f"{head}: a row has other columns"
        for name, *cells in zip(head, *body, strict=True):
            empty = {cell.strip() for cell in cells} <= {"-", "not run", ""}
            assert not empty, f"{page.name}: nothing has run in the column {name.strip()!r}"


def test_every_file_has_its_line():
    listing = (ROOT / "docs" / "architecture.md").read_text().split("## Every file")[1]
    for folder in ("src", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if (
                path.suffix in (".py", ".c", ".html", ".js")
                and path.parent.name != "__pycache__"
                and not (path.name == "__init__.py" and path.parent.name != "deepservo")
            ):
                assert f"{path.name}`" in listing, (
                    f"{path.relative_to(ROOT)} has no line in docs/architecture.md"
                )
    for named in re.findall(r"`([\w./]+\.(?:py|c|html))`", listing):
        assert any(
            list((ROOT / folder).rglob(Path(named).name)) for folder in ("src", "benchmarks")
        ), f"{named} is listed, but not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_are_not_broken(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_package_index_is_named():
    """Whoever installs chooses the package index."""
    for name in ("Makefile", "pyproject.toml", "constraints-cpu.txt", "README.md", ".ci/run"):
        assert not re.search(r"https?://|\bfile://", (ROOT / name).read_text()), (
            f"{name} names a host"
        )
