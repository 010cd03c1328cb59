"""The listed samples: the picture's own weights, at the right voxels."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.ndimage import gaussian_filter

from voxlang.core.errors import GeometryError
from voxlang.geometry.camera import project
from voxlang.geometry.grid import VolumeGrid, transform_points
from voxlang.geometry.orbits import orbit_camera
from voxlang.render.render import prepare
from voxlang.render.samples import RaySamples, ray_samples
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

SETTINGS = RenderSettings(backend="numba", shading=False)
GRID = VolumeGrid((30, 23, 14), (1.0, 1.5, 2.2), (5.0, -3.0, 8.0))


def transfer_of(*opacity) -> TransferFunction:
    return TransferFunction(np.array([[0, 1.0, 1, 1], [1, 1, 1, 1]]), np.array(opacity, float), 1.0)


@pytest.fixture
def values(rng):
    smooth = gaussian_filter(rng.random((14, 23, 30)), 2.0)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def test_weights_of_a_pixel_sum_to_its_opacity(values):
    volume = prepare(values, GRID)
    camera = orbit_camera(GRID, np.array([1, -0.4, 0.3]), width=40, height=30)
    for transfer in (transfer_of((0, 0), (0.5, 0), (1, 0.7)), transfer_of((0, 0.01), (1, 0.05))):
        view = volume.render(transfer, camera, SETTINGS)
        every = ray_samples(volume, GRID, transfer, camera, SETTINGS, min_weight=0.0)
        sums = np.bincount(every.pixel, every.weight, minlength=1200).reshape(30, 40)
        np.testing.assert_allclose(sums, view.opacity, atol=2e-5)
        kept = ray_samples(values, GRID, transfer, camera, SETTINGS, min_weight=0.01)
        assert kept.weight.min() >= 0.01 and 0 < len(kept) < len(every)
        heavy = every.weight >= 0.01
        np.testing.assert_array_equal(kept.pixel, every.pixel[heavy])
        np.testing.assert_array_equal(kept.voxel, every.voxel[heavy])
        assert (np.diff(every.pixel) >= 0).all()


def test_each_voxel_projects_near_its_pixel_and_is_visible(values):
    transfer = transfer_of((0, 0), (0.5, 0), (1, 0.7))
    camera = orbit_camera(GRID, np.array([1, -0.4, 0.3]), width=80, height=60)
    samples = ray_samples(values, GRID, transfer, camera, SETTINGS)
    z, y, x = np.unravel_index(samples.voxel, values.shape)
    world = transform_points(GRID.world_from_index, np.stack([x, y, z], -1).astype(float))
    uv, depth = project(camera, world)
    pixel_world = depth / camera.K[0, 0]
    half_diagonal = np.linalg.norm(GRID.spacing_xyz) / 2.0
    offset = np.hypot(uv[:, 0] - (samples.pixel % 80 + 0.5), uv[:, 1] - (samples.pixel // 80 + 0.5)) * pixel_world
    assert len(samples) > 500
    assert (offset <= half_diagonal * 1.05).all()


def test_samples_of_a_ray_come_front_to_back():
    values = np.full((5, 6, 40), 0.5, np.float32)
    grid = VolumeGrid((40, 6, 5))
    camera = orbit_camera(grid, np.array([-1.0, 0.0, 0.0]), width=3, height=3, fov_y_deg=2.0)
    samples = ray_samples(values, grid, transfer_of((0, 0.1), (1, 0.1)), camera, SETTINGS, min_weight=0.0)
    middle = samples.voxel[samples.pixel == 4] % 40
    assert len(middle) > 50 and (np.diff(middle) >= 0).all()
    weight = samples.weight[samples.pixel == 4]
    expected = (1 - np.sqrt(0.9)) * np.sqrt(0.9) ** np.arange(len(weight))
    np.testing.assert_allclose(weight, expected, rtol=1e-4)


def test_nothing_visible_gives_no_samples(values):
    camera = orbit_camera(GRID, np.array([1.0, 0, 0]), width=5, height=4)
    assert len(ray_samples(values, GRID, transfer_of((0, 0), (1, 0)), camera, SETTINGS)) == 0


def test_unequal_lengths_are_refused():
    with pytest.raises((GeometryError, TypeCheckError)):
        RaySamples(np.zeros(2, np.int32), np.zeros(3, np.int64), np.zeros(3, np.float32))
