"""One .safetensors file a model: weights, the learned picture, and how it was made, as JSON. Strict, and never executed."""

import json
import os
import struct
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deepservo.errors import InputError

FORMAT = 1


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the name `path` when the block ends well and vanishes otherwise."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        os.replace(beside, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); free some space or choose another place") from None
    finally:
        beside.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """InputError when no file can be made at `path`: told before the work whose result would be lost."""
    folder = next(p for p in path.absolute().parents if p.exists())
    if not folder.is_dir():
        raise InputError(f"{path}: cannot be written ({folder} is a file); choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written (no permission in {folder}); choose another place")


def check_folder(out: Path, ours: Collection[str]) -> None:
    """InputError when `out` cannot be a folder of files `ours`: a file, a folder that holds others, or a place without permission."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the results")
    unfinished = tuple(f".{name}." for name in ours)  # what a kill in the middle of writing leaves
    others = sorted(p.name for p in out.iterdir() if p.name not in ours and not p.name.startswith(unfinished)) if out.is_dir() else []
    check_writable(out / "results.json")
    if others:
        raise InputError(f"{out}: holds other things ({', '.join(others[:3])}); give a new or an empty folder")


def save(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write tensors and their configuration to `path`, beside and renamed."""
    with replacing(Path(path)) as beside:
        metadata = {"deepservo": json.dumps({"format": FORMAT, **config}, allow_nan=False)}
        try:
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, beside, metadata)
        except safetensors.SafetensorError as error:  # its word for a full disk too
            raise InputError(f"{path}: cannot be written ({error}); free some space or choose another place") from None


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration of a file that `save` wrote.

    Raises InputError when it is missing, truncated, foreign, or from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such model; make one with: deepservo learn PICTURE --out {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            config = _configuration(file.metadata() or {}, path)
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except InputError:
        raise
    except (safetensors.SafetensorError, OSError, struct.error, ValueError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}); copy it again or train it anew") from None
    return tensors, config


def _configuration(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        config = json.loads(metadata["deepservo"])
        version = int(config["format"])
        if not isinstance(config.get("method", ""), str):
            raise TypeError("the method's name")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise InputError(f"{path}: was not made by deepservo; give a model that `deepservo learn` wrote") from None
    if version > FORMAT:
        raise InputError(f"{path}: has format {version}, this deepservo reads up to {FORMAT}; install a newer deepservo")
    return config


def load_weights(net: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Fill a network, strictly: InputError names the first tensor that is missing, too many, of another shape or not finite.

    A network on the meta device takes the tensors over, so that a file's claims cost no memory before they are checked.
    """
    wanted = net.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise InputError(f"{path}: the weights {name} are missing; train the model anew")
        if (tensors[name].shape, tensors[name].dtype) != (tensor.shape, tensor.dtype):
            is_, should = (f"{tuple(t.shape)} of {t.dtype}" for t in (tensors[name], tensor))
            raise InputError(f"{path}: the weights {name} have shape {is_}, not {should}; train the model anew")
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise InputError(f"{path}: the weights {name} are not finite; train the model anew")
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise InputError(f"{path}: holds the unknown weights {extra[0]}; train the model anew")
    net.load_state_dict(tensors, assign=any(t.is_meta for t in wanted.values()))
