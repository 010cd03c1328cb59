"""What holds for every volume, transfer function and camera."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from voxlang.geometry.camera import look_at
from voxlang.geometry.grid import VolumeGrid
from voxlang.geometry.orbits import orbit_camera
from voxlang.render.render import render_view
from voxlang.render.samples import ray_samples
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 10_000)


def world(seed: int):
    """A smooth random volume, grid, transfer function and camera direction."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(6, 20, 3))
    values = gaussian_filter(rng.random(shape), 1.5)
    values = ((values - values.min()) / np.ptp(values)).astype(np.float32)
    grid = VolumeGrid(shape[::-1], tuple(float(s) for s in rng.uniform(0.5, 2.5, 3)))
    knots = np.sort(rng.uniform(0.2, 0.9, 2))
    color = np.concatenate([np.array([[0.0], [0.5], [1.0]]), rng.random((3, 3))], -1)
    opacity = np.array([[0.0, 0.0], [knots[0], 0.0], [knots[1], rng.uniform(0.1, 0.6)], [1.0, rng.uniform(0.1, 0.9)]])
    transfer = TransferFunction(color, opacity, float(rng.uniform(0.7, 3.0)))
    return values, grid, transfer, rng.normal(size=3), rng


@EXAMPLES
@given(seeds, st.booleans())
def test_half_the_step_gives_the_same_picture(seed, shading):
    values, grid, transfer, direction, _ = world(seed)
    camera = orbit_camera(grid, direction, width=24, height=20, fit="box")
    coarse, fine = (
        render_view(
            values,
            grid,
            transfer,
            camera,
            RenderSettings(backend="numba", step_voxels=s, shading=shading, stop_opacity=1.0),
        )
        for s in (0.4, 0.2)
    )
    assert np.abs(coarse.rgb - fine.rgb).mean() < 0.006
    assert np.abs(coarse.opacity - fine.opacity).max() < 0.08


@EXAMPLES
@given(seeds)
def test_weights_sum_to_the_opacity_and_never_pass_one(seed):
    values, grid, transfer, direction, _ = world(seed)
    camera = orbit_camera(grid, direction, width=16, height=12, fit="box")
    settings = RenderSettings(backend="numba")
    view = render_view(values, grid, transfer, camera, settings)
    samples = ray_samples(values, grid, transfer, camera, settings, min_weight=0.0)
    sums = np.bincount(samples.pixel, samples.weight, minlength=192).reshape(12, 16)
    assert sums.max() <= 1.0 + 1e-5 and view.opacity.max() <= 1.0
    np.testing.assert_allclose(sums, view.opacity, atol=1e-4)
    hit = np.isfinite(view.distance_mean)
    assert (view.opacity[hit] > 0).all() and (view.opacity[~hit] == 0).all()


@EXAMPLES
@given(seeds, st.permutations([0, 1, 2]))
def test_permuting_the_axes_of_volume_and_world_gives_the_same_picture(seed, order):
    values, grid, transfer, direction, _ = world(seed)
    camera = orbit_camera(grid, direction, width=20, height=20, fit="box")
    permuted = np.ascontiguousarray(values.transpose([2 - order[2 - k] for k in range(3)]))
    matrix = np.eye(3)[:, list(order)]
    other = VolumeGrid(
        tuple(grid.size_xyz[k] for k in order),
        tuple(grid.spacing_xyz[k] for k in order),
        grid.origin_xyz,
        tuple(tuple(float(v) for v in row) for row in matrix),
    )
    settings = RenderSettings(backend="numba")
    a = render_view(values, grid, transfer, camera, settings)
    b = render_view(permuted, other, transfer, camera, settings)
    assert a.opacity.max() > 0.01
    assert np.quantile(np.abs(a.rgb - b.rgb), 0.99) < 2e-3
    assert np.abs(a.rgb - b.rgb).mean() < 2e-4


@EXAMPLES
@given(seeds, st.floats(0.02, 0.95), st.floats(0.2, 5.0))
def test_a_homogeneous_box_is_as_opaque_as_the_chord_is_long(seed, alpha, unit):
    rng = np.random.default_rng(seed)
    grid = VolumeGrid(tuple(int(n) for n in rng.integers(3, 14, 3)), tuple(float(s) for s in rng.uniform(0.4, 2.0, 3)))
    values = np.full(grid.shape_zyx, 0.37, np.float32)
    transfer = TransferFunction(np.array([[0.0, 1, 1, 1]]), np.array([[0.0, alpha], [1.0, alpha]]), unit)
    axis = int(rng.integers(3))
    offset = np.zeros(3)
    offset[axis] = 500.0 * rng.choice([-1, 1])
    camera = look_at(
        grid.centre_world + offset, grid.centre_world, up_world=(0.3, 0.5, 0.8), fov_y_deg=0.02, width=3, height=3
    )
    view = render_view(
        values, grid, transfer, camera, RenderSettings(backend="numba", shading=False, stop_opacity=1.0)
    )  # fmt: skip
    expected = 1.0 - (1.0 - alpha) ** (grid.extent_world[axis] / unit)
    assert abs(view.opacity[1, 1] - expected) < 1e-4
