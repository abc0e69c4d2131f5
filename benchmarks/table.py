"""Prints the committed results as Markdown, and keeps the README's and the docs' tables equal to them.

    make table

In a page, the text from `<!-- table:NAME -->` to `<!-- /table -->` belongs to this command; NAME is pictures, dvs or antialias.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tyro

from rows import Row, pooled

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED_DVS = {"lookat": 59.0, "screw": 79.4}  # per cent home, as AEVS's tables have DVS


def unique(values: Iterable[object]) -> list:
    """Each value once, in the order of its first place."""
    return list(dict.fromkeys(values))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> str:
    """A table whose first `words` columns are words, the others figures."""
    rule = ["---" if i < words else "--:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def figure(value: float | None, digits: int = 2) -> str:
    """A figure of so many significant digits, or a dash."""
    if value is None:
        return "-"
    return (
        f"{value:.0f}" if abs(value) >= 10**digits else np.format_float_positional(value, digits, unique=False, fractional=False, trim="-")
    )


def home(row: Row) -> str:
    """Per cent home and its 95 % interval."""
    low, high = row["converged_ci"]
    return f"{100 * row['converged']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def ends(row: Row) -> list[str]:
    """End errors, length of the path over the straight one's, steps."""
    steps = "-" if row["steps_median"] is None else f"{row['steps_median']:.0f}"
    return [figure(row["end_mm_median"]), figure(row["end_deg_median"]), figure(row["length_ratio"], 3), steps]


def pictures(rows: list[Row]) -> str:
    """Pooled, with the share home of each picture; then every row."""
    sets, methods, scenes = (unique(row[k] for row in rows) for k in ("set", "method", "scene"))
    lines = []
    for name in sets:
        for method in methods:
            mine = {row["scene"]: row for row in rows if (row["set"], row["method"]) == (name, method)}
            if mine:
                total = pooled(list(mine.values()))
                each = [f"{100 * mine[s]['converged']:.0f}" if s in mine else "-" for s in scenes]
                lines.append([name, f"`{method}`", home(total), *each, *ends(total)])
    tail = ["end mm", "end deg", "length", "steps"]
    first = markdown(["starts and goals", "method", "home % [95 %]", *scenes, *tail], lines, 2)
    order = sorted(rows, key=lambda r: (sets.index(r["set"]), scenes.index(r["scene"]), methods.index(r["method"])))
    each = markdown(
        ["starts and goals", "picture", "method", "home % [95 %]", *tail],
        ([r["set"], r["scene"], f"`{r['method']}`", home(r), *ends(r)] for r in order),
        3,
    )
    runs = unique(row["n"] for row in rows)
    note = f"{' or '.join(map(str, runs))} runs a picture and row. End errors and steps (until home for good): medians over those home."
    return f"{first}\n\n{note}\n\n<details><summary>Every picture</summary>\n\n{each}\n\n</details>"


def dvs(rows: list[Row]) -> str:
    """The photometric stage alone, pooled, beside the published share."""
    lines = []
    for variant, name, method in unique((row["variant"], row["set"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["variant"], row["set"], row["method"]) == (variant, name, method)]
        scenes = {row["scene"]: row for row in mine}
        each = [f"{100 * r['converged']:.0f}" for r in scenes.values()]
        total = pooled(mine)
        published = f"{PUBLISHED_DVS[name]:.1f}" if method == "dvs" else "-"
        lines.append([name, f"`{method}`", variant, str(total["n"]), home(total), published, ", ".join(each), *ends(total)[:2]])
    head = [
        "set",
        "method",
        "variant",
        "runs",
        "home % [95 %]",
        "published DVS %",
        ", ".join(unique(r["scene"] for r in rows)),
        "end mm",
        "end deg",
    ]
    return markdown(head, lines, 3)


def antialias(rows: list[Row]) -> str:
    """Means over the pictures; of the ends, medians, because now and then one does not come home."""
    lines = []
    for minification, pixels, renderer in unique((row["minification"], row["shift_px"], row["renderer"]) for row in rows):
        mine = [row for row in rows if (row["minification"], row["shift_px"], row["renderer"]) == (minification, pixels, renderer)]
        mean = {k: float(np.mean([row[k] for row in mine])) for k in ("grey", "change", "L")}
        end = [figure(float(np.median([row[k] for row in mine]))) for k in ("end_mm", "end_deg")]
        percent = [f"{100 * mean[k]:.1f}" for k in ("change", "L")]
        lines.append([f"{minification:g}", f"{pixels:g}", renderer, f"{255 * mean['grey']:.2f}", *percent, *end])
    head = ["texels a pixel", "shift px", "renderer", "grey error of 255", "error of the change %", "error of L %", "end mm", "end deg"]
    return markdown(head, lines, 0)


TABLES: dict[str, Callable[[list[Row]], str]] = {"pictures": pictures, "dvs": dvs, "antialias": antialias}


def filled(page: str) -> str:
    """The page with each of its tables as the results have it now; those without results stay."""

    def fill(match: re.Match[str]) -> str:
        path = ROOT / "results" / f"{match[2]}.json"
        if not path.is_file():
            return match[0]
        return f"{match[1]}\n{TABLES[match[2]](json.loads(path.read_text())['rows'])}\n{match[3]}"

    return re.sub(r"(<!-- table:(\w+) -->).*?(<!-- /table -->)", fill, page, flags=re.DOTALL)


def main(write: bool = False, check: bool = False) -> int:
    """Print every table there are results for.

    Args:
        write: put them into README.md and docs/.
        check: only say, by the exit code 1, when a page shows something else.
    """
    stale = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if filled(page.read_text()) != page.read_text()]
    if check:
        print(
            "\n".join(f"{page.relative_to(ROOT)}: its tables are not those of results/; run make table" for page in stale)
            or "all tables agree"
        )
        return int(bool(stale))
    for page in stale if write else ():
        page.write_text(filled(page.read_text()))
        print(f"{page.relative_to(ROOT)}: written")
    for name, table in TABLES.items():
        path = ROOT / "results" / f"{name}.json"
        if path.is_file():
            print(f"## {name}\n\n{table(json.loads(path.read_text())['rows'])}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
