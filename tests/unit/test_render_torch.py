"""The torch twin: the same picture as numba, and gradients that finite differences confirm."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from voxlang.geometry.grid import VolumeGrid
from voxlang.geometry.orbits import cut_open, orbit_camera
from voxlang.render import render as render_room
from voxlang.render.march_torch import march_rays
from voxlang.render.render import choose_backend, prepare
from voxlang.render.samples import ray_samples
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

TRANSFER = TransferFunction(
    np.array([[0, 0.1, 0.2, 0.9], [0.5, 0.9, 0.7, 0.2], [1, 1, 1, 0.95]]),
    np.array([[0, 0.0], [0.45, 0], [0.6, 0.3], [1, 0.9]]),
    1.0,
)


@pytest.fixture
def scene(rng):
    values = gaussian_filter(rng.random((14, 23, 30)), 2.0)
    values = ((values - values.min()) / np.ptp(values)).astype(np.float32)
    c, s = np.cos(0.4), np.sin(0.4)
    grid = VolumeGrid((30, 23, 14), (1.0, 1.5, 2.2), (5.0, -3.0, 8.0), ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, -1.0)))
    return values, grid


@pytest.mark.parametrize("light", [None, (-0.5, -0.5, -1.0)])
@pytest.mark.parametrize("shading", [False, True])
def test_both_backends_make_the_same_picture(scene, shading, light):
    values, grid = scene
    volume = prepare(values, grid)
    for direction, cut in (([1, 0.5, 0.3], 0.0), ([0, -1, 0], 0.0), ([1, 0.5, 0.3], 0.5)):
        camera = orbit_camera(grid, np.array(direction, float), width=32, height=26, fit="box")
        camera = cut_open(camera, grid, cut)
        settings = dict(shading=shading, light_direction_camera=light, background=(0.2, 0.1, 0.3))
        a = volume.render(TRANSFER, camera, RenderSettings(backend="numba", **settings))
        b = volume.render(TRANSFER, camera, RenderSettings(backend="torch", **settings))
        assert a.opacity.max() > 0.9
        np.testing.assert_allclose(b.rgb, a.rgb, atol=4e-3)
        np.testing.assert_allclose(b.opacity, a.opacity, atol=4e-3)
        hit = np.isfinite(a.distance_first)
        assert (hit != np.isfinite(b.distance_first)).mean() < 0.01
        both = hit & np.isfinite(b.distance_first)
        assert np.abs(a.distance_first[both] - b.distance_first[both]).max() <= 0.51
        seen = a.opacity > 0.05
        np.testing.assert_allclose(b.distance_mean[seen], a.distance_mean[seen], atol=0.05)


def test_torch_weights_are_those_of_the_listed_samples(scene):
    values, grid = scene
    camera = orbit_camera(grid, np.array([0.3, 1.0, -0.4]), width=12, height=10, fit="box")
    settings = RenderSettings(shading=False)
    rays = march_rays(torch.from_numpy(values), grid, torch.from_numpy(TRANSFER.table()), camera, settings)
    samples = ray_samples(values, grid, TRANSFER, camera, settings, min_weight=1e-3)
    dense = rays.weights.numpy()
    kept = dense >= 1e-3
    counts = np.bincount(samples.pixel, minlength=120)
    assert np.abs(counts - kept.sum(1)).max() <= 2
    by_pixel = np.bincount(samples.pixel, samples.weight, minlength=120)
    np.testing.assert_allclose(by_pixel, np.where(kept, dense, 0).sum(1), atol=5e-3)
    index = np.rint(rays.points_index.numpy()[kept]).astype(np.int64)
    flat = (index[:, 2] * 23 + index[:, 1]) * 30 + index[:, 0]
    per_voxel = np.bincount(flat, dense[kept], minlength=values.size)
    listed = np.bincount(samples.voxel, samples.weight, minlength=values.size)
    assert np.abs(per_voxel - listed).sum() < 0.02 * listed.sum()


@pytest.mark.parametrize("shading", [False, True])
def test_gradients_in_values_and_table_agree_with_finite_differences(shading):
    generator = torch.Generator().manual_seed(4)
    values = (0.3 + 0.4 * torch.rand((4, 5, 6), generator=generator, dtype=torch.float64)).requires_grad_()
    table = torch.rand((16, 4), generator=generator, dtype=torch.float64).requires_grad_()
    grid = VolumeGrid((6, 5, 4), (1.0, 1.3, 0.8))
    camera = orbit_camera(grid, np.array([1.0, 0.4, 0.3]), width=4, height=3, fit="box")
    settings = RenderSettings(shading=shading, step_voxels=1.0, stop_opacity=1.0)
    mix = torch.rand((12, 3), generator=generator, dtype=torch.float64)

    def loss() -> torch.Tensor:
        rays = march_rays(values, grid, table, camera, settings)
        seen = torch.isfinite(rays.distance_mean)
        return (rays.rgb * mix).sum() + rays.opacity.sum() + 0.1 * rays.distance_mean[seen].sum()

    grad_values, grad_table = torch.autograd.grad(loss(), (values, table))
    step = 1e-6
    for tensor, grad, places in (
        (values, grad_values, [(1, 2, 3), (2, 3, 2), (3, 4, 5)]),
        (table, grad_table, [(6, 0), (7, 3), (9, 1), (8, 3)]),
    ):
        for place in places:
            with torch.no_grad():
                kept = tensor[place].clone()
                tensor[place] = kept + step
                above = loss().item()
                tensor[place] = kept - step
                below = loss().item()
                tensor[place] = kept
            assert abs((above - below) / (2 * step) - grad[place].item()) < 1e-4 * (1 + abs(grad[place].item()))
    assert grad_values.abs().sum() > 0 and grad_table[:, 3].abs().sum() > 0


def test_auto_takes_torch_only_with_a_cuda_device(monkeypatch):
    monkeypatch.setattr(render_room, "cuda_available", lambda: False)
    assert choose_backend(RenderSettings()) == "numba"
    assert choose_backend(RenderSettings(backend="torch")) == "torch"
    monkeypatch.setattr(render_room, "cuda_available", lambda: True)
    assert choose_backend(RenderSettings()) == "torch"
    assert choose_backend(RenderSettings(backend="numba")) == "numba"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_cuda_picture_equals_the_cpu_one(scene):
    values, grid = scene
    camera = orbit_camera(grid, np.array([1, 0.5, 0.3]), width=96, height=80, fit="box")
    volume = prepare(values, grid)
    a = volume.render(TRANSFER, camera, RenderSettings(backend="numba"))
    b = volume.render(TRANSFER, camera, RenderSettings(backend="torch"))
    np.testing.assert_allclose(b.rgb, a.rgb, atol=4e-3)
