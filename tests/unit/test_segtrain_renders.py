import numpy as np
import pytest

from voxlang.core.errors import ConfigError
from voxlang.core.levels import Level
from voxlang.scenes.buffer import StoredScenes, write_scenes
from voxlang.segtrain.renders import (
    HELD_OUT_FAMILIES,
    SEEDS,
    RenderConfig,
    RenderSource,
    kind_table,
    planned_scenes,
    write_renders,
)
from voxlang.segtrain.shapes import KINDS
from voxlang.volume.phantoms import FAMILIES
from voxlang.volume.types import Part, PartTree, part_kind


def test_splits_share_no_phantom():
    assert not set(SEEDS["train"]) & set(SEEDS["dev"])
    assert not set(SEEDS["train"]) & set(SEEDS["test"])
    assert not set(SEEDS["dev"]) & set(SEEDS["test"])


def test_any_beginning_of_the_plan_is_balanced():
    config = RenderConfig(phantoms={"bonsai": 40, "tooth": 10}, per_family=0)
    plan = planned_scenes(config)
    assert len(set(plan)) == len(plan) == 50
    assert {seed for _, seed in plan} <= set(SEEDS["train"])
    for n in (10, 25, 45):
        share = sum(family == "bonsai" for family, _ in plan[:n]) / n
        assert share == pytest.approx(0.8, abs=0.1)
    later = planned_scenes(config.model_copy(update={"skip": 40}))
    assert len(later) == 50 and not set(later) & set(plan), "another folder shares no phantom with the first"
    with pytest.raises(ConfigError, match="at most 100"):
        planned_scenes(RenderConfig(split="test", phantoms={"bonsai": 101}))


def test_training_never_sees_the_held_out_families():
    trained = {family for family, _ in planned_scenes(RenderConfig(per_family=2))}
    assert trained == set(FAMILIES) - set(HELD_OUT_FAMILIES)
    assert {family for family, _ in planned_scenes(RenderConfig(split="test", per_family=1))} == set(FAMILIES)
    with pytest.raises(ConfigError, match="never trained"):
        planned_scenes(RenderConfig(phantoms={HELD_OUT_FAMILIES[0]: 1}))


def stored(seed: int) -> StoredScenes:
    part_index = np.full((2, 3, 16, 20), -1, np.int16)
    part_index[0, 2, 2:10, 3:12] = 1
    part_index[0, 1, 2:6, 3:12] = 2 + seed
    rgb = np.full((2, 16, 20, 3), 10 * seed, np.uint8)
    tree = PartTree((Part(1, "thing", Level.WHOLE, None), Part(2, "piece", Level.PART, 1)))
    return StoredScenes(rgb, np.zeros((2, 16, 20), np.uint8), part_index, tree, "tooth", seed)


def test_stored_views_come_back(tmp_path):
    for seed in (1, 2):
        write_scenes(tmp_path / "train" / f"scenes_tooth_{seed:07d}.npz", stored(seed), key="k")
    source = RenderSource(tmp_path)
    assert len(source) == 2, "views that show nothing are left out"
    for i, seed in enumerate((1, 2)):
        view = source.picture(i)
        assert source.family(i) == "tooth"
        assert (view.rgb == stored(seed).rgb[0]).all() and (view.regions == stored(seed).part_index[0]).all()
        table = kind_table("tooth", stored(seed).tree)
        assert table[1] > 0 and table[2] > 0 and (table[3:] == 0).all() and table.max() < KINDS
        assert view.kinds is not None and (view.kinds[2] == np.where(view.regions[2] == 1, table[1], 0)).all()
        assert (view.kinds[1] == np.where(view.regions[1] == 2, table[2], 0)).all()
    drawn = source.draw(np.random.default_rng(0), 0)
    assert drawn.regions.shape == (3, 16, 20)


def test_siblings_are_of_one_kind():
    assert part_kind("left rib 3") == part_kind("right rib 11") == "rib"
    assert part_kind("upper third molar 2") == "molar" and part_kind("left") == "left"


def test_a_folder_without_views_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="render_views"):
        RenderSource(tmp_path)


def test_views_are_written_once(tmp_path):
    config = RenderConfig(split="dev", phantoms={"lobster": 1}, per_family=0, views_per_phantom=1)
    (path,) = write_renders(tmp_path, config)
    written = path.stat().st_mtime_ns
    assert write_renders(tmp_path, config) == [path] and path.stat().st_mtime_ns == written
    view = RenderSource(tmp_path, "dev").picture(0)
    assert view.rgb.shape == (256, 256, 3) and (view.regions[2] >= 0).any()
