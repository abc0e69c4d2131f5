"""Compiles the C of the inner loops (`*.c`), into a wheel or at first use.

A wheel has libraries for several instruction sets; at first use it is compiled for this processor.
It imports the standard library alone: `setup.py` reads this file before anything is installed.
"""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SOURCES, HEADERS = (tuple(sorted(HERE.glob(kind))) for kind in ("*.c", "*.h"))
FLAGS = (
    "-O3 -fno-math-errno -fno-trapping-math -fno-signed-zeros -ffinite-math-only "
    "-fopenmp-simd -fPIC"
).split()
# Compilers prefer vectors of 256 bits, which is slower here.
WIDE = "-mprefer-vector-width=512"
# The instruction sets that a wheel has a library for, by machine, the best first: the compiler's
# flags, and what the processor must have, in the words of /proc/cpuinfo. Only Linux has that file;
# elsewhere the last one of the machine is used.
SETS: dict[str, dict[str, tuple[list[str], str]]] = {
    "x86_64": {
        "v4": (
            ["-march=x86-64-v4", WIDE],
            "avx512f avx512bw avx512cd avx512dq avx512vl avx2 fma bmi2",
        ),
        "v3": (["-march=x86-64-v3"], "avx2 fma bmi1 bmi2 f16c movbe abm"),
        "v2": (["-march=x86-64-v2"], "sse4_2 popcnt"),
    },
    "aarch64": {"v8": (["-march=armv8-a"], "")},
    "arm64": {"v8": ([], "")},
}


def machine() -> str:
    """The machine's name in SETS."""
    return {"AMD64": "x86_64"}.get(platform.machine(), platform.machine())


def processor() -> str:
    """The processor's features as text."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


@functools.cache
def digest() -> str:
    """A digest of the C sources: a library that was compiled from others is not used."""
    return hashlib.sha256(
        "\0".join(path.read_text() for path in (*SOURCES, *HEADERS)).encode()
    ).hexdigest()[:16]


def compiler() -> str | None:
    """The C compiler's path; None where there is none."""
    return (
        os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    )


def compiled(by: str, flags: list[str], target: Path) -> None:
    """Compile all C into the library `target`, which appears whole or not at all.

    Raises OSError or CalledProcessError where the compiler fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        built = Path(scratch) / target.name
        command = [by, *FLAGS, *flags, "-shared", "-o", str(built), *map(str, SOURCES), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        os.replace(built, target)


def into_wheel(folder: Path) -> list[Path]:
    """Compile a library for each of the machine's instruction sets into `folder`.

    Those that cannot be compiled are left out; all of them where there is no compiler.
    """
    by, made = compiler(), list[Path]()
    if by is None or os.name != "posix":
        return made
    for name, (flags, _) in SETS.get(machine(), {}).items():
        target = _library(folder, name)
        try:
            compiled(by, flags, target)
        except (OSError, subprocess.CalledProcessError) as error:
            print(
                f"deepservo: no library for {name} ({getattr(error, 'stderr', None) or error})",
                file=sys.stderr,
            )
            continue
        made.append(target)
    return made


def _library(folder: Path, name: str) -> Path:
    """The path of an instruction set's library in a wheel."""
    return folder / f"deepservo-{name}-{digest()}.so"


def shipped() -> Path | None:
    """The wheel's best library for this processor and these sources; None where there is none."""
    able = set(processor().split())
    for name, (_, needed) in SETS.get(machine(), {}).items():
        path = _library(HERE, name)
        if path.is_file() and set(needed.split()) <= able:
            return path
    return None


def cached() -> Path:
    """The path of the library that is compiled at first use, in the user's cache.

    Its name depends on the sources, the flags and the processor, so that machines with a common
    home folder do not use each other's.
    """
    key = "\0".join([digest(), *FLAGS, WIDE, platform.machine(), processor()])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepservo"
    return cache / f"deepservo-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"


def own_flags() -> list[str]:
    """The compiler's flags for this processor."""
    return ["-march=native", *([WIDE] if machine() == "x86_64" else [])]
