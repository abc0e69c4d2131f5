"""Words of the command line: readable help, a version, lists of names, and one sentence for an
unknown command or option.
"""

import errno
import subprocess
import sys
import time

import pytest

import deepservo
from deepservo import cli
from deepservo.bench.scenes import NAMES
from deepservo.cli import COMMANDS, main
from deepservo.cli.listing import METHOD_LINES, SET_LINES, WORLD_LINES
from deepservo.evaluation.sets import SETS
from deepservo.evaluation.worlds import WORLDS
from deepservo.methods import METHODS
from deepservo.training.recipes import EXPERIMENTS


def refusal(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence that refuses these words. Nothing else is printed."""
    try:
        code = main(args)
    except SystemExit as end:  # which the parser raises where it prints help
        code = end.code
    said = capsys.readouterr()
    assert (
        code == 2
        and said.out == ""
        and said.err.startswith("deepservo: ")
        and said.err.count("\n") == 1
    ), said
    return said.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            "",
            "give a command: demo, learn, servo, target, info, bench, recipe, list; see deepservo "
            "--help",
        ),
        (
            "serv",
            "there is no command 'serv'; did you mean servo? choose one of demo, learn, servo",
        ),
        ("Bench --n 3", "there is no command 'Bench'; did you mean bench?"),
        ("train x.png", "there is no command 'train'; choose one of"),
        (
            "servo --startz 3",
            "servo has no option --startz; did you mean --starts? see deepservo servo --help",
        ),
        (
            "servo --tolerance-m 3",
            "servo has no option --tolerance-m; did you mean --tolerance-mm?",
        ),
        ("learn a.png --ouput m", "learn has no option --ouput; did you mean --out?"),
        ("info m --zzzzzz", "info has no option --zzzzzz; see deepservo info --help"),
        ("servo --starts=x", "--starts: 'x' is not a whole number; see deepservo servo --help"),
        ("servo --distance far", "--distance: 'far' is not a number; see deepservo servo --help"),
        (
            "learn a.png --out m --steps x",
            "--steps: 'x' is not a whole number; see deepservo learn",
        ),
        ("demo --minutes 1m", "--minutes: '1m' is not a number; see deepservo demo --help"),
        ("bench --compare a b c", "--compare takes PATH PATH, not 'a', 'b', 'c'; see"),
        ("servo --out", "--out needs a value; see deepservo servo --help"),
        ("servo -x", "servo has no option -x; see deepservo servo --help"),
        ("--starts 3", "give a command before --starts: demo, learn"),
        ("target --mesh a", "target needs --pose PATH An .npz file"),
        ("learn a.png", "--out"),
        ("info", "see deepservo info --help"),
        ("info a b", "there is a word too many: b; see deepservo info --help"),
        ("bench --compare a", "see deepservo bench --help"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in refusal(words.split(), capsys)


def printed(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `--help` or `--version` prints."""
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", ["60", "120"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_an_option_takes(
    command: str, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = printed([command, "--help"], capsys)
    boxed = [line for line in said.splitlines() if line[:1] in "╭│╰"]
    assert "None" not in said and max(map(len, boxed)) <= int(columns)


def test_help_names_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(["--help"], capsys)
    assert all(name in said for name in COMMANDS) and "deepservo list" in said


def test_the_version_is_printed_at_once() -> None:
    begin = time.monotonic()
    code = (
        "import sys; from deepservo.__main__ import start; sys.argv = ['deepservo', "
        "'--version']; start()"
    )
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"deepservo {deepservo.__version__}\n"
    assert " torch\n" not in found.stderr and time.monotonic() - begin < 20


def test_list_names_everything_and_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    rows = {
        line.split()[0]: line.split(maxsplit=1)[1:]
        for line in capsys.readouterr().out.splitlines()
        if line.strip()
    }
    for name in (*METHODS, *SETS, *NAMES, *WORLDS, *EXPERIMENTS):
        assert rows.get(name), f"{name} has no description"
    assert set(SET_LINES) == set(SETS) and set(WORLD_LINES) == set(WORLDS)
    assert set(METHOD_LINES) == set(METHODS)


@pytest.mark.parametrize("words", [["--help"], ["servo", "--help"], ["list"]])
def test_a_closed_pipe_is_not_reported_as_a_full_disk(words: list[str]) -> None:
    """As in `deepservo --help | head -1`: the pipe is closed before anything is written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deepservo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == 0 and said == ""


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "that you may read and write"),
        (errno.EROFS, "that you may read and write"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EISDIR, "choose another place"),
    ],
)
def test_advice_fits_the_error(
    number: int, remedy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: cli.Info) -> None:
        raise OSError(number, "what the system says", "some/place")

    monkeypatch.setattr(cli.Info, "run", fail)
    said = refusal(["info", "m.safetensors"], capsys)
    assert "some/place: what the system says; " in said and remedy in said
    assert ("free some space" in said) == (number == errno.ENOSPC)
