"""How far a training is, and the checkpoint that a stopped training goes on from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepservo.errors import InputError
from deepservo.models import checkpoint


@dataclass
class Progress:
    """How far a training is: what is shown, and what the model file keeps of it."""

    step: int
    steps: int
    seconds: float
    loss: list[tuple[int, float]] = field(default_factory=list)
    exams: list[tuple[int, int]] = field(default_factory=list)
    """Of each, the step and how many runs came home."""
    doing: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """The file that a training goes on from, and the settings that the file belongs to."""

    path: Path
    settings: dict[str, Any]

    def keep(self, net: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write the weights, the optimizer's state and the progress."""
        tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
        names = [name for name, _ in net.named_parameters()]
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{names[index]}.{k}": torch.as_tensor(v) for k, v in state.items()}
        where = {
            "step": progress.step,
            "steps": progress.steps,
            "seconds": progress.seconds,
            "loss": progress.loss,
            "exams": progress.exams,
        }
        checkpoint.save(self.path, tensors, {"partial": self.settings, "progress": where})

    def restore(self, net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Progress:
        """Read the weights and the optimizer's state, in place, and the progress.

        Raises InputError when the file was made with other settings or another number of steps, or
        is garbled.
        """
        tensors, found = checkpoint.load(self.path)
        settings, recorded = _settings(found, self.path)
        if settings != self.settings or recorded != steps:
            different = [k for k, v in self.settings.items() if settings.get(k) != v] or ["steps"]
            raise InputError(
                f"{self.path}: was made with another {', '.join(different)}; use the same "
                "settings, or start anew without --resume"
            )
        weights = {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        checkpoint.load_weights(net, weights, self.path)
        state = _optimizer_state(net, tensors, self.path)
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
        try:
            where = found["progress"]
            loss = [(int(step), float(value)) for step, value in where["loss"]]
            exams = [(int(step), int(home)) for step, home in where["exams"]]
            return Progress(int(where["step"]), steps, float(where["seconds"]), loss, exams)
        except (KeyError, TypeError, ValueError) as error:
            raise _garbled(self.path, error) from None


def partial_of(out: Path) -> Path:
    """Where the checkpoint of the training that makes `out` stands."""
    return out.with_name(out.name + ".partial")


def peek(partial: Path) -> tuple[dict[str, Any], int]:
    """The settings of a checkpoint, and its recorded number of steps."""
    _, config = checkpoint.load(partial)
    return _settings(config, partial)


def _settings(config: dict[str, Any], partial: Path) -> tuple[dict[str, Any], int]:
    if "partial" not in config:
        raise InputError(
            f"{partial}: is a finished model, not a checkpoint of a training; remove --resume"
        )
    try:
        return {**config["partial"]}, int(config["progress"]["steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise _garbled(partial, error) from None


def _garbled(partial: Path, error: Exception) -> InputError:
    return InputError(
        f"{partial}: its description lacks or garbles {error}; start anew without --resume"
    )


def _optimizer_state(
    net: nn.Module, tensors: dict[str, Tensor], partial: Path
) -> dict[int, dict[str, Tensor]]:
    """The state of each parameter, by the parameter's number; InputError for a wrong shape."""
    state = {}
    for index, (name, parameter) in enumerate(net.named_parameters()):
        prefix = f"adam.{name}."
        keys = [k for k in tensors if k.startswith(prefix) and "." not in k[len(prefix) :]]
        if any(tensors[k].shape not in (parameter.shape, torch.Size()) for k in keys):
            raise InputError(
                f"{partial}: the optimizer's state of {name} has another shape; start anew "
                "without --resume"
            )
        if keys:
            state[index] = {k[len(prefix) :]: _laid_out(tensors[k], parameter) for k in keys}
    return state


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A tensor of the optimizer in the memory format of its parameter (channels last).

    So a resumed step runs the same instructions as an uninterrupted one.
    """
    return (
        torch.empty_like(parameter).detach().copy_(tensor)
        if tensor.shape == parameter.shape
        else tensor.clone()
    )
