"""Index maps against a loop over pixels, and the rule for overlaps by hand."""

import numpy as np
import pytest

from voxlang.core.errors import MaskError
from voxlang.embed.types import EncoderId, MaskEmbeddings, NamedRegions
from voxlang.geometry.camera import look_at
from voxlang.masks.types import MaskHierarchy, mask_set_from_dense
from voxlang.render.types import RenderedView
from voxlang.supervision.pieces import agreement
from voxlang.supervision.target import make_view_target
from voxlang.supervision.types import filled_levels

HEIGHT, WIDTH = 12, 17
ENCODER = EncoderId("open_clip", "tiny", "w", "p", 3)


def view(height=HEIGHT, width=WIDTH):
    camera = look_at(
        np.array([0.0, -4.0, 1.0]), np.zeros(3), up_world=(0.0, 0.0, 1.0), fov_y_deg=40.0, width=width, height=height
    )
    flat = np.zeros((height, width), np.float32)
    return RenderedView(camera, np.zeros((height, width, 3), np.float32), flat, flat, flat, "transfer")


def hierarchy(masks, levels, parents, iou=None, stability=None):
    n = len(masks)
    mask_set = mask_set_from_dense(
        masks,
        predicted_iou=np.full(n, 0.8) if iou is None else np.asarray(iou),
        stability=np.full(n, 0.9) if stability is None else np.asarray(stability),
        points_uv=np.zeros((n, 2)),
    )
    return MaskHierarchy(mask_set, np.asarray(levels, np.int16), np.asarray(parents, np.int32))


def embeddings(n, rng):
    vectors = rng.normal(size=(n, 3)).astype(np.float32)
    return MaskEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), ENCODER)


def box(y0, y1, x0, x1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_better_masks_lie_on_top_then_smaller_ones_then_earlier_ones(rng):
    masks = np.stack(
        [
            box(0, 12, 0, 12),  # 0 whole
            box(1, 4, 1, 4),  # 1 small, 9 px, a scrap inside 2
            box(0, 6, 0, 6),  # 2 small, 36 px, encloses 1 with a better score
            box(6, 8, 0, 4),  # 3 small, 8 px, as good as 4, which encloses it
            box(6, 9, 0, 4),  # 4 small, 12 px
            box(10, 12, 0, 4),  # 5 small, 8 px
            box(10, 12, 2, 6),  # 6 small, 8 px, as good as 5
        ]
    )
    target = make_view_target(
        view(),
        hierarchy(masks, [2, 0, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0, 0], iou=[0.9, 0.7, 0.95, 0.6, 0.6, 0.8, 0.8]),
        embeddings(7, rng),
        key="k",
    )
    small, part, whole = target.mask_index
    assert small[2, 2] == 2 and small[0, 0] == 2 and small[5, 5] == 2
    assert small[6, 0] == 3 and small[7, 0] == 3 and small[8, 0] == 4
    assert small[10, 3] == 5 and small[10, 4] == 6
    assert (part == -1).all()
    np.testing.assert_array_equal(whole, np.where(masks[0], 0, -1))
    np.testing.assert_allclose(target.mask_score[:2], [0.9 * 0.9, 0.7 * 0.9], rtol=1e-6)


def test_maps_equal_a_loop_over_pixels(rng):
    masks = np.stack([box(y, y + 1 + h, x, x + 1 + w) for y, x, h, w in rng.integers(0, 9, (20, 4))])
    levels = rng.integers(0, 3, 20)
    iou = rng.random(20)
    target = make_view_target(view(), hierarchy(masks, levels, [-1] * 20, iou=iou), embeddings(20, rng), key="k")
    for level in range(3):
        for v in range(HEIGHT):
            for u in range(WIDTH):
                here = [i for i in range(20) if levels[i] == level and masks[i, v, u]]
                best = min(here, key=lambda i: (-iou[i], masks[i].sum(), i), default=-1)
                assert target.mask_index[level, v, u] == best


def test_vectors_are_kept_in_half_precision(rng):
    vectors = embeddings(2, rng)
    target = make_view_target(
        view(), hierarchy(np.stack([box(0, 9, 0, 9), box(1, 3, 1, 3)]), [2, 1], [-1, 0]), vectors, key="k"
    )
    assert target.vectors.dtype == np.float16
    np.testing.assert_allclose(target.vectors, vectors.vectors, atol=5e-4)
    assert target.mask_parent.tolist() == [-1, 0] and target.mask_level.tolist() == [2, 1]
    assert target.encoder == ENCODER and target.key == "k" and target.transfer_id == "transfer"


def test_a_view_without_masks(rng):
    target = make_view_target(
        view(), hierarchy(np.zeros((0, HEIGHT, WIDTH), bool), [], []), embeddings(0, rng), key="k"
    )
    assert (target.mask_index == -1).all() and target.vectors.shape == (0, 3)


def test_what_does_not_belong_together_is_refused(rng):
    masks = hierarchy(np.stack([box(0, 9, 0, 9)]), [2], [-1])
    with pytest.raises(MaskError, match="2 vectors"):
        make_view_target(view(), masks, embeddings(2, rng), key="k")
    with pytest.raises(MaskError, match="17x13 view"):
        make_view_target(view(height=13), masks, embeddings(1, rng), key="k")


def test_the_regions_of_a_tower_lie_over_the_masks(rng):
    masks = np.stack([box(0, 6, 0, 6), box(0, 12, 0, 12)])
    vectors = embeddings(2, rng)
    regions = NamedRegions(np.full((3, HEIGHT, WIDTH), -1, np.int16), embeddings(4, rng).vectors)
    for level in range(3):
        regions.index[level, :, :9] = level
    regions.index[1, :, 4:9] = 3
    target = make_view_target(view(), hierarchy(masks, [1, 2], [1, -1]), vectors, key="k", regions=regions)
    assert target.vectors.shape == (2, 3) and target.learnt() is target.pieces
    filled = filled_levels(target.mask_index)
    for level in range(3):
        for v in range(HEIGHT):
            for u in range(WIDTH):
                mask, region, piece = filled[level, v, u], regions.index[level, v, u], target.pieces.index[level, v, u]
                assert (piece < 0) == (mask < 0 and region < 0)
                if piece >= 0:
                    wanted = regions.vectors[region] if region >= 0 else vectors.vectors[mask]
                    np.testing.assert_allclose(target.pieces.vectors[piece], wanted, atol=1e-3)
                    assert region < 0 or target.pieces.level[piece] == level
    agreed = agreement(target.mask_index, vectors.vectors, target.mask_level, regions)
    assert target.pieces.agreement == pytest.approx(agreed)


def test_without_regions_whole_masks_are_learnt_down_to_the_finest_level(rng):
    target = make_view_target(view(), hierarchy(np.stack([box(0, 12, 0, 12)]), [2], [-1]), embeddings(1, rng), key="k")
    assert target.pieces is None
    assert (target.learnt().index == np.where(box(0, 12, 0, 12), 0, -1)).all()
    assert target.learnt().vectors is target.vectors


def test_agreement_is_the_mean_cosine_over_masks_on_their_own_level(rng):
    vectors, regions = (
        embeddings(3, rng).vectors,
        NamedRegions(np.zeros((3, HEIGHT, WIDTH), np.int16), embeddings(2, rng).vectors),
    )
    regions.index[1, :, 5:] = 1
    masks = np.full((3, HEIGHT, WIDTH), -1, np.int16)
    masks[1, :8, :10], masks[2, :, :], masks[0, 0, :4] = 0, 1, 2  # the last is too small to be asked
    mean = 40 * regions.vectors[0] + 40 * regions.vectors[1]
    by_hand = [vectors[0] @ mean / np.linalg.norm(mean), vectors[1] @ regions.vectors[0]]
    levels = np.array([1, 2, 0], np.int16)
    assert agreement(masks, vectors, levels, regions) == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert agreement(np.full_like(masks, -1), vectors, levels, regions) == 1.0
