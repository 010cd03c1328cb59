"""Whether a part stands on the same level in every view that finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Int16

from voxlang.core.levels import LEVELS
from voxlang.masks.types import MaskHierarchy
from voxlang.segtrain.evaluate import MIN_SHARE

FOUND = 0.5
"""A mask with at least this IoU stands for a part."""


@dataclass(frozen=True)
class LevelAgreement:
    """The levels that parts of one object get in pairs of its views."""

    same: float
    """Share of the pairs that agree; nan where no part was found twice."""
    pairs: int
    """(part, two views that both found it)."""


def levels_found(hierarchy: MaskHierarchy, part_index: Int16[np.ndarray, "3 h w"]) -> dict[tuple[int, int], int]:
    """(level, id) of each visible part -> level of the mask that fits it best, where one fits with IoU >= FOUND.

    Parts below MIN_SHARE of the picture are left out.
    """
    masks = hierarchy.masks.all_dense().reshape(len(hierarchy.masks), part_index[0].size)
    areas = masks.sum(axis=1)
    found = {}
    for level in LEVELS:
        index = part_index[level].reshape(-1)
        for part in np.unique(index[index >= 0]):
            own = index == part
            if own.sum() < MIN_SHARE * own.size or not len(masks):
                continue
            common = masks[:, own].sum(axis=1)
            iou = common / (areas + own.sum() - common)
            if iou.max() >= FOUND:
                found[int(level), int(part)] = int(hierarchy.level[iou.argmax()])
    return found


def level_agreement(objects: Sequence[Sequence[dict[tuple[int, int], int]]]) -> LevelAgreement:
    """Agreement over all pairs of views of each object; each view as `levels_found` tells it."""
    pairs = [pair for views in objects for pair in combinations(views, 2)]
    same = [a[part] == b[part] for a, b in pairs for part in a.keys() & b.keys()]
    return LevelAgreement(float(np.mean(same)) if same else float("nan"), len(same))
