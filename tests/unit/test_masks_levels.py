"""Levels, parents and index maps on hand-drawn masks."""

import dataclasses

import numpy as np
import pytest

from voxlang.core.errors import ConfigError, MaskError
from voxlang.core.levels import Level
from voxlang.masks.levels import levels_digest, pairwise_overlap_px, partition_levels
from voxlang.masks.settings import LevelSettings
from voxlang.masks.types import mask_set_from_dense

S, P, W = Level.SMALL, Level.PART, Level.WHOLE


def boxes(*xyxy, height=60, width=100, scores=None):
    """Masks that are rectangles; later ones have lower scores unless given."""
    masks = np.zeros((len(xyxy), height, width), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, xyxy, strict=True):
        mask[y0:y1, x0:x1] = True
    n = len(xyxy)
    scores = np.linspace(0.95, 0.8, n) if scores is None else np.array(scores)
    return mask_set_from_dense(masks, predicted_iou=scores, stability=np.ones(n), points_uv=np.zeros((n, 2)))


def area(x0, y0, x1, y1, *, height=60, width=100):
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return mask


OBJECT = (10, 10, 90, 50)  # 80 x 40 = 3200 px


def test_whole_part_small_by_nesting():
    masks = boxes(OBJECT, (10, 10, 40, 50), (12, 12, 22, 22), (50, 10, 90, 50))
    hierarchy = partition_levels(masks, area(*OBJECT))
    assert hierarchy.level.tolist() == [W, P, S, P]
    assert hierarchy.parent.tolist() == [-1, 0, 1, 0]


def test_a_model_whose_tokens_are_levels_says_them_itself():
    masks = boxes(OBJECT, (10, 10, 40, 50), (12, 12, 22, 22), (50, 10, 90, 50))
    said = dataclasses.replace(masks, token=np.array([1, 2, 0, -1], np.int16))
    hierarchy = partition_levels(said, area(*OBJECT), rule="token")
    assert hierarchy.level.tolist() == [P, W, S, P], "the last does not know: containment says part"
    assert hierarchy.parent.tolist() == [-1, -1, 1, -1]
    assert hierarchy.masks.token.tolist() == [1, 2, 0, -1]
    silent = partition_levels(masks, area(*OBJECT), rule="token")
    assert silent.level.tolist() == partition_levels(masks, area(*OBJECT)).level.tolist() == [W, P, S, P]


@pytest.mark.parametrize(("box", "level"), [((10, 10, 26, 27), P), ((10, 10, 25, 26), S)])
@pytest.mark.parametrize("has_object", [True, False])
def test_what_is_large_on_the_object_is_not_small_whatever_its_token_says(box, level, has_object):
    # shares 272/3200 = 0.085, 240/3200 = 0.075 of the object, or of the union of the masks
    masks = dataclasses.replace(boxes(OBJECT, box), token=np.array([2, 0], np.int16))
    hierarchy = partition_levels(masks, area(*OBJECT) if has_object else None, rule="token")
    assert hierarchy.level.tolist() == [W, level]


def test_the_digest_of_levels_tells_rules_and_numbers_apart():
    digests = {levels_digest(rule) for rule in ("token", "containment", "area", "percentile")}
    digests.add(levels_digest("token", LevelSettings(part_share=0.1)))
    assert len(digests) == 5
    assert levels_digest("token") == levels_digest("token", LevelSettings())


def test_deeper_nesting_is_squeezed_and_parents_stay_one_level_up():
    masks = boxes(OBJECT, (10, 10, 60, 50), (10, 10, 35, 50), (10, 10, 25, 30), (11, 11, 14, 14))
    hierarchy = partition_levels(masks, area(*OBJECT))
    assert hierarchy.level.tolist() == [W, P, S, S, S]
    assert hierarchy.parent.tolist() == [-1, 0, 1, 1, 1]


def test_a_variant_of_the_whole_takes_no_level():
    masks = boxes(OBJECT, (10, 10, 80, 50), (20, 10, 50, 50), (22, 12, 30, 20))  # the second is 7/8 of the first
    hierarchy = partition_levels(masks, area(*OBJECT))
    assert hierarchy.level.tolist() == [W, W, P, S]
    assert hierarchy.parent.tolist() == [-1, -1, 1, 2]  # the smallest container on a higher level


@pytest.mark.parametrize(
    ("box", "level"),
    [((10, 10, 60, 50), W), ((10, 10, 49, 50), P), ((10, 10, 26, 27), P), ((10, 10, 25, 26), S)],
)
def test_a_lone_mask_is_placed_by_its_share_of_the_object(box, level):
    # shares 2000/3200 = 0.63, 1560/3200 = 0.49, 272/3200 = 0.085, 240/3200 = 0.075
    hierarchy = partition_levels(boxes(box), area(*OBJECT))
    assert hierarchy.level.tolist() == [level] and hierarchy.parent.tolist() == [-1]


def test_a_root_with_inner_masks_is_whole_from_a_lower_share_on():
    inner = (12, 12, 20, 20)
    forty, thirty = (10, 10, 42, 50), (10, 10, 34, 50)  # 0.40 and 0.30 of the object
    assert partition_levels(boxes(forty, inner), area(*OBJECT)).level.tolist() == [W, P]
    assert partition_levels(boxes(thirty, inner), area(*OBJECT)).level.tolist() == [P, S]


def test_each_connected_piece_is_an_object_of_its_own_but_specks_are_not():
    pieces = area(10, 10, 70, 50) | area(80, 10, 95, 20) | area(80, 40, 84, 44)  # 2400, 150 and 16 px
    hierarchy = partition_levels(boxes((10, 10, 70, 50), (80, 10, 95, 20), (80, 40, 84, 44)), pieces)
    assert hierarchy.level.tolist() == [W, W, S]  # 16 of 2566 px is below 1 %


def test_a_tiny_mask_directly_inside_the_whole_is_small():
    # 6 x 6 = 36 px is below, 10 x 10 = 100 px above 2 % of 3200
    assert partition_levels(boxes(OBJECT, (20, 20, 26, 26)), area(*OBJECT)).level.tolist() == [W, S]
    assert partition_levels(boxes(OBJECT, (20, 20, 30, 30)), area(*OBJECT)).level.tolist() == [W, P]


def test_of_near_duplicates_the_better_score_stays():
    masks = boxes(OBJECT, (10, 10, 89, 50), (10, 10, 40, 50), scores=[0.8, 0.9, 0.7])  # IoU 79/80
    hierarchy = partition_levels(masks, area(*OBJECT))
    assert hierarchy.masks.boxes_xyxy.tolist() == [[10, 10, 89, 50], [10, 10, 40, 50]]
    assert hierarchy.level.tolist() == [W, P]


def test_background_is_dropped_and_kept_masks_are_not_clipped():
    spilling = (5, 10, 45, 50)  # 35 of 40 columns on the object
    masks = boxes((0, 0, 100, 10), spilling, (0, 0, 19, 60))  # the last: 9 of 19 columns at most
    hierarchy = partition_levels(masks, area(*OBJECT))
    assert hierarchy.masks.boxes_xyxy.tolist() == [list(spilling)]
    assert np.array_equal(hierarchy.masks.dense(0), area(*spilling))


def test_without_an_object_each_root_is_one_unless_it_is_a_speck():
    masks = boxes((0, 0, 40, 50), (5, 5, 20, 20), (60, 0, 90, 30), (95, 55, 99, 59))
    hierarchy = partition_levels(masks, None)
    assert hierarchy.level.tolist() == [W, P, W, S]


def test_area_rule_counts_fractions_of_the_picture():
    # 6000 px: up to 60 small, up to 600 part
    masks = boxes((0, 0, 10, 6), (0, 0, 10, 7), (0, 20, 30, 40), (0, 20, 40, 40))
    hierarchy = partition_levels(masks, None, rule="area")
    assert hierarchy.level.tolist() == [S, P, P, W]
    assert hierarchy.parent.tolist() == [1, -1, 3, -1]


def test_percentile_rule_splits_the_masks_in_three():
    masks = boxes(*[(8 * k, 0, 8 * k + 4, 5 + 7 * k) for k in range(6)])
    hierarchy = partition_levels(masks, None, rule="percentile")
    assert hierarchy.level.tolist() == [S, S, P, P, W, W]


def test_limits_are_settings():
    strict = LevelSettings(whole_share=0.9, part_share=0.7)
    assert partition_levels(boxes((10, 10, 60, 50)), area(*OBJECT), settings=strict).level.tolist() == [S]


@pytest.mark.parametrize("rule", ["token", "containment", "area", "percentile"])
@pytest.mark.parametrize("with_object", [True, False])
def test_no_masks_make_an_empty_hierarchy(rule, with_object):
    object_mask = area(*OBJECT) if with_object else None
    assert partition_levels(boxes(), object_mask, rule=rule).counts() == {"small": 0, "part": 0, "whole": 0}
    assert len(partition_levels(boxes((0, 0, 5, 5)), np.zeros((60, 100), bool), rule=rule).masks) == 0


def test_wrong_rule_and_wrong_size_are_refused():
    with pytest.raises(ConfigError, match="token or containment or area or percentile"):
        partition_levels.__wrapped__(boxes(OBJECT), None, rule="size")
    with pytest.raises(MaskError, match=r"\(60, 100\).*\(60, 99\)"):
        partition_levels(boxes(OBJECT), np.zeros((60, 99), bool))


def test_overlaps_equal_a_loop(rng):
    dense = rng.random((7, 201, 131)) < rng.random((7, 1, 1))  # 26331 px: more than one chunk, no whole bytes
    masks = mask_set_from_dense(dense, predicted_iou=np.ones(7), stability=np.ones(7), points_uv=np.zeros((7, 2)))
    on_object = rng.random((201, 131)) < 0.6
    everywhere = pairwise_overlap_px(masks)
    there = pairwise_overlap_px(masks, np.packbits(on_object.reshape(-1)))
    for i in range(7):
        for j in range(7):
            assert everywhere[i, j] == (dense[i] & dense[j]).sum()
            assert there[i, j] == (dense[i] & dense[j] & on_object).sum()
