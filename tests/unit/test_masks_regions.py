"""Holes and islands against a flood fill in plain Python."""

import numpy as np

from voxlang.masks.regions import clean_logits, component_areas


def flood_fill_areas(mask):
    areas = np.zeros(mask.shape, int)
    for start in zip(*np.nonzero(mask), strict=True):
        if areas[start]:
            continue
        component, stack = {start}, [start]
        while stack:
            v, u = stack.pop()
            for dv in (-1, 0, 1):
                for du in (-1, 0, 1):
                    p = (v + dv, u + du)
                    inside = 0 <= p[0] < mask.shape[0] and 0 <= p[1] < mask.shape[1]
                    if inside and mask[p] and p not in component:
                        component.add(p)
                        stack.append(p)
        for p in component:
            areas[p] = len(component)
    return areas


def test_component_areas_equal_a_flood_fill(rng):
    masks = rng.random((4, 9, 14)) < np.array([0.2, 0.35, 0.5, 1.0])[:, None, None]
    areas = component_areas(masks)
    for mask, area in zip(masks, areas, strict=True):
        assert np.array_equal(area, flood_fill_areas(mask))
    assert component_areas(np.zeros((2, 3, 4), bool)).sum() == 0


def test_small_holes_and_islands_change_and_larger_ones_stay():
    logits = np.full((1, 12, 16), -3.0, np.float32)
    logits[0, 1:8, 1:8] = 2.0
    logits[0, 3, 3:5] = -1.0  # a hole of 2
    logits[0, 5, 3:6] = -1.0  # a hole of 3
    logits[0, 10, 12:14] = 4.0  # an island of 2
    cleaned = clean_logits(logits, max_hole=2, max_island=2, threshold=0.0)
    expected = logits.copy()
    expected[0, 3, 3:5] = 10.0
    expected[0, 10, 12:14] = -10.0
    assert np.array_equal(cleaned, expected)
    assert np.array_equal(clean_logits(logits, max_hole=0, max_island=0, threshold=0.0), logits)
