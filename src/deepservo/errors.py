"""The one exception that bad input raises."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The caller's input cannot be used: the message says what, where and what to do.

    The command line prints the message alone and exits with code 2.
    """


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """What to raise where there is no `kind` of that name: with the nearest name, and all there are."""
    names = list(choices)
    near = get_close_matches(name, names)
    return InputError(f"there is no {kind} {name!r}; {f'did you mean {near[0]}? ' if near else ''}choose one of {', '.join(names)}")
