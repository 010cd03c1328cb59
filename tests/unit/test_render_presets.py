"""Presets, phantom looks and automatic transfer functions."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from voxlang.core.errors import TransferFunctionError
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.automatic import automatic_transfers, value_classes
from voxlang.render.presets import (
    AUTO_CT,
    PRESETS,
    is_hounsfield,
    preset_transfer,
    resolve_transfers,
    transfer_from_appearance,
)
from voxlang.render.transfer_files import read_transfers
from voxlang.volume.types import Volume

CONFIGS = Path(__file__).parents[2] / "configs/transfer"


@dataclass(frozen=True)
class Band:
    value_low: float
    value_high: float
    rgb: tuple[float, float, float]
    alpha: float


@dataclass(frozen=True)
class Look:
    name: str
    materials: tuple[Band, ...]


def nested_spheres(native=(0.0, 40.0, 100.0, 200.0), noise=3.0, shape=(30, 36, 42)) -> Volume:
    """Background, an outer ball, a middle one and a small dense core."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(x * x + y * y + z * z)
    raw = np.select([radius < 0.25, radius < 0.6, radius < 0.85], [native[3], native[2], native[1]], native[0])
    raw = raw + np.random.default_rng(0).normal(0, noise, shape)
    low, high = raw.min(), raw.max()
    values = ((raw - low) / (high - low)).astype(np.float32)
    return Volume(values, VolumeGrid(shape[::-1], (1.0, 1.2, 0.9)), (float(low), float(high)), "spheres")


def ct_volume() -> Volume:
    return nested_spheres((-1000.0, -80.0, 50.0, 900.0), noise=15.0)


def alpha_at(volume, transfer, native):
    return float(transfer.alpha(np.array([volume.normalised(native)]))[0])


def test_presets_show_what_they_name_in_hounsfield_units():
    volume = ct_volume()
    shown = {name: preset_transfer(name, volume) for name in PRESETS if name.startswith("ct-")}
    assert all(alpha_at(volume, t, -1000.0) == 0.0 for t in shown.values())
    assert alpha_at(volume, shown["ct-bone"], 50.0) == 0.0 and alpha_at(volume, shown["ct-bone"], 850.0) > 0.8
    assert alpha_at(volume, shown["ct-skin"], -80.0) > 0.6
    assert 0.0 < alpha_at(volume, shown["ct-soft-tissue"], 50.0) < 0.05
    assert alpha_at(volume, shown["ct-vessels"], 250.0) > 0.3 and alpha_at(volume, shown["ct-vessels"], 50.0) == 0.0
    assert alpha_at(volume, shown["ct-lungs"], -750.0) > 0.0 and alpha_at(volume, shown["ct-lungs"], 0.0) == 0.0
    red, green, blue = shown["ct-vessels"].color(np.array([volume.normalised(200.0)]))[0]
    assert red > 0.7 and green < 0.3 and blue < 0.3


def test_hounsfield_presets_refuse_other_values_and_unknown_names_list_the_choices():
    with pytest.raises(TransferFunctionError, match="Hounsfield"):
        preset_transfer("ct-bone", nested_spheres())
    with pytest.raises(TransferFunctionError, match="ct-lungs"):
        preset_transfer("xray", ct_volume())


def test_a_look_keeps_pure_colours_and_hides_gaps():
    bands = (
        Band(0.6, 0.9, (0.0, 0.0, 1.0), 0.8),
        Band(0.1, 0.2, (1.0, 0.0, 0.0), 0.5),
        Band(0.2, 0.35, (0.0, 1.0, 0.0), 0.3),
        Band(0.92, 1.0, (1.0, 1.0, 0.0), 0.0),
    )
    t = transfer_from_appearance(Look("bands", bands), VolumeGrid((4, 5, 6), (1.0, 2.0, 3.0)))
    assert t.unit_distance == 2.0 and t.name == "bands"
    v = np.linspace(0, 1, 5001)
    pure = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    nearest = np.abs(t.color(v)[:, None] - pure).max(-1).min(1)
    assert nearest.max() < 1e-9
    for low, high, alpha, rgb in ((0.1, 0.2, 0.5, pure[0]), (0.2, 0.35, 0.3, pure[1]), (0.6, 0.9, 0.8, pure[2])):
        middle = np.array([(low + high) / 2])
        assert t.alpha(middle)[0] == pytest.approx(alpha)
        np.testing.assert_allclose(t.color(middle)[0], rgb)
    for hidden in (0.0, 0.05, 0.4, 0.5, 0.59, 0.95, 1.0):
        assert t.alpha(np.array([hidden]))[0] == 0.0


def test_overlapping_looks_are_cut_in_their_middle_and_borders_stay_opaque():
    bands = (Band(0.0, 0.6, (1.0, 0.0, 0.0), 0.5), Band(0.4, 1.0, (0.0, 0.0, 1.0), 0.5))
    t = transfer_from_appearance(Look("overlap", bands), VolumeGrid((4, 5, 6)))
    np.testing.assert_allclose(t.color(np.array([0.49, 0.51])), [[1, 0, 0], [0, 0, 1]])
    assert t.alpha(np.array([0.0]))[0] == 0.5 and t.alpha(np.array([1.0]))[0] == 0.5


def test_a_look_without_bands_is_refused():
    with pytest.raises(TransferFunctionError, match="visible band"):
        transfer_from_appearance(Look("none", (Band(0.1, 0.2, (1.0, 1.0, 1.0), 0.0),)), VolumeGrid((4, 5, 6)))


def test_automatic_thresholds_separate_the_materials():
    volume = nested_spheres()
    classes = value_classes(volume)
    cuts = [volume.value_range[0] + t * (volume.value_range[1] - volume.value_range[0]) for t in classes.thresholds]
    assert 5 < cuts[0] < 35 and 45 < cuts[1] < 95 and 105 < cuts[2] < 195 and not classes.flipped
    surface, contents, dense = automatic_transfers(volume)
    assert alpha_at(volume, surface, 0.0) == 0.0 and alpha_at(volume, surface, 40.0) > 0.5
    assert alpha_at(volume, contents, 0.0) == 0.0
    assert 0 < alpha_at(volume, contents, 40.0) < alpha_at(volume, contents, 100.0) < alpha_at(volume, contents, 200.0)
    assert alpha_at(volume, dense, 40.0) == 0.0 and alpha_at(volume, dense, 200.0) > 0.5


def test_a_bright_background_is_transparent_too():
    volume = nested_spheres((200.0, 150.0, 90.0, 10.0))
    assert value_classes(volume).flipped
    surface, _, dense = automatic_transfers(volume)
    assert alpha_at(volume, surface, 200.0) == 0.0 and alpha_at(volume, surface, 150.0) > 0.4
    assert alpha_at(volume, dense, 10.0) > 0.5 and alpha_at(volume, dense, 200.0) == 0.0


def test_a_binary_volume_has_automatic_transfers():
    values = np.zeros((8, 9, 10), np.float32)
    values[3:6, 2:6, 4:8] = 1.0
    volume = Volume(values, VolumeGrid((10, 9, 8)), (0.0, 255.0), "binary")
    for t in automatic_transfers(volume):
        assert t.alpha(np.array([0.0]))[0] == 0.0 and t.alpha(np.array([1.0]))[0] > 0.5


def test_specs_are_resolved_in_order(tmp_path):
    ct, other = ct_volume(), nested_spheres()
    assert is_hounsfield(ct) and not is_hounsfield(other)
    assert [t.name for t in resolve_transfers(["auto"], ct)] == list(AUTO_CT)
    names = [t.name for t in resolve_transfers(["auto:2", "surface"], other)]
    assert names == ["auto-surface", "auto-contents", "surface"]
    entries = [{"Name": n, "OpacityPoints": [0, 0, 1, 1], "RGBPoints": [0, 1, 1, 1, 1, 1, 1, 1]} for n in ("a", "b")]
    path = tmp_path / "two.json"
    path.write_text(json.dumps(entries))
    assert [t.name for t in resolve_transfers([str(path)], other)] == ["a", "b"]
    assert [t.name for t in resolve_transfers([f"{path}#b", "mri-head"], other)] == ["b", "mri-head"]


@pytest.mark.parametrize(
    ("specs", "message"),
    [(["bones"], "ct-bone"), (["auto:4"], "auto:3"), ([], "at least one"), (["x.json"], "no file")],
)
def test_specs_that_are_nothing_list_the_choices(specs, message):
    with pytest.raises(TransferFunctionError, match=message):
        resolve_transfers(specs, ct_volume())


def test_the_files_in_configs_are_the_presets():
    volume = ct_volume()
    for name, preset in PRESETS.items():
        units = "native" if preset.units == "HU" else "normalised"
        (t,) = read_transfers(
            CONFIGS / f"{name}.json", value_range=volume.value_range, unit_distance=1.0, units=units
        )  # fmt: skip
        ours = preset_transfer(name, volume)
        v = np.linspace(0, 1, 400)
        np.testing.assert_allclose(t.alpha(v), ours.alpha(v), atol=1e-9)
        np.testing.assert_allclose(t.color(v), ours.color(v), atol=1e-9)
