"""Masks that are empty or copies of an earlier one are dropped; the others keep their order."""

import numpy as np

from voxlang.masks.official import distinct_masks
from voxlang.masks.types import mask_set_from_dense


def test_copies_and_empty_masks_are_dropped_and_the_first_of_each_stays_in_its_place():
    a, b, c = np.zeros((3, 5, 7), bool)
    a[1:3, 2:6], b[4, 6], c[0, 0] = True, True, True
    empty = np.zeros_like(a)
    scores = np.array([0.3, 0.9, 0.5, 0.8, 0.1, 0.7], np.float32)
    points = np.zeros((6, 2), np.float32)
    dense = np.stack([b, empty, a, b, c, a])
    masks = mask_set_from_dense(dense, predicted_iou=scores, stability=scores, points_uv=points)
    kept = distinct_masks(masks)
    np.testing.assert_array_equal(kept.all_dense(), np.stack([b, a, c]))
    np.testing.assert_array_equal(kept.predicted_iou, scores[[0, 2, 4]])
    assert len(distinct_masks(masks.select(np.array([1])))) == 0
    assert len(distinct_masks(masks.select(np.array([], int)))) == 0
