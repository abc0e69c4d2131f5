"""A pretended GPU: the processor keeps and computes the tensors, and each has the label of the
device that it would be on.

What a GPU refuses is refused here too: an operation on tensors of two devices, and a NumPy array
made of a tensor on the GPU.
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
WAITS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "is_nonzero"}
MOVES = {"copy_", "to", "__deepcopy__", "_has_compatible_shallow_copy_type"}
INDEXES = {"__getitem__", "__setitem__", "index_put_", "index_select"}


class Generator(torch.Generator):
    """A generator that says it is on the GPU, unless another device is named."""

    device = GPU  # type: ignore[assignment]

    def __new__(cls, device: torch.device | str = GPU) -> torch.Generator:  # type: ignore[misc]
        return super().__new__(cls if str(device).startswith("cuda") else torch._C.Generator)


class Pretended(TorchFunctionMode):
    """In this mode, a tensor that is made without a device is on the GPU.

    waits: how often the processor waited for a number from the GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def of(self, tensor: Tensor) -> torch.device:
        """The device of a tensor. One made outside of the mode is on the processor, unless it is a
        network's weight.
        """
        return getattr(tensor, "_pretended", GPU if isinstance(tensor, torch.nn.Parameter) else CPU)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, label the result, refuse what a GPU would refuse."""
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", str(func))
        if func == torch.Tensor.device.__get__:
            return self.of(args[0])
        if name == "_parse_to":  # a network reads the arguments of its own `to`
            return func(*args, **kwargs)
        if name == "__get__":  # of another property
            return self._labelled(func(*args, **kwargs), self.of(args[0]))
        if func == torch.Tensor.data.__set__:  # as a network's own move does
            args[0]._pretended = self.of(args[1])
            return func(*args, **kwargs)
        args, kwargs, device = self._device(name, args, kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        where = {self.of(t) for t in tensors}
        self._refuse(name, tensors, where)
        answer = func(*args, **kwargs)
        if name in ("cpu", "to", "cuda") and any(answer is t for t in tensors):
            answer = answer.view_as(answer)  # a copy would be another tensor
        if name == "cpu":
            device = CPU
        elif name == "copy_" or name.endswith("_like"):
            device = device or self.of(args[0])
        return self._labelled(answer, device or (GPU if GPU in where or not tensors else CPU))

    def _device(
        self, name: str, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any], torch.device | None]:
        """The device that a call names, and the call with the processor in its place."""
        if name == "to" and len(args) > 1 and isinstance(args[1], str):
            args = (args[0], torch.device(args[1]), *args[2:])
        if isinstance(kwargs.get("device"), str):
            kwargs["device"] = torch.device(kwargs["device"])
        device = next(
            (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.device)), None
        )
        return *tree_map(
            lambda leaf: CPU if isinstance(leaf, torch.device) else leaf, (args, kwargs)
        ), device

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
        self.waits += name in WAITS and GPU in where

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
