"""A pickle that runs code, and model files with changed contents."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return open, ("executed", "w")


def rewritten(
    files: Path,
    path: Path,
    tensors: Callable[[dict], Any] = lambda t: t,
    config: Callable[[dict], Any] = lambda c: c,
) -> None:
    """The model of `files` with its tensors or its description changed."""
    with safe_open(files / "model.safetensors", "pt") as file:
        description = json.loads(file.metadata()["deepservo"])
    found, described = load_file(files / "model.safetensors"), description
    found, described = tensors(found) or found, config(described) or described
    save_file(
        found,
        path,
        {"deepservo": described if isinstance(described, str) else json.dumps(described)},
    )


def bytes_of(files: Path) -> bytes:
    return (files / "model.safetensors").read_bytes()
