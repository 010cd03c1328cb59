"""What the dense tower says of a view: regions that stage 2 can learn instead of masks, and how far both agree."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int16

from voxlang.core.levels import LEVELS
from voxlang.embed.types import NamedRegions
from voxlang.supervision.types import Pieces, filled_levels

_LEAST_PX = 20
"""Masks with fewer pixels are not asked whether the tower agrees with them."""


def pieces_of(
    masks: Int16[np.ndarray, "3 h w"],
    vectors: Float32[np.ndarray, "m d"],
    level: Int16[np.ndarray, "m"],
    regions: NamedRegions,
) -> Pieces:
    """The tower's regions, and masks where it has none.

    Args:
        masks: index map of a view's masks; empty places of a level count as the next coarser mask.
        vectors: unit vectors of the masks.
        level: their levels.
        regions: what the dense tower makes of the view.
    """
    n, filled = len(regions.vectors), filled_levels(masks)
    outside = np.where(filled >= 0, filled + np.int16(n), np.int16(-1))
    level_of_region = np.zeros(n, np.int16)
    for one in LEVELS:
        rows = np.unique(regions.index[one])
        level_of_region[rows[rows >= 0]] = one
    return Pieces(
        np.where(regions.index >= 0, regions.index, outside),
        np.concatenate([regions.vectors, vectors]).astype(np.float16),
        np.concatenate([level_of_region, level]),
        agreement(masks, vectors, level, regions),
    )


def agreement(
    masks: Int16[np.ndarray, "3 h w"],
    vectors: Float32[np.ndarray, "m d"],
    level: Int16[np.ndarray, "m"],
    regions: NamedRegions,
) -> float:
    """Mean cosine between the vector of a mask and what the dense tower says of the same pixels on its level.

    Both speak to the same texts, one from crops and one from the whole view, so on what they know they agree. On what
    neither has seen they err, each in its own way. 1.0 where there is nothing to compare.

    Args:
        masks: index map of a view's masks.
        vectors: unit vectors of the masks.
        level: their levels.
        regions: what the dense tower makes of the view.
    """
    cosines = []
    for m, (vector, one) in enumerate(zip(vectors, level, strict=True)):
        region = regions.index[one][(masks[one] == m) & (regions.index[one] >= 0)]
        if len(region) >= _LEAST_PX:
            rows, count = np.unique(region, return_counts=True)
            mean = count @ regions.vectors[rows]
            cosines.append(float(mean @ vector / max(np.linalg.norm(mean), 1e-6)))
    return float(np.mean(cosines)) if cosines else 1.0
