"""A GPU that is none: tensors are kept and worked on by the processor, and labelled with the device
that they would be on.

What a GPU refuses is refused here too: an operation on tensors of two devices, an array made of a
tensor that is not the processor's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
HOST = {"numpy", "__array__"}
ASKS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "is_nonzero"}
MOVES = {"copy_", "to", "__deepcopy__", "_has_compatible_shallow_copy_type"}
INDEXES = {"__getitem__", "__setitem__", "index_put_", "index_select"}


class Generator(torch.Generator):
    """On the GPU, as far as anybody can tell, where nothing else is asked."""

    device = GPU  # type: ignore[assignment]

    def __new__(cls, device: torch.device | str = GPU) -> torch.Generator:  # type: ignore[misc]
        return super().__new__(cls if str(device).startswith("cuda") else torch._C.Generator)


class Pretended(TorchFunctionMode):
    """Inside, whatever is made without a device is on the GPU. asked: how often the processor
    waited for a number from there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def of(self, tensor: Tensor) -> torch.device:
        """Where a tensor is: one that was made outside is the processor's, but for a network's
        weights.
        """
        return getattr(tensor, "_pretended", GPU if isinstance(tensor, torch.nn.Parameter) else CPU)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Work, label what comes of it, refuse what a GPU would."""
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", str(func))
        if func == torch.Tensor.device.__get__:
            return self.of(args[0])
        if name == "_parse_to":  # a network reads what it is told
            return func(*args, **kwargs)
        if name == "__get__":  # of another property
            return self._labelled(func(*args, **kwargs), self.of(args[0]))
        if func == torch.Tensor.data.__set__:  # as a network's own move does
            args[0]._pretended = self.of(args[1])
            return func(*args, **kwargs)
        args, kwargs, asked = self._asked(name, args, kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        where = {self.of(t) for t in tensors}
        self._refuse(name, tensors, where)
        answer = func(*args, **kwargs)
        if name in ("cpu", "to", "cuda") and any(answer is t for t in tensors):
            answer = answer.view_as(answer)  # a copy would be another tensor
        if name == "cpu":
            asked = CPU
        elif name == "copy_" or name.endswith("_like"):
            asked = asked or self.of(args[0])
        return self._labelled(answer, asked or (GPU if GPU in where or not tensors else CPU))

    def _asked(
        self, name: str, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any], torch.device | None]:
        """The device that a call names, and the call with the processor in its place."""
        if name == "to" and len(args) > 1 and isinstance(args[1], str):
            args = (args[0], torch.device(args[1]), *args[2:])
        if isinstance(kwargs.get("device"), str):
            kwargs["device"] = torch.device(kwargs["device"])
        asked = next(
            (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.device)), None
        )
        return *tree_map(
            lambda leaf: CPU if isinstance(leaf, torch.device) else leaf, (args, kwargs)
        ), asked

    def _refuse(self, name: str, tensors: list[Tensor], where: set[torch.device]) -> None:
        if name in HOST and GPU in where:
            raise TypeError(
                f"{name}: can't convert a tensor of the GPU to an array; copy it to the processor "
                "first"
            )
        mixed = {self.of(t) for t in tensors if t.dim() > 0}
        if name in INDEXES and self.of(tensors[0]) == GPU:
            mixed -= {CPU}
        if len(mixed) > 1 and name not in MOVES:
            raise RuntimeError(
                f"{name}: expected all tensors on one device, found "
                f"{', '.join(map(str, sorted(mixed, key=str)))}"
            )
        self.asked += name in ASKS and GPU in where

    def _labelled(self, answer: Any, label: torch.device) -> Any:
        for leaf in tree_leaves(answer):
            if isinstance(leaf, Tensor) and not hasattr(leaf, "_pretended"):
                leaf._pretended = label  # type: ignore[attr-defined]
        return answer


@contextmanager
def pretended_gpu() -> Iterator[Pretended]:
    """In the block there is a GPU, and it is torch's default device."""
    with pytest.MonkeyPatch.context() as patch, Pretended() as mode:
        patch.setattr(torch, "get_default_device", lambda: GPU)
        patch.setattr(torch, "Generator", Generator)
        from_numpy = torch.from_numpy
        patch.setattr(torch, "from_numpy", lambda array: mode._labelled(from_numpy(array), CPU))
        yield mode
