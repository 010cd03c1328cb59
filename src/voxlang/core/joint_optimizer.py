"""Several optimizers that move one model: what a resumed training needs of all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxlang.core.errors import ConfigError

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
        """Go on from `state_dict`.

        Raises:
            ConfigError: the state of optimizers that move other groups of weights.
        """
        ours, theirs = (
            [[len(group["params"]) for group in state["param_groups"]] for state in each]
            for each in (self.state_dict(), states)
        )
        if ours != theirs:
            raise ConfigError(
                f"the state of optimizers that move groups of {ours} tensors",
                got=f"groups of {theirs}",
                where="the checkpoint to go on from",
                do="choose another run_dir, or delete its checkpoint to start afresh",
            )
        for optimizer, state in zip(self._each, states, strict=True):
            optimizer.load_state_dict(state)
