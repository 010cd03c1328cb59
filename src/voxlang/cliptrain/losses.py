"""What each tower learns alone: the text tower its teacher, the image tower the names of parts."""

from __future__ import annotations

import torch


def distillation_loss(texts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cosine between unit text vectors and the teacher's."""
    return (1.0 - (texts * targets).sum(-1)).mean()


def relation_loss(texts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of all cosines within the batch: who is near whom."""
    return (texts @ texts.T - targets @ targets.T).square().mean()


def concept_loss(logits: torch.Tensor, concepts: torch.Tensor) -> torch.Tensor:
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
