"""Fits end where they should: axis truth, PSNR, parameter cap, interruption, errors."""

import numpy as np
import pytest
import torch

from voxlang.core.errors import ConfigError, FieldError
from voxlang.field.config import FieldConfig
from voxlang.field.fit import fit_field, measure_psnr_db, native_bytes
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.types import Volume


def _blobs(size_xyz: tuple[int, int, int], rng: np.random.Generator, *, noise: float = 0.0) -> Volume:
    """A hard ellipsoid with a soft one inside it, off centre, in a smooth background."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in size_xyz), indexing="xy")
    x, y, z = (np.moveaxis(a, 2, 0) for a in (x, y, z))
    shell = ((x - 0.2) / 0.6) ** 2 + ((y + 0.1) / 0.5) ** 2 + (z / 0.7) ** 2 < 1
    soft = np.exp(-8 * ((x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.1) ** 2))
    values = 0.05 * (1 + x) + 0.5 * shell + 0.3 * soft + noise * rng.standard_normal(x.shape)
    return Volume(
        np.clip(values, 0, 1).astype(np.float32), VolumeGrid(size_xyz, (1.0, 1.2, 0.9)), (-100.0, 900.0), "blobs"
    )


@pytest.mark.parametrize("config", [FieldConfig(), FieldConfig(backend="hash", steps=300, batch=60)])
def test_marked_voxel_comes_out_where_it_went_in(marked_volume, config):
    field = fit_field(marked_volume, config, progress=False).field
    grid = field.sample_grid((5, 4, 3))
    assert grid.shape == (3, 4, 5)
    assert np.unravel_index(int(grid.argmax()), grid.shape) == (2, 1, 4)
    at_mark = torch.tensor([[1.0, -1.0 + 2.0 * 1 / 3, 1.0]])
    assert float(field(at_mark).detach()) == pytest.approx(float(grid[2, 1, 4]), abs=1e-6)


def test_a_volume_of_a_few_voxels_is_reproduced_exactly(marked_volume):
    fit = fit_field(marked_volume, FieldConfig(preset="fast"), progress=False)
    np.testing.assert_allclose(fit.field.sample_grid((5, 4, 3)), marked_volume.values, atol=1e-6)
    assert fit.psnr_db > 100.0
    assert fit.n_parameters <= 1024


def test_psnr_and_cap_of_the_default(rng):
    volume = _blobs((40, 36, 28), rng)
    fit = fit_field(volume, FieldConfig(), progress=False)
    assert fit.psnr_db > 40.0
    assert fit.n_parameters <= 0.5 * volume.values.size
    assert fit.parameter_share == pytest.approx(fit.n_parameters / volume.values.size)
    assert fit.compression == pytest.approx(1 / fit.parameter_share)
    stored = sum(p.numel() for p in fit.field.parameters()) + 1
    bits = fit.field.fine.occupied.numel() + (fit.field.middle.occupied.numel() if fit.field.middle.n_parameters else 0)
    assert stored + bits / 32 <= fit.n_parameters < stored + bits / 32 + 2


def test_reported_psnr_equals_a_direct_computation(rng):
    volume = _blobs((21, 18, 13), rng)
    fit = fit_field(volume, FieldConfig(param_fraction=0.3, steps=20), progress=False)
    grid = fit.field.sample_grid(volume.grid.size_xyz).astype(np.float64)
    mse = ((grid - volume.values) ** 2).mean()
    assert fit.psnr_db == pytest.approx(10 * np.log10(1.0 / mse), abs=1e-3)


def test_rounds_of_solving_and_more_parameters_help(rng):
    volume = _blobs((40, 36, 28), rng, noise=0.01)
    psnr = {
        (rounds, share): fit_field(
            volume, FieldConfig(rounds=rounds, param_fraction=share, steps=0), progress=False
        ).psnr_db
        for rounds, share in ((0, 0.2), (3, 0.2), (3, 0.5))
    }
    assert psnr[3, 0.2] > psnr[0, 0.2]
    assert psnr[3, 0.5] > psnr[3, 0.2]


def test_a_network_that_does_not_help_is_dropped(rng):
    volume = _blobs((24, 20, 16), rng)
    without = fit_field(volume, FieldConfig(steps=0, param_fraction=0.3), progress=False)
    wild = fit_field(volume, FieldConfig(steps=3, lr=1e3, param_fraction=0.3), progress=False)
    assert wild.psnr_db == pytest.approx(without.psnr_db, abs=1e-6)


@pytest.mark.parametrize("backend", ["dense", "hash"])
def test_interrupted_fit_ends_the_same_bit_for_bit(tmp_path, rng, backend):
    volume = _blobs((24, 20, 16), rng)
    config = FieldConfig(
        backend=backend, steps=12, batch=2000, param_fraction=0.3, checkpoint_seconds=0.0, eval_steps=5
    )

    def stop(step: int) -> None:
        if step == 7:
            raise KeyboardInterrupt

    path = tmp_path / "field-checkpoint.safetensors"
    whole = fit_field(volume, config, progress=False)
    with pytest.raises(KeyboardInterrupt):
        fit_field(volume, config, resume_path=path, progress=False, on_step=stop)
    steps: list[int] = []
    resumed = fit_field(volume, config, resume_path=path, progress=False, on_step=steps.append)
    assert steps == [8, 9, 10, 11, 12]
    ended = whole.field.state_dict()
    assert all(torch.equal(t, ended[name]) for name, t in resumed.field.state_dict().items())
    assert [r.step for r in resumed.history] == [r.step for r in whole.history] == [0, 5, 10, 12]
    assert resumed.psnr_db == whole.psnr_db
    again = fit_field(volume, config, resume_path=path, progress=False, on_step=steps.append)
    assert len(steps) == 5
    assert all(torch.equal(t, ended[name]) for name, t in again.field.state_dict().items())


def test_checkpoint_of_another_fit_is_refused(tmp_path, rng):
    path = tmp_path / "c.safetensors"
    config = FieldConfig(steps=2, param_fraction=0.3)
    fit_field(_blobs((16, 12, 10), rng), config, resume_path=path, progress=False)
    with pytest.raises(FieldError, match="volume="):
        fit_field(_blobs((16, 12, 10), rng, noise=0.1), config, resume_path=path, progress=False)
    with pytest.raises(FieldError, match=r"lr=0\.02.*lr=0\.01"):
        fit_field(_blobs((16, 12, 10), rng), config.model_copy(update={"lr": 0.02}), resume_path=path, progress=False)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(FieldError, match="whole safetensors file"):
        fit_field(_blobs((16, 12, 10), rng), config, resume_path=path, progress=False)


def test_seconds_limit_the_fit(rng):
    volume = _blobs((24, 20, 16), rng)
    fit = fit_field(volume, FieldConfig(seconds=4.0, rounds=0, steps=10**7, param_fraction=0.3), progress=False)
    assert 0 < fit.history[-1].step < 10**6
    assert fit.seconds < 20.0


def test_unknown_backend_and_device(rng):
    volume = _blobs((16, 12, 10), rng)
    with pytest.raises(FieldError, match="auto, dense, hash, tcnn"):
        fit_field(volume, FieldConfig(backend="siren"), progress=False)
    with pytest.raises(FieldError, match="CUDA device and the library tinycudann"):
        fit_field(volume, FieldConfig(backend="tcnn"), progress=False)
    with pytest.raises(ConfigError, match="auto, cpu, cuda"):
        fit_field(volume, FieldConfig(), device="gpu", progress=False)
    with pytest.raises(FieldError, match=r"size_xyz=\(16, 12, 10\)"):
        fit = fit_field(volume, FieldConfig(preset="fast"), progress=False)
        measure_psnr_db(fit.field, _blobs((10, 12, 16), rng))


@pytest.mark.parametrize(
    ("span", "step", "expected"), [((0.0, 255.0), 1.0, 1), ((-1024.0, 3071.0), 1.0, 2), ((0.0, 255.0), 0.3, 4)]
)
def test_native_bytes(span, step, expected):
    native = np.arange(60).reshape(3, 4, 5) * step + span[0]
    values = ((native - span[0]) / (span[1] - span[0])).astype(np.float32)
    assert native_bytes(Volume(values, VolumeGrid((5, 4, 3)), span, "steps")) == expected


def test_presets_fill_what_is_unset():
    resolved = FieldConfig(preset="quality", steps=7).resolved()
    assert (resolved.steps, resolved.param_fraction, resolved.rounds) == (7, 0.5, 5)
    assert FieldConfig(backend="hash").resolved().steps == 2000
