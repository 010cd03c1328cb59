"""Several optimizers that move one model: what a resumed training needs of all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class JointOptimizer:
    """Optimizers of the parts of a model, with one state; a subclass says how they step."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self._each = optimizers

    def state_dict(self) -> list[dict[str, Any]]:
        """What a resumed training needs."""
        return [optimizer.state_dict() for optimizer in self._each]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Go on from `state_dict`."""
        for optimizer, state in zip(self._each, states, strict=True):
            optimizer.load_state_dict(state)
