"""A moving average of the weights: what is evaluated and exported."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """average ← d · average + (1 − d) · weights, with d = min(decay, (1 + n) / (10 + n)) after n updates."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        """The averaged module, ready to be used."""
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards the module's present weights; buffers are copied."""
        d = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.module.parameters()), [p.detach() for p in module.parameters()], 1 - d)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
        self.updates += 1
