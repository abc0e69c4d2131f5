"""Feeds mutated pictures, cameras, poses, meshes, models and command lines to what reads them, and looks for what users would report.

    python benchmarks/fuzz.py                # 20,000 inputs, two kinds at a time
    python benchmarks/fuzz.py --seconds 120  # as many as two minutes allow

Atheris (libFuzzer) mutates what reached new lines, where it is installed; elsewhere bytes are changed at random. A finding is any exception
but InputError, an exit code but 0 and 2, a line on standard output or error that is not the one sentence, a file left half-written, an
input that takes over ten seconds, a crash. The input of a finding is kept in `build/fuzz`, and its kind ends there. Seeded: one seed and
one machine try the same inputs.
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
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORE, RESULTS = ROOT / "build" / "fuzz", ROOT / "results" / "fuzz.json"
SHARES = {"pictures": 6000, "cameras": 5000, "poses": 3400, "meshes": 3000, "models": 2000, "commands": 600}  # of 20,000
SLOWEST = 10  # seconds for an input
LONGEST = 16000  # bytes of one
One = Callable[[bytes, Path], None]


def main() -> int:
    """All kinds, two at a time; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=sum(SHARES.values()), help="inputs in all")
    parser.add_argument("--seconds", type=int, default=1200, help="for all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", choices=SHARES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    runs = {kind: max(1, options.n * share // sum(SHARES.values())) for kind, share in SHARES.items()}
    if options.worker:
        _work(options.worker, runs[options.worker], options.seconds, options.seed)
        return 0
    guided = importlib.util.find_spec("atheris") is not None
    print("guided by coverage" if guided else "atheris is not installed: bytes are changed at random, without coverage", flush=True)
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
    total = sum(row["inputs"] for row in rows)
    print(f"{total} inputs, {len(found)} findings{': ' + ', '.join(found) + '; see build/fuzz' if found else ''}")
    if options.n >= sum(SHARES.values()) and options.seconds >= 1200:
        RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in sorted(rows, key=lambda row: row["kind"])) + "\n]\n")
    return int(bool(found))


def _started(kind: str, n: int, seconds: int, seed: int) -> "subprocess.Popen[bytes]":
    folder = STORE / kind
    (folder / "corpus").mkdir(parents=True)
    env = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}
    command = [sys.executable, __file__, "--worker", kind, "--n", str(n), "--seconds", str(seconds), "--seed", str(seed)]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=(folder / "log").open("wb"), stderr=subprocess.STDOUT)


def _row(kind: str, code: int, guided: bool, seed: int) -> dict[str, object]:
    """What came of a kind; its log is printed where something was found."""
    log = (STORE / kind / "log").read_text("utf-8", "replace")
    done = re.search(r"Done (\d+) (?:runs )?in (\d+) second", log)
    if code or not done:
        print(log[-6000:], flush=True)
    inputs, seconds = (int(done[1]), int(done[2])) if done else (0, 0)
    covered = re.findall(r"cov: (\d+)", log)
    return {"kind": kind, "inputs": inputs, "seconds": seconds, "findings": int(bool(code) or not done),
            "branches": int(covered[-1]) if covered else None, "guided": guided, "seed": seed}  # fmt: skip


# A worker, in a folder of its own


def _work(kind: str, runs: int, seconds: int, seed: int) -> None:
    """Try `runs` inputs of a kind, or as many as `seconds` allow."""
    scratch = Path(tempfile.mkdtemp(dir="."))
    try:
        import atheris
    except ImportError:
        atheris = None
    with atheris.instrument_imports(include=["deepservo"]) if atheris else contextlib.nullcontext():
        import deepservo.cli
        import deepservo.commands  # what the kinds below need
        import deepservo.commands_target  # noqa: F401
        from deepservo.errors import InputError
    import fuzz_kinds

    one = fuzz_kinds.KINDS[kind]
    for number, data in enumerate(fuzz_kinds.seeds(kind, scratch)):
        Path("corpus", f"seed-{number}").write_bytes(data)

    def tried(data: bytes) -> None:
        with _silence(kind), contextlib.suppress(InputError):
            one(data, scratch)
        left = [path.name for path in scratch.rglob(".*")]
        assert not left, f"left half-written: {left}"

    if atheris is None:
        _at_random(tried, runs, seconds, seed)
        return
    words = [
        f"-runs={runs}",
        f"-seed={seed}",
        f"-timeout={SLOWEST}",
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-rss_limit_mb=8000",
    ]
    atheris.Setup([sys.argv[0], *words, "-artifact_prefix=finding-", "-close_fd_mask=0", "corpus"], tried)
    atheris.Fuzz()


@contextlib.contextmanager
def _silence(kind: str) -> Iterator[None]:
    """Whatever is said meanwhile, by C code too, is a finding; a command line looks at its own words."""
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


def _at_random(tried: Callable[[bytes], None], runs: int, seconds: int, seed: int) -> None:
    """Bytes of the seeds changed, cut out, doubled and spliced, without a look at what they reach."""
    rng, begin = random.Random(seed), time.monotonic()
    corpus = [path.read_bytes() for path in sorted(Path("corpus").iterdir())]
    for k in range(runs):
        if time.monotonic() - begin > seconds:
            runs = k
            break
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.choice((0, 1, 1, 2, 4, 16))):
            at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 16, 64))
            new = rng.choice((rng.randbytes(size), b"", bytes(data[at : at + size]) * 2, rng.choice(corpus)[at : at + size]))
            data[at : at + size] = new
        Path("input").write_bytes(data)
        faulthandler.dump_traceback_later(SLOWEST, exit=True)
        tried(bytes(data[:LONGEST]))
        faulthandler.cancel_dump_traceback_later()
    print(f"Done {runs} runs in {time.monotonic() - begin:.0f} second(s)")


if __name__ == "__main__":
    sys.exit(main())
