"""What the runs of `python -m benchmarks verdict` come to, beside the marks that are set for it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.common.rows import Row, grouped
from benchmarks.methods.verdict_runs import IN_VIEW, SOON_S
from deepservo.loop import Ending

CLEAN = ("clean",)
PERTURBED = ("perturbed", "solid", "gantry", "objects", "moved")
# Groups in which the camera can go on from the first to the last picture of every run.
THERE = (*CLEAN, *PERTURBED, "repeated")
BOUNDS = (0.90, 0.98)  # at least and at most, of the runs that the told 95 % hold
FEW = 20  # runs that arrived: of less the share that a bound holds is not judged
MOST_FALSE, MOST_MISSED, MOST_MISSED_PERTURBED = 1 / 1000, 1 / 100, 1 / 20
LEAST_LOST, MOST_LOST_THERE = 99 / 100, 1 / 1000

Share = tuple[int, int]
"""So many runs, of so many."""


@dataclass(frozen=True)
class Counts:
    """Of some runs."""

    runs: int
    arrived: int
    false: int
    missed: Share
    """Of those within the tolerance at the end; a repeated pattern, a wrong scene and a view that
    was covered need not be said to be the goal.
    """
    held_mm: Share
    held_deg: Share
    """Of those that arrived: no farther off than the bound that was told."""
    lost: Share
    """LOST was said, of those that converged before the scene that is there."""
    in_view: int
    """LOST was said with half of the goal in view, and the run did not converge."""
    covered: Share
    """LOST was said soon, of those whose view was covered or exchanged."""


def each_run(rows: Iterable[Row]) -> Iterator[Row]:
    """The figures of each run, with the settings of its row and its number there."""
    for row in rows:
        settings = {name: value for name, value in row.items() if name != "runs"}
        for number, values in enumerate(zip(*row["runs"].values(), strict=True)):
            yield {**settings, "run": number, **dict(zip(row["runs"], values, strict=True))}


def counted(rows: Iterable[Row]) -> Counts:
    """Of all runs of these rows."""
    runs = list(each_run(rows))
    there = [run for run in runs if run["group"] in THERE]
    within = [run for run in runs if run["group"] in (*CLEAN, *PERTURBED) and run["within"]]
    arrived = [run for run in runs if run["ending"] == Ending.ARRIVED.value]
    told = [run for run in arrived if run["group"] != "wrong"]
    good = [run for run in there if run["converged"]]
    lost = [run for run in there if run["lost_at"] is not None]
    covered = [run for run in runs if run["changed_at"] is not None]
    soon = [run for run in covered if run["lost_s"] is not None and run["lost_s"] <= SOON_S]
    return Counts(
        runs=len(runs),
        arrived=len(arrived),
        false=sum(run["false"] for run in runs),
        missed=(sum(run["ending"] != Ending.ARRIVED.value for run in within), len(within)),
        held_mm=(sum(_holds(run, "mm") for run in told), len(told)),
        held_deg=(sum(_holds(run, "deg") for run in told), len(told)),
        lost=(sum(run["lost_at"] is not None for run in good), len(good)),
        in_view=sum(not run["converged"] and run["in_view"] >= IN_VIEW for run in lost),
        covered=(len(soon), len(covered)),
    )


def _holds(run: Row, unit: str) -> bool:
    most: float | None = run[f"most_{unit}"]
    return most is not None and run[f"seen_{unit}"] <= most


@dataclass(frozen=True)
class Mark:
    """A mark, what was counted, and whether that meets it; None where nothing was counted."""

    what: str
    asked: str
    found: Share
    met: bool | None


def marks(rows: list[Row]) -> list[Mark]:
    """All marks, for one method."""
    whole = counted(rows)
    clean, perturbed = (
        counted(row for row in rows if row["group"] in groups).missed
        for groups in (CLEAN, PERTURBED)
    )
    sets = [counted(mine) for _, mine in grouped(rows, "set")]
    found = [
        _at_most("false arrivals", MOST_FALSE, "1 in 1,000", (whole.false, whole.runs)),
        _at_most("missed arrivals, clean sets", MOST_MISSED, "1 in 100", clean),
        _at_most("missed arrivals, other sets", MOST_MISSED_PERTURBED, "1 in 20", perturbed),
    ]
    for what, shares in (
        ("distance", [each.held_mm for each in sets]),
        ("angle", [each.held_deg for each in sets]),
    ):
        judged = [hits / of for hits, of in shares if of >= FEW]
        good = sum(BOUNDS[0] <= share <= BOUNDS[1] for share in judged)
        met = good == len(judged) if judged else None
        words = f"sets in which the bound of the {what} holds in 90 to 98 %"
        found.append(Mark(words, "all", (good, len(judged)), met))
    hits, of = whole.covered
    met = hits >= LEAST_LOST * of if of else None
    words = f"lost is said within {SOON_S:g} s of a cover or another scene"
    found.append(Mark(words, "at least 99 in 100", whole.covered, met))
    words = "lost is said in a run that converges"
    return [*found, _at_most(words, MOST_LOST_THERE, "1 in 1,000", whole.lost)]


def _at_most(what: str, most: float, asked: str, found: Share) -> Mark:
    hits, of = found
    return Mark(what, f"at most {asked}", found, hits <= most * of if of else None)


def false_arrivals(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The runs that arrived falsely, one by one."""
    return [run for run in each_run(rows) if run["false"]]
