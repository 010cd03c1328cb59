"""A CUDA device that is only pretended, for machines without one.

Tensors that are sent to "cuda" stay where they are and are remembered. Every call of torch is watched, and what a GPU
would refuse is refused: a CPU tensor beside one on cuda (single numbers, copies and indices aside), numpy without
`.cpu()`, and a CPU generator for a tensor on cuda. What happens inside one call of torch is not watched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

CUDA = torch.device("cuda", 0)
_BETWEEN_DEVICES = {"copy_", "to", "cpu", "cuda", "type", "_has_compatible_shallow_copy_type"}
_OF_ITS_FIRST = {"__deepcopy__", "__reduce_ex__"}


class DeviceError(RuntimeError):
    """What a GPU would have refused."""


class PretendCuda(TorchFunctionMode):
    """While it is entered, torch takes "cuda" for a device."""

    def __init__(self) -> None:
        super().__init__()
        self._there = WeakIdKeyDictionary()

    def holds(self, value: Any) -> bool:
        """Whether it is a tensor on cuda."""
        return isinstance(value, torch.Tensor) and value in self._there

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        """Remember a tensor as one on cuda."""
        self._there[tensor] = True
        return tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", str(func))
        if name == "__get__":
            return self._attribute(func, args[0])
        if name == "__set__":
            func(*args)
            if self.holds(args[1]):
                self.put(args[0])
            return None
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        mine = self.holds(args[0]) if name in _OF_ITS_FIRST else any(map(self.holds, tensors))
        if mine and name in ("numpy", "__array__") and not kwargs.get("force"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        target, args, kwargs = _target(name, args, kwargs)
        if target == "cuda" and kwargs.get("generator") is not None:
            raise DeviceError(f"{name}: a CPU generator for a tensor on cuda")
        if mine and name not in _BETWEEN_DEVICES | _OF_ITS_FIRST:
            self._require_one_device(name, args, tensors)
        result = func(*args, **kwargs)
        there = target == "cuda" or (mine and target != "cpu")
        return self._moved(result, there) if there or mine else result

    def _attribute(self, func: Any, tensor: torch.Tensor) -> Any:
        found = func(tensor)
        if not self.holds(tensor):
            return found
        if isinstance(found, torch.device):
            return CUDA
        if isinstance(found, torch.Tensor):
            return self.put(found)
        return True if func.__self__.__name__ == "is_cuda" else found

    def _require_one_device(self, name: str, args: tuple, tensors: list[torch.Tensor]) -> None:
        if self.holds(args[0]) and name in ("__getitem__", "__setitem__"):  # a CPU index may point into cuda
            tensors = [t for t in tree_leaves(args[2:]) if isinstance(t, torch.Tensor)]
        elsewhere = [tuple(t.shape) for t in tensors if not self.holds(t) and t.dim() > 0]
        if elsewhere:
            raise DeviceError(f"{name}: tensors on cuda beside tensors of shapes {elsewhere} on the CPU")

    def _moved(self, result: Any, there: bool) -> Any:
        """The tensors of a result as new ones on the device; the same where they are there already."""

        def move(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or self.holds(value) == there:
                return value
            alias = torch.ops.aten.alias(value)
            return self.put(alias) if there else alias

        return tree_map(move, result)


def _target(name: str, args: tuple, kwargs: dict) -> tuple[str | None, tuple, dict]:
    """The kind of device that a call sends its result to, and the call as the CPU shall do it."""
    if name == "cpu":
        return "cpu", args, kwargs
    if name == "cuda":
        return "cuda", args[:1], {}

    def is_device(value: Any) -> bool:
        return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda"))

    given = [v for v in (*(args if name == "to" else ()), kwargs.get("device")) if is_device(v)]
    if not given:
        return None, args, kwargs
    kind = torch.device(given[0]).type if isinstance(given[0], str) else given[0].type
    real = torch.device("cpu") if kind == "cuda" else given[0]
    args = tuple(real if name == "to" and is_device(v) else v for v in args)
    return kind, args, {k: real if k == "device" else v for k, v in kwargs.items()}


@contextlib.contextmanager
def pretend_cuda() -> Iterator[PretendCuda]:
    """Let torch say that it has a CUDA device, and take it for one."""
    mode = PretendCuda()
    answers = {
        "is_available": True,
        "is_bf16_supported": True,
        "device_count": 0,  # what is done for every device, such as keeping its random state, is done for none
        "current_device": 0,
        "get_device_name": "pretended",
        "max_memory_allocated": 0,
        "mem_get_info": (1 << 34, 1 << 34),
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
    }
    with contextlib.ExitStack() as patches:
        for name, answer in answers.items():
            patches.enter_context(mock.patch.object(torch.cuda, name, lambda *_, answer=answer, **__: answer))
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            if hasattr(torch.optim.Optimizer, name):
                patches.enter_context(mock.patch.object(torch.optim.Optimizer, name, lambda _: None))
        for kind in (torch.nn.Parameter, torch.nn.Buffer):
            patches.enter_context(mock.patch.object(kind, "__new__", _on_the_same_device(kind.__new__, mode)))
        patches.enter_context(mock.patch.object(torch, "load", _loading(torch.load, mode)))
        patches.enter_context(mode)
        yield mode


def _on_the_same_device(new: Callable, mode: PretendCuda) -> Any:
    """A parameter lies where its data do."""

    def made(cls: type, data: Any = None, *others: Any, **named: Any) -> Any:
        parameter = new(cls, data, *others, **named)
        return mode.put(parameter) if mode.holds(data) else parameter

    return staticmethod(made)


def _loading(load: Callable, mode: PretendCuda) -> Callable:
    def loaded(*args: Any, map_location: Any = None, **named: Any) -> Any:
        found = load(*args, map_location="cpu", **named)
        there = map_location is not None and torch.device(map_location).type == "cuda"
        return tree_map(lambda v: mode.put(v) if isinstance(v, torch.Tensor) else v, found) if there else found

    return loaded
