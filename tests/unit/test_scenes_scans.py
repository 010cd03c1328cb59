"""Phantoms as scans show them: cut off by the field of view, in looks that do not know them."""

import numpy as np
import pytest

from voxlang.geometry.grid import transform_points
from voxlang.render.presets import AUTO_CT, PRESETS
from voxlang.scenes.buffer import make_scenes
from voxlang.scenes.plan import SceneConfig
from voxlang.scenes.sampling import SceneRanges, SceneSource
from voxlang.scenes.scans import (
    CUT_AXIS,
    _smooth_noise,
    general_looks,
    jittered_look,
    partly_scanned,
    with_scanner_values,
)
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


def test_a_scanner_takes_from_bone_and_contrast_and_keeps_what_lies_where(phantoms):
    torso = phantoms["torso"]
    kind = np.array(["", *(p.name for p in torso.labels.tree)])[torso.labels.labels]
    median = lambda volume, name: np.median(volume.native_values()[kind == name])
    bone, kidney = [], []
    for seed in range(12):
        scan = with_scanner_values(torso.volume, np.random.default_rng(seed))
        assert scan.grid == torso.volume.grid and scan.value_range == torso.volume.value_range
        assert scan.values.dtype == np.float32 and scan.values.min() >= 0 and scan.values.max() <= 1
        assert median(scan, "fat") == pytest.approx(median(torso.volume, "fat"), abs=12), (
            "below soft tissue nothing moves"
        )
        assert median(scan, "left lung") < median(scan, "fat") < median(scan, "pelvis")
        bone.append(median(scan, "pelvis"))
        kidney.append(median(scan, "left kidney"))
    assert min(bone) < 300 and max(bone) > 500, "brittle and firm"
    assert min(kidney) < 110 and max(kidney) > 150, "without and with contrast agent"
    again = with_scanner_values(torso.volume, np.random.default_rng(11))
    np.testing.assert_array_equal(again.values, scan.values)


def test_other_units_get_another_gamma_and_noise(phantoms):
    engine = phantoms["engine"].volume
    scan = with_scanner_values(engine, np.random.default_rng(1))
    assert 0.005 < np.abs(scan.values - engine.values).mean() < 0.2
    assert np.corrcoef(scan.values.ravel(), engine.values.ravel())[0, 1] > 0.9


def test_noise_has_unit_variance_and_neighbours_that_agree():
    for sigma, least, most in ((0.0, -0.05, 0.05), (1.0, 0.6, 0.95)):
        noise = _smooth_noise((20, 24, 28), sigma, np.random.default_rng(4))
        assert noise.std() == pytest.approx(1.0, abs=1e-3)
        assert least < (noise[1:] * noise[:-1]).mean() < most


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
    plain = SceneConfig(views_per_phantom=1, size_px=32, voxels=24)
    config = plain.model_copy(update={"partly": 1.0, "general_looks": 1.0})
    scanner = plain.model_copy(update={"scanner": 1.0})
    assert np.abs(make_scenes(scanner, "tooth", 3).rgb.astype(int) - make_scenes(plain, "tooth", 3).rgb).mean() > 1
    assert len({scanner.key, plain.key, config.key, plain.model_copy(update={"partly": 1.0}).key}) == 4
    part, again = (make_scenes(config, "tooth", 3) for _ in range(2))
    np.testing.assert_array_equal(part.rgb, again.rgb)
    np.testing.assert_array_equal(part.part_index, again.part_index)
    assert np.abs(part.rgb.astype(int) - make_scenes(plain, "tooth", 3).rgb).mean() > 1
    assert (part.part_index[:, 2] >= 0).any()
