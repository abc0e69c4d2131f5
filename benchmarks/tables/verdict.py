"""The tables of docs/concepts/status.md: whether runs know that they have arrived or are lost."""

from benchmarks.common.rows import Row, grouped
from benchmarks.methods.verdict_marks import Share, counted, marks
from benchmarks.methods.verdict_marks import false_arrivals as found_false
from deepservo.bench.tables import figure, table

MET = {True: "yes", False: "no", None: "not measured"}


def verdict(rows: list[Row]) -> str:
    """A line a method and mark."""
    lines = [
        [f"`{method}`", mark.what, mark.asked, _share(mark.found), MET[mark.met]]
        for method, mine in grouped(rows, "method")
        for mark in marks(mine)
    ]
    return table(["method", "what", "asked for", "found", "met"], lines, 3)


def by_set(rows: list[Row]) -> str:
    """A line a method and set."""
    lines = []
    for (method, group, name), mine in grouped(rows, "method", "group", "set"):
        of = counted(mine)
        bounds = [_percent(share) for share in (of.held_mm, of.held_deg)]
        shares = [_share(share) if share[1] else "-" for share in (of.missed, of.lost, of.covered)]
        numbers = [str(of.runs), str(of.arrived), str(of.false)]
        told = [*shares[:1], *bounds, *shares[1:], str(of.in_view)]
        lines.append([f"`{method}`", group, name, *numbers, *told])
    head = ["method", "group", "set", "runs", "arrived", "false", "missed, of those within"]
    bounds = ["bound holds mm, %", "bound holds deg, %"]
    lost = ["lost, of those that converge", "lost in 1 s, of those covered"]
    return table([*head, *bounds, *lost, "lost in sight of the goal"], lines, 3)


def false_arrivals(rows: list[Row]) -> str:
    """A line a false arrival: where the camera was when it was first said, and at the end."""
    lines = []
    for run in found_false(rows):
        where = ", ".join(word for word in (run["set"], run["part"], run["scene"]) if word)
        errors = [figure(run[key]) for key in ("said_mm", "said_deg", "seen_mm", "seen_deg")]
        lines.append([f"`{run['method']}`", where, run["sentence"], str(run["run"]), *errors])
    if not lines:
        return "No run arrived falsely."
    head = ["method", "runs", "it said", "run", "mm then", "deg then", "mm at the end"]
    return table([*head, "deg at the end"], lines, 3)


def _share(share: Share) -> str:
    hits, of = share
    return f"{hits} of {of}"


def _percent(share: Share) -> str:
    hits, of = share
    return f"{100 * hits / of:.1f}" if of else "-"
