"""Phantoms as scans show them: cut off by the field of view, in looks that do not know them."""

import numpy as np
import pytest

from voxlang.geometry.grid import transform_points
from voxlang.render.presets import AUTO_CT, PRESETS
from voxlang.scenes.buffer import BufferConfig, make_scenes
from voxlang.scenes.sampling import SceneRanges, SceneSource
from voxlang.scenes.scans import CUT_AXIS, general_looks, jittered_look, partly_scanned
from voxlang.volume.phantoms import make_phantom

SIZES = {"torso": (30, 22, 38), "engine": (26, 34, 22)}


@pytest.fixture(scope="module")
def phantoms():
    return {family: make_phantom(family, 5, size_xyz=size) for family, size in SIZES.items()}


@pytest.mark.parametrize("family", SIZES)
def test_a_smaller_field_of_view_leaves_every_voxel_where_it_was(phantoms, family):
    whole, rng = phantoms[family], np.random.default_rng(1)
    cut_axes = np.zeros(3)
    for _ in range(60):
        part = partly_scanned(whole, rng)
        corners = np.array([[0, 0, 0], np.array(part.volume.grid.size_xyz) - 1])
        world = transform_points(part.volume.grid.world_from_index, corners.astype(float))
        (x, y, z), last = np.rint(transform_points(whole.volume.grid.index_from_world, world)).astype(int)
        window = (slice(z, last[2] + 1), slice(y, last[1] + 1), slice(x, last[0] + 1))
        np.testing.assert_array_equal(part.volume.values, whole.volume.values[window])
        np.testing.assert_array_equal(part.labels.labels, whole.labels.labels[window])
        assert part.labels.grid == part.volume.grid and part.labels.tree == whole.labels.tree
        found = (part.labels.labels > 0).sum() / (whole.labels.labels > 0).sum()
        assert 0.1 <= found < 1
        cut_axes += np.array(part.volume.grid.size_xyz) < whole.volume.grid.size_xyz
    assert cut_axes[2] > 35, "mostly above or below"
    assert (np.abs(cut_axes[:2] / 60 - CUT_AXIS[:2]) < 0.2).all()


def test_looks_of_a_volume_that_nobody_knows(phantoms):
    torso = {look.name for look in general_looks(phantoms["torso"].volume)}
    assert torso == {name for name, preset in PRESETS.items() if preset.units == "HU"} and set(AUTO_CT) < torso
    engine = [look.name for look in general_looks(phantoms["engine"].volume)]
    assert {"auto-surface", "auto-contents", "auto-dense", "surface", "mri-head"} < set(engine)
    assert not {name for name in engine if name.startswith("ct-")} and len(set(engine)) == len(engine)


def test_a_look_changes_in_colour_and_density_and_keeps_its_bands(phantoms):
    rng = np.random.default_rng(2)
    for look in general_looks(phantoms["torso"].volume):
        same = jittered_look(look, rng, color_jitter=0.0, alpha_jitter=0.0)
        np.testing.assert_allclose(same.color_knots, look.color_knots, atol=1e-12)
        np.testing.assert_allclose(same.opacity_knots, look.opacity_knots, atol=1e-12)
        other = jittered_look(look, rng, color_jitter=0.1, alpha_jitter=0.35)
        np.testing.assert_array_equal(other.opacity_knots[:, 0], look.opacity_knots[:, 0])
        np.testing.assert_array_equal(other.opacity_knots[:, 1] == 0, look.opacity_knots[:, 1] == 0)
        ratio = np.log1p(-other.opacity_knots[:, 1]) / np.minimum(np.log1p(-look.opacity_knots[:, 1]), -1e-9)
        shown = look.opacity_knots[:, 1] > 0
        np.testing.assert_allclose(ratio[shown], ratio[shown][0], rtol=1e-6, err_msg="one factor on all densities")
        assert np.abs(other.color_knots[:, 1:] - look.color_knots[:, 1:]).max() > 0.01


def test_a_share_of_the_pictures_has_such_a_look(phantoms):
    source, rng = SceneSource(phantoms["engine"]), np.random.default_rng(3)
    names = {look.name for look in general_looks(phantoms["engine"].volume)}
    own = {look.name for look in phantoms["engine"].appearances}
    drawn = [source._look(rng, SceneRanges(general_looks=0.5)).name for _ in range(60)]
    assert 18 <= sum(name in names - own for name in drawn) <= 42
    assert {source._look(rng, SceneRanges()).name for _ in range(20)} <= own


def test_stored_scenes_are_cut_off_where_that_is_asked_for():
    plain = BufferConfig(views_per_phantom=1, size_px=32, voxels=24)
    config = plain.model_copy(update={"partly": 1.0, "general_looks": 1.0})
    assert len({plain.key, config.key, plain.model_copy(update={"partly": 1.0}).key}) == 3
    part, again = (make_scenes(config, "tooth", 3) for _ in range(2))
    np.testing.assert_array_equal(part.rgb, again.rgb)
    np.testing.assert_array_equal(part.part_index, again.part_index)
    assert np.abs(part.rgb.astype(int) - make_scenes(plain, "tooth", 3).rgb).mean() > 1
    assert (part.part_index[:, 2] >= 0).any()
