"""One .safetensors file a model: weights, the learned picture, and how it was made, as JSON.
Strict, and never executed.
"""

import json
import struct
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deepservo.errors import InputError
from deepservo.system.files import replacing

FORMAT = 2  # the newest that is read; scenes with depth have it, all else 1


def save(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write tensors and their configuration to `path`, beside and renamed.

    The configuration may give another `format` than 1.
    """
    with replacing(Path(path)) as beside:
        metadata = {"deepservo": json.dumps({"format": 1, **config}, allow_nan=False)}
        try:
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, beside, metadata)
        except safetensors.SafetensorError as error:  # its word for a full disk too
            raise InputError(
                f"{path}: cannot be written ({error}); free some space or choose another place"
            ) from None


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration of a file that `save` wrote.

    Raises InputError when it is missing, truncated, foreign, or from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such model; make one with: deepservo learn PICTURE --out {path}"
        )
    try:
        with safetensors.safe_open(path, "pt") as file:
            config = _configuration(file.metadata() or {}, path)
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except InputError:
        raise
    except (safetensors.SafetensorError, OSError, struct.error, ValueError) as error:
        raise InputError(
            f"{path}: is not a whole safetensors file ({error}); copy it again or train it anew"
        ) from None
    return tensors, config


def _configuration(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        config = json.loads(metadata["deepservo"])
        version = int(config["format"])
        if not isinstance(config.get("method", ""), str):
            raise TypeError("the method's name")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise InputError(
            f"{path}: was not made by deepservo; give a model that `deepservo learn` wrote"
        ) from None
    if version > FORMAT:
        raise InputError(
            f"{path}: has format {version}, this deepservo reads up to {FORMAT}; install a newer "
            "deepservo"
        )
    return config


def load_weights(net: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Fill a network, strictly: InputError names the first tensor that is missing, too many, of
    another shape or not finite.

    A network on the meta device takes the tensors over, so that a file's claims cost no memory
    before they are checked.
    """
    wanted = net.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise InputError(f"{path}: the weights {name} are missing; train the model anew")
        if (tensors[name].shape, tensors[name].dtype) != (tensor.shape, tensor.dtype):
            is_, should = (f"{tuple(t.shape)} of {t.dtype}" for t in (tensors[name], tensor))
            raise InputError(
                f"{path}: the weights {name} have shape {is_}, not {should}; train the model anew"
            )
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise InputError(f"{path}: the weights {name} are not finite; train the model anew")
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise InputError(f"{path}: holds the unknown weights {extra[0]}; train the model anew")
    net.load_state_dict(tensors, assign=any(t.is_meta for t in wanted.values()))
