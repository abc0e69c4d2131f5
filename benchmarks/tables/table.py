"""Prints the committed results as Markdown, and keeps the README's and the docs' tables equal to
them.

    make table

In a page, the text from `<!-- table:NAME -->` to `<!-- /table -->` belongs to this command; NAME is
one of TABLES.
"""

import re
from collections.abc import Callable

from benchmarks.architecture.plan import rooms
from benchmarks.common.rows import RESULTS, ROOT, Row, read
from benchmarks.tables import (
    bench,
    measurements,
    methods,
    objects,
    performance,
    published,
    verdict,
)
from benchmarks.tables.mutants import mutants

# By name: the file in results/ and the table made of its rows; of many files, or of none, where
# there is no name.
TABLES: dict[str, tuple[str, Callable[[list[Row]], str]]] = {
    "first": ("pictures", measurements.first),
    "pictures": ("pictures", measurements.pictures),
    "dvs": ("dvs", measurements.dvs),
    "dvs-starts": ("dvs", measurements.dvs_starts),
    "antialias": ("antialias", measurements.antialias),
    "classical": ("classical", bench.classical),
    "six": ("six", bench.classical),
    "hard": ("hard", bench.hard),
    "known-depth": ("solid", bench.known_depth),
    "mlvs": ("mlvs", bench.classical),
    "aevs": ("aevs", bench.classical),
    "aevs-paired": ("aevs", bench.paired),
    "mlvs-hard": ("mlvs-hard", bench.beside_matches),
    "aevs-hard": ("aevs-hard", bench.beside_matches),
    "unseen": ("unseen", bench.hard),
    "unseen-paired": ("unseen", bench.paired),
    "pairs": ("pairs-code", bench.training_pictures),
    "auto-hard": ("auto-hard", bench.beside_matches),
    "auto-hard-sets": ("auto-hard", bench.against_matches),
    "bound": ("bound", methods.bound),
    "tangents": ("tangents", methods.tangents),
    "bank": ("bank", methods.bank),
    "learned-depth": ("learned-depth", methods.learned_depth),
    "studies": ("studies", methods.studies),
    "siamese": ("siamese", methods.studies),
    "one-scene": ("one-scene", bench.hard),
    "batches": ("batches", bench.batches),
    "rooms": ("", lambda _: rooms()),
    "published": ("", published.published),
    "marks": ("", published.marks),
    "recipes": ("", published.recipes),
    "weights": ("", published.weights),
    "gpu": ("gpu", performance.gpu),
    "gantry": ("gantry", objects.gantry),
    "keypoints": ("keypoints", objects.keypoints),
    "objects": ("objects", objects.objects),
    "objects-above": ("objects-above", objects.objects),
    "objects-rounded": ("objects-rounded", objects.rounded),
    "grasps": ("grasps", objects.grasps),
    "dfbvs-steps": ("dfbvs-steps", methods.steps),
    "relief": ("relief", objects.relief),
    "steps": ("steps", methods.steps),
    "scenes": ("scenes", methods.scenes),
    "verdict": ("verdict", verdict.verdict),
    "verdict-sets": ("verdict", verdict.by_set),
    "verdict-false": ("verdict", verdict.false_arrivals),
    "visp": ("visp", performance.visp),
    "mutants": ("mutants", mutants),
    "speed": ("speed", performance.speed),
    "control-step": ("control-step", performance.control_step),
    "training-step": ("training-step", performance.training_step),
    "speed-growth": ("speed", performance.speed_growth),
}

ON_A_GPU = ("gpu",)  # results that only a GPU can make: without them the table says so


def made(name: str) -> str | None:
    """The table of that name, or None without its results."""
    file, draw = TABLES[name]
    there = not file or file in ON_A_GPU or (RESULTS / f"{file}.json").is_file()
    return draw(read(file)) if there else None


def filled(page: str) -> str:
    """The page with each of its tables as the results have it now; those without results stay."""

    def fill(match: re.Match[str]) -> str:
        text = made(match[2])
        return match[0] if text is None else f"{match[1]}\n{text}\n{match[3]}"

    return re.sub(r"(<!-- table:([\w-]+) -->).*?(<!-- /table -->)", fill, page, flags=re.DOTALL)


def main(write: bool = False, check: bool = False) -> int:
    """Print every table there are results for.

    Args:
        write: put them into README.md and docs/.
        check: only say, by the exit code 1, when a page shows something else.
    """
    stale = [
        page
        for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
        if filled(page.read_text()) != page.read_text()
    ]
    if check:
        wrong = "its tables are not those of results/; run make table"
        print("\n".join(f"{p.relative_to(ROOT)}: {wrong}" for p in stale) or "all tables agree")
        return int(bool(stale))
    for page in stale if write else ():
        page.write_text(filled(page.read_text()))
        print(f"{page.relative_to(ROOT)}: written")
    for name in TABLES:
        if text := made(name):
            print(f"## {name}\n\n{text}\n")
    return 0
