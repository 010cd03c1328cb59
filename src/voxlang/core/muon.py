"""Muon in float32 where bfloat16 is slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float32


class Muon(torch.optim.Muon):
    """torch's Muon with the rates of AdamW; on a CPU its updates are made orthogonal in float32.

    torch does that in bfloat16, for which processors without such instructions take thirty times as long. States are
    those of torch's class, so a training may change between machines.

    Source: Jordan et al. 2024, "Muon"; the rates: Liu et al. 2025, "Muon is Scalable for LLM Training", eq. 4.

    Args:
        params: matrices, or groups of them.
        weight_decay: as AdamW's.
    """

    def __init__(self, params: Iterable[Any], *, weight_decay: float) -> None:
        super().__init__(params, lr=1e-3, weight_decay=weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the matrices that have gradients along them."""
        if any(p.device.type != "cpu" for group in self.param_groups for p in group["params"]):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p.grad)
                buffer = self.state[p]["momentum_buffer"]
                buffer.lerp_(p.grad, 1.0 - group["momentum"])
                update = orthogonal(
                    p.grad.lerp(buffer, group["momentum"]),
                    coefficients=group["ns_coefficients"],
                    steps=group["ns_steps"],
                    eps=group["eps"],
                )
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)
        return loss


def orthogonal(
    matrix: Float32[torch.Tensor, "a b"], *, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Float32[torch.Tensor, "a b"]:
    """Nearly the matrix with the same singular vectors and all singular values 1, by Newton and Schulz's iteration.

    Each step maps the singular values s to a s + b s³ + c s⁵.

    Args:
        matrix: not changed.
        coefficients: a, b, c.
        steps: of the iteration.
        eps: least norm that is divided by.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
