"""Feeds mutated pictures, cameras, poses, meshes, models and command lines to what reads them, and
looks for what users would report.

    python -m benchmarks fuzz                # 20,000 inputs, two kinds at a time
    python -m benchmarks fuzz --seconds 120  # as many as two minutes allow

Each input is changed in the terms of its format (`fuzz_changes.py`). Atheris (libFuzzer) keeps for
further changes what reached new lines, where it is installed; elsewhere the whole inputs are
changed again and again. A finding is any exception but InputError, an exit code but 0 and 2, a line
on standard output or error that is not the one sentence, a file left half-written, an input that
takes over ten seconds, a crash. The inputs of findings are kept in `build/fuzz`; an input that
crashes or hangs ends its kind. Seeded: one seed and one machine try the same inputs.
"""

import argparse
import contextlib
import faulthandler
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STORE, RESULTS = ROOT / "build" / "fuzz", ROOT / "results" / "fuzz.json"
SHARES = {
    "pictures": 5000,
    "cameras": 4500,
    "poses": 3000,
    "meshes": 3500,
    "models": 2000,
    "commands": 2000,
}  # of 20,000
SLOWEST = 10  # seconds for an input
LONGEST = 60000  # bytes of one
ACCOUNT = "account.json"
One = Callable[[bytes, Path], bool]
"""Gives an input to what reads it; whether it was taken."""


def main() -> int:
    """All kinds, two at a time; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--n", type=int, default=sum(SHARES.values()), help="inputs in all")
    parser.add_argument("--seconds", type=int, default=1200, help="for all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", choices=SHARES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    runs = {
        kind: max(1, options.n * share // sum(SHARES.values())) for kind, share in SHARES.items()
    }
    if options.worker:
        _work(options.worker, runs[options.worker], options.seconds, options.seed)
        return 0
    guided = importlib.util.find_spec("atheris") is not None
    print(
        "guided by coverage"
        if guided
        else "atheris is not installed: bytes are changed at random, without coverage",
        flush=True,
    )
    shutil.rmtree(STORE, ignore_errors=True)
    each = max(5, 2 * options.seconds // len(SHARES))
    waiting, going, rows = list(SHARES), dict[str, subprocess.Popen[bytes]](), []
    while waiting or going:
        while waiting and len(going) < 2:
            kind = waiting.pop(0)
            going[kind] = _started(kind, options.n, each, options.seed)
        time.sleep(0.5)
        for kind in [kind for kind, process in going.items() if process.poll() is not None]:
            rows.append(_row(kind, going.pop(kind).returncode, guided, options.seed))
            print("  ".join(f"{key}: {value}" for key, value in rows[-1].items()), flush=True)
    found = [row["kind"] for row in rows if row["findings"]]
    total, taken, findings = (
        sum(row[key] for row in rows) for key in ("inputs", "taken", "findings")
    )
    print(
        f"{total} inputs, {taken} of them taken, {findings} "
        f"findings{': ' + ', '.join(found) + '; see build/fuzz' if found else ''}"
    )
    if options.n >= sum(SHARES.values()) and options.seconds >= 1200:
        RESULTS.write_text(
            "[\n"
            + ",\n".join(json.dumps(row) for row in sorted(rows, key=lambda row: row["kind"]))
            + "\n]\n"
        )
    return int(bool(found))


def _started(kind: str, n: int, seconds: int, seed: int) -> "subprocess.Popen[bytes]":
    folder = STORE / kind
    (folder / "corpus").mkdir(parents=True)
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))),
        "COLUMNS": "100",
    }
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "fuzz",
        "--worker",
        kind,
        "--n",
        str(n),
        "--seconds",
        str(seconds),
        "--seed",
        str(seed),
    ]
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=(folder / "log").open("wb"), stderr=subprocess.STDOUT
    )


def _row(kind: str, code: int, guided: bool, seed: int) -> dict[str, Any]:
    """What came of a kind; its log is printed where something was found."""
    folder = STORE / kind
    log = (folder / "log").read_text("utf-8", "replace")
    account = (
        json.loads((folder / ACCOUNT).read_text())
        if (folder / ACCOUNT).is_file()
        else asdict(Account()) | {"seconds": 0}
    )
    ended = (
        bool(code) or not (folder / ACCOUNT).is_file()
    )  # a crash, or an input that took too long
    if ended or account["found"]:
        print(
            "\n".join(line for line in log.splitlines() if not line.startswith(("#", "INFO")))[
                -6000:
            ],
            flush=True,
        )
    covered = re.findall(r"cov: (\d+)", log)
    row = {key: account[key] for key in ("inputs", "taken", "seconds")} | {
        "findings": len(account["found"]) + ended
    }
    return {
        "kind": kind,
        **row,
        "branches": int(covered[-1]) if covered else None,
        "guided": guided,
        "seed": seed,
    }


# A worker, in a folder of its own


@dataclass
class Account:
    """Of the inputs that were tried, those that were taken, and the places where something was
    found.
    """

    inputs: int = 0
    taken: int = 0
    found: list[str] = field(default_factory=list)


def _work(kind: str, runs: int, seconds: int, seed: int) -> None:
    """Try `runs` inputs of a kind, or as many as `seconds` allow."""
    scratch = Path(tempfile.mkdtemp(dir="."))
    try:
        import atheris
    except ImportError:
        atheris = None
    with atheris.instrument_imports(include=["deepservo"]) if atheris else contextlib.nullcontext():
        import deepservo.cli
        import deepservo.cli.bench
        import deepservo.cli.learn
        import deepservo.cli.servo  # what the kinds below need
        import deepservo.cli.target  # noqa: F401
        from deepservo.errors import InputError
    from benchmarks.robustness import fuzz_changes, fuzz_kinds

    one, endings = fuzz_kinds.KINDS[kind], fuzz_kinds.ENDINGS.get(kind, ())
    seeds = fuzz_kinds.seeds(kind, scratch)
    for number, data in enumerate(seeds):
        Path("corpus", f"seed-{number}").write_bytes(data)
    account, begin, told = Account(), time.monotonic(), 0.0

    def tried(data: bytes) -> None:
        nonlocal told
        account.inputs += 1
        try:
            with _silence(kind), contextlib.suppress(InputError):
                account.taken += one(data, scratch)
            left = [path.name for path in scratch.rglob(".*")]
            assert not left, f"left half-written: {left}"
        except Exception as error:
            _found(account, error, data)
        # Atheris ends the process by itself, so the account is written again and again.
        if account.inputs >= runs or time.monotonic() - told > 1:
            told = time.monotonic()
            Path(ACCOUNT).write_text(json.dumps(asdict(account) | {"seconds": round(told - begin)}))

    def changed(data: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        some = (lambda part: atheris.Mutate(part, len(part) + 64)) if atheris else _some(rng)
        # What reached new lines is mostly refused early: every other input is one change away from
        # a whole one.
        begun = rng.choice(seeds) if rng.random() < 0.5 else bytes(data)
        return bytes(fuzz_changes.changed(kind, begun, rng, some, endings)[:size])

    if atheris is None:
        _unguided(tried, changed, runs, seconds, seed)
        return
    words = [
        f"-runs={runs}",
        f"-seed={seed}",
        f"-timeout={SLOWEST}",
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-mutate_depth=2",
        "-reduce_inputs=0",
        "-rss_limit_mb=8000",
    ]
    atheris.Setup(
        [sys.argv[0], *words, "-artifact_prefix=finding-", "-close_fd_mask=0", "corpus"],
        tried,
        custom_mutator=changed,
    )
    atheris.Fuzz()


def _found(account: Account, error: Exception, data: bytes) -> None:
    """Keep the first input of each place, and its traceback in the log."""
    whole = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in whole if frame.filename.startswith(str(ROOT / "src"))] or whole
    place = f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    place = re.sub(r"\W+", "-", str(error))[:80] if isinstance(error, AssertionError) else place
    if place not in account.found:
        Path(f"finding-{len(account.found)}").write_bytes(data)
        print(
            f"finding-{len(account.found)}: {place}\n{''.join(traceback.format_exception(error))}",
            file=sys.stderr,
            flush=True,
        )
        account.found.append(place)


@contextlib.contextmanager
def _silence(kind: str) -> Iterator[None]:
    """Whatever is said meanwhile, by C code too, is a finding; a command line looks at its own
    words.
    """
    if kind == "commands":
        yield
        return
    with tempfile.TemporaryFile() as said:
        kept = [os.dup(1), os.dup(2)]
        sys.stdout.flush()
        for number in (1, 2):
            os.dup2(said.fileno(), number)
        try:
            yield
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)
        said.seek(0)
        words = said.read()
    assert not words, f"something was said: {words[:400]!r}"


def _unguided(
    tried: Callable[[bytes], None],
    changed: Callable[[bytes, int, int], bytes],
    runs: int,
    seconds: int,
    seed: int,
) -> None:
    """The whole inputs, changed up to four times, without a look at what they reach."""
    rng, begin = random.Random(seed), time.monotonic()
    corpus = [path.read_bytes() for path in sorted(Path("corpus").iterdir())]
    for _ in range(runs):
        if time.monotonic() - begin > seconds:
            break
        data = rng.choice(corpus)
        for _ in range(rng.randrange(5)):
            data = changed(data, LONGEST, rng.randrange(2**32))
        faulthandler.dump_traceback_later(SLOWEST, exit=True)
        tried(data)
        faulthandler.cancel_dump_traceback_later()


def _some(rng: random.Random) -> Callable[[bytes], bytes]:
    """Bytes changed, cut out or doubled."""

    def change(data: bytes) -> bytes:
        at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 16, 64))
        return (
            data[:at]
            + rng.choice((rng.randbytes(size), b"", data[at : at + size] * 2))
            + data[at + size :]
        )

    return change


if __name__ == "__main__":
    sys.exit(main())
