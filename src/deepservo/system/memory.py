"""How much memory this process may still take: checked before anything large is allocated."""

import contextlib
import resource
from pathlib import Path

from deepservo.errors import InputError

GROUP = Path("/sys/fs/cgroup")
LARGE = 2**28  # bytes; less is not checked, since a check takes a moment
# in libraries' words
OUT = (
    "can't allocate memory",
    "not enough memory",
    "Insufficient memory",
    "out of memory",
    "Failed to allocate",
)


def available() -> int:
    """Bytes that this process may still take: the least of what is free, of its group's limit, and
    of its own (`ulimit -v`).
    """
    left = [_free(), *_of_group()]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        left.append(limit - _own())
    return max(0, min(left))


def check(needed: int, what: str, remedy: str) -> None:
    """InputError where `what` needs more bytes than there are: in gigabytes, and the remedy."""
    if needed < LARGE:
        return
    there = available()
    if needed > there:
        raise InputError(
            f"{what} needs {needed / 1e9:.1f} GB of memory, and {there / 1e9:.1f} GB are free; "
            f"{remedy}"
        )


def ran_out(error: BaseException) -> bool:
    """Whether an exception means that no memory was left."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT)


def _free() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 2**62  # a system that does not tell


def _of_group() -> list[int]:
    """Bytes that a control group with a limit leaves; cached files count as free."""
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        with contextlib.suppress(OSError, ValueError):
            words = dict(line.split() for line in (GROUP / stat).read_text().splitlines())
            cached = int(words.get("inactive_file", words.get("total_inactive_file", 0)))
            return [int((GROUP / limit).read_text()) - int((GROUP / used).read_text()) + cached]
    return []


def _own() -> int:
    """Address space that this process has."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 0
