"""Levels of the same part in several views, against a picture and pairs counted by hand."""

import math

import numpy as np

from voxlang.core.levels import Level
from voxlang.masks.types import MaskHierarchy, mask_set_from_dense
from voxlang.segtrain.agreement import level_agreement, levels_found


def hierarchy(masks: list[np.ndarray], levels: list[int]) -> MaskHierarchy:
    n = len(masks)
    dense = np.array(masks, bool).reshape(n, 40, 40)
    found = mask_set_from_dense(
        dense, predicted_iou=np.ones(n), stability=np.ones(n), points_uv=np.zeros((n, 2))
    )  # fmt: skip
    return MaskHierarchy(found, np.array(levels, np.int16), np.full(n, -1, np.int32))


def test_each_part_takes_the_level_of_the_mask_that_fits_it_best():
    index = np.full((3, 40, 40), -1, np.int16)
    index[2, :20] = 1
    index[1, :20, :10] = 5
    index[1, :20, 10:] = 6
    index[0, 0, 0] = 9
    whole, half, third = index[2] == 1, index[1] == 6, np.zeros((40, 40), bool)
    third[:20, :4] = True
    found = levels_found(hierarchy([half, whole, third], [Level.PART, Level.WHOLE, Level.SMALL]), index)
    assert found == {(2, 1): 2, (1, 6): 1}, "the third covers 4 of 10 columns of part 5, and one pixel is too small"
    assert levels_found(hierarchy([], []), index) == {}


def test_agreement_by_hand():
    a, b, c = {(1, 5): 1, (2, 1): 2}, {(1, 5): 0, (2, 1): 2}, {(1, 5): 1}
    result = level_agreement([[a, b, c], [{(1, 5): 0}]])
    assert result.pairs == 4, "5 in three pairs, 1 in one; other objects do not meet"
    assert result.same == 2 / 4
    assert math.isnan(level_agreement([[a]]).same) and level_agreement([]).pairs == 0
