"""The examples run as a user runs them, and print what they promise."""

import json
import re
import subprocess
import sys
from pathlib import Path

from deepservo.cli import main

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir()), "an example leaves nothing behind"
    return done.stdout


def numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"\d+(?:\.\d+)?", text)]


def test_home_in_ten_lines(tmp_path: Path):
    start_mm, start_deg, end_mm, end_deg = numbers(run("00_home_in_ten_lines.py", tmp_path))
    assert start_mm > 100
    assert start_deg > 45
    assert end_mm < 0.1
    assert end_deg < 0.01


def test_ten_lines_are_ten():
    body = (EXAMPLES / "00_home_in_ten_lines.py").read_text().split("fronto_parallel\n", 1)[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 11  # ten, and the print


def test_your_own_loop(tmp_path: Path):
    said = run("01_your_own_loop.py", tmp_path)
    mm, deg, most, most_mm, most_deg, *_ = numbers(said)
    assert said.startswith("arrived: within the tolerance") and most == 95
    assert mm < most_mm < 0.5 and deg < most_deg < 0.06


def test_methods_of_ones_own_are_benched_beside_dvs(tmp_path: Path):
    tiny, single = (
        f"{EXAMPLES / name}"
        for name in ("02_new_method.py:TinyPictures", "03_one_picture_at_a_time.py:Homography")
    )
    methods = f"dvs,{tiny},{single},{single}+dvs"
    assert (
        main(
            [
                "bench",
                "--methods",
                methods,
                "--sets",
                "screw",
                "--scenes",
                "coffee",
                "--n",
                "4",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    rows = {
        row["method"]: row for row in json.loads((tmp_path / "results.json").read_text())["rows"]
    }
    assert set(rows) == {"dvs", "TinyPictures", "Homography", "Homography+dvs"}
    assert (
        rows["TinyPictures"]["converged"] >= rows["dvs"]["converged"]
        and rows["TinyPictures"]["steps_median"] < rows["dvs"]["steps_median"]
    )
    assert rows["Homography"]["converged"] == rows["Homography+dvs"]["converged"] == 1
    assert rows["Homography+dvs"]["end_mm_median"] < 0.1 * rows["Homography"]["end_mm_median"]


def test_no_example_is_long():
    assert all(len(path.read_text().splitlines()) <= 60 for path in EXAMPLES.glob("*.py"))


def test_every_example_is_tested():
    tested = Path(__file__).read_text()
    assert all(path.name in tested for path in EXAMPLES.glob("*.py"))
