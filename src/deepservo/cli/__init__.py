"""The command line: parses options and runs one command. Bad input is answered by one sentence and
exit code 2.

Each command is one module: a dataclass of its options, and `run`. These modules import torch and
OpenCV inside functions, so that help appears at once. The help of an option is its `#:` comment.
"""

import errno
import io
import os
import re
import sys
from contextlib import redirect_stderr
from dataclasses import fields
from difflib import get_close_matches
from functools import reduce
from itertools import dropwhile, takewhile
from operator import or_
from typing import Annotated, Any

import tyro

from deepservo.cli.bench import Bench
from deepservo.cli.demo import Demo
from deepservo.cli.info import Info
from deepservo.cli.learn import Learn
from deepservo.cli.listing import List
from deepservo.cli.recipe import Recipe
from deepservo.cli.servo import Servo
from deepservo.cli.target import Target
from deepservo.errors import InputError, unknown
from deepservo.system import memory
from deepservo.version import __version__

ABOUT = (
    "Bring a camera home to a picture. `deepservo list` names all methods, sets, scenes, "
    "worlds and recipes."
)
REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EROFS: "choose a place that you may read and write",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
}
PLAINER = (  # what the parser says, and what is said of it
    (
        r"^Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)$",
        r"\1: \2 is not a whole number",
    ),
    (
        r"^Error parsing (\S+): no type matching \{None\}\|\{?([^}]*?)\}? could be instantiated "
        r"from \[(.*)\]$",
        r"\1 takes \2, not \3",
    ),
    (r"^(\S+) takes FLOAT, not (.*)$", r"\1: \2 is not a number"),
    (r"^(\S+) takes INT, not (.*)$", r"\1: \2 is not a whole number"),
    (r"^Missing value for argument '(.*)'\. Expected .*$", r"\1 needs a value"),
    (r"^Missing from deepservo (\S+): ", r"\1 needs "),
    (r"\. \(required\)$", ""),
    (r"\. \(required\) ", "; "),
    (r"^Unrecognized options: (.*)$", r"there is a word too many: \1"),
)
COMMANDS = {
    "demo": Demo, "learn": Learn, "servo": Servo, "target": Target, "info": Info, "bench": Bench,
    "recipe": Recipe, "list": List,
}  # fmt: skip


def main(args: list[str] | None = None) -> int:
    """Run one command; the exit code: 0, or 2 with one sentence on standard error (1: `bench
    --compare` found a share that fell).

    Raises SystemExit with it where the words are no command, or ask for help or the version.
    """
    command: Any = None
    try:
        try:
            command = _parsed(sys.argv[1:] if args is None else args)
        except InputError as error:
            raise SystemExit(_refuse(str(error))) from None
        return command.run() or 0
    except InputError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # the reader of a pipe, such as head, has closed it: no error
        # What is still to be flushed is dropped.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A full disk or a path without permission is no fault of the program.
        remedy = REMEDIES.get(error.errno or 0, "choose another place")
        return _refuse(f"{error.filename or 'a file'}: {error.strerror or error}; {remedy}")
    except Exception as error:
        if not memory.ran_out(error):
            raise
        return _refuse(
            "memory ran out; use fewer --starts or runs (--n), smaller pictures or a smaller camera"
        )
    except KeyboardInterrupt as stop:
        how = "--resume" if isinstance(command, Learn | Recipe) else "the same command"
        kept = f"; {stop}: {how} goes on from it" if str(stop) else ""
        return _refuse(f"stopped by Ctrl-C, nothing half-written{kept}")


def _parsed(words: list[str]) -> Any:
    """The command with its options.

    Raises InputError for words that are no command or option, and SystemExit after printing the
    help or the version.
    """
    if words[:1] == ["--version"]:
        print(f"deepservo {__version__}")
        raise SystemExit(0)
    if not words:
        raise InputError(f"give a command: {', '.join(COMMANDS)}; see deepservo --help")
    is_option = words[0].startswith("-") and not words[0].startswith("--tyro-")
    if is_option and words[0] not in ("-h", "--help"):
        raise InputError(
            f"give a command before {words[0]}: {', '.join(COMMANDS)}; see deepservo --help"
        )
    if not words[0].startswith("-"):
        _check_words(*words)
    kinds = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items()]  # type: ignore[valid-type]
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            return tyro.cli(reduce(or_, kinds), args=words, prog="deepservo", description=ABOUT)  # type: ignore[call-overload]
    except SystemExit as end:
        if not errors.getvalue():
            raise
        # Without the box that tyro draws, and its title.
        lines = [line.strip("│╭╮╰╯| ") for line in errors.getvalue().splitlines()[1:]]
        # Below the ruler is the option's help.
        why = takewhile(lambda line: not _ruler(line), dropwhile(_ruler, lines))
        plain = " ".join(why).rstrip(".")
        for found, better in PLAINER:
            plain = re.sub(found, better, plain)
        raise InputError(f"{plain}; see deepservo {words[0]} --help") from end


def _ruler(line: str) -> bool:
    return not line.strip("─-")


def _check_words(command: str, *words: str) -> None:
    """InputError, with the nearest name, for an unknown command or an unknown option."""
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    names = [field.name for field in fields(COMMANDS[command])]
    options = {f"--{no}{name.replace('_', '-')}" for name in names for no in ("", "no-")}
    options |= {"--help", "-h", "--runs"}
    for word in words:
        name = word.split("=")[0].replace("_", "-")
        if re.match("-(-|[A-Za-z])", name) and name not in options:  # -1 is a number
            near = get_close_matches(name, options, 1)
            mean = f"did you mean {near[0]}? " if near else ""
            raise InputError(
                f"{command} has no option {name}; {mean}see deepservo {command} --help"
            )


def _refuse(why: str) -> int:
    print(f"deepservo: {' '.join(why.split())}", file=sys.stderr)
    return 2
