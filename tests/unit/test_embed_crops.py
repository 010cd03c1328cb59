"""Crops against numpy slicing by hand and Pillow's resize."""

import numpy as np
import pytest

from voxlang.core.errors import ConfigError, MaskError
from voxlang.embed import crops
from voxlang.embed.crops import CROP_SHAPE, ViewCrops, mask_crops, policy_digest, square_of_box
from voxlang.masks.types import mask_set_from_dense

BACKGROUND = (0.25, 0.5, 0.75)


def as_set(masks):
    n = len(masks)
    return mask_set_from_dense(
        masks, predicted_iou=np.full(n, 0.9), stability=np.full(n, 0.95), points_uv=np.zeros((n, 2))
    )


@pytest.fixture
def picture(rng):
    return rng.random((50, 70, 3), dtype=np.float32)


@pytest.fixture
def masks():
    masks = np.zeros((2, 50, 70), bool)
    masks[0, 10:30, 20:36] = True  # 16 wide, 20 high
    masks[0, 12, 22] = False
    masks[1, 44:50, 60:70] = True  # at the corner
    return masks


def test_square_of_box_by_hand():
    assert square_of_box(np.array([20, 10, 36, 30]), margin=0.1, min_side_px=16) == (16, 8, 24)
    assert square_of_box(np.array([5, 5, 6, 7]), margin=0.1, min_side_px=16) == (-3, -2, 16)


def test_masked_crop_is_the_mask_on_the_background(picture, masks):
    crops = mask_crops(picture, masks, policy="masked", size=24, background=BACKGROUND)
    expected = np.broadcast_to(np.float32(BACKGROUND), (24, 24, 3)).copy()
    for v in range(10, 30):
        for u in range(20, 36):
            if masks[0, v, u]:
                expected[v - 8, u - 16] = picture[v, u]
    np.testing.assert_array_equal(crops[0], expected)


def test_box_crop_is_the_picture_and_the_border_is_background(picture, masks):
    crop = mask_crops(picture, masks[1:], policy="box", size=16, background=BACKGROUND)[0]
    x0, y0, side = square_of_box(np.array([60, 44, 70, 50]), margin=CROP_SHAPE.margin, min_side_px=16)
    assert (x0, y0, side) == (57, 39, 16)
    np.testing.assert_array_equal(crop[:11, :13], picture[39:50, 57:70])
    np.testing.assert_array_equal(crop[11:], np.broadcast_to(np.float32(BACKGROUND), (5, 16, 3)))
    np.testing.assert_array_equal(crop[:, 13:], np.broadcast_to(np.float32(BACKGROUND), (16, 3, 3)))


def test_context_crop_keeps_the_mask_and_dims_and_blurs_the_rest(picture, masks):
    from scipy.ndimage import gaussian_filter

    side = 20 + 2 * 10
    crop = mask_crops(picture, masks[:1], policy="context", size=side, background=BACKGROUND)[0]
    x0, y0 = (56 - side) // 2, (40 - side) // 2
    blurred = np.stack(
        [gaussian_filter(picture[..., c].astype(np.float64), 0.015 * 70, mode="nearest", truncate=3) for c in range(3)],
        -1,
    )
    dimmed = 0.5 * blurred + 0.5 * np.float64(BACKGROUND)
    expected = np.where(masks[0][..., None], picture, dimmed)[y0 : y0 + side, x0 : x0 + side]
    np.testing.assert_allclose(crop, expected, atol=1e-5)


@pytest.mark.parametrize("size", [11, 96])
def test_resize_agrees_with_pillow(picture, masks, size):
    from PIL import Image

    native = mask_crops(picture, masks[:1], policy="box", size=24)[0]
    ours = mask_crops(picture, masks[:1], policy="box", size=size)[0]
    for c in range(3):
        theirs = np.asarray(Image.fromarray(native[..., c]).resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(ours[..., c], theirs, atol=1e-4)


def test_mask_set_and_dense_masks_and_bytes_agree(picture, masks):
    bytes_ = np.uint8(np.round(picture * 255))
    for policy in ("masked", "context", "box"):
        dense = mask_crops(bytes_.astype(np.float32) / 255, masks, policy=policy, size=20)
        packed = mask_crops(bytes_, as_set(masks), policy=policy, size=20)
        np.testing.assert_allclose(dense, packed, atol=1e-6)


def test_crops_in_portions_equal_crops_at_once(picture, masks):
    crops = ViewCrops(picture, masks, policy="context", size=20)
    np.testing.assert_array_equal(
        np.concatenate([crops.batch(np.array([1])), crops.batch(np.array([0]))]),
        mask_crops(picture, masks, policy="context", size=20)[::-1],
    )


def test_no_masks_give_no_crops(picture):
    assert mask_crops(picture, np.zeros((0, 50, 70), bool), policy="masked", size=8).shape == (0, 8, 8, 3)
    assert mask_crops(picture, as_set(np.zeros((0, 50, 70), bool)), policy="masked", size=8).shape == (0, 8, 8, 3)


def test_refusals(picture, masks):
    masks = np.concatenate([masks, np.zeros((1, 50, 70), bool)])
    with pytest.raises(MaskError, match=r"empty masks at \[2\]"):
        mask_crops(picture, masks, policy="masked", size=8)
    with pytest.raises(MaskError, match=r"empty masks at \[2\]"):
        mask_crops(picture, as_set(masks), policy="masked", size=8)
    with pytest.raises(MaskError, match=r"\(50, 70\)"):
        mask_crops(picture, as_set(masks[:2, :, :60]), policy="masked", size=8)
    with pytest.raises(ConfigError, match="masked, context, box"):
        mask_crops(picture, masks[:2], policy="dual", size=8)


def test_policy_digest_follows_policy_and_background(monkeypatch):
    digests = {policy_digest(p, background=b) for p in ("masked", "dual") for b in (BACKGROUND, (0.0, 0.0, 0.0))}
    assert len(digests) == 4
    assert policy_digest("box") == policy_digest("box", background=(0.5, 0.5, 0.5))
    before = policy_digest("triple")
    monkeypatch.setitem(crops._AVERAGED, "triple", {"masked": 1.0, "context": 1.0, "box": 1.0})
    assert policy_digest("triple") != before, "vectors averaged by other weights are other vectors"
