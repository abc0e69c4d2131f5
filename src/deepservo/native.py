"""Builds and loads the C of the inner loops (`*.c`) with whatever C compiler the machine has.

The library is built once into the user's cache, named by its source, its flags and the processor, so that a home shared
between machines never runs another's instructions. Without a compiler everything works, slower, and one warning says so.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    i32, i64, pointer = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
    lib.sample_rows.argtypes = [pointer, i64, i64, pointer, *[i32] * 5, *[pointer] * 5, *[i32] * 3, i64, i64]
    lib.sample_rows.restype = None
    lib.registration_runs.argtypes = [
        pointer, i32, i32, *[pointer] * 5, i64, *[pointer] * 3, i32, i32, *[pointer] * 8, i32, pointer, i64, i64,
    ]  # fmt: skip
    lib.registration_runs.restype = None
    real = ctypes.c_float
    lib.luminance_runs.argtypes = [pointer, pointer, i64, real, real, pointer, *[i32] * 3, pointer, pointer, i64, i64]
    lib.luminance_runs.restype = None
    lib.projection_runs.argtypes = [pointer, pointer, i32, pointer, pointer, *[i32] * 3, pointer, i64, i64, i64]
    lib.projection_runs.restype = None
    return lib


def parallel(work: Callable[[int, int], None], count: int) -> None:
    """`work(begin, end)` over all of `count`, cut into one part a thread of torch's (the C runs without the lock)."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
    else:
        cuts = [count * k // threads for k in range(threads + 1)]
        list(_pool(threads).map(work, cuts[:-1], cuts[1:]))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="deepservo")
