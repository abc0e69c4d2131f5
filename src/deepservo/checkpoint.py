"""One .safetensors file a model: weights, the learned picture, and how it was made, as JSON. Strict, and never executed."""

import json
import os
import struct
import tempfile
from collections.abc import Iterator
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


def save(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write tensors and their configuration to `path`, beside and renamed."""
    with replacing(Path(path)) as beside:
        metadata = {"deepservo": json.dumps({"format": FORMAT, **config}, allow_nan=False)}
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, beside, metadata)


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration of a file that `save` wrote.

    Raises InputError when it is missing, truncated, foreign, or from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such model; make one with: deepservo learn PICTURE --out {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, struct.error, ValueError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}); copy it again or train it anew") from None
    try:
        config = json.loads(metadata["deepservo"])
        version = int(config["format"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: was not made by deepservo; give a model that `deepservo learn` wrote") from None
    if version > FORMAT:
        raise InputError(f"{path}: has format {version}, this deepservo reads up to {FORMAT}; install a newer deepservo")
    return tensors, config


def load_weights(net: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Fill a network, strictly: InputError names the first tensor that is missing, too many, of another shape or not finite."""
    wanted = net.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise InputError(f"{path}: the weights {name} are missing; train the model anew")
        if tensors[name].shape != tensor.shape:
            raise InputError(f"{path}: the weights {name} have shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}; train the model anew")
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise InputError(f"{path}: the weights {name} are not finite; train the model anew")
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise InputError(f"{path}: holds the unknown weights {extra[0]}; train the model anew")
    net.load_state_dict(tensors)
