"""The loss: crops against texts with several right ones, margins around the generic texts, and the teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from voxlang.cliptrain.config import LossConfig

_NONE = -1e4
"""Logit of a pair that does not count."""


@dataclass(frozen=True, eq=False)
class Relations:
    """How the texts of a batch relate to its crops."""

    right: torch.Tensor
    """Bool [b m]: the text names the crop."""
    wrong: torch.Tensor
    """Float [b m] in [0, 1]: weight of the text as a wrong one; 0 for right and neutral texts."""
    generic: torch.Tensor
    """Bool [m]: the text names nothing in particular."""

    def to(self, device: torch.device) -> Relations:
        """The same on a device."""
        return Relations(self.right.to(device), self.wrong.to(device), self.generic.to(device))


def contrast_loss(logits: torch.Tensor, relations: Relations) -> torch.Tensor:
    """-log of the share of each right text among itself and all that are not right, meaned over right texts and crops.

    A wrong text of weight w adds w exp(logit). A crop without a right text has the generic ones as right.
    """
    right, wrong = relations.right, relations.wrong
    nameless = ~right.any(dim=1)
    right = right | (nameless[:, None] & relations.generic[None])
    weight = torch.where(relations.generic[None] & ~right, torch.ones_like(wrong), wrong)
    against = torch.where(weight > 0, logits + weight.clamp(min=1e-6).log(), _NONE).logsumexp(dim=1)
    each = softplus(against[:, None] - logits)
    return ((each * right).sum(1) / right.sum(1).clamp(min=1)).mean()


def calibration_loss(logits: torch.Tensor, relations: Relations, config: LossConfig) -> torch.Tensor:
    """Right texts above the highest generic one, and the hardest wrong texts below it, each by its margin.

    This is what a query asks: a prompt counts where it beats every negative.
    """
    generic = logits[:, relations.generic].max(dim=1).values[:, None]
    right = relations.right
    above = softplus(config.margin_right - (logits - generic)) * right
    named = right.any(dim=1)
    first = (above.sum(1) / right.sum(1).clamp(min=1))[named].sum() / named.sum().clamp(min=1)
    below = softplus(config.margin_wrong + logits - generic) * relations.wrong
    hardest = below.topk(min(config.hardest, below.shape[1]), dim=1).values
    return first + hardest.mean()


def distillation_loss(texts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cosine between unit text vectors and the teacher's."""
    return (1.0 - (texts * targets).sum(-1)).mean()


def relation_loss(texts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of all cosines within the batch: who is near whom."""
    return (texts @ texts.T - targets @ targets.T).square().mean()


def auxiliary_loss(logits: torch.Tensor, concepts: torch.Tensor) -> torch.Tensor:
    """Cross entropy of concept logits [b c] against the concepts of each crop [b 3], shared evenly; junk is left out.

    Args:
        logits: of the training-only classifier.
        concepts: rows of the concept table, -1 where there are fewer.
    """
    wanted = torch.zeros(len(logits), logits.shape[1] + 1, device=logits.device)
    wanted.scatter_(1, concepts.remainder(logits.shape[1] + 1), 1.0)
    wanted = wanted[:, :-1]
    count = wanted.sum(1)
    each = -(wanted * logits.log_softmax(dim=1)).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
