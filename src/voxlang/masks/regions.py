"""Holes and islands of many masks at once, without sam2's CUDA extension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy import ndimage

if TYPE_CHECKING:
    import torch

_EIGHT_NEIGHBOURS = np.stack([np.zeros((3, 3), int), np.ones((3, 3), int), np.zeros((3, 3), int)])
"""Pixels touch their eight neighbours in the same mask and nothing in the next mask."""


def component_areas(masks: Bool[np.ndarray, "n h w"]) -> Int64[np.ndarray, "n h w"]:
    """Area in pixels of the 8-connected component that each true pixel belongs to; 0 on false pixels."""
    labels, _ = ndimage.label(masks, structure=_EIGHT_NEIGHBOURS)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return areas[labels].astype(np.int64)


def clean_logits(
    logits: Float[np.ndarray, "n h w"], *, max_hole: int, max_island: int, threshold: float
) -> Float[np.ndarray, "n h w"]:
    """Fill holes and drop islands of at most these areas (pixels, 8-connected) by writing threshold +10 or -10.

    Both are measured on the masks as they came, as in sam2. Source: sam2/utils/transforms.py, `postprocess_masks`.
    """
    foreground = logits > threshold
    cleaned = logits.copy()
    if max_hole > 0:
        areas = component_areas(~foreground)
        cleaned[(areas > 0) & (areas <= max_hole)] = threshold + 10
    if max_island > 0:
        areas = component_areas(foreground)
        cleaned[(areas > 0) & (areas <= max_island)] = threshold - 10
    return cleaned


def install_cleaning(transforms: torch.nn.Module) -> None:
    """Make a `SAM2Transforms` clean its masks here instead of in the CUDA extension, which it would skip when missing.

    The transforms' own `postprocess_masks` is replaced on this one object; resizing stays as it is.
    """
    import torch

    def postprocess_masks(masks: torch.Tensor, orig_hw: tuple[int, int]) -> torch.Tensor:
        masks = masks.float()
        flat = masks.flatten(0, 1).cpu().numpy()
        cleaned = clean_logits(
            flat,
            max_hole=transforms.max_hole_area,
            max_island=transforms.max_sprinkle_area,
            threshold=transforms.mask_threshold,
        )
        masks = torch.from_numpy(cleaned).to(masks.device).reshape(masks.shape)
        return torch.nn.functional.interpolate(masks, orig_hw, mode="bilinear", align_corners=False)

    transforms.postprocess_masks = postprocess_masks
