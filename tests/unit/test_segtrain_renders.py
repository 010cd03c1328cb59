import numpy as np
import pytest

from voxlang.core.errors import ArtifactError, ConfigError
from voxlang.core.levels import Level
from voxlang.scenes.buffer import StoredScenes, generate_scenes, write_scenes
from voxlang.scenes.plan import SceneConfig
from voxlang.segtrain.config import PhaseConfig, SegTrainConfig
from voxlang.segtrain.data import make_sources
from voxlang.segtrain.renders import RenderSource, kind_table
from voxlang.segtrain.shapes import KINDS
from voxlang.volume.types import Part, PartTree, part_kind


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


def test_training_refuses_views_of_another_size(tmp_path):
    write_scenes(tmp_path / "train" / f"scenes_tooth_{1:07d}.npz", stored(1), key="k")
    phase = PhaseConfig(name="a", steps=1, sources={"renders": 1.0}, learning_rate=1e-3, final_learning_rate=1e-4)
    with pytest.raises(ConfigError, match="256x256") as error:
        make_sources(SegTrainConfig(phases=(phase,), render_dir=str(tmp_path)))
    assert "16x20" in str(error.value)


def test_views_are_written_once_and_never_taken_for_others(tmp_path):
    config = SceneConfig(split="dev", phantoms={"lobster": 1}, per_family=0, views_per_phantom=1)
    (path,) = generate_scenes(tmp_path, config)
    written = path.stat().st_mtime_ns
    assert generate_scenes(tmp_path, config) == [path] and path.stat().st_mtime_ns == written
    with pytest.raises(ArtifactError, match=r"cut=0\.5"):
        generate_scenes(tmp_path, config.model_copy(update={"cut": 0.5}))
    view = RenderSource(tmp_path, "dev").picture(0)
    assert view.rgb.shape == (256, 256, 3) and (view.regions[2] >= 0).any()
