"""The loss: focal and dice on each known mask, squared error of the predicted IoU, the same for the auxiliary head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float

from voxlang.segtrain.config import LossConfig
from voxlang.segtrain.data import Batch
from voxlang.segtrain.model import Answers


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


@torch.no_grad()
def true_iou(logits: Float[torch.Tensor, "*n q q"], target: Float[torch.Tensor, "*n q q"]) -> Float[torch.Tensor, "*n"]:
    """IoU of the masks cut at logit 0 and coverage 0.5; 0 where both are empty."""
    a, b = logits > 0, target > 0.5
    return (a & b).sum((-1, -2)) / (a | b).sum((-1, -2)).clamp(min=1)


def loss_of(answers: Answers, batch: Batch, config: LossConfig) -> LossParts:
    """Loss of a batch.

    Prompts on background weigh only in the predicted IoU, whose truth is 0 there.
    """
    weights = batch.weights * batch.on_object[..., None]
    count = weights.sum().clamp(min=1)
    focal, dice = mask_terms(answers.logits, batch.targets)
    iou = true_iou(answers.logits, batch.targets)
    iou_error = (answers.predicted_iou.float() - torch.where(batch.on_object[..., None], iou, 0.0)) ** 2
    asked = torch.where(batch.on_object[..., None], batch.weights, 1.0)
    focal_mean, dice_mean = (focal * weights).sum() / count, (dice * weights).sum() / count
    iou_mean = (iou_error * asked).sum() / asked.sum().clamp(min=1)
    total = config.focal * focal_mean + config.dice * dice_mean + config.predicted_iou * iou_mean
    numbers = {"focal": focal_mean.item(), "dice": dice_mean.item(), "iou_error": iou_mean.item()}
    for token, name in enumerate(("single", "small", "part", "whole")):
        w = weights[..., token]
        numbers[f"iou_{name}"] = float((iou[..., token] * w).sum() / w.sum()) if w.sum() > 0 else float("nan")
    if answers.auxiliary_logits is not None:
        w = weights[..., 1:]
        a_focal, a_dice = mask_terms(answers.auxiliary_logits, batch.targets[:, :, 1:])
        auxiliary = ((config.focal * a_focal + config.dice * a_dice) * w).sum() / w.sum().clamp(min=1)
        total = total + config.auxiliary * auxiliary
        a_iou = true_iou(answers.auxiliary_logits, batch.targets[:, :, 1:])
        numbers["auxiliary_iou"] = float((a_iou * w).sum() / w.sum().clamp(min=1))
    numbers["loss"] = total.item()
    return LossParts(total, numbers)
