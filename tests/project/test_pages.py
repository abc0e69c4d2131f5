"""The pages of the docs have one form, and what they show runs."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import deepservo
from deepservo.images.camera_file import read_camera
from deepservo.images.pictures import bundled
from deepservo.methods.base import SingleController

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
METHODS = [page for page in sorted((DOCS / "methods").glob("*.md")) if "-studies" not in page.name]
HEADINGS = (
    "Use it", "How it works", "What differs from the paper, and why", "Results", "Speed", "Limits",
)  # fmt: skip
MAX_COLUMNS, MAX_README_LINES = 100, 130


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: str) -> list[str]:
    """The Python of a page, in order."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", METHODS, ids=lambda page: page.name)
def test_methods_have_one_set_of_headings_in_one_order(page: Path):
    found = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert found == [heading for heading in HEADINGS if heading != "Speed" or heading in found]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_prose_and_commands_have_short_lines(page: Path):
    """Tables, with the line that the generator writes below one, and pictures may be longer."""
    text = re.sub(r"<!-- table:.*?<!-- /table -->", "", page.read_text(), flags=re.DOTALL)
    for line in text.splitlines():
        assert len(line) <= MAX_COLUMNS or line.startswith(("|", "!")), f"{named(page)}: {line}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.fixture
def photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with goal.png and view.png, 640 x 480, which is the working directory."""
    picture = (255 * bundled("coffee")[0]).byte().numpy()
    for name in ("goal.png", "view.png"):
        cv2.imwrite(str(tmp_path / name), cv2.resize(picture, (640, 480)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_camera_and_a_picture_of_your_own(photograph: Path):
    write, steer = blocks("how-to/camera.md")
    exec(write, {})
    camera = read_camera("camera.yaml").camera
    assert (camera.width, camera.height, camera.fx, camera.cy) == (640, 480, 640, 239.5)
    names: dict[str, object] = {}
    exec(steer, names)
    assert names["v_cam"].abs().max() < 1e-6, "at the goal it stands still"  # type: ignore[attr-defined]
    rectify, poses = blocks("how-to/picture.md")
    exec(rectify, {})
    assert cv2.imread("scene.png", cv2.IMREAD_GRAYSCALE).shape == (480, 640)
    exec(poses, {})
    given = np.load("poses.npz")
    assert given["T_world_cam"].shape == given["T_world_goal"].shape == (2, 4, 4)


def test_a_pose_before_a_mesh_looks_at_the_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("gantry.md")
    exec(code, {})
    T = np.load("pose.npz")["T_object_cam"]
    np.testing.assert_allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(T @ [0, 0, 0.3, 1], [0, 0, 0, 1], atol=1e-12)
    assert T[2, 3] > 0, "from above"


def test_a_method_of_your_own_moves_to_the_shifted_goal():
    (code,) = blocks("how-to/method.md")
    names: dict[str, type[SingleController]] = {}
    exec(code, names)
    camera = deepservo.Camera(width=224, height=224, fx=300, fy=300, cx=119, cy=109)
    picture = (255 * bundled("astronaut")[0, :224, :224]).byte().numpy()
    controller = names["Mine"](camera)
    controller.set_goal(picture)
    v_cam = controller.velocity(np.roll(picture, (3, -5), (0, 1)))[0]  # 3 px down, 5 px left
    pixel = 0.1 * 0.6 / 300  # m/s
    np.testing.assert_allclose(v_cam[:2], [-5 * pixel, 3 * pixel], atol=0.6 * pixel)
    assert not v_cam[2:].any()


@pytest.mark.parametrize("page", ["auto.md", "classical.md"])
def test_methods_without_training_run_as_shown(page: str):
    camera = deepservo.Camera(width=224, height=224, fx=300, fy=300, cx=119, cy=109)
    picture = (255 * bundled("chelsea")[0, :224, :224]).byte().numpy()
    (code,) = blocks(f"methods/{page}")
    names = {"deepservo": deepservo, "camera": camera, "goal_image": picture, "image": picture}
    exec(code, names)
    assert names["v_cam"].abs().max() < 1e-5, "at the goal it stands still"
