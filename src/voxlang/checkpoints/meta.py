"""Build a module whose weights have no memory yet, so that a file's tensors can take their place."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_FACTORIES = frozenset((torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn))
"""What modules create weights with."""


class WeightsOnMeta(TorchFunctionMode):
    """Inside this context new weights are meta tensors; tables computed by arange, linspace and the like are real.

    `torch.device("meta")` would make those meta tensors too, and a state dict does not bring them back.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FACTORIES and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
