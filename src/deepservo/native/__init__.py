"""Loads the C of the inner loops, and runs it on torch's threads.

An installed wheel has libraries for several instruction sets, of which the best for this processor
is loaded. A source checkout compiles one at first use with the machine's C compiler. Without either
everything works, slower, after one warning.
"""

import ctypes
import functools
import re
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from deepservo.native import build

SLOWER = "so torch renders and registers pictures, about 20 times slower"


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled C; None, after one warning, where there is none and it cannot be built."""
    path, by = build.shipped(), build.compiler()
    try:
        if path is None:
            path = build.cached()
            if not path.exists():
                if by is None:
                    warnings.warn(
                        f"deepservo: no C compiler found (cc, gcc or clang), {SLOWER}", stacklevel=2
                    )
                    return None
                build.compiled(by, build.own_flags(), path)
        lib = ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[:1]
        warnings.warn(
            f"deepservo: {by} could not build the C files ({' '.join(detail)}), {SLOWER}",
            stacklevel=2,
        )
        return None
    lib.team_member.argtypes, lib.team_member.restype = [ctypes.c_void_p], None
    return lib


KINDS = {
    "*": ctypes.c_void_p,
    "i32": ctypes.c_int32,
    "i64": ctypes.c_int64,
    "f32": ctypes.c_float,
    "f64": ctypes.c_double,
}


def fields(*lines: str) -> list[tuple[str, type]]:
    """The fields of a C struct: each line is one of KINDS and the names of its fields."""
    return [(name, KINDS[kind]) for kind, *names in map(str.split, lines) for name in names]


class _Team(ctypes.Structure):
    """What `team_member` of team.c reads and writes."""

    _fields_ = fields("* work arguments", "i64 count parts next")


PARTS_PER_THREAD = 4  # pieces of work for each thread, so that none waits long for another


def run(work: Any, arguments: ctypes.Structure, count: int, least: int = 1) -> None:
    """Call `work(arguments, begin, end)` in C for parts of 0 .. count, on torch's threads.

    There are as many threads as torch has, each with at least `least` of the count. The threads are
    torch's own: those that it has just used spin for milliseconds, and others would wait for a core
    meanwhile.
    """
    threads = max(1, min(torch.get_num_threads(), count // least))
    parts = min(count, PARTS_PER_THREAD * threads) if threads > 1 else 1
    team = _Team(ctypes.cast(work, ctypes.c_void_p), ctypes.addressof(arguments), count, parts, 0)
    lib = library()
    assert lib is not None, "`work` is of the library"
    member, openmp = lib.team_member, _openmp()
    if threads == 1:
        member(ctypes.addressof(team))
    elif openmp is not None:
        openmp.GOMP_parallel(member, ctypes.addressof(team), threads, 0)
    else:
        list(pool(threads).map(member, [ctypes.addressof(team)] * threads))


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that torch uses, where it has GNU's interface; None for another."""
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
        loaded = {line.split()[-1] for line in maps if re.search(r"/lib(gomp|iomp5|omp)\b", line)}
        runtime = ctypes.CDLL(min(loaded, key=lambda path: ("/torch" not in path, path)))
        runtime.GOMP_parallel.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_uint,
        ]
        runtime.GOMP_parallel.restype = None
    except (OSError, ValueError, AttributeError):
        return None
    return runtime


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """A pool of so many threads, which is kept."""
    return ThreadPoolExecutor(threads, thread_name_prefix="deepservo")
