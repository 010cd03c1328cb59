"""SAM 2 models with random weights whose answers are as varied as a trained model's: scores and logits are spread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


def random_sam(
    size_or_config: str | Path, *, seed: int = 5, logit_gain: float = 40.0, score_gain: float = 8.0
) -> SAM2Base:
    """Build a model from random weights.

    Fresh weights give logits near 0 and the same predicted IoU to every mask; the last layers of the mask filters and
    of the IoU head are scaled up, and all biases and gains are moved away from 0 and 1, where faults would not show.

    Args:
        size_or_config: as in `build_sam2_model`.
        seed: of the weights.
        logit_gain: on the mask filters.
        score_gain: on the predicted IoU.
    """
    import torch

    from voxlang.masks.build import build_sam2_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_sam2_model(size_or_config)
        with torch.no_grad():
            for part in (model.sam_mask_decoder, model.sam_prompt_encoder):
                for parameter in part.parameters():
                    if parameter.ndim == 1:
                        parameter += 0.1 * torch.randn_like(parameter)
            for head in model.sam_mask_decoder.output_hypernetworks_mlps:
                head.layers[-1].weight *= logit_gain
            model.sam_mask_decoder.iou_prediction_head.layers[-1].weight *= score_gain
    return model


def discs(height: int, width: int, *, n: int = 25, seed: int = 0) -> np.ndarray:
    """A picture [h w 3] of coloured discs on black."""
    rng = np.random.default_rng(seed)
    rgb = np.zeros((height, width, 3), np.uint8)
    v, u = np.mgrid[:height, :width]
    shorter = min(height, width)
    for _ in range(n):
        centre_v, centre_u = rng.uniform(0.1, 0.9, 2) * (height, width)
        radius = rng.uniform(shorter / 40, shorter / 7)
        rgb[(v - centre_v) ** 2 + (u - centre_u) ** 2 < radius**2] = rng.integers(40, 255, 3)
    return rgb
