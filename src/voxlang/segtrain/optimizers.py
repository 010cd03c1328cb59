"""What moves the weights: Muon for the matrices of the trunk, AdamW for all else, each group at its own rate."""

from __future__ import annotations

import torch
from torch import nn

from voxlang.core.joint_optimizer import JointOptimizer
from voxlang.core.muon import Muon
from voxlang.segtrain.config import PhaseConfig

RATES = {"decoder": 1.0, "readers": 4.0, "encoder": 1.0, "matrices": 1.0, "auxiliary": 1.0, "neck": 0.01}
"""Learning rate of each group of parameters, as a share of the phase's. The neck sums large, unnormalised features with
small weights: at the full rate its output jumps from step to step, and the few mask channels behind it die in the flat
part of their GELU. The readers turn the small output of the neck into mask channels with large weights, which hardly
move at the full rate."""
NECK_RATE_ALONE = 0.3
"""The neck's share while no decoder learns."""


class Optimizers(JointOptimizer):
    """AdamW and Muon as one.

    Muon makes every update of a matrix orthogonal, so that all directions of a layer learn alike; from nothing, the
    trunk learns in about three quarters of AdamW's steps. Its rate is matched to AdamW's, so one schedule serves both.
    Source: Jordan et al. 2024, "Muon"; the match by Liu et al. 2025, "Muon is Scalable for LLM Training", eq. 4.
    """

    def __init__(self, groups: dict[str, list[nn.Parameter]], *, weight_decay: float) -> None:
        matrices = {id(p) for p in groups["encoder"] if p.ndim == 2}
        parts = {name: [p for p in group if id(p) not in matrices] for name, group in groups.items()}
        adamw = [{"params": parameters, "name": name} for name, parameters in parts.items()]
        each: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(adamw, lr=1e-3, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
        ]
        if matrices:
            muon = [{"params": [p for p in groups["encoder"] if id(p) in matrices], "name": "matrices"}]
            each.append(Muon(muon, weight_decay=weight_decay))
        super().__init__(*each)

    def set_rate(self, rate: float, phase: PhaseConfig) -> None:
        """Set every group's rate for the next step from the phase's rate at that step."""
        for group in (group for optimizer in self._each for group in optimizer.param_groups):
            share = RATES[group["name"]]
            if group["name"] == "neck" and not phase.train_decoder:
                share = NECK_RATE_ALONE
            if group["name"] in ("encoder", "matrices", "neck"):
                share *= phase.encoder_rate
            group["lr"] = share * rate

    def step(self) -> None:
        """Move the weights along their gradients."""
        for optimizer in self._each:
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._each:
            optimizer.zero_grad(set_to_none=True)
