"""Points, blocks and grids of a field agree with each other and with a numpy loop."""

import sys
import types

import numpy as np
import pytest
import torch

from voxlang.core.errors import FieldError
from voxlang.field.bricks import SparseBricks, brick_energies, cut_into_bricks, strongest_bricks, voxels_of_bricks
from voxlang.field.build import choose_backend, field_from_spec
from voxlang.field.dense import DenseField
from voxlang.field.hash_grid import HashField, hash_levels, hash_table_size
from voxlang.field.lattice import interpolation_matrix, least_squares_grid, unit_coordinates, upsampled

SIZE = (13, 9, 7)


def _dense(seed: int = 3) -> DenseField:
    """All parts filled with random numbers; values stay within [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    field = DenseField(
        SIZE,
        base_size_xyz=(4, 5, 3),
        middle_size_xyz=(7, 6, 5),
        feature_size_xyz=(3, 2, 4),
        width=8,
        generator=generator,
    )
    field.base.data = 0.3 + 0.4 * torch.rand(field.base.shape, generator=generator)
    field.out_weight.data = 0.05 * torch.randn(field.out_weight.shape, generator=generator)
    for part in (field.middle, field.fine):
        occupied = torch.rand(part.occupied.shape, generator=generator) < 0.5
        part.keep(occupied, 0.02 * torch.randn((int(occupied.sum()), 4, 4, 4), generator=generator))
    return field


def _hash() -> HashField:
    return HashField(SIZE, table_size=64, width=8, generator=torch.Generator().manual_seed(5))


def _trilinear(vertices: np.ndarray, xyz: np.ndarray) -> float:
    """Oracle: one point, eight corners, [z y x] vertices with corners at -1 and 1."""
    total = 0.0
    position = [(c + 1) / 2 * (n - 1) for c, n in zip(xyz, vertices.shape[::-1], strict=True)]
    for iz in range(vertices.shape[0]):
        for iy in range(vertices.shape[1]):
            for ix in range(vertices.shape[2]):
                weight = np.prod([max(0.0, 1 - abs(p - i)) for p, i in zip(position, (ix, iy, iz), strict=True)])
                total += weight * vertices[iz, iy, ix]
    return total


@pytest.mark.parametrize("make", [_dense, _hash])
@pytest.mark.parametrize("size", [SIZE, (5, 17, 6)])
def test_sample_grid_equals_forward_at_its_points(make, size):
    field = make()
    grid = field.sample_grid(size, chunk_points=40)
    assert grid.shape == size[::-1]
    for index in [(0, 0, 0), (size[2] - 1, 0, size[0] - 1), (2, 3, 4), (5, 1, 2), (3, size[1] - 1, 1)]:
        z, y, x = index
        point = [2 * i / (n - 1) - 1 for i, n in zip((x, y, z), size, strict=True)]
        value = float(field(torch.tensor([point], dtype=torch.float32)).detach())
        assert value == pytest.approx(float(grid[index]), abs=2e-6)


@pytest.mark.parametrize("make", [_dense, _hash])
def test_gradient_by_position_equals_finite_differences(make):
    field = make().double()
    if isinstance(field, HashField):
        field.table.data *= 20.0
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(20, 3, generator=generator, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    (gradient,) = torch.autograd.grad(field(points).sum(), points)
    step = 1e-6
    for axis in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[axis] = step
        difference = (field(points + shift) - field(points - shift)).detach() / (2 * step)
        np.testing.assert_allclose(gradient[:, axis], difference, atol=1e-5, rtol=1e-4)
    assert float(gradient.abs().max()) > 1e-3


def test_gradient_reaches_every_parameter():
    for field in (_dense(), _hash()):
        points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
        field(points).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in field.parameters())


def test_dense_value_equals_the_sum_of_its_parts_by_hand():
    field = _dense()
    rng = np.random.default_rng(0)
    for xyz in rng.uniform(-1, 1, (5, 3)):
        base = _trilinear(field.base.detach().numpy(), xyz)
        features = [_trilinear(f, xyz) for f in field.features.detach().numpy()]
        hidden = field.hidden_weight.detach().numpy() @ [2 * base - 1, *features] + field.hidden_bias.detach().numpy()
        network = float(field.out_weight.detach().numpy()[0] @ np.maximum(hidden, 0))
        detail = 0.0
        for part in (field.middle, field.fine):
            nx, ny, nz = part.size_xyz
            dense = np.zeros((nz + 4, ny + 4, nx + 4))
            for values, (bz, by, bx) in zip(
                part.values.detach().numpy(), np.argwhere(part.occupied.numpy()), strict=True
            ):
                dense[bz * 4 : bz * 4 + 4, by * 4 : by * 4 + 4, bx * 4 : bx * 4 + 4] = values
            detail += _trilinear(dense[:nz, :ny, :nx], xyz)
        got = float(field(torch.tensor(xyz[None], dtype=torch.float32)).detach())
        assert got == pytest.approx(base + network + detail, abs=1e-5)


def test_interpolation_matrix_rows():
    matrix = interpolation_matrix(torch.tensor([-1.0, -0.5, 0.25, 1.0, 3.0]), 5)
    expected = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


def test_least_squares_grid_equals_a_dense_solver(rng):
    values = torch.from_numpy(rng.random((6, 5, 7)).astype(np.float32))
    grid = least_squares_grid(values, (3, 2, 4))
    matrices = [
        interpolation_matrix(unit_coordinates(n), m).numpy() for n, m in zip(values.shape, (4, 2, 3), strict=True)
    ]
    system = np.kron(np.kron(matrices[0], matrices[1]), matrices[2])
    solution = np.linalg.lstsq(system.astype(np.float64), values.numpy().reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(grid.numpy().reshape(-1), solution, atol=1e-5)
    np.testing.assert_allclose(upsampled(grid, (7, 5, 6)).numpy().reshape(-1), system @ solution, atol=1e-5)


def test_bricks_keep_the_strongest_and_know_their_voxels(rng):
    values = torch.from_numpy(rng.random((6, 9, 5)).astype(np.float32))
    energies = brick_energies(values, 4)
    assert energies.shape == (2, 3, 2)
    assert float(energies[1, 2, 0]) == pytest.approx(float((values[4:, 8:, :4] ** 2).sum()), rel=1e-6)
    kept = strongest_bricks(energies, 3)
    assert int(kept.sum()) == 3
    assert float(energies[kept].min()) >= float(energies[~kept].max())
    assert int(strongest_bricks(torch.zeros(2, 2, 2), 5).sum()) == 0
    bricks = SparseBricks((5, 9, 6), edge=4)
    bricks.keep(kept, cut_into_bricks(values, 4)[kept])
    axes = [unit_coordinates(n) for n in (6, 9, 5)]
    shown = bricks.block(*axes).detach()
    mask = voxels_of_bricks(kept, (5, 9, 6), 4)
    np.testing.assert_array_equal(shown, values * mask)


def test_hash_levels_and_table_fit_the_cap():
    levels = hash_levels((96, 64, 40))
    assert levels[0][0] == 8 and levels[-1] == (96, 64, 40)
    cap = 40_000
    table = hash_table_size((96, 64, 40), cap, 16)
    fits = [
        HashField((96, 64, 40), table_size=t, width=16, generator=torch.Generator().manual_seed(0)).n_parameters
        for t in (table, table + 1)
    ]
    assert fits[0] <= cap < fits[1]


def test_bad_points_sizes_and_backends():
    field = _dense()
    with pytest.raises(FieldError, match=r"shape \(n, 3\).*got shape \(4, 2\)"):
        field(torch.zeros(4, 2))
    with pytest.raises(FieldError, match=r"shape \(3,\)"):
        field(torch.zeros(3))
    with pytest.raises(FieldError, match="at least 2 points"):
        field.sample_grid((5, 1, 4))
    with pytest.raises(FieldError, match="at least 2"):
        HashField((5, 1, 4), table_size=8, width=4, generator=torch.Generator())
    with pytest.raises(FieldError, match="'nerf'"):
        field_from_spec({"backend": "nerf", "size_xyz": [4, 4, 4]})
    with pytest.raises(FieldError, match="'nerf'"):
        choose_backend("nerf", "cpu")
    with pytest.raises(FieldError, match="needs none"):
        field_from_spec({"backend": "tcnn", "size_xyz": [4, 4, 4], "log2_table_size": 5, "width": 16, "seed": 0})


def test_auto_backend_by_device(monkeypatch):
    assert choose_backend("auto", "cpu") == "dense"
    assert choose_backend("auto", "cuda") == "hash"
    monkeypatch.setattr("voxlang.field.build.tcnn_available", lambda: True)
    assert choose_backend("auto", "cuda") == "tcnn"
    assert choose_backend("tcnn", "cuda") == "tcnn"


def test_tcnn_adapter_speaks_the_library(monkeypatch):
    """A stand-in with the library's constructor: inputs in [0, 1], half precision out."""
    seen = {}

    class NetworkWithInputEncoding(torch.nn.Module):
        def __init__(self, n_input_dims, n_output_dims, encoding_config, network_config, seed):
            super().__init__()
            seen.update(encoding_config, seed=seed, dims=(n_input_dims, n_output_dims), **network_config)
            self.params = torch.nn.Parameter(torch.tensor([0.5, 0.25, 0.125]))

        def forward(self, x):
            seen["range"] = (float(x.min()), float(x.max()))
            return (x @ self.params)[:, None].half()

    module = types.ModuleType("tinycudann")
    module.NetworkWithInputEncoding = NetworkWithInputEncoding
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    monkeypatch.setattr("voxlang.field.tcnn.tcnn_available", lambda: True)
    field = field_from_spec({"backend": "tcnn", "size_xyz": [32, 20, 16], "log2_table_size": 6, "width": 16, "seed": 9})
    values = field.points(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 0.0, -3.0]]))
    np.testing.assert_allclose(values.detach(), [0.5, 0.5 + 0.5 + 0.125], atol=1e-3)
    assert values.dtype == torch.float32 and seen["range"] == (0.0, 1.0)
    assert (seen["dims"], seen["log2_hashmap_size"], seen["seed"], seen["otype"]) == ((3, 1), 6, 9, "FullyFusedMLP")
    assert seen["base_resolution"] * seen["per_level_scale"] ** (seen["n_levels"] - 1) == pytest.approx(32)
    assert field.spec() == {"backend": "tcnn", "size_xyz": [32, 20, 16], "log2_table_size": 6, "width": 16, "seed": 9}
