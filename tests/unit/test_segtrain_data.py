import numpy as np
import pytest
import torch

from voxlang.core.errors import ConfigError
from voxlang.segtrain.config import PhaseConfig, SegTrainConfig
from voxlang.segtrain.data import augment, crop, dense_truth, make_batch, make_sources, shrink
from voxlang.segtrain.prompts import point_prompts, region_prompts, target_regions
from voxlang.segtrain.shapes import LabelledPicture, draw_picture

PHASE = PhaseConfig(
    name="a", steps=4, sources={"shapes-full": 1.0}, learning_rate=1e-3, final_learning_rate=1e-4,
    background_fraction=0.25,
)  # fmt: skip


def hand_made() -> LabelledPicture:
    """A whole of two parts, on one of them two pieces of the same small thing and a speck of another."""
    regions = np.full((3, 40, 48), -1, np.int16)
    regions[2, 4:36, 4:44] = 7
    regions[1, 4:36, 4:24] = 3
    regions[0, 8:14, 6:12] = 5
    regions[0, 20:28, 6:12] = 5
    regions[0, 32, 6:9] = 6
    rgb = np.zeros((40, 48, 3), np.uint8)
    return LabelledPicture(rgb, regions)


def test_target_regions_by_hand():
    small, part, whole = target_regions(hand_made().regions)
    assert small[9, 7] == small[13, 11] != small[21, 7], "pieces of a small thing are asked for one by one"
    assert small[32, 7] == small[5, 20], "a speck of three pixels falls back to its part"
    assert (small == small[5, 20]).sum() == 32 * 20 - 6 * 6 - 8 * 6
    assert (part == part[5, 20]).sum() == 32 * 20
    assert (part == part[5, 30]).sum() == 32 * 20, "where the whole has no part, the rest of the whole is the part"
    assert part[5, 30] != part[5, 20]
    assert (whole >= 0).sum() == 32 * 40
    assert small[0, 0] == part[0, 0] == whole[0, 0] == -1


def test_point_targets_agree_with_a_loop():
    picture = draw_picture(np.random.default_rng(1), "full")
    coords, labels, targets, weights, on_object = point_prompts(
        picture, np.random.default_rng(2), 12, background_fraction=0.25
    )
    regions = target_regions(picture.regions)
    assert (labels == 1).all() and (weights == 1).all()
    for i in range(12):
        u, v = coords[i, 0].numpy()
        row, column = int(v), int(u)
        assert on_object[i] == (regions[2, row, column] >= 0)
        for level in range(3):
            mask = regions[level] == regions[level, row, column]
            y, x = 4 * (row // 4), 4 * (column // 4)
            cell = mask[y : y + 4, x : x + 4].mean()
            assert targets[i, 1 + level, row // 4, column // 4] == pytest.approx(cell)
            assert targets[i, 1 + level].sum().item() * 16 == pytest.approx(mask.sum(), abs=0.5)
    assert (targets[:, 0] == targets[:, 2]).all()


def test_background_points_follow_the_share():
    picture = draw_picture(np.random.default_rng(1), "full")
    assert point_prompts(picture, np.random.default_rng(0), 20, background_fraction=0.0)[4].all()
    assert not point_prompts(picture, np.random.default_rng(0), 20, background_fraction=1.0)[4].any()


def test_boxes_enclose_what_they_ask_for():
    picture = draw_picture(np.random.default_rng(5), "full")
    coords, labels, targets, weights, _ = region_prompts(picture, np.random.default_rng(0), 16, box=True)
    assert labels.tolist() == [[2, 3]] * 16
    assert (weights[:, 0] == 1).all() and (weights[:, 1:].sum(1) >= 1).all()
    for i in range(16):
        rows, columns = np.nonzero(targets[i, 0].numpy())
        low, high = coords[i].numpy() / 4
        size = np.array([columns.max() - columns.min() + 1, rows.max() - rows.min() + 1])
        slack = 0.08 * size + 1
        assert (np.abs(low - [columns.min(), rows.min()]) <= slack).all()
        assert (np.abs(high - [columns.max() + 1, rows.max() + 1]) <= slack).all()
        for level in range(3):
            if weights[i, 1 + level] == 1:
                assert (targets[i, 0] == targets[i, 1 + level]).all()


def test_a_point_that_means_a_region_lies_in_it():
    picture = draw_picture(np.random.default_rng(5), "full")
    coords, labels, targets, weights, _ = region_prompts(picture, np.random.default_rng(0), 16, box=False)
    assert (labels == 1).all() and (weights[:, 0] == 1).all() and (weights[:, 1:].sum(1) >= 1).all()
    for i in range(16):
        u, v = (coords[i, 0].numpy() / 4).astype(int)
        assert targets[i, 0, v, u] > 0


def test_dense_truth_is_the_truth_at_the_middle_of_each_cell():
    picture = hand_made()
    kinds = np.where(picture.regions >= 0, picture.regions + 1, 0).astype(np.int16)
    picture = LabelledPicture(picture.rgb, picture.regions, kinds)
    cells, regions, seen = dense_truth(picture, np.random.default_rng(0))
    expected = target_regions(picture.regions)
    for row in range(10):
        for column in range(12):
            assert regions[:, row, column].tolist() == expected[:, 4 * row + 2, 4 * column + 2].tolist()
            assert seen[:, row, column].tolist() == kinds[:, 4 * row + 2, 4 * column + 2].tolist()
    assert (regions[2].flatten()[cells] >= 0).all(), "every question is about an object"
    assert (dense_truth(hand_made(), np.random.default_rng(0))[2] == -1).all(), "without names nothing is known"


def test_a_shrunk_picture_by_hand():
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[:2, 2:] = [[[10, 20, 30], [30, 20, 10]], [[10, 20, 30], [10, 20, 30]]]
    regions = np.arange(48, dtype=np.int16).reshape(3, 4, 4)
    small = shrink(LabelledPicture(rgb, regions, regions), 2)
    assert small.rgb[0, 1].tolist() == [15, 20, 25] and small.rgb[1].sum() == 0
    assert small.regions[0].tolist() == [[5, 7], [13, 15]] and (small.kinds == small.regions).all()
    same = LabelledPicture(rgb, regions)
    assert shrink(same, 4) is same and shrink(same, 2).kinds is None
    assert shrink(LabelledPicture(rgb[:3, :3], regions[:, :3, :3]), 6).regions[0, 2:4, 0].tolist() == [4, 4]


def test_a_crop_is_a_window_that_shows_something():
    regions = np.full((3, 64, 64), -1, np.int16)
    regions[:, 50:60, 3:9] = 2
    rgb = np.indices((64, 64)).sum(0).astype(np.uint8)[..., None].repeat(3, -1)
    sides = set()
    for seed in range(20):
        part = crop(LabelledPicture(rgb, regions, regions), np.random.default_rng(seed))
        side = part.rgb.shape[0]
        sides.add(side)
        assert 32 <= side < 64 and part.rgb.shape == (side, side, 3) and (part.regions >= 0).any()
        assert (part.kinds == part.regions).all()
        assert (np.diff(part.rgb[:, 0, 0].astype(int)) == 1).all(), "pixels keep their size"
        shown = np.argwhere(part.regions[0] >= 0)[0]
        assert part.rgb[tuple(shown)][0] >= 53
    assert len(sides) > 5


def test_a_phase_decides_size_and_number_of_its_pictures():
    phase = PHASE.model_copy(update={"side": 128, "pictures": 3})
    batch = make_batch(
        SegTrainConfig(phases=(phase,), prompts_per_picture=5), make_sources(SegTrainConfig(phases=(phase,))), 0
    )
    assert batch.images.shape == (3, 3, 128, 128) and batch.targets.shape == (3, 5, 4, 32, 32)
    assert (batch.coords < 128).all() and batch.dense.regions.shape == (3, 3, 32, 32)


def test_augmenting_moves_picture_and_truth_together():
    regions = np.full((3, 64, 64), -1, np.int16)
    regions[:, 5:20, 30:50] = 0
    rgb = np.where(regions[2][..., None] >= 0, np.uint8(230), np.uint8(20)).repeat(3, -1)
    for seed in range(10):
        moved = augment(LabelledPicture(rgb, regions, regions + np.int16(7)), np.random.default_rng(seed))
        bright = moved.rgb.astype(int).sum(-1) > 300
        assert (bright == (moved.regions[2] >= 0)).all()
        assert moved.kinds is not None and (moved.kinds == moved.regions + 7).all()


def test_a_batch_depends_on_the_step_alone():
    config = SegTrainConfig(phases=(PHASE,), pictures_per_step=2, prompts_per_picture=5)
    fresh = make_batch(config, make_sources(config), 2)
    sources = make_sources(config)
    make_batch(config, sources, 0)
    again = make_batch(config, sources, 2)
    other = make_batch(config, sources, 2, rank=1)
    assert torch.equal(fresh.images, again.images) and torch.equal(fresh.targets, again.targets)
    assert not torch.equal(fresh.coords, other.coords)


def test_renders_without_a_folder_are_refused():
    phase = PHASE.model_copy(update={"sources": {"renders": 1.0}})
    with pytest.raises(ConfigError, match="render_dir"):
        make_sources(SegTrainConfig(phases=(phase,)))
