"""The faults, as Cosmic Ray makes them."""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from benchmarks.robustness.mutation.processes import PACKAGE
from benchmarks.robustness.mutation.scope import OPERATORS, SCOPE, functions, in_scope, left_out


@dataclass(frozen=True)
class Fault:
    """One change of one file: the function that it is in, and how Cosmic Ray makes it."""

    file: str
    where: str
    line: int
    key: str  # the same while other lines change
    operator: str
    occurrence: int

    def code(self) -> str:
        """The file with the fault in it."""
        source, operator = (PACKAGE / self.file).read_text(), operator_of(self.operator)
        changed = mutate_code(source, operator, self.occurrence)
        assert changed is not None
        return changed

    def change(self) -> str:
        """The line without the fault, and with it."""
        lines, changed = (PACKAGE / self.file).read_text().splitlines(), self.code().splitlines()
        pairs = ((a, b) for a, b in zip(lines, changed, strict=False) if a != b)
        pair = next(pairs, ("", "the last lines are gone"))
        return " -> ".join(" ".join(text.split()) for text in pair)


@cache
def operator_of(name: str) -> Any:
    """Cosmic Ray's operator of that name."""
    return cosmic_ray.plugins.get_operator(f"core/{name}")()


def faults(file: str) -> Iterator[Fault]:
    """Every fault that may be put into a file."""
    source = (PACKAGE / file).read_text()
    tree, lines, nodes = ast.parse(source), source.splitlines(), list(ast_nodes(get_ast(source)))
    spans, parts = left_out(tree), functions(tree)
    for operator in OPERATORS:
        found = operator_of(operator)
        places = (place for node in nodes for place in found.mutation_positions(node))
        before, nth = (0, 0), 0  # nth: of the faults that an operator makes at one place
        for occurrence, ((row, column), _) in enumerate(places):
            nth = nth + 1 if (row, column) == before else 0
            before = (row, column)
            where = next((name for name, begin, end in parts if begin <= row <= end), "")
            inside = any(begin <= (row, column) < end for begin, end in spans)
            if in_scope(file, where) and not inside:
                words = file, where, lines[row - 1].strip(), str(column), operator, str(nth)
                yield Fault(file, where, row, "|".join(words), operator, occurrence)


def drawn(seed: int) -> list[Fault]:
    """All faults, in the order in which they are tried: a number and another fault by turns, as
    long as there are both.
    """
    patterns = (pattern.split("|")[0] for pattern in SCOPE)
    paths = (path for pattern in patterns for path in PACKAGE.glob(pattern) if path.suffix)
    files = sorted({str(path.relative_to(PACKAGE)) for path in paths})
    every = sorted(
        (fault for file in files for fault in faults(file)),
        key=lambda fault: hashlib.sha256(f"{seed}|{fault.key}".encode()).digest(),
    )
    numbers, others = (
        [f for f in every if ("Number" in f.operator) == of_numbers] for of_numbers in (True, False)
    )
    return [f for pair in zip_longest(numbers, others) for f in pair if f]
