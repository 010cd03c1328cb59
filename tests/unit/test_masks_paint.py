"""Index maps against a loop over pixels, and the panels."""

import numpy as np
import pytest
from PIL import Image

from voxlang.masks.paint import index_maps, level_panels, mask_color, paint_level, save_level_panels
from voxlang.masks.types import MaskHierarchy, mask_set_from_dense


def hierarchy_of(dense, scores, level):
    n = len(dense)
    masks = mask_set_from_dense(dense, predicted_iou=scores, stability=np.ones(n), points_uv=np.zeros((n, 2)))
    return MaskHierarchy(masks, np.asarray(level, np.int16), np.full(n, -1, np.int32))


def test_better_masks_win_and_then_smaller_ones(rng):
    dense = rng.random((8, 7, 11)) < 0.4
    dense[4] = dense[2] & dense[3]  # smaller than mask 2, same score
    scores = np.array([0.9, 0.8, 0.7, 0.75, 0.7, 0.5, 0.95, 0.85])
    level = [0, 0, 2, 2, 2, 1, 0, 2]
    maps = index_maps(hierarchy_of(dense, scores, level))
    areas = dense.sum(axis=(1, 2))
    for at in range(3):
        for v in range(7):
            for u in range(11):
                here = [i for i in range(8) if level[i] == at and dense[i, v, u]]
                best = min(here, key=lambda i: (-scores[i], areas[i])) if here else -1
                assert maps[at, v, u] == best


def test_paint_leaves_other_pixels_grey_and_borders_full():
    rgb = np.full((6, 8, 3), (30, 60, 90), np.uint8)
    index = np.full((6, 8), -1, np.int16)
    index[2:5, 2:6] = 4
    painted = paint_level(rgb, index, strength=0.5)
    assert painted[0, 0].tolist() == [60, 60, 60]
    assert painted[2, 2].tolist() == list(mask_color(4))
    inner = (0.5 * 60 + 0.5 * np.array(mask_color(4))).round()
    assert painted[3, 3].tolist() == inner.tolist()
    assert np.array_equal(paint_level(rgb, np.full((6, 8), -1, np.int16)), np.full((6, 8, 3), 60, np.uint8))


def test_neighbouring_indices_have_distinct_colours():
    colors = np.array([mask_color(i) for i in range(12)]).astype(int)
    distance = np.abs(colors[:, None] - colors[None]).sum(-1) + 1000 * np.eye(12, dtype=int)
    assert distance.min() > 50


@pytest.mark.parametrize("n", [0, 1, 12])
def test_panels_stand_side_by_side(tmp_path, n):
    dense = np.zeros((n, 40, 56), bool)
    for i in range(n):
        dense[i, i : 30 - i, 2 * i : 50 - i] = True
    hierarchy = hierarchy_of(dense, np.linspace(0.9, 0.5, n), np.full(n, 1))
    rgb = np.full((40, 56, 3), 100, np.uint8)
    sheet = level_panels(rgb, hierarchy)
    scale = 5  # 40 px grow by the smallest whole factor to at least 200
    assert sheet.shape[1] == 4 * 56 * scale + 3 * 6
    assert (sheet[26 : 26 + 200, : 56 * scale] == 100).all()
    part_panel = sheet[26 : 26 + 200, 2 * (56 * scale + 6) : 2 * (56 * scale + 6) + 56 * scale]
    assert np.array_equal(part_panel[::scale, ::scale].shape, (40, 56, 3))
    assert ((part_panel != 100).any()) == (n > 0)
    save_level_panels(tmp_path / "p.png", rgb, hierarchy)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "p.png")), sheet)
