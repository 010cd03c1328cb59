"""One test per sentence of docs/conventions.md, by the same number."""

import dataclasses
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from voxlang.core.levels import LEVELS, Level
from voxlang.geometry.camera import look_at, project
from voxlang.geometry.grid import VolumeGrid, transform_points
from voxlang.geometry.orbits import camera_directions, orbit_camera
from voxlang.masks.types import mask_set_from_dense
from voxlang.render.render import render_view
from voxlang.render.samples import ray_samples
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

FLAT = RenderSettings(shading=False, backend="numba", stop_opacity=1.0)


def red_above_half(unit_distance: float = 1.0) -> TransferFunction:
    return TransferFunction(
        np.array([[0.0, 1.0, 0.0, 0.0]]),
        np.array([[0.0, 0.0], [0.5, 0.0], [0.6, 0.9], [1.0, 0.9]]),
        unit_distance,
    )


def test_1_arrays_are_zyx_with_x_fastest(marked_volume):
    flat = np.flatnonzero(marked_volume.values)
    nx, ny, _ = marked_volume.grid.size_xyz
    assert flat.tolist() == [(2 * ny + 1) * nx + 4], "voxel (x=4, y=1, z=2)"
    assert marked_volume.values.flags.c_contiguous


def test_2_points_are_in_the_order_of_grid_sample(marked_volume):
    point = transform_points(marked_volume.grid.unit_from_index, np.array([4.0, 1.0, 2.0]))
    where = torch.tensor(point, dtype=torch.float32).view(1, 1, 1, 1, 3)
    value = F.grid_sample(torch.from_numpy(marked_volume.values)[None, None], where, align_corners=True)
    assert value.item() == pytest.approx(1.0)


def test_3_index_i_is_the_centre_of_voxel_i():
    grid = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    np.testing.assert_allclose(transform_points(grid.world_from_index, np.zeros(3)), grid.origin_xyz)


def test_4_unit_space_ends_at_the_outer_centres():
    to_unit = VolumeGrid((5, 4, 3)).unit_from_index
    np.testing.assert_allclose(
        transform_points(to_unit, np.array([[0.0, 0.0, 0.0], [4.0, 3.0, 2.0]])), [[-1] * 3, [1] * 3]
    )


def test_5_world_is_origin_plus_direction_times_scaled_index():
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    grid = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), tuple(map(tuple, turn.tolist())))
    index = np.array([4.0, 1.0, 2.0])
    np.testing.assert_allclose(
        transform_points(grid.world_from_index, index), [10, 20, 30] + turn @ (np.array([1.0, 2.0, 3.0]) * index)
    )


def test_6_and_7_camera_axes_are_right_down_forward():
    camera = look_at(
        np.array([0.0, -5.0, 0.0]), np.zeros(3), up_world=(0.0, 0.0, 1.0), fov_y_deg=40.0, width=4, height=4
    )
    for local, world in (([1, 0, 0, 1], [1, -5, 0]), ([0, 1, 0, 1], [0, -5, -1]), ([0, 0, 5, 1], [0, 0, 0])):
        np.testing.assert_allclose((camera.T_world_camera @ np.array(local, float))[:3], world, atol=1e-12)
    grid = VolumeGrid((5, 7, 3), (1.0, 1.0, 1.0), (-2.0, -3.0, -1.0))
    values = np.zeros(grid.shape_zyx, np.float32)
    values[1, 3, 2] = 1.0  # at the origin, 5 in front of the camera, with soft edges one voxel around it
    middle = camera.scaled(5, 5)
    seen = [
        render_view(values, grid, red_above_half(), dataclasses.replace(middle, near_depth=d), FLAT).opacity[2, 2]
        for d in (0.0, 3.9, 6.1)
    ]
    assert min(seen[:2]) > 0.3 and seen[2] == 0.0


def test_8_pixels_are_u_right_v_down_from_half_and_boxes_half_open():
    camera = look_at(
        np.array([0.0, -5.0, 0.0]), np.zeros(3), up_world=(0.0, 0.0, 1.0), fov_y_deg=90.0, width=2, height=2
    )
    uv, _ = project(camera, np.array([[-2.5, 0.0, 2.5]]))
    np.testing.assert_allclose(uv, [[0.5, 0.5]], atol=1e-9)
    mask = np.zeros((1, 4, 6), bool)
    mask[0, 1:3, 2:5] = True
    one = np.ones(1)
    boxes = mask_set_from_dense(mask, predicted_iou=one, stability=one, points_uv=np.array([[2.5, 1.5]])).boxes_xyxy
    assert boxes.tolist() == [[2, 1, 5, 3]]


def test_9_up_is_recorded_with_the_camera():
    grid = VolumeGrid((5, 4, 3))
    camera = orbit_camera(grid, np.array([1.0, 0.2, 0.1]), width=8, height=8, up_world=(0.0, 1.0, 0.0))
    assert camera.up_world == (0.0, 1.0, 0.0)
    assert camera.T_world_camera[1, 1] < -0.9, "down in the picture is -y in the world"


def test_10_degrees_are_named():
    root = Path(__file__).parents[2] / "src" / "voxlang"
    for path in root.rglob("*.py"):
        for name in re.findall(r"\b(fov\w*|angle\w*|azimuth\w*|elevation\w*)\s*:\s*float", path.read_text("utf-8")):
            if "fov" in name:
                assert name.endswith("_deg"), f"{path.name}: {name}"


def test_11_the_step_size_does_not_change_the_picture():
    rng = np.random.default_rng(5)
    values = rng.random((6, 7, 8)).astype(np.float32)
    grid = VolumeGrid((8, 7, 6), (1.0, 1.5, 2.0))
    camera = orbit_camera(grid, np.array([1.0, 0.7, 0.4]), width=24, height=24)
    transfer = TransferFunction(np.array([[0.0, 1.0, 1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 0.3]]), 1.0)
    coarse, fine = (
        render_view(values, grid, transfer, camera, FLAT.model_copy(update={"step_voxels": s})).rgb for s in (0.2, 0.05)
    )
    assert np.abs(coarse - fine).max() < 0.02
    doubled = render_view(
        values, grid, TransferFunction(transfer.color_knots, transfer.opacity_knots, 2.0), camera, FLAT
    )
    assert doubled.opacity.mean() < fine[..., 0].mean(), "twice the unit distance is half the density"


def test_12_colours_are_linear_and_the_background_is_an_argument():
    grid = VolumeGrid((5, 4, 3))
    camera = orbit_camera(grid, np.array([1.0, 0.0, 0.0]), width=6, height=6)
    settings = FLAT.model_copy(update={"background": (0.25, 0.5, 0.75)})
    view = render_view(np.zeros((3, 4, 5), np.float32), grid, red_above_half(), camera, settings)
    np.testing.assert_allclose(view.rgb, np.broadcast_to([0.25, 0.5, 0.75], (6, 6, 3)), atol=1e-6)


def test_13_missing_is_infinite_distance():
    grid = VolumeGrid((5, 4, 3))
    camera = orbit_camera(grid, np.array([1.0, 0.0, 0.0]), width=6, height=6)
    view = render_view(np.zeros((3, 4, 5), np.float32), grid, red_above_half(), camera, FLAT)
    assert np.isinf(view.distance_first).all()
    assert np.isinf(view.distance_mean).all()


def test_14_levels_and_letters():
    assert [(level.value, level.label, level.letter) for level in LEVELS] == [
        (0, "small", "s"),
        (1, "part", "p"),
        (2, "whole", "w"),
    ]
    assert Level.SMALL < Level.PART < Level.WHOLE


def test_15_randomness_takes_a_generator():
    assert "rng" in inspect.signature(camera_directions).parameters
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002  the global state that must not move
    torch_before = torch.random.get_rng_state()
    camera_directions(4, placement="random", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_before)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_marked_voxel_is_seen_and_lifted_where_it_lies(marked_volume, axis, sign):
    """Load -> render -> lift from all six sides: the brightest pixel is the projection, the heaviest voxel the mark."""
    grid = marked_volume.grid
    direction = np.zeros(3)
    direction[axis] = sign
    up = (0.0, 0.0, 1.0) if axis != 2 else (0.0, 1.0, 0.0)
    camera = orbit_camera(grid, direction, width=61, height=61, up_world=up)
    view = render_view(marked_volume.values, grid, red_above_half(), camera, FLAT)
    wanted, _ = project(camera, transform_points(grid.world_from_index, np.array([[4.0, 1.0, 2.0]])))
    v, u = np.argwhere(view.opacity > 0.5 * view.opacity.max()).mean(axis=0) + 0.5
    # the mark lies at the grid's corner in x and z, so only its inner half is drawn: up to half a voxel off
    voxel_px = max(grid.spacing_xyz) * camera.K[0, 0] / 20.0
    assert math.hypot(u - wanted[0, 0], v - wanted[0, 1]) < voxel_px
    rays = ray_samples(marked_volume.values, grid, red_above_half(), camera, FLAT)
    weight = np.bincount(rays.voxel, weights=rays.weight, minlength=60).reshape(grid.shape_zyx)
    assert np.unravel_index(weight.argmax(), weight.shape) == (2, 1, 4)
