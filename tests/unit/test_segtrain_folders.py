"""Annotated pictures from folders: levels by hand, COCO's polygons and run lengths, PNG label maps."""

import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from voxlang.core.errors import ConfigError
from voxlang.segtrain.config import PhaseConfig, SegTrainConfig
from voxlang.segtrain.data import make_batch, make_sources
from voxlang.segtrain.folders import FolderSource, decode_rle, regions_of


def square(size, rows, columns):
    mask = np.zeros(size, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def test_instances_get_their_level_by_where_they_lie():
    size = (20, 30)
    whole, part, small = square(size, (2, 18), (2, 18)), square(size, (4, 12), (4, 12)), square(size, (5, 8), (5, 8))
    sticking_out = square(size, (10, 13), (15, 19))  # nine of twelve pixels inside: less than 85 %
    deep = square(size, (6, 7), (6, 7))
    regions = regions_of(np.stack([small, whole, part, sticking_out, deep]))
    assert regions[:, 6, 6].tolist() == [4, 2, 1], "the fourth depth stays with the small ones, on top"
    assert regions[:, 5, 5].tolist() == [0, 2, 1]
    assert regions[:, 11, 11].tolist() == [-1, 2, 1]
    assert regions[:, 3, 3].tolist() == [-1, -1, 1]
    assert regions[:, 11, 16].tolist() == [-1, -1, 3], "it lies on the whole, as a whole of its own"
    assert regions[:, 0, 0].tolist() == [-1, -1, -1]


def test_where_instances_overlap_the_smaller_one_is_on_top():
    size = (20, 20)
    whole, part = square(size, (0, 16), (0, 16)), square(size, (2, 10), (2, 10))
    thin, thick = square(size, (4, 8), (7, 20)), square(size, (4, 12), (7, 20))
    for over, here in ((thin, [-1, -1, 2]), (thick, [-1, 1, 0])):
        regions = regions_of(np.stack([whole, part, over]))
        assert regions[:, 5, 8].tolist() == here, "the smaller one is on top, with its whole"
        assert regions[:, 5, 5].tolist() == [-1, 1, 0] and regions[:, 5, 15].tolist() == [-1, -1, 2]


def test_a_part_is_cut_to_its_whole():
    size = (20, 20)
    whole, part = square(size, (0, 10), (0, 20)), square(size, (1, 11), (3, 6))
    regions = regions_of(np.stack([whole, part]))
    assert regions[:, 9, 4].tolist() == [-1, 1, 0] and regions[:, 10, 4].tolist() == [-1, -1, -1]


def compress(lengths):
    """COCO's compressed run lengths, written after their description."""
    text = ""
    for i, length in enumerate(lengths):
        x = length - lengths[i - 2] if i > 2 else length
        more = True
        while more:
            group = x & 31
            x >>= 5
            more = x != (-1 if group & 16 else 0)
            text += chr((group | (32 if more else 0)) + 48)
    return text


def test_run_lengths_by_hand_and_there_and_back(rng):
    mask = decode_rle([1, 2, 3], 2, 3)  # down the columns: 0 | 1 1 | 0 0 0
    assert mask.tolist() == [[False, True, False], [True, False, False]]
    assert decode_rle("123", 2, 3).tolist() == mask.tolist(), "small lengths are single characters"
    for shape in ((7, 5), (300, 200)):
        wanted = rng.random(shape) < 0.5
        wanted[:, 1:] = wanted[:, :1]  # long runs too
        wanted[: shape[0] // 2] = False
        flat = wanted.T.ravel()
        changes = np.flatnonzero(np.diff(flat)) + 1
        lengths = np.diff([0, *changes, flat.size]).tolist()
        lengths = [0, *lengths] if flat[0] else lengths
        assert (decode_rle(lengths, *shape) == wanted).all()
        assert (decode_rle(compress(lengths), *shape) == wanted).all()
    with pytest.raises(ConfigError, match=r"sum to 2 x 3.*5"):
        decode_rle([1, 2, 2], 2, 3)


@pytest.fixture
def coco(tmp_path):
    """Two pictures of 64 x 96: a square as polygon with one inside as run lengths; the other without instances."""
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[16:48, 24:72] = (200, 40, 40)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(rgb).save(folder / "a.png")
    Image.fromarray(rgb).save(folder / "b.png")
    inner = square((64, 96), (20, 30), (30, 50)).T.ravel()
    changes = [0, *(np.flatnonzero(np.diff(inner)) + 1).tolist(), inner.size]
    counts = np.diff(changes).tolist()
    content = {
        "images": [{"id": i, "file_name": f"{n}.png", "width": 96, "height": 64} for i, n in enumerate("ab")],
        "annotations": [
            {"image_id": 0, "segmentation": [[24, 16, 72, 16, 72, 48, 24, 48]], "iscrowd": 0},
            {"image_id": 0, "segmentation": {"counts": counts, "size": [64, 96]}, "iscrowd": 0},
            {"image_id": 0, "segmentation": [[0, 0, 90, 0, 90, 60]], "iscrowd": 1},
        ],
        "categories": [],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_coco_files(coco):
    source = FolderSource(coco)
    assert len(source) == 1
    picture = source.picture(0)
    assert picture.rgb.shape == (256, 256, 3)
    red = picture.rgb[..., 0] > 100
    whole, part = picture.regions[2] == 0, picture.regions[1] == 1
    assert (whole == square((256, 256), (64, 192), (64, 192))).all() and (red != whole).mean() < 0.01
    assert (part == square((256, 256), (80, 120), (80, 133))).mean() > 0.995
    assert FolderSource(coco, coco / "annotations.json").picture(0).regions.tolist() == picture.regions.tolist()
    assert source.picture(0) is picture, "what was read stays"


def test_label_maps_of_any_depth(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    label = np.zeros((50, 40), np.uint16)
    label[10:20, 10:30], label[30:40, 10:30] = 300, 7
    for name in "xyz":
        Image.fromarray(np.full((50, 40, 3), 90, np.uint8)).save(tmp_path / "images" / f"{name}.jpg")
    Image.fromarray(label).save(tmp_path / "labels" / "x.png")
    coloured = np.stack([label % 256, label // 256, 0 * label], -1).astype(np.uint8)
    Image.fromarray(coloured).save(tmp_path / "labels" / "y.png")
    source = FolderSource(tmp_path / "images")
    assert len(source) == 2
    for i in range(2):
        regions = source.picture(i).regions
        assert set(np.unique(regions[2])) == {-1, 0, 1} and (regions[:2] == -1).all()
        assert (regions[2] >= 0).mean() == pytest.approx(2 * 200 / 2000, abs=0.01)


def test_a_broken_label_map_is_named(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.full((50, 40, 3), 90, np.uint8)).save(tmp_path / "images" / "x.png")
    (tmp_path / "labels" / "x.png").write_text("text")
    with pytest.raises(ConfigError, match=r"map of instance numbers.*x\.png"):
        FolderSource(tmp_path / "images").picture(0)


def test_batches_of_folders_are_reproducible(coco):
    phase = PhaseConfig(name="a", steps=3, sources={"images": 1.0}, learning_rate=1e-3, final_learning_rate=1e-3)
    config = SegTrainConfig(phases=(phase,), images=str(coco), pictures_per_step=2, prompts_per_picture=4)
    one, other = (make_batch(config, make_sources(config), 1) for _ in range(2))
    assert (one.images == other.images).all() and (one.targets == other.targets).all()
    assert one.targets[:, :, 1:].amax() == 1


def test_what_is_missing_is_said(coco, tmp_path):
    with pytest.raises(ConfigError, match="--images FOLDER"):
        FolderSource(None)
    with pytest.raises(ConfigError, match="no such folder"):
        FolderSource(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"annotations\.json or a folder labels"):
        FolderSource(tmp_path / "empty")
    with pytest.raises(ConfigError, match="annotates no picture"):
        FolderSource(coco, tmp_path / "empty")
    other = tmp_path / "other.json"
    other.write_text('{"info": 1}')
    with pytest.raises(ConfigError, match=r"COCO's.*info"):
        FolderSource(coco, other)
    (coco / "a.png").unlink()
    with pytest.raises(ConfigError, match=r"no a\.png"):
        FolderSource(coco)
    (coco / "a.png").write_text("text")
    with pytest.raises(ConfigError, match=r"a picture file.*a\.png"):
        FolderSource(coco).picture(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].pop("image_id"), "image_id"),
        (lambda c: c["images"][0].pop("width"), "width"),
        (lambda c: c["images"].append("a.png"), "images with id"),
        (lambda c: c["annotations"].append(3), "annotations with image_id"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), r"polygons .*got \[\[1, 2, 3\]\]"),
        (lambda c: c["annotations"][0].update(segmentation=[24, 16, 72, 16, 72, 48]), "polygons"),
        (lambda c: c["annotations"][0].update(segmentation={"size": [64, 96]}), "run lengths"),
    ],
)
def test_a_broken_coco_file_is_refused_before_the_training(coco, change, message):
    content = json.loads((coco / "annotations.json").read_text())
    change(content)
    (coco / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        FolderSource(coco)


def test_thousands_of_instances_take_no_memory_of_their_own_size(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    side = 1024
    cells = np.arange(side) // 16
    label = (1 + cells[:, None] * 64 + cells).astype(np.uint16)  # 4096 instances: 4 GiB of masks at this size
    Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(tmp_path / "images" / "x.png")
    Image.fromarray(label).save(tmp_path / "labels" / "x.png")
    tracemalloc.start()
    regions = FolderSource(tmp_path / "images").picture(0).regions
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(regions[2])) == 4096
    assert peak < 1 << 30
