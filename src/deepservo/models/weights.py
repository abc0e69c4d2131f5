"""ImageNet weights that the user has, saved from torchvision: `torch.save(model.state_dict(),
FILE)`, or the same as safetensors.
"""

import pickle
import zipfile
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from deepservo.errors import InputError
from deepservo.nets.backbones import Backbone


def load_backbone(net: Backbone, name: str, path: Path) -> None:
    """Fill a backbone from a file; what named ImageNet's classes is left out. Nothing in the file
    is executed.

    Raises InputError when the file is missing or no state dict, or where its weights are not this
    backbone's; it names the first that differs.
    """
    if not net.last:
        raise InputError(
            f"{path}: {name} is deepservo's own and has no weights elsewhere; leave --weights "
            "away, or choose another --backbone"
        )
    found = {k: v for k, v in _read(path).items() if not k.startswith(f"{net.last}.")}
    for key, wanted in net.state_dict().items():
        if key not in found:
            # which older files lack, and which only a training that averages evenly reads
            if key.endswith("num_batches_tracked"):
                found[key] = wanted
                continue
            raise InputError(
                f"{path}: is not for {name}: it lacks {key}{_instead(found, net)}; save the "
                f"weights of torchvision's {name}"
            )
        if found[key].shape != wanted.shape:
            shapes = f"{tuple(found[key].shape)}, not {tuple(wanted.shape)}"
            raise InputError(
                f"{path}: is not for {name}: {key} has shape {shapes}; save the weights of "
                f"torchvision's {name}"
            )
        if not torch.isfinite(found[key]).all():
            raise InputError(f"{path}: {key} is not finite; save the weights again")
    more = sorted(set(found) - set(net.state_dict()))
    if more:
        raise InputError(
            f"{path}: is not for {name}, which has no {more[0]}; save the weights of "
            f"torchvision's {name}"
        )
    net.load_state_dict(found)


def _instead(found: dict[str, Tensor], net: Backbone) -> str:
    """What the file has that the network lacks, in words."""
    known = net.state_dict()
    other = next((key for key in found if key not in known), None)
    return f" and has {other}" if other else ""


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; save weights with torch.save(model.state_dict(), {str(path)!r})"
        )
    try:
        found = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, "cpu", weights_only=True)
        )
    except (
        safetensors.SafetensorError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as weights ({why}); save a state dict: "
            "torch.save(model.state_dict(), FILE)"
        ) from None
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    ):
        raise InputError(
            f"{path}: holds no state dict; save one with torch.save(model.state_dict(), FILE)"
        )
    return found
