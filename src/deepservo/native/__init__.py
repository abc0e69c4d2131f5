"""Builds and loads the C of the inner loops (`*.c`) with whatever C compiler the machine has.

The library is built once into the user's cache, named by its source, its flags and the processor, so that a home shared
between machines never runs another's instructions. Without a compiler everything works, slower, and one warning says so.
"""

import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

FLAGS = "-O3 -march=native -fno-math-errno -fno-trapping-math -fno-signed-zeros -ffinite-math-only -fopenmp-simd -shared -fPIC".split()
HERE = Path(__file__).parent
SOURCES, HEADERS = (tuple(sorted(HERE.glob(kind))) for kind in ("*.c", "*.h"))


def _processor() -> str:
    """What the processor can do, as text."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepservo"


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled C, or None (after one warning) where it cannot be built."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        warnings.warn(
            "deepservo: no C compiler found (cc, gcc or clang), so torch renders and registers pictures, about 20 times slower",
            stacklevel=2,
        )
        return None
    texts = [path.read_text() for path in (*SOURCES, *HEADERS)]
    key = "\0".join([*texts, " ".join(FLAGS), platform.machine(), _processor()])
    name = f"deepservo-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    try:
        target = _cache() / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                built = Path(scratch) / name
                flags = [*FLAGS, "-mprefer-vector-width=512"] if platform.machine() == "x86_64" else FLAGS
                subprocess.run([compiler, *flags, "-o", str(built), *map(str, SOURCES), "-lm"], check=True, capture_output=True, text=True)
                os.replace(built, target)
        lib = ctypes.CDLL(str(target))
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[:1]
        warnings.warn(
            f"deepservo: {compiler} could not build the C files ({' '.join(detail)}), so torch renders and registers "
            "pictures, about 20 times slower",
            stacklevel=2,
        )
        return None
    lib.team_member.argtypes, lib.team_member.restype = [ctypes.c_void_p], None
    return lib


KINDS = {"*": ctypes.c_void_p, "i32": ctypes.c_int32, "i64": ctypes.c_int64, "f32": ctypes.c_float, "f64": ctypes.c_double}


def fields(*lines: str) -> list[tuple[str, type]]:
    """The fields of a C struct: each line a kind and the names of that kind."""
    return [(name, KINDS[kind]) for kind, *names in map(str.split, lines) for name in names]


class _Team(ctypes.Structure):
    """`Team` of team.c."""

    _fields_ = fields("* work arguments", "i64 count parts next")


PARTS = 4  # of work for each thread


def run(work: Any, arguments: ctypes.Structure, count: int, least: int = 1) -> None:
    """`work(arguments, begin, end)` in C over all of `count`, on as many threads as torch has, each of which gets `least` or more.

    The threads are torch's own: those that it has just used spin for milliseconds, and others would wait for a core meanwhile.
    """
    threads = max(1, min(torch.get_num_threads(), count // least))
    parts = min(count, PARTS * threads) if threads > 1 else 1
    team = _Team(ctypes.cast(work, ctypes.c_void_p), ctypes.addressof(arguments), count, parts, 0)
    member, openmp = library().team_member, _openmp()  # type: ignore[union-attr]  # whoever has `work` has the library
    if threads == 1:
        member(ctypes.addressof(team))
    elif openmp is not None:
        openmp.GOMP_parallel(member, ctypes.addressof(team), threads, 0)
    else:
        list(pool(threads).map(member, [ctypes.addressof(team)] * threads))


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime whose threads torch uses, where it is one that can be called: GNU's, or one that stands in for it."""
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
        loaded = {line.split()[-1] for line in maps if re.search(r"/lib(gomp|iomp5|omp)\b", line)}
        runtime = ctypes.CDLL(min(loaded, key=lambda path: ("/torch" not in path, path)))
        runtime.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        runtime.GOMP_parallel.restype = None
    except (OSError, ValueError, AttributeError):
        return None
    return runtime


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads of our own, kept."""
    return ThreadPoolExecutor(threads, thread_name_prefix="deepservo")
