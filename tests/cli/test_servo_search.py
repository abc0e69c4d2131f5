"""`servo --search`: lost runs look for the goal."""

from pathlib import Path

import cv2
import pytest

from deepservo.cli import main
from tiny import CAMERA, Refused, picture


@pytest.fixture
def foreign(tmp_path: Path) -> list[str]:
    """Words of `servo` before a scene in which the goal is not."""
    (tmp_path / "camera.yaml").write_text(CAMERA)
    cv2.imwrite(str(tmp_path / "picture.png"), picture())
    cv2.imwrite(str(tmp_path / "goal.png"), picture(64, 64, seed=5))
    paths = ("--image", "picture.png", "--goal", "goal.png", "--camera", "camera.yaml")
    words = [str(tmp_path / word) if "." in word else word for word in paths]
    return ["servo", *words, "--method", "sift", "--starts", "2", "--out", str(tmp_path / "out")]


def test_lost_runs_search_and_end_lost(
    foreign: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*foreign, "--search", "spiral"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "lost: " in said and "the search has ended without finding it" in said
    assert (tmp_path / "out" / "report.html").is_file()


def test_another_word_is_one_sentence(foreign: list[str], refused: Refused) -> None:
    why = "there is no search 'spirl'; did you mean spiral? choose one of hold, back-off, spiral"
    refused([*foreign, "--search", "spirl"], why)
