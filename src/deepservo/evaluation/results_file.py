"""The file of results, and the machine and the memory that they were measured on."""

import contextlib
import json
import os
import platform
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from deepservo.system.files import replacing
from deepservo.version import __version__


def write_results(
    path: Path, rows: list[dict[str, Any]], head: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """results.json, beside and renamed, a row a line: `head`, the machine, the version of
    deepservo, and the rows.
    """
    first = json.dumps(
        {**head, "machine": machine(), "version": __version__}, indent=1, allow_nan=False
    ).removesuffix("\n}")
    body = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in rows)
    with replacing(path) as beside:
        beside.write_text(f'{first},\n "rows": [\n{body}\n ]\n}}\n')


def reset_peak() -> None:
    """Let `peak_mb` count from now on. Only on Linux; elsewhere it counts from the start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """The most memory the process has held since `reset_peak` [MB]."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            1024**2 if sys.platform == "darwin" else 1024
        )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }


def _processor() -> str:
    """The processor's model; on Linux, where `platform` knows only its kind, as /proc/cpuinfo has
    it.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return (
            next(line for line in lines if line.startswith("model name")).split(":", 1)[1].strip()
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
