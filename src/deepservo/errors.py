"""The one exception that bad input raises, and checks that raise it."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Real


class InputError(ValueError):
    """The caller's input cannot be used: the message says what, where and what to do.

    The command line prints the message alone and exits with code 2.
    """


def unknown(
    kind: str, name: str, choices: Iterable[str], composed: Iterable[str] = ()
) -> InputError:
    """The error to raise where there is no `kind` of that name.

    It has the nearest name and all choices. composed: further names that may be the nearest, and
    are not listed.
    """
    names = list(choices)
    near = get_close_matches(name, [*names, *composed])
    return InputError(
        f"there is no {kind} {name!r}; {f'did you mean {near[0]}? ' if near else ''}choose one of "
        f"{', '.join(names)}"
    )


def check_positive(what: str, value: object, unit: str) -> None:
    """InputError where the value of `what` is no positive, finite number."""
    if not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise InputError(f"{what} must be a positive number{unit and f' {unit}'}, not {value!r}")


def check_misplaced(why: str, given: Mapping[str, object]) -> None:
    """InputError where one of these options was given: its value is neither None nor False."""
    misplaced = [name for name, value in given.items() if value is not None and value is not False]
    if misplaced:
        raise InputError(f"{why}; leave {' and '.join(misplaced)} away")
