"""Masks as the segmentation model delivers them, each with the true region that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from voxlang.masks.types import MaskGenerator

if TYPE_CHECKING:
    from voxlang.cliptrain.config import CropsConfig

Mask = Bool[np.ndarray, "h w"]
Region = tuple[int, int]
"""Level and part id."""

FITS = 0.4
"""A mask with at least this IoU stands for the region."""
WITHIN = 0.75
"""A mask that fits nothing, but has at least this share of its pixels in a region, is a piece of it."""


def mask_generator_of(config: CropsConfig) -> MaskGenerator | None:
    """The embedded SAM 2 as the pipeline runs it, on the recipe's coarser grid of points; None if it asks no model."""
    from voxlang.masks.generate import sam_generator_from_settings
    from voxlang.masks.settings import SamSettings

    if not config.found_per_view:
        return None
    return sam_generator_from_settings(SamSettings(size="micro", points_per_side=config.found_points_per_side))


def regions_of_masks(masks: Bool[np.ndarray, "n h w"], regions: Mapping[Region, Mask]) -> list[Region | None]:
    """What each mask stands for: the region it fits best, or the smallest one that it is a piece of, or nothing."""
    if not len(masks) or not regions:
        return [None] * len(masks)
    keys = list(regions)
    found = masks.reshape(len(masks), -1).astype(np.float32)
    true = np.stack([regions[k] for k in keys]).reshape(len(keys), -1).astype(np.float32)
    common, found_px, true_px = found @ true.T, found.sum(axis=1, keepdims=True), true.sum(axis=1)
    iou = common / (found_px + true_px - common)
    holding = np.where(common >= WITHIN * found_px, true_px, np.inf)
    stands_for: list[Region | None] = []
    for fits, holds in zip(iou, holding, strict=True):
        if fits.max() >= FITS:
            stands_for.append(keys[int(fits.argmax())])
        else:
            stands_for.append(keys[int(holds.argmin())] if np.isfinite(holds).any() else None)
    return stands_for
