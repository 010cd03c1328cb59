"""Masks as the segmentation model delivers them, each with the true region that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

if TYPE_CHECKING:
    from voxlang.cliptrain.config import CropsConfig

Mask = Bool[np.ndarray, "h w"]
Region = tuple[int, int]
"""Level and part id."""

FITS = 0.4
"""A mask with at least this IoU stands for the region."""
WITHIN = 0.75
"""A mask that fits nothing, but has at least this share of its pixels in a region, is a piece of it."""


@runtime_checkable
class MaskFinder(Protocol):
    """Finds masks in pictures."""

    id: str
    """Finders with equal ids find the same masks."""

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], shown: Mask) -> Bool[np.ndarray, "n h w"]:
        """Masks of what is shown at the given pixels."""
        ...


class SamFinder:
    """The embedded SAM 2 as the pipeline runs it, on a coarser grid of points."""

    def __init__(self, points_per_side: int) -> None:
        from voxlang.masks.generate import sam_generator_from_settings
        from voxlang.masks.settings import SamSettings

        self._generator = sam_generator_from_settings(SamSettings(size="micro", points_per_side=points_per_side))
        self.id = self._generator.id

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], shown: Mask) -> Bool[np.ndarray, "n h w"]:
        """The masks that pass the pipeline's thresholds."""
        return self._generator.generate(rgb, foreground=shown).all_dense()


def finder_of(config: CropsConfig) -> MaskFinder | None:
    """The finder that a recipe asks for."""
    return SamFinder(config.found_points_per_side) if config.found_per_view else None


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
