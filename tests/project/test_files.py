"""The citation file and the type marker are correct: the version, the papers, the types."""

from pathlib import Path

import yaml

import deepservo
from deepservo.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]


def test_the_citation_is_of_this_version_and_of_the_five_papers():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == deepservo.__version__
    assert sorted(paper["year"] for paper in cited["references"]) == [2018, 2021, 2022, 2022, 2023]
    named = " ".join(paper["notes"] for paper in cited["references"])
    published = {
        name
        for name in METHODS
        if name.startswith(("aevs", "mlvs", "siamese", "dfbvs")) or name == "cnn"
    }
    assert all(f"`{name}`" in named for name in published)


def test_a_type_checker_is_told_that_there_are_types():
    assert (ROOT / "src" / "deepservo" / "py.typed").is_file()
