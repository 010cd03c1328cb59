"""Grids: hand-worked transforms and refused shapes."""

import numpy as np
import pytest

from voxlang.core.errors import GeometryError
from voxlang.geometry.grid import VolumeGrid, transform_points, voxel_centres_unit

QUARTER_TURN = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))


def test_grids_are_as_far_apart_as_their_corners():
    turned = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    grid = VolumeGrid((5, 4, 3), (1.0, 2.0, 0.5), (7.0, -3.0, 2.0), turned)
    assert grid.voxels_apart(grid) == 0.0
    moved = VolumeGrid((5, 4, 3), (1.0, 2.0, 0.5), (7.0, -3.0, 2.25), turned)
    assert grid.voxels_apart(moved) == pytest.approx(0.5), "a quarter of a millimetre is half of the least spacing"
    wider = VolumeGrid((5, 4, 3), (1.0, 2.1, 0.5), (7.0, -3.0, 2.0), turned)
    assert grid.voxels_apart(wider) == pytest.approx(3 * 0.1 / 0.5)


def test_world_of_an_index_by_hand():
    grid = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), QUARTER_TURN)
    # index (4, 1, 2) -> scaled (4, 2, 6) -> a quarter turn about z sends (4, 2) to (-2, 4) -> plus origin
    np.testing.assert_allclose(transform_points(grid.world_from_index, np.array([4.0, 1.0, 2.0])), [8.0, 24.0, 36.0])


def test_unit_space_has_the_outer_voxel_centres_at_its_corners():
    grid = VolumeGrid((5, 4, 3))
    np.testing.assert_allclose(transform_points(grid.unit_from_index, np.array([0.0, 3.0, 1.0])), [-1.0, 1.0, 0.0])
    x, y, z = voxel_centres_unit(grid)
    np.testing.assert_allclose(x, [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(y, [-1, -1 / 3, 1 / 3, 1], atol=1e-7)
    np.testing.assert_allclose(z, [-1, 0, 1])


def test_matrices_invert_each_other(rng):
    grid = VolumeGrid((7, 5, 3), (0.5, 1.5, 2.5), (-3.0, 4.0, 9.0), QUARTER_TURN)
    points = rng.normal(size=(20, 3)) * 10
    there = transform_points(grid.unit_from_world, points)
    np.testing.assert_allclose(transform_points(grid.world_from_unit, there), points, atol=1e-9)


def test_centre_extent_and_radius_by_hand():
    grid = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    np.testing.assert_allclose(grid.centre_world, [12.0, 23.0, 33.0])
    np.testing.assert_allclose(grid.extent_world, [4.0, 6.0, 6.0])
    assert grid.radius_world == pytest.approx(np.sqrt(16 + 36 + 36) / 2)
    assert grid.shape_zyx == (3, 4, 5)
    assert grid.n_voxels == 60


def test_resized_keeps_the_box_of_voxel_centres():
    grid = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), QUARTER_TURN)
    finer = grid.resized((9, 10, 11))
    for corner in ([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]):
        np.testing.assert_allclose(
            transform_points(finer.world_from_unit, np.array(corner)),
            transform_points(grid.world_from_unit, np.array(corner)),
            atol=1e-9,
        )


def test_a_box_of_voxels_stays_where_it_is():
    grid = VolumeGrid((7, 6, 5), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), QUARTER_TURN)
    box = grid.cropped((2, 1, 3), (4, 5, 2))
    assert box.size_xyz == (4, 5, 2) and box.spacing_xyz == grid.spacing_xyz and box.direction == grid.direction
    for index in ([0.0, 0.0, 0.0], [3.0, 4.0, 1.0]):
        np.testing.assert_allclose(
            transform_points(box.world_from_index, np.array(index)),
            transform_points(grid.world_from_index, np.add(index, [2.0, 1.0, 3.0])),
        )
    with pytest.raises(GeometryError, match="a box inside"):
        grid.cropped((2, 1, 3), (4, 5, 3))


def test_dictionary_round_trip():
    grid = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), QUARTER_TURN, "um")
    assert VolumeGrid.from_dict(grid.as_dict()) == grid


@pytest.mark.parametrize(
    "arguments",
    [
        {"size_xyz": (5, 4, 1)},
        {"size_xyz": (5, 4, 3), "spacing_xyz": (1.0, 0.0, 1.0)},
        {"size_xyz": (5, 4, 3), "spacing_xyz": (1.0, float("nan"), 1.0)},
        {"size_xyz": (5, 4, 3), "direction": ((1.0, 0.2, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
        {"size_xyz": (5, 4, 3), "origin_xyz": (0.0, float("inf"), 0.0)},
    ],
)
def test_impossible_grids_are_refused(arguments):
    with pytest.raises(GeometryError, match=r"Expected .* got .* In: VolumeGrid"):
        VolumeGrid(**arguments)
