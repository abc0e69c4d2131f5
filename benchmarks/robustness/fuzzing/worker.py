"""A process that tries inputs of one kind, in a folder of its own.

python -m benchmarks.robustness.fuzzing.worker KIND INPUTS SECONDS SEED
"""

import contextlib
import faulthandler
import importlib
import json
import os
import pkgutil
import random
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.robustness.fuzzing import changes

ROOT = Path(__file__).resolve().parents[3]
ACCOUNT = "account.json"
MAX_SECONDS = 10  # for an input
MAX_BYTES = 60000  # of an input


@dataclass
class Account:
    """How many inputs were tried and taken, for how long [s], and the places of findings."""

    inputs: int = 0
    taken: int = 0
    found: list[str] = field(default_factory=list)
    seconds: int = 0


class Trial:
    """Inputs of a kind, each given to what reads it; its account is written again and again,
    because Atheris ends the process.
    """

    def __init__(self, kind: str, n: int, atheris: Any) -> None:
        from benchmarks.robustness.fuzzing import inputs, readers

        self.n, self.atheris, self.scratch = n, atheris, Path(tempfile.mkdtemp(dir="."))
        self.kind, self.read = kind, readers.KINDS[kind]
        self.seeds = inputs.seeds(kind, self.scratch)
        self.account, self.begin, self.written = Account(), time.monotonic(), 0.0

    def __call__(self, data: bytes) -> None:
        """Try one input."""
        from deepservo.errors import InputError

        self.account.inputs += 1
        try:
            with _silence(self.kind), contextlib.suppress(InputError):
                self.account.taken += self.read(data, self.scratch)
            left = [path.name for path in self.scratch.rglob(".*")]
            assert not left, f"left half-written: {left}"
        except Exception as error:
            _found(self.account, error, data)
        if self.account.inputs >= self.n or time.monotonic() - self.written > 1:
            self.written = time.monotonic()
            self.account.seconds = round(self.written - self.begin)
            Path(ACCOUNT).write_text(json.dumps(asdict(self.account)))

    def changed(self, data: bytes, size: int, seed: int) -> bytes:
        """An input changed, of at most `size` bytes. Inputs that reached new lines are mostly
        refused early, so every other input is one change away from a whole one.
        """
        rng = random.Random(seed)
        mutate = self.atheris and (lambda part: self.atheris.Mutate(part, len(part) + 64))
        begun = rng.choice(self.seeds) if rng.random() < 0.5 else bytes(data)
        return bytes(changes.changed(self.kind, begun, rng, mutate or _changer(rng))[:size])


def work(kind: str, n: int, seconds: int, seed: int) -> None:
    """Try n inputs of a kind, or as many as `seconds` allow."""
    try:
        import atheris
    except ImportError:
        atheris = None
    with atheris.instrument_imports(include=["deepservo"]) if atheris else contextlib.nullcontext():
        _import_all()
    trial = Trial(kind, n, atheris)
    for number, data in enumerate(trial.seeds):
        Path("corpus", f"seed-{number}").write_bytes(data)
    if atheris is None:
        _unguided(trial, seconds, seed)
        return
    words = [
        f"-runs={n}", f"-seed={seed}", f"-timeout={MAX_SECONDS}", f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}", "-mutate_depth=2", "-reduce_inputs=0", "-rss_limit_mb=8000",
        "-artifact_prefix=finding-", "-close_fd_mask=0", "corpus",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *words], trial, custom_mutator=trial.changed)
    atheris.Fuzz()


def _import_all() -> None:
    """Import every module that runs without a GPU, so that Atheris sees which lines are reached."""
    import deepservo

    for module in pkgutil.walk_packages(deepservo.__path__, "deepservo."):
        if module.name not in ("deepservo.__main__", "deepservo.images.sampler_gpu"):
            importlib.import_module(module.name)


def _found(account: Account, error: Exception, data: bytes) -> None:
    """Keep the first input of each place, and its traceback in the log."""
    whole = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in whole if frame.filename.startswith(str(ROOT / "src"))] or whole
    place = f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    place = re.sub(r"\W+", "-", str(error))[:80] if isinstance(error, AssertionError) else place
    if place not in account.found:
        name = f"finding-{len(account.found)}"
        Path(name).write_bytes(data)
        text = "".join(traceback.format_exception(error))
        print(f"{name}: {place}\n{text}", file=sys.stderr, flush=True)
        account.found.append(place)


@contextlib.contextmanager
def _silence(kind: str) -> Iterator[None]:
    """Whatever is printed meanwhile, by C code too, is a finding; the reader of command lines looks
    at their output itself.
    """
    if kind == "commands":
        yield
        return
    with tempfile.TemporaryFile() as output:
        kept = [os.dup(1), os.dup(2)]
        sys.stdout.flush()
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        try:
            yield
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)
        output.seek(0)
        printed = output.read()
    assert not printed, f"something was said: {printed[:400]!r}"


def _unguided(trial: Trial, seconds: int, seed: int) -> None:
    """The whole inputs, changed up to four times, whatever code they reach."""
    rng, begin = random.Random(seed), time.monotonic()
    corpus = [path.read_bytes() for path in sorted(Path("corpus").iterdir())]
    for _ in range(trial.n):
        if time.monotonic() - begin > seconds:
            break
        data = rng.choice(corpus)
        for _ in range(rng.randrange(5)):
            data = trial.changed(data, MAX_BYTES, rng.randrange(2**32))
        faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
        trial(data)
        faulthandler.cancel_dump_traceback_later()


def _changer(rng: random.Random) -> Callable[[bytes], bytes]:
    """Changes, cuts out or doubles bytes."""

    def change(data: bytes) -> bytes:
        at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 16, 64))
        new = rng.choice((rng.randbytes(size), b"", data[at : at + size] * 2))
        return data[:at] + new + data[at + size :]

    return change


if __name__ == "__main__":
    work(sys.argv[1], *map(int, sys.argv[2:]))
