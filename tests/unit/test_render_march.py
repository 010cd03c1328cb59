"""The CPU marcher against a slow loop, closed forms and projected truth."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from voxlang.core.errors import GeometryError
from voxlang.geometry.camera import look_at, project, rays_world
from voxlang.geometry.grid import VolumeGrid, transform_points
from voxlang.geometry.orbits import cut_open, orbit_camera
from voxlang.render.render import RenderVolume, prepare, render_view, visible_grid
from voxlang.render.samples import ray_samples
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

AXES = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
CPU = RenderSettings(backend="numba", shading=False)


def transfer_of(opacity, color=((0.0, 0.2, 0.4, 0.9), (1.0, 0.9, 0.5, 0.1)), unit=1.0) -> TransferFunction:
    return TransferFunction(np.array(color, float), np.array(opacity, float), unit)


def oblique_left_handed(size, spacing=(1.0, 1.5, 2.2)) -> VolumeGrid:
    c, s = np.cos(0.4), np.sin(0.4)
    return VolumeGrid(size, spacing, (5.0, -3.0, 8.0), ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, -1.0)))


def reference(values, grid, transfer, camera, settings):
    """Rays, samples, compositing and light in plain numpy and scipy, one ray at a time."""
    axes = [np.arange(n, dtype=float) for n in values.shape]
    value_at = RegularGridInterpolator(axes, values.astype(float))
    padded = np.pad(values.astype(float), 1, mode="edge")
    differences = []
    for axis in (2, 1, 0):
        inner = [slice(1, -1)] * 3
        ahead, behind = inner.copy(), inner.copy()
        ahead[axis], behind[axis] = slice(2, None), slice(None, -2)
        differences.append(RegularGridInterpolator(axes, (padded[tuple(ahead)] - padded[tuple(behind)]) / 2.0))
    step = settings.step_voxels * min(grid.spacing_xyz)
    origin, directions = rays_world(camera)
    rgb, opacity = np.zeros((camera.height, camera.width, 3)), np.zeros((camera.height, camera.width))
    first = np.full(opacity.shape, np.inf)
    top = np.array(grid.size_xyz) - 1.0
    start = transform_points(grid.index_from_world, origin)
    spacing, floor = np.array(grid.spacing_xyz), settings.gradient_floor / min(grid.spacing_xyz)
    for v in range(camera.height):
        for u in range(camera.width):
            d = grid.index_from_world[:3, :3] @ directions[v, u]
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.stack([-start / d, (top - start) / d])
            t0, t1 = max(t.min(0).max(), 0.0), t.max(0).min()
            through, done = 1.0, 0.0
            while t1 - t0 - done > 1e-9 and 1.0 - through <= settings.stop_opacity:
                size = min(step, t1 - t0 - done)
                at = np.clip(start + (t0 + done + size / 2) * d, 0.0, top)[::-1]
                value = float(value_at(at)[0])
                a = 1.0 - np.exp(-float(transfer.density(np.array([value]))[0]) * size)
                color = transfer.color(np.array([value]))[0]
                if settings.shading:
                    world = np.array([g(at)[0] for g in differences]) / spacing
                    length = np.linalg.norm(world)
                    normal = np.asarray(grid.direction) @ world / max(length, 1e-12)
                    cosine = abs(normal @ directions[v, u])
                    trust = length / (length + floor)
                    color = color * (settings.ambient + settings.diffuse * (1 - trust * (1 - cosine)))
                    color = np.minimum(color + settings.specular * trust * cosine**settings.specular_power, 1.0)
                rgb[v, u] += through * a * color
                through *= 1.0 - a
                if not np.isfinite(first[v, u]) and 1.0 - through > settings.first_opacity:
                    first[v, u] = t0 + done + size / 2
                done += size
            rgb[v, u] += through * np.array(settings.background)
            opacity[v, u] = 1.0 - through
    return rgb, opacity, first


@pytest.mark.parametrize("shading", [False, True])
def test_the_picture_equals_a_plain_loop_on_an_oblique_left_handed_grid(rng, shading):
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(rng.random((11, 19, 14)), 1.5)
    values = ((values - values.min()) / np.ptp(values)).astype(np.float32)
    grid = oblique_left_handed((14, 19, 11))
    transfer = transfer_of([(0, 0), (0.45, 0), (0.7, 0.5), (1, 0.8)])
    settings = RenderSettings(backend="numba", shading=shading, background=(0.1, 0.3, 0.2), stop_opacity=1.0)
    camera = orbit_camera(grid, np.array([0.8, -1.0, 0.5]), width=17, height=13, fit="box")
    view = render_view(values, grid, transfer, camera, settings)
    rgb, opacity, first = reference(values, grid, transfer, camera, settings)
    assert opacity.max() > 0.5
    np.testing.assert_allclose(view.opacity, opacity, atol=2e-3)
    np.testing.assert_allclose(view.rgb, rgb, atol=3e-3)
    both = np.isfinite(first) & np.isfinite(view.distance_first)
    assert both.sum() > 20
    assert (np.abs(view.distance_first[both] - first[both]) < 1e-3).mean() > 0.95


@pytest.mark.parametrize("axis", AXES)
def test_the_marked_voxel_appears_where_it_projects(marked_volume, axis):
    grid = marked_volume.grid
    camera = orbit_camera(grid, np.array(axis, float), width=61, height=47)
    transfer = transfer_of([(0, 0), (0.3, 0), (1, 0.9)])
    view = render_view(marked_volume.values, grid, transfer, camera, CPU)
    marked_world = transform_points(grid.world_from_index, np.array([[4.0, 1.0, 2.0]]))
    (expected,), (depth,) = project(camera, marked_world)
    v, u = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    weight = view.opacity / view.opacity.sum()
    assert view.opacity.max() > 0.2
    # The voxel sits on the border of the box, so its visible half lies inwards: up to a third of a spacing away.
    pixels_per_world = camera.K[0, 0] / depth
    assert abs((u * weight).sum() - expected[0]) < 0.45 * 3.0 * pixels_per_world
    assert abs((v * weight).sum() - expected[1]) < 0.45 * 3.0 * pixels_per_world
    brightest = np.unravel_index(np.argmax(view.opacity), view.opacity.shape)
    assert abs(brightest[1] + 0.5 - expected[0]) < 2.5
    assert abs(brightest[0] + 0.5 - expected[1]) < 2.5


@pytest.mark.parametrize("axis", AXES)
def test_a_marked_voxel_inside_is_centred_on_its_projection(axis):
    values = np.zeros((7, 8, 9), np.float32)
    values[2, 5, 6] = 1.0
    grid = oblique_left_handed((9, 8, 7))
    camera = orbit_camera(grid, np.array(axis, float) + 0.1, width=80, height=64)
    view = render_view(values, grid, transfer_of([(0, 0), (1, 0.5)]), camera, CPU)
    (expected,), (depth,) = project(camera, transform_points(grid.world_from_index, np.array([[6.0, 5.0, 2.0]])))
    v, u = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    weight = view.opacity / view.opacity.sum()
    assert abs((u * weight).sum() - expected[0]) < 0.6
    assert abs((v * weight).sum() - expected[1]) < 0.6
    distance = np.linalg.norm(
        transform_points(grid.world_from_index, np.array([6.0, 5.0, 2.0])) - camera.position_world
    )
    middle = view.distance_mean[int(expected[1]), int(expected[0])]
    assert abs(middle - distance) < 0.5
    assert depth <= distance


def test_a_homogeneous_slab_follows_beer_and_lambert():
    grid = VolumeGrid((6, 9, 12), (2.0, 0.7, 1.1))
    values = np.full((12, 9, 6), 0.5, np.float32)
    transfer = transfer_of([(0, 0.3), (1, 0.3)], unit=4.0)
    camera = look_at(
        grid.centre_world + np.array([0.0, -40.0, 0.0]), grid.centre_world,
        up_world=(0.0, 0.0, 1.0), fov_y_deg=4.0, width=5, height=5,
    )  # fmt: skip
    length = 8 * 0.7
    expected = 1.0 - (1.0 - 0.3) ** (length / 4.0)
    for step in (0.3, 0.5, 1.7):
        view = render_view(values, grid, transfer, camera, CPU.model_copy(update={"step_voxels": step}))
        assert abs(view.opacity[2, 2] - expected) < 1e-5
        assert abs(view.distance_mean[2, 2] - (40.0)) < 0.35


def test_a_camera_inside_the_volume_sees_only_what_is_ahead():
    grid = VolumeGrid((21, 9, 9))
    values = np.zeros((9, 9, 21), np.float32)
    values[:, :, :5] = 1.0
    transfer = transfer_of([(0, 0), (0.5, 0), (1, 0.9)])
    centre = np.array([10.0, 4.0, 4.0])
    look = dict(up_world=(0.0, 0.0, 1.0), fov_y_deg=30.0, width=9, height=9)
    ahead = look_at(centre, centre + np.array([1.0, 0.0, 0.0]), **look)
    back = look_at(centre, centre - np.array([1.0, 0.0, 0.0]), **look)
    assert render_view(values, grid, transfer, ahead, CPU).opacity.max() == 0.0
    assert render_view(values, grid, transfer, back, CPU).opacity.min() > 0.9


@pytest.mark.parametrize("axis", AXES)
def test_a_cut_picture_is_that_of_the_volume_without_its_front(axis, rng):
    grid = VolumeGrid((11, 9, 13), (1.0, 1.5, 0.8), (5.0, -3.0, 8.0))
    values = rng.random(grid.shape_zyx, np.float32)
    transfer = transfer_of(((0.0, 0.0), (0.5, 0.0), (1.0, 0.7)))
    camera = orbit_camera(grid, np.array(axis, float), width=24, height=20, fov_y_deg=40.0)
    along = int(np.flatnonzero(axis)[0])
    n = grid.size_xyz[along]
    gone = 4
    kept = slice(0, n - gone) if axis[along] > 0 else slice(gone, n)
    behind = values[tuple(kept if k == 2 - along else slice(None) for k in range(3))]
    size, origin = list(grid.size_xyz), list(grid.origin_xyz)
    size[along] = n - gone
    origin[along] += 0 if axis[along] > 0 else gone * grid.spacing_xyz[along]
    rest = VolumeGrid(tuple(size), grid.spacing_xyz, tuple(origin))
    cut = cut_open(camera, grid, gone / (n - 1))
    got, expected = render_view(values, grid, transfer, cut, CPU), render_view(behind, rest, transfer, camera, CPU)
    assert expected.opacity.max() > 0.6
    np.testing.assert_allclose(got.rgb, expected.rgb, atol=1e-4)
    np.testing.assert_allclose(got.opacity, expected.opacity, atol=1e-4)
    uncut = render_view(values, grid, transfer, camera, CPU)
    assert np.abs(uncut.rgb - got.rgb).max() > 0.1
    samples = ray_samples(values, grid, transfer, cut, CPU)
    index = np.unravel_index(samples.voxel, grid.shape_zyx)[2 - along]
    assert len(samples) > 100 and kept.start <= index.min() <= index.max() < kept.stop


def test_the_face_of_a_cut_is_lit_evenly_whatever_the_gradient():
    grid = VolumeGrid((40, 38, 36), (1.0, 1.5, 0.8))
    x = np.linspace(0.3, 0.9, 40, dtype=np.float32)
    values = np.ascontiguousarray(np.broadcast_to(x, grid.shape_zyx))  # rises along x, across the view
    opaque = transfer_of(((0.0, 1.0), (1.0, 1.0)), color=((0.0, 0.5, 0.4, 0.3), (1.0, 0.5, 0.4, 0.3)))
    camera = orbit_camera(grid, np.array([0.0, -1.0, 0.0]), width=30, height=30, fov_y_deg=10.0)
    lit = RenderSettings(backend="numba", ambient=0.3, diffuse=0.6, specular=0.5)
    cut = render_view(values, grid, opaque, cut_open(camera, grid, 0.5), lit).rgb[12:18, 12:18]
    uncut = render_view(values, grid, opaque, camera, lit).rgb[12:18, 12:18]
    np.testing.assert_allclose(cut, np.broadcast_to(0.9 * np.array([0.5, 0.4, 0.3]), cut.shape), atol=1e-3)
    assert uncut.max() < 0.9 * 0.5 - 0.1, "the same place without a cut is lit along its gradient"


def test_an_empty_picture_is_background_at_infinite_distance(marked_volume):
    camera = orbit_camera(marked_volume.grid, np.array([1.0, 1.0, 1.0]), width=9, height=7)
    settings = RenderSettings(backend="numba", background=(0.2, 0.4, 0.6))
    view = render_view(marked_volume.values, marked_volume.grid, transfer_of([(0, 0), (1, 0)]), camera, settings)
    np.testing.assert_allclose(view.rgb, np.broadcast_to(np.float32([0.2, 0.4, 0.6]), view.rgb.shape), atol=1e-7)
    assert np.isinf(view.distance_first).all() and np.isinf(view.distance_mean).all()
    assert view.opacity.max() == 0.0


def test_leaping_over_empty_blocks_does_not_change_the_picture(rng):
    values = np.zeros((37, 50, 29), np.float32)
    for z, y, x in rng.integers(0, (37, 50, 29), (12, 3)):
        values[z, y, x] = 1.0
    grid = VolumeGrid((29, 50, 37), (1.0, 0.8, 1.3))
    transfer = transfer_of([(0, 0), (0.2, 0), (1, 0.9)])
    volume = prepare(values, grid)
    table, leap = volume.table_and_leap(transfer)
    assert (leap > 0).mean() > 0.3
    for direction in ([1.0, 0.3, 0.2], [0.0, 0.0, 1.0], [-0.4, -1.0, 0.6]):
        camera = orbit_camera(grid, np.array(direction), width=70, height=60)
        fast = volume.render(transfer, camera, CPU)
        volume._tables[transfer.id] = (table, np.zeros_like(leap))
        slow = volume.render(transfer, camera, CPU)
        volume._tables[transfer.id] = (table, leap)
        np.testing.assert_array_equal(fast.opacity, slow.opacity)
        np.testing.assert_array_equal(fast.rgb, slow.rgb)
        np.testing.assert_array_equal(fast.distance_first, slow.distance_first)


def test_early_termination_and_first_hit_follow_their_settings():
    grid = VolumeGrid((5, 60, 5))
    values = np.full((5, 60, 5), 0.5, np.float32)
    camera = orbit_camera(grid, np.array([0.0, -1.0, 0.0]), width=3, height=3, fov_y_deg=1.0)
    transfer = transfer_of([(0, 0.2), (1, 0.2)])
    stopped = render_view(values, grid, transfer, camera, CPU.model_copy(update={"stop_opacity": 0.6}))
    assert 0.6 < stopped.opacity[1, 1] < 0.66
    near = np.linalg.norm(camera.position_world - grid.centre_world) - 29.5
    for level in (0.1, 0.5):
        view = render_view(values, grid, transfer, camera, CPU.model_copy(update={"first_opacity": level}))
        depth = np.log(1 - level) / np.log(1 - 0.2)
        assert abs(view.distance_first[1, 1] - near - depth) < 0.5


def test_the_first_hit_is_where_the_surface_lies():
    z, y, x = np.mgrid[0:31, 0:41, 0:36].astype(np.float32)
    radius = np.sqrt((x - 17) ** 2 + (y - 20) ** 2 + (z - 15) ** 2)
    values = np.clip((13.0 - radius) / 4.0 + 0.5, 0, 1).astype(np.float32)
    grid = VolumeGrid((36, 41, 31))
    camera = look_at(
        np.array([17.0, -80.0, 15.0]), np.array([17.0, 20.0, 15.0]),
        up_world=(0.0, 0.0, 1.0), fov_y_deg=20.0, width=33, height=33,
    )  # fmt: skip
    transfer = transfer_of([(0, 0), (0.495, 0), (0.505, 0.95), (1, 0.95)])
    view = render_view(values, grid, transfer, camera, CPU)
    assert abs(view.distance_first[16, 16] - 87.0) < 0.6


def test_values_of_another_grid_are_refused(marked_volume):
    with pytest.raises(GeometryError, match="size_xyz"):
        RenderVolume(marked_volume.values, VolumeGrid((3, 4, 5)))


def test_the_visible_grid_frames_the_content_and_keeps_the_axes():
    grid = oblique_left_handed((40, 50, 30))
    values = np.zeros((30, 50, 40), np.float32)
    values[10:16, 20:31, 5:9] = 0.8
    crop = visible_grid(values, grid, transfer_of([(0, 0), (0.5, 0), (0.6, 0.5), (1, 0.5)]))
    assert crop.size_xyz == (4 + 2, 11 + 2, 6 + 2)
    assert crop.direction == grid.direction and crop.spacing_xyz == grid.spacing_xyz
    corner = transform_points(grid.world_from_index, np.array([4.0, 19.0, 9.0]))
    np.testing.assert_allclose(crop.origin_xyz, corner, atol=1e-9)
    assert visible_grid(values, grid, transfer_of([(0, 0), (1, 0)])) == grid


def test_a_box_fit_holds_every_corner_and_is_nearer_than_the_sphere():
    grid = oblique_left_handed((40, 8, 20))
    corners = np.stack(np.meshgrid([0, 39.0], [0, 7.0], [0, 19.0]), -1).reshape(-1, 3)
    world = transform_points(grid.world_from_index, corners)
    for direction in np.random.default_rng(3).normal(size=(12, 3)):
        camera = orbit_camera(grid, direction, width=90, height=60, fit="box", margin=1.0)
        uv, depth = project(camera, world)
        assert (depth > 0).all()
        assert (uv > -1e-6).all() and (uv[:, 0] < 90 + 1e-6).all() and (uv[:, 1] < 60 + 1e-6).all()
        touch = np.concatenate([uv.ravel(), 90 - uv[:, 0], 60 - uv[:, 1]]).min()
        assert touch < 1e-6
        sphere = orbit_camera(grid, direction, width=90, height=60, margin=1.0)
        assert np.linalg.norm(camera.position_world - grid.centre_world) <= np.linalg.norm(
            sphere.position_world - grid.centre_world
        )
