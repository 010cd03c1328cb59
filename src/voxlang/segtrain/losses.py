"""The loss: focal and dice on each known mask, squared error of the predicted IoU, the same for the auxiliary head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float

from voxlang.segtrain.config import LossConfig
from voxlang.segtrain.data import Batch
from voxlang.segtrain.model import Answers

NOTHING_WEIGHT = 0.1
"""Weight of a pixel that shows nothing in the cross entropy of kinds: most pixels are empty, and soon learnt."""


@dataclass(frozen=True, eq=False)
class LossParts:
    """The total, which is differentiable, and what it is made of, for the log."""

    total: torch.Tensor
    """Scalar to descend."""
    numbers: dict[str, float]
    """Mean focal, dice, IoU error, and true IoU per level (nan where a level was not asked for)."""


def mask_terms(
    logits: Float[torch.Tensor, "*n q q"], target: Float[torch.Tensor, "*n q q"]
) -> tuple[Float[torch.Tensor, "*n"], Float[torch.Tensor, "*n"]]:
    """Focal loss (gamma 2, no class weight, mean over pixels) and dice loss of each mask.

    focal = mean (1 − exp(−CE))² CE; dice = 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1). Differentiable in `logits`.
    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4; Milletari et al. 2016, "V-Net", section 3.
    """
    logits = logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = ((1 - torch.exp(-entropy)) ** 2 * entropy).mean((-1, -2))
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum((-1, -2)) + 1) / (p.sum((-1, -2)) + target.sum((-1, -2)) + 1)
    return focal, dice


def balanced_entropy(
    logits: Float[torch.Tensor, "*n q q"], target: Float[torch.Tensor, "*n q q"]
) -> Float[torch.Tensor, "*n"]:
    """Half the mean cross entropy over the object plus half that over its surroundings. Differentiable in `logits`."""
    entropy = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    inside = (entropy * target).sum((-1, -2)) / target.sum((-1, -2)).clamp(min=1)
    outside = (entropy * (1 - target)).sum((-1, -2)) / (1 - target).sum((-1, -2)).clamp(min=1)
    return 0.5 * (inside + outside)


@torch.no_grad()
def true_iou(logits: Float[torch.Tensor, "*n q q"], target: Float[torch.Tensor, "*n q q"]) -> Float[torch.Tensor, "*n"]:
    """IoU of the masks cut at logit 0 and coverage 0.5; 0 where both are empty."""
    a, b = logits > 0, target > 0.5
    return (a & b).sum((-1, -2)) / (a | b).sum((-1, -2)).clamp(min=1)


def loss_of(
    answers: Answers,
    batch: Batch,
    config: LossConfig,
    *,
    balanced_weight: float = 0.0,
    token_weight: float = 0.0,
    mask_margin: float = 0.0,
) -> LossParts:
    """Loss of a batch.

    Args:
        answers: of the network.
        batch: with the truth.
        config: weights of the terms.
        balanced_weight: of `balanced_entropy` of the decoder's masks.
        token_weight: of one minus the cosine between mask tokens and the pixel embedding at the prompt.
        mask_margin: taken from the decoder's mask logits before the mask terms see them.

    Prompts on background weigh only in the predicted IoU, whose truth is 0 there.
    """
    weights = batch.weights * batch.on_object[..., None]
    total, numbers = torch.zeros((), device=weights.device), {}
    if answers.logits is not None and answers.predicted_iou is not None:
        count = weights.sum().clamp(min=1)
        taught = answers.logits - mask_margin
        focal, dice = mask_terms(taught, batch.targets)
        iou = true_iou(answers.logits, batch.targets)
        iou_error = (answers.predicted_iou.float() - torch.where(batch.on_object[..., None], iou, 0.0)) ** 2
        asked = torch.where(batch.on_object[..., None], batch.weights, 1.0)
        focal_mean, dice_mean = (focal * weights).sum() / count, (dice * weights).sum() / count
        iou_mean = (iou_error * asked).sum() / asked.sum().clamp(min=1)
        total = config.focal * focal_mean + config.dice * dice_mean + config.predicted_iou * iou_mean
        if balanced_weight > 0:
            balanced = balanced_entropy(taught, batch.targets)
            total = total + balanced_weight * (balanced * weights).sum() / count
        numbers |= {"focal": focal_mean.item(), "dice": dice_mean.item(), "iou_error": iou_mean.item()}
        for token, name in enumerate(("single", "small", "part", "whole")):
            numbers[f"iou_{name}"] = _weighted_mean(iou[..., token], weights[..., token])
    total = total + config.auxiliary * _auxiliary(answers, batch, config, numbers)
    if answers.token_embeddings is not None and answers.prompt_embeddings is not None:
        similarity = F.cosine_similarity(answers.token_embeddings.float(), answers.prompt_embeddings, dim=-1)
        token = ((1 - similarity) * weights).sum() / weights.sum().clamp(min=1)
        total = total + token_weight * token
        numbers["token"] = token.item()
    numbers["loss"] = total.item()
    return LossParts(total, numbers)


def _auxiliary(answers: Answers, batch: Batch, config: LossConfig, numbers: dict[str, float]) -> torch.Tensor:
    """Loss of the auxiliary head: what belongs together, and what it is; its numbers are added to `numbers`."""
    regions = batch.dense.regions
    at_cells = regions.flatten(2).gather(2, batch.dense.cells[:, None].expand(-1, 3, -1)).mT
    targets = (regions[:, None] == at_cells[..., None, None]).float()
    weight = (at_cells >= 0).float()
    focal, dice = mask_terms(answers.auxiliary_logits, targets)
    each = config.focal * focal + config.dice * dice
    if config.auxiliary_balanced > 0:
        each = each + config.auxiliary_balanced * balanced_entropy(answers.auxiliary_logits, targets)
    total = (each * weight).sum() / weight.sum().clamp(min=1)
    iou = true_iou(answers.auxiliary_logits, targets)
    for level, name in enumerate(("small", "part", "whole")):
        numbers[f"auxiliary_{name}"] = _weighted_mean(iou[..., level], weight[..., level])
    kinds = batch.dense.kinds[:, :, ::2, ::2]
    logits = answers.kind_logits.movedim(2, 1)
    weight = torch.where(kinds > 0, 1.0, NOTHING_WEIGHT) * (kinds >= 0)
    entropy = F.cross_entropy(logits, kinds.clamp(min=0), reduction="none")
    kind = (entropy * weight).sum() / weight.sum().clamp(min=1)
    total = total + config.kinds * kind
    numbers["kinds"] = kind.item() if weight.any() else float("nan")
    numbers["kinds_right"] = _weighted_mean((logits.argmax(1) == kinds).float(), (kinds > 0).float())
    return total


def _weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> float:
    """nan where nothing was asked for."""
    return float((values * weights).sum() / weights.sum()) if weights.sum() > 0 else float("nan")
