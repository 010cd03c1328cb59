"""Masks cut into pieces: a mask says where something ends, the dense tower what each place of it is called."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int16

from voxlang.core.levels import LEVELS
from voxlang.embed.types import NamedRegions
from voxlang.supervision.types import Pieces, filled_levels

_LEAST_PX = 20
"""Masks with fewer pixels are not asked whether the tower agrees with them."""


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


def trust(agreed: float, between: tuple[float, float]) -> float:
    """0 up to the first agreement, 1 from the second on, even between them."""
    low, high = between
    return float(np.clip((agreed - low) / max(high - low, 1e-6), 0.0, 1.0))


def cut_into_pieces(
    masks: Int16[np.ndarray, "3 h w"],
    vectors: Float32[np.ndarray, "m d"],
    regions: NamedRegions,
    *,
    mask_share: float,
) -> Pieces:
    """A piece for each mask and region that meet, on each level.

    Its direction is the mean of both vectors; where only one of the two lies, that one's.

    Args:
        masks: index map of a view's masks; empty places of a level count as the next coarser mask.
        vectors: unit vectors of the masks.
        regions: what the dense tower makes of the view.
        mask_share: weight of the mask's vector in the mean.
    """
    filled = filled_levels(masks).astype(np.int64)
    of_mask, of_region = _with_nothing(vectors), _with_nothing(regions.vectors)
    index = np.full(masks.shape, -1, np.int16)
    tables, levels = [], []
    for level in LEVELS:
        mask, region = filled[level], regions.index[level].astype(np.int64)
        known = (mask >= 0) | (region >= 0)
        pairs, piece = np.unique((mask[known] + 1) * len(of_region) + region[known] + 1, return_inverse=True)
        m, r = (row - 1 for row in np.divmod(pairs, len(of_region)))
        both = ((m >= 0) & (r >= 0))[:, None]
        sums = np.where(both, mask_share, 1.0) * of_mask[m] + np.where(both, 1.0 - mask_share, 1.0) * of_region[r]
        index[level][known] = piece + len(levels)
        tables.append(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6))
        levels += [level] * len(pairs)
    return Pieces(index, np.concatenate(tables).astype(np.float16), np.asarray(levels, np.int16))


def _with_nothing(table: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n1 d"]:
    """The table and a last row of zeros, for the index -1."""
    return np.concatenate([table, np.zeros((1, table.shape[1]), np.float32)])
