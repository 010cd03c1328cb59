"""Random scenes and their files."""

import numpy as np
import pytest
from scipy import ndimage

from voxlang.core.errors import ArtifactError, ConfigError
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.presets import transfer_from_appearance
from voxlang.scenes import buffer
from voxlang.scenes.buffer import (
    contact_sheet,
    files_by_family,
    generate_scenes,
    make_scenes,
    mixed_views,
    part_colors,
    read_scenes,
    scene_files,
)
from voxlang.scenes.plan import SEEDS, SceneConfig
from voxlang.scenes.sampling import SceneRanges, SceneSource, jittered, random_background, random_scene
from voxlang.volume.phantoms import FAMILIES, make_phantom

FAMILY = FAMILIES[0]
SMALL = SceneConfig(
    split="dev", phantoms={FAMILY: 2}, per_family=0, views_per_phantom=2, size_px=40, voxels=32
)  # fmt: skip


@pytest.fixture(scope="module")
def source() -> SceneSource:
    return SceneSource(make_phantom(FAMILY, 5, size_xyz=(34, 30, 36)))


def test_the_same_generator_draws_the_same_scene(source):
    ranges = SceneRanges(width=48, height=40)
    a, b = (random_scene(np.random.default_rng(7), FAMILY, source=source, ranges=ranges) for _ in range(2))
    np.testing.assert_array_equal(a.view.rgb, b.view.rgb)
    np.testing.assert_array_equal(a.part_index, b.part_index)
    other = random_scene(np.random.default_rng(8), FAMILY, source=source, ranges=ranges)
    assert np.abs(other.view.rgb - a.view.rgb).mean() > 0.005


def test_scenes_show_parts_of_the_tree_inside_the_silhouette(source):
    rng = np.random.default_rng(3)
    ids = {p.id for p in source.phantom.labels.tree}
    for _ in range(4):
        scene = source.draw(rng, SceneRanges(width=48, height=48))
        whole = scene.part_index[2]
        assert (whole >= 0).mean() > 0.02
        assert set(np.unique(scene.part_index)) - {-1} <= ids
        near = ndimage.maximum_filter(scene.view.opacity, 3)
        assert (near[whole >= 0] > 0.3).all()
        assert scene.view.rgb.dtype == np.float32 and 0 <= scene.view.rgb.min() <= scene.view.rgb.max() <= 1


def test_scenes_are_cut_open_as_often_as_asked(source):
    rng = np.random.default_rng(0)
    size = {"width": 24, "height": 24, "min_visible": 0.0}
    draws = [source.draw(rng, SceneRanges(cut=0.5, **size)) for _ in range(40)]
    depths = np.array([d.view.camera.near_depth for d in draws])
    assert 12 <= (depths > 0).sum() <= 28
    assert len(np.unique(depths)) == 1 + (depths > 0).sum()
    assert source.draw(rng, SceneRanges(**size)).view.camera.near_depth == 0


def test_a_source_of_another_family_is_refused(source):
    with pytest.raises(ConfigError, match="family"):
        random_scene(np.random.default_rng(0), "pebble", source=source)


def test_jitter_keeps_the_bands_and_shows_something(source):
    rng = np.random.default_rng(2)
    grid = VolumeGrid((4, 5, 6))
    for look in source.phantom.appearances:
        changed = jittered(look, rng, SceneRanges(hide=0.9))
        assert [(m.value_low, m.value_high) for m in changed.materials] == [
            (m.value_low, m.value_high) for m in look.materials
        ]
        assert transfer_from_appearance(changed, grid).opacity_knots[:, 1].max() > 0


def test_backgrounds_are_what_they_are_called():
    rng = np.random.default_rng(1)
    assert random_background(rng, 4, 6, kind="black").max() == 0
    assert random_background(rng, 4, 6, kind="white").min() == 1
    assert np.ptp(random_background(rng, 4, 6, kind="plain"), axis=(0, 1)).max() == 0
    assert np.ptp(random_background(rng, 24, 36, kind="gradient"), axis=(0, 1)).max() > 0.05


def test_scenes_are_kept_resumed_and_equal(tmp_path, monkeypatch):
    files = generate_scenes(tmp_path, SMALL)
    assert files == scene_files(tmp_path / "dev") and len(files) == 2
    first = read_scenes(files[0])
    assert first.rgb.shape == (2, 40, 40, 3) and first.part_index.shape == (2, 3, 40, 40)
    assert first.seed == SEEDS["dev"][0] and first.family == FAMILY and len(first.tree) > 2
    files[1].unlink()
    made = []
    original = buffer.make_scenes
    monkeypatch.setattr(buffer, "make_scenes", lambda *a: made.append(a[1:]) or original(*a))
    again = generate_scenes(tmp_path, SMALL)
    assert made == [(FAMILY, SEEDS["dev"][1])] and again == files
    direct = make_scenes(SMALL, FAMILY, SEEDS["dev"][0])
    np.testing.assert_array_equal(direct.rgb, first.rgb)
    np.testing.assert_array_equal(direct.part_index, first.part_index)
    with pytest.raises(ArtifactError, match="other settings"):
        generate_scenes(tmp_path, SMALL.model_copy(update={"views_per_phantom": 3}))
    with pytest.raises(ArtifactError, match=r"cut=0\.5"):
        generate_scenes(tmp_path, SMALL.model_copy(update={"cut": 0.5}))
    assert SMALL.key == "9ceba06413ae0a329bb6ce608974dae8", "folders made before there were cuts stay good"
    contact_sheet(tmp_path / "sheet.png", first)
    from PIL import Image

    assert Image.open(tmp_path / "sheet.png").size == (80, 160)
    mixed = mixed_views(files, 3)
    second = read_scenes(files[1])
    np.testing.assert_array_equal(mixed.rgb, np.stack([first.rgb[0], first.rgb[1], second.rgb[0]]))
    np.testing.assert_array_equal(mixed.part_index[2], second.part_index[0])
    contact_sheet(tmp_path / "two.png", first, mixed, columns=3, shrink=2)
    assert Image.open(tmp_path / "two.png").size == (60, 160), "two blocks of four rows at half the size"


def test_broken_files_and_unknown_families_are_refused(tmp_path):
    (tmp_path / "scenes_x.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ArtifactError, match="whole scenes file"):
        read_scenes(tmp_path / "scenes_x.npz")
    np.savez(tmp_path / "other.npz", header=np.frombuffer(b'{"schema": 1, "kind": "masks"}', np.uint8))
    with pytest.raises(ArtifactError, match="scenes of schema"):
        read_scenes(tmp_path / "other.npz")
    with pytest.raises(ConfigError, match="families"):
        generate_scenes(tmp_path, SceneConfig(phantoms={"pebble": 1}))


def test_part_colours_tell_parts_apart_and_none_is_black():
    colors = part_colors(np.arange(-1, 40))
    assert (colors[0] == 0).all()
    distance = np.abs(colors[1:, None] - colors[None, 1:]).sum(-1) + np.eye(40) * 9
    assert distance.min() > 0.02


def test_files_are_sorted_by_family_whose_names_may_have_underscores(tmp_path):
    with pytest.raises(ConfigError, match="render_views"):
        files_by_family(tmp_path)
    for name in ("head_0001000", "head_mri_0001000", "head_mri_0001001"):
        (tmp_path / f"scenes_{name}.npz").touch()
    assert {f: len(paths) for f, paths in files_by_family(tmp_path).items()} == {"head": 1, "head_mri": 2}
