"""The tables of docs/mutants.md: the faults that the tests were tried with."""

from benchmarks.common.rows import Row, grouped
from benchmarks.tables.measured import columns
from deepservo.bench.tables import ALL, table


def mutants(rows: list[Row]) -> str:
    """A line a part of the package: how many faults its tests found; then every fault that they
    missed.
    """
    named = [{**row, "part": _part(row["file"])} for row in rows]
    lines = []
    for part, mine in (*sorted(grouped(named, "part")), (ALL, named)):
        found = sum(row["outcome"] != "missed" for row in mine)
        lines.append([part, str(len(mine)), str(found), f"{100 * found / len(mine):.1f}"])
    missed = columns(
        [row for row in rows if row["outcome"] == "missed"],
        3,
        {
            "where": lambda r: f"`{r['file']}:{r['line']}`",
            "missed: the line as it is, and with the fault": lambda r: f"`{r['change']}`".replace(
                "|", "\\|"
            ),
            "why": lambda r: r.get("judged") or "not judged",
        },
    )
    return f"{table(['part', 'faults', 'found', '%'], lines, 1)}\n\n{missed}"


def _part(file: str) -> str:
    """The folder that a file of the package is in, or the file itself."""
    return file.split("/", maxsplit=1)[0] if "/" in file else f"`{file}`"
