"""All C of the inner loops: loads it, and shares its work among torch's threads.

An installed wheel has libraries for several instruction sets, of which the best for this processor
is loaded. A source checkout compiles one at first use, with whatever C compiler the machine has.
Without either everything works, slower, and one warning says so.
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
    """The compiled C, or None (after one warning) where there is none and it cannot be built."""
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
    """The fields of a C struct: each line a kind and the names of that kind."""
    return [(name, KINDS[kind]) for kind, *names in map(str.split, lines) for name in names]


class _Team(ctypes.Structure):
    """`Team` of team.c."""

    _fields_ = fields("* work arguments", "i64 count parts next")


PARTS = 4  # of work for each thread


def run(work: Any, arguments: ctypes.Structure, count: int, least: int = 1) -> None:
    """`work(arguments, begin, end)` in C over all of `count`, on as many threads as torch has, each
    of which gets `least` or more.

    The threads are torch's own: those that it has just used spin for milliseconds, and others would
    wait for a core meanwhile.
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
    """The OpenMP runtime whose threads torch uses, where it is one that can be called: GNU's, or
    one that stands in for it.
    """
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
    """Threads of our own, kept."""
    return ThreadPoolExecutor(threads, thread_name_prefix="deepservo")
