"""Crops, imperfect masks and pools of drawn views, checked pixel by pixel on a picture made by hand."""

import numpy as np
import pytest
import torch

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import ClipTrainConfig, CropsConfig
from voxlang.cliptrain.crops_data import CropPool, Crops, cut_crops, load_crops, resized, stored_crops
from voxlang.cliptrain.found_masks import mask_generator_of, regions_of_masks
from voxlang.cliptrain.masks_noise import imperfect, junk_mask, one_piece, overlap
from voxlang.cliptrain.model import augmented, image_pixels
from voxlang.core.errors import ConfigError
from voxlang.core.levels import Level
from voxlang.masks.types import mask_set_from_dense
from voxlang.scenes.buffer import StoredScenes, write_scenes
from voxlang.volume.types import Part, PartTree

TREE = PartTree(
    (
        Part(1, "bonsai tree", Level.WHOLE, None, ("bonsai",)),
        Part(2, "pot", Level.PART, 1, ("flowerpot",), ("blue",)),
        Part(3, "left leaf", Level.SMALL, 4),
        Part(4, "foliage", Level.PART, 1, ("leaves",), ("green",)),
    )
)


def drawn_scenes(seed=1000, family="bonsai"):
    """One view of 30x40: a blue pot below, two pieces of foliage above, the left of which is a small part."""
    rgb, index = np.zeros((1, 30, 40, 3), np.uint8), np.full((1, 3, 30, 40), -1, np.int16)
    index[0, 2, 4:28, 6:34] = 1
    index[0, 1, 18:28, 10:30] = 2
    rgb[0, 18:28, 10:30] = (0, 0, 200)
    for columns in (slice(6, 14), slice(22, 34)):
        index[0, 1, 4:12, columns] = 4
        rgb[0, 4:12, columns] = (0, 200, 0)
    index[0, 0, 4:12, 6:14] = 3
    return StoredScenes(rgb, np.full((1, 30, 40), 255, np.uint8), index, TREE, family, seed)


def test_perfect_crops_show_exactly_the_parts():
    crops = cut_crops(drawn_scenes(), CropsConfig(size_px=24, min_area_px=30), policies=("masked",))
    assert sorted(crops.parts[:, 0].tolist()) == [1, 2, 3, 4] and (crops.view == 0).all()
    pot = crops.images[crops.parts[:, 0].tolist().index(2)].astype(int)
    # the pot is 20x10; the square around it has 24 rows and columns, so nothing is resized
    assert (pot[7:17, 2:22] == (0, 0, 200)).all()
    outside = np.ones((24, 24), bool)
    outside[7:17, 2:22] = False
    assert (np.abs(pot[outside] - 127.5) <= 0.5).all()


def test_small_parts_are_left_out_and_equal_regions_share_their_names():
    crops = cut_crops(drawn_scenes(), CropsConfig(size_px=16, min_area_px=100), policies=("masked",))
    assert sorted(crops.parts[:, 0].tolist()) == [1, 2, 4]
    scenes = drawn_scenes()
    scenes.part_index[0, 1][scenes.part_index[0, 1] == 4] = -1
    scenes.part_index[0, 1, 4:12, 6:14] = 4
    crops = cut_crops(scenes, CropsConfig(size_px=16, min_area_px=30), policies=("masked",))
    names = {tuple(sorted(p)) for p in crops.parts.tolist()}
    assert (-1, 3, 4) in names, "the small part covers all that is seen of the foliage"


def test_imperfect_masks_stay_near_the_truth(rng):
    mask = np.zeros((40, 50), bool)
    mask[10:30, 12:40] = True
    others = np.zeros_like(mask)
    others[30:38, 12:30] = True
    seen = [imperfect(mask, others, rng, min_area_px=20) for _ in range(60)]
    assert min(overlap(m, mask) for m in seen) > 0.5
    assert len({m.tobytes() for m in seen}) > 10
    assert any((m & others).any() for m in seen) and any(m.sum() < mask.sum() for m in seen)
    tiny = np.zeros_like(mask)
    tiny[5:7, 5:7] = True
    assert all((imperfect(tiny, others, rng, min_area_px=4) >= 0).all() for _ in range(10))


def test_one_piece_is_one_of_the_pieces(rng):
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[10:18, 8:18] = mask[0, 19] = True
    sizes = {int(one_piece(mask, rng, min_area_px=8).sum()) for _ in range(40)}
    assert sizes == {16, 80}
    whole = mask[2:6, 2:6]
    assert one_piece(whole, rng, min_area_px=8) is whole
    assert junk_mask(mask, rng).shape == mask.shape
    assert overlap(mask, mask) == 1.0 and overlap(mask & False, mask & False) == 0.0


def test_crops_come_back_from_disk_as_they_were_cut(tmp_path):
    write_scenes(tmp_path / "scenes_bonsai_0001000.npz", drawn_scenes(), key="k")
    config = CropsConfig(size_px=16, min_area_px=30, junk_per_view=3.0)
    first = stored_crops(tmp_path / "scenes_bonsai_0001000.npz", tmp_path / "c", config)
    again = stored_crops(tmp_path / "scenes_bonsai_0001000.npz", tmp_path / "c", config)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.parts, again.parts)
    assert first.tree.as_list() == again.tree.as_list() == TREE.as_list() and again.seed == 1000
    assert ((first.level == -1) == (first.parts < 0).all(axis=1)).all()
    with pytest.raises(ConfigError, match="render_views"):
        load_crops(ClipTrainConfig(render_dirs=(str(tmp_path / "nothing"),), crops_dir=str(tmp_path / "c")))


class FakeGenerator:
    """Finds the left piece of the foliage, a corner of the pot, a mask of too much, and one that is too small."""

    id = "fake"

    def generate(self, rgb, *, foreground=None):
        masks = np.zeros((4, *foreground.shape), bool)
        masks[0, 4:12, 6:13] = True
        masks[1, 18:22, 10:20] = True
        masks[2, :, :] = True
        masks[3, 4:6, 6:8] = True
        assert foreground.dtype == bool and rgb.shape == (*foreground.shape, 3)
        scores, points = np.ones(4, np.float32), np.zeros((4, 2), np.float32)
        return mask_set_from_dense(masks, predicted_iou=scores, stability=scores, points_uv=points)


def test_masks_stand_for_what_they_fit_or_lie_in():
    scenes = drawn_scenes()
    regions = {(level, i): scenes.part_index[0, level] == i for level, i in ((0, 3), (1, 2), (1, 4), (2, 1))}
    found = FakeGenerator().generate(scenes.rgb[0], foreground=regions[2, 1]).all_dense()
    found[2] = regions[2, 1]  # the whole itself
    # 7 of 8 columns of the leaf; a fifth of the pot; the whole; a piece of the leaf, which is a piece of the foliage
    assert regions_of_masks(found, regions) == [(0, 3), (1, 2), (2, 1), (0, 3)]
    apart = np.zeros((1, 30, 40), bool)
    apart[0, 12:18, :6] = True
    assert regions_of_masks(apart, regions) == [None] and regions_of_masks(found, {}) == [None] * 4
    half = apart.copy()
    half[0, 18:22, 10:15] = True  # 36 pixels of nothing and 20 of the pot
    assert regions_of_masks(half, regions) == [None]


def test_found_masks_are_cut_beside_the_true_ones(tmp_path):
    plain = {"imperfect": 0.0, "one_piece": 0.0, "junk_per_view": 0.0, "other_policies": 0.0}
    config = CropsConfig(size_px=24, min_area_px=30, **plain)
    alone = cut_crops(drawn_scenes(), config)
    found = cut_crops(drawn_scenes(), config.model_copy(update={"found_per_view": 3}), generator=FakeGenerator())
    np.testing.assert_array_equal(found.images[: len(alone)], alone.images)
    assert found.parts[len(alone) :, 0].tolist() == [3, 2, 1] and found.level[len(alone) :].tolist() == [0, 1, 2]
    corner = found.images[len(alone) + 1].astype(int)
    assert ((corner == (0, 0, 200)).all(axis=-1)).sum() > 0 and (corner[..., 1] <= 128).all()
    only = cut_crops(drawn_scenes(), config, policies=("masked",), generator=FakeGenerator())
    np.testing.assert_array_equal(only.images, found.images[len(alone) :])
    one = cut_crops(drawn_scenes(), config.model_copy(update={"found_per_view": 1}), generator=FakeGenerator())
    assert len(one) == len(alone) + 1
    path = tmp_path / "scenes_bonsai_0001000.npz"
    write_scenes(path, drawn_scenes(), key="k")
    stored_crops(path, tmp_path / "c", config)
    stored_crops(path, tmp_path / "c", config, generator=FakeGenerator())
    assert len(list((tmp_path / "c").iterdir())) == 2, "crops of other masks are other crops"


def test_the_pipelines_model_finds_masks():
    asking = lambda points: mask_generator_of(CropsConfig(found_per_view=2, found_points_per_side=points))
    generator = asking(6)
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[16:48, 20:50] = (200, 60, 40)
    masks = generator.generate(rgb, foreground=rgb.any(axis=-1)).all_dense()
    assert masks.dtype == bool and masks.shape[1:] == (64, 64) and len(masks)
    assert generator.id == asking(6).id != asking(7).id
    assert mask_generator_of(CropsConfig()) is None
    assert mask_generator_of(CropsConfig(found_per_view=2)).id != generator.id


@pytest.fixture
def pool():
    phantoms = [cut_crops(drawn_scenes(s, f), CropsConfig(size_px=16, min_area_px=30, imperfect=0.0, junk_per_view=2))
                for s, f in ((1, "bonsai"), (2, "bonsai"), (3, "oak"))]  # fmt: skip
    table = ConceptTable((c.family, c.tree) for c in phantoms)
    return CropPool(phantoms, table, bonsai_share=0.3), table


def test_pool_knows_concepts_sides_and_shares(pool):
    crops, table = pool
    assert resized(crops.images, 8).shape[1:] == (8, 8, 3) and resized(crops.images, 16) is crops.images
    bonsai = np.array([i >= 0 and table.concepts[i].family == "bonsai" for i in crops.concepts[:, 0]])
    oak = np.array([i >= 0 and table.concepts[i].family == "oak" for i in crops.concepts[:, 0]])
    junk = crops.concepts[:, 0] < 0
    assert crops.weights.sum() == pytest.approx(1.0)
    assert crops.weights[bonsai].sum() <= 0.3 + 1e-9 and crops.weights[oak].sum() <= 0.7 + 1e-9
    assert crops.weights[bonsai | oak | junk].sum() == pytest.approx(1.0)
    for row in np.flatnonzero(~junk):
        concept = table.concepts[crops.concepts[row, 0]]
        assert crops.sided[row] == (concept.name == "left leaf")


def test_augmentation_keeps_the_background_and_never_mirrors_sides():
    images = torch.full((64, 16, 16, 3), 127, dtype=torch.uint8)
    images[:, 4:12, 2:6] = 255
    pixels = image_pixels(images)
    assert pixels[:, :, 0].abs().max() == 0.0, "grey counts as nothing"
    generator = torch.Generator().manual_seed(0)
    sided = torch.arange(64) < 32
    out = augmented(pixels, sided, generator, strength=0.0)
    left = out[:, :, :, :8].abs().sum((1, 2, 3)) > out[:, :, :, 8:].abs().sum((1, 2, 3))
    assert left[:32].all() and 4 < left[32:].sum() < 28
    strong = augmented(pixels, sided, torch.Generator().manual_seed(1))
    assert strong[:, :, 0, 15].abs().max() < 1e-6, "a corner of background stays background"
    assert torch.equal(strong, augmented(pixels, sided, torch.Generator().manual_seed(1)))


def test_crops_dataclass_counts_its_pictures():
    assert len(Crops(np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 3), np.int16), np.zeros(2, np.int16),
                     np.zeros(2, np.int16), TREE, "bonsai", 1)) == 2  # fmt: skip
