"""Laws of the field: axes may be renamed, grids may be refined, bricks are exact."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlang.field.bricks import SparseBricks
from voxlang.field.lattice import (
    interpolate_block,
    interpolation_matrix,
    least_squares_grid,
    unit_coordinates,
    upsampled,
)

sizes = st.tuples(*[st.integers(2, 11)] * 3)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, st.permutations([0, 1, 2]), st.integers(0, 99))
def test_renaming_axes_renames_the_least_squares_grid(size, vertices, order, seed):
    values = torch.from_numpy(np.random.default_rng(seed).random(size[::-1]).astype(np.float32))
    vertices = tuple(min(v, n) for v, n in zip(vertices, size, strict=True))
    grid = least_squares_grid(values, vertices)
    renamed = least_squares_grid(values.permute(order), tuple(vertices[2 - a] for a in reversed(order)))
    np.testing.assert_allclose(renamed, grid.permute(order), atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, st.integers(0, 99))
def test_a_trilinear_volume_is_recovered(size, vertices, seed):
    vertices = tuple(min(v, n) for v, n in zip(vertices, size, strict=True))
    truth = torch.from_numpy(np.random.default_rng(seed).random(vertices[::-1]).astype(np.float32))
    values = upsampled(truth, size)
    np.testing.assert_allclose(upsampled(least_squares_grid(values, vertices), size), values, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(sizes, st.integers(2, 5), st.integers(0, 99))
def test_sparse_points_equal_dense_interpolation(size, edge, seed):
    rng = np.random.default_rng(seed)
    bricks = SparseBricks(size, edge=edge)
    occupied = torch.from_numpy(rng.random(bricks.occupied.shape) < 0.6)
    bricks.keep(occupied, torch.from_numpy(rng.random((int(occupied.sum()), edge, edge, edge)).astype(np.float32)))
    points = torch.from_numpy(rng.uniform(-1, 1, (20, 3)).astype(np.float32))
    dense = bricks.block(*(unit_coordinates(n) for n in reversed(size))).detach()
    for point, value in zip(points, bricks(points).detach(), strict=True):
        weights = [interpolation_matrix(point[2 - a : 3 - a], dense.shape[a]) for a in range(3)]
        np.testing.assert_allclose(value, interpolate_block(dense[None], *weights).reshape(()), atol=1e-5)
        np.testing.assert_allclose(value, bricks.block(*point.flip(0)[:, None]).detach().reshape(()), atol=1e-5)
