"""The tables that `deepservo bench` fills: methods beside the published shares, and who wins where
(docs/bench.md, docs/methods).
"""

from benchmarks.common.rows import Row, read
from deepservo.bench.published import PUBLISHED
from deepservo.bench.tables import (
    beside_published,
    by_condition,
    converged_percent,
    ends,
    figure,
    in_pairs,
    over_all,
    probability,
    table,
    unique,
)
from deepservo.evaluation.metrics import mcnemar


def classical(rows: list[Row]) -> str:
    """The classical methods beside the published shares, picture by picture."""
    each, whole = over_all(rows)
    between = []
    for row in whole:
        published = PUBLISHED.get((row["set"], row["method"]))
        shares = [
            100 * r["converged"]
            for r in each
            if (r["set"], r["method"]) == (row["set"], row["method"])
        ]
        if published and len(shares) > 1 and not row.get("trained_s"):
            between.append(min(shares) <= published[0] <= max(shares))
    note = (
        f"Converged: by the published rule. All runs took "
        f"{sum(row['time_s'] for row in each) / 60:.0f} minutes."
    )
    if trained := [row["trained_s"] / 60 for row in each if row.get("trained_s")]:
        note += f" Learned in {min(trained):.0f} to {max(trained):.0f} minutes a scene on one core."
    if between:
        note += (
            f" In {sum(between)} of {len(between)} rows of untrained methods the published share "
            "lies between the least and the most of our pictures."
        )
    return f"{beside_published(each, whole)}\n\n{note}"


def paired(rows: list[Row]) -> str:
    """Two methods a line, run by run."""
    return in_pairs(over_all(rows)[1])


def hard(rows: list[Row]) -> str:
    """Who wins where."""
    return by_condition(over_all(rows)[1])


def known_depth(rows: list[Row]) -> str:
    """A line for each kind of knowledge, with the figures on each set of solid scenes."""
    whole = over_all(rows)[1]
    found = {(row["part"], row["set"]): row for row in whole}
    sets = unique(row["set"] for row in whole)
    lines = [
        [part, *(_known(found[part, name]) for name in sets)]
        for part in unique(row["part"] for row in whole)
    ]
    counts = " or ".join(str(n) for n in unique(row["n"] for row in whole))
    return f"{table(['the method knows', *sets], lines, 1)}\n\n{counts} runs in each cell."


def _known(row: Row) -> str:
    """Share with its interval, end error and length."""
    low, high = row["converged_ci"]
    share = f"**{100 * row['converged']:.0f}** [{100 * low:.0f}, {100 * high:.0f}]"
    end, length = figure(row["end_mm_median_all"]), figure(row["length_ratio"], 3)
    return f"{share}, {end} mm, {length}"


def batches(rows: list[Row]) -> str:
    """CNN-VS's batches: the share that converged of all starts, and of those that see enough of the
    goal, over all scenes and on each.
    """
    each, whole = over_all(rows)
    scenes = unique(row["scene"] for row in each)
    shares = {(row["set"], row["part"], row["scene"]): row["sharing"]["converged"] for row in each}
    lines = []
    for row in whole:
        some = row["sharing"]
        apart = [shares[row["set"], row["part"], scene] for scene in scenes]
        share = "-" if some["converged"] is None else converged_percent(some)
        counts = [str(row["n"]), converged_percent(row), str(some["n"]), share]
        of_scene = ["-" if value is None else f"{100 * value:.0f}" for value in apart]
        lines.append([f"{row['set']}, {row['part']}", *counts, *of_scene, *ends(row)[:2]])
    head = ["set", "runs", "converged % [95 %]", "that share 5 % or more", "converged % of these"]
    return table([*head, *scenes, "end mm", "end deg"], lines, 1)


def with_matches(rows: list[Row]) -> list[Row]:
    """The rows of methods that match points, from the same starts, of another file; then these."""
    sets, methods = {row["set"] for row in rows}, ("sift", "sift+dvs")
    matches = [row for row in read("hard") if row["method"] in methods and row["set"] in sets]
    return matches + rows


def beside_matches(rows: list[Row]) -> str:
    """Who wins where, methods that match points among them."""
    return hard(with_matches(rows))


def against_matches(rows: list[Row]) -> str:
    """Runs lost in a whole set, and McNemar's p where it is largest: as if no run were lost by
    both.
    """
    whole = over_all(with_matches(rows))[1]
    lines = []
    for name in unique(row["set"] for row in rows):
        mine = [row for row in whole if row["set"] == name]

        def lost(method: str, mine: list[Row] = mine) -> int:
            each = [row for row in mine if row["method"] == method]
            return sum(round(row["n"] * (1 - row["converged"])) for row in each)

        n, theirs = sum(row["n"] for row in mine if row["method"] == "sift"), lost("sift")
        for method in unique(row["method"] for row in rows):
            ours = lost(method)
            p = probability(mcnemar(theirs, ours))
            lines.append([name, str(n), str(theirs), f"`{method}`", str(ours), p])
    head = ["set", "runs", "lost by `sift`", "other", "lost by the other", "p at most (McNemar)"]
    return table(head, lines, 1)


def training_pictures(rows: list[Row]) -> str:
    """Networks for any scene, by the pictures that they learned from: a line a method and
    condition.
    """
    of = {
        "pictures made by code": rows,
        "natural pictures": read("pairs-natural"),
        "what ships": read("unseen"),
    }
    whole = [{(r["part"], r["method"]): r for r in over_all(each)[1]} for each in of.values()]
    lines = []
    for method in unique(row["method"] for row in rows):
        for part in unique(row["part"] for row in rows):
            found = [each[part, method] for each in whole]
            cells = [
                f"{converged_percent(row)}, {figure(row['end_mm_median'])} mm" for row in found
            ]
            lines.append([f"`{method}`", part, *cells])
    return table(["method", "starts and goals", *of], lines, 2)
