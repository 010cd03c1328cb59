"""Fields survive the disk, and foreign files are refused."""

import numpy as np
import pytest
import torch

from voxlang.core.artifacts import read_artifact, write_artifact
from voxlang.core.errors import FieldError
from voxlang.field.config import FieldConfig
from voxlang.field.fit import fit_field, measure_psnr_db
from voxlang.field.store import FieldMeta, load_field, save_field
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.types import Volume


@pytest.fixture
def volume(rng) -> Volume:
    values = rng.random((12, 10, 17)).astype(np.float32)
    values[:, :5] *= 0.1
    return Volume(values, VolumeGrid((17, 10, 12), (0.5, 1.0, 2.0), (3.0, 2.0, 1.0)), (-1000.0, 2000.0), "noise")


@pytest.mark.parametrize("backend", ["dense", "hash"])
def test_round_trip_is_exact(tmp_path, volume, backend):
    config = FieldConfig(backend=backend, steps=5, batch=1000, param_fraction=0.6)
    fit = fit_field(volume, config, progress=False)
    stored = save_field(tmp_path / "field.safetensors", fit.field, FieldMeta.of(volume, config, fit))
    field, meta = load_field(tmp_path / "field.safetensors", volume_digest=volume.digest)
    np.testing.assert_array_equal(field.sample_grid((17, 10, 12)), fit.field.sample_grid((17, 10, 12)))
    assert field.n_parameters == fit.n_parameters
    assert meta == FieldMeta.of(volume, config, fit)
    assert stored.psnr_loss_db == 0.0 and stored.n_bytes == (tmp_path / "field.safetensors").stat().st_size


def test_half_precision_halves_the_file_and_measures_its_cost(tmp_path, volume):
    config = FieldConfig(steps=5, param_fraction=0.9)
    fit = fit_field(volume, config, progress=False)
    meta = FieldMeta.of(volume, config, fit)
    full = save_field(tmp_path / "full.safetensors", fit.field, meta)
    half = save_field(tmp_path / "half.safetensors", fit.field, meta, half_precision_for=volume)
    field, _ = load_field(tmp_path / "half.safetensors")
    assert half.n_bytes < full.n_bytes - 1.9 * sum(p.numel() for p in field.parameters())
    assert measure_psnr_db(field, volume) == pytest.approx(half.psnr_db)
    assert half.psnr_loss_db == pytest.approx(fit.psnr_db - half.psnr_db)
    assert 0.0 < abs(half.psnr_loss_db) < 1.0
    assert field.base.dtype == torch.float32


def test_exact_field_keeps_its_infinite_psnr(tmp_path, volume):
    config = FieldConfig(preset="fast")
    fit = fit_field(volume, config, progress=False)
    meta = FieldMeta(volume.grid, volume.digest, "noise", volume.value_range, config, float("inf"), 1.0)
    save_field(tmp_path / "field.safetensors", fit.field, meta)
    assert load_field(tmp_path / "field.safetensors")[1].psnr_db == float("inf")


def test_foreign_files_and_other_volumes_are_refused(tmp_path, volume):
    config = FieldConfig(preset="fast")
    fit = fit_field(volume, config, progress=False)
    meta = FieldMeta.of(volume, config, fit)
    path = tmp_path / "field.safetensors"
    save_field(path, fit.field, meta)
    with pytest.raises(FieldError, match=r"digest abc; got a field of 'noise'.*Do: run stage 1"):
        load_field(path, volume_digest="abc")
    with pytest.raises(FieldError, match="no file"):
        load_field(tmp_path / "missing.safetensors")
    write_artifact(tmp_path / "other.safetensors", "view-cache", tensors={"a": np.zeros(2)}, meta={})
    with pytest.raises(FieldError, match="a scalar-field file of schema 1; got view-cache schema 1"):
        load_field(tmp_path / "other.safetensors")
    tensors, description = read_artifact(path, "scalar-field")
    description["config"]["setting_of_yore"] = 3
    write_artifact(tmp_path / "old.safetensors", "scalar-field", tensors=tensors, meta=description)
    with pytest.raises(FieldError, match=r"another version, with other setting_of_yore.*run the stage"):
        load_field(tmp_path / "old.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FieldError, match="whole safetensors file"):
        load_field(path)
    other = Volume(volume.values[::-1].copy(), volume.grid, volume.value_range, "flipped")
    with pytest.raises(FieldError, match="digest"):
        save_field(path, fit.field, meta, half_precision_for=other)
    fit.field.base.data[0, 0, 0] = 1e6
    with pytest.raises(FieldError, match="65504"):
        save_field(path, fit.field, meta, half_precision_for=volume)
