"""Tensor-product trilinear interpolation: on a block of coordinates it is three small matrix products.

Coordinates are unit space, [-1, 1] between the centres of the first and last vertex (``align_corners=True``). The same
weights serve evaluation, training (they are differentiable in the grid) and the closed-form least-squares fit.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32


def unit_coordinates(n: int, *, device: torch.device | str = "cpu") -> Float32[torch.Tensor, "{n}"]:
    """Unit coordinates of `n` evenly spaced vertices; -1 and +1 are the first and the last."""
    return torch.from_numpy(np.linspace(-1.0, 1.0, n)).to(device=device, dtype=torch.float32)


def interpolation_matrix(unit: Float[torch.Tensor, "k"], n: int) -> Float32[torch.Tensor, "k {n}"]:
    """Rows of linear interpolation weights: ``matrix @ vertices`` are the values at `unit`.

    Args:
        unit: coordinates along one axis, clamped to [-1, 1].
        n: number of vertices along that axis, at least 2.
    """
    position = (unit.double().clamp(-1.0, 1.0) + 1.0) * (0.5 * (n - 1))
    nearest = position.round()
    # A float32 coordinate of a vertex is a rounding error away from it: snap, so that vertices reproduce exactly.
    position = torch.where((position - nearest).abs() < 1e-6 * n, nearest, position)
    lower = position.floor().clamp(max=n - 2).long()
    fraction = (position - lower).float()
    matrix = torch.zeros(unit.shape[0], n, device=unit.device)
    matrix.scatter_(1, lower[:, None], 1.0 - fraction[:, None])
    matrix.scatter_add_(1, lower[:, None] + 1, fraction[:, None])
    return matrix


def interpolate_block(
    vertices: Float[torch.Tensor, "c d h w"],
    weights_z: Float[torch.Tensor, "z d"],
    weights_y: Float[torch.Tensor, "y h"],
    weights_x: Float[torch.Tensor, "x w"],
) -> Float[torch.Tensor, "c z y x"]:
    """Values of a vertex grid on the block spanned by three lists of coordinates; differentiable in the grid."""
    c, d, h, w = vertices.shape
    planes = torch.matmul(weights_z, vertices.reshape(c, d, h * w)).reshape(c, -1, h, w)
    return torch.matmul(torch.matmul(weights_y, planes), weights_x.T)


def least_squares_grid(
    values: Float[torch.Tensor, "z y x"], size_xyz: tuple[int, int, int]
) -> Float[torch.Tensor, "d h w"]:
    """Vertex grid of `size_xyz` whose trilinear interpolation is nearest to `values` in the least-squares sense.

    The interpolation is a Kronecker product of three matrices, so its pseudo-inverse is the product of theirs and the
    exact solution costs three small matrix products.
    """
    grid = values
    for axis, n_vertices in enumerate(reversed(size_xyz)):
        matrix = interpolation_matrix(unit_coordinates(values.shape[axis]), n_vertices)
        inverse = torch.linalg.pinv(matrix.double()).float().to(values.device)
        grid = torch.movedim(torch.tensordot(inverse, grid, dims=([1], [axis])), 0, axis)
    return grid.contiguous()


def upsampled(vertices: Float[torch.Tensor, "d h w"], size_xyz: tuple[int, int, int]) -> Float[torch.Tensor, "z y x"]:
    """Values of a vertex grid at `size_xyz` evenly spaced points over the same box."""
    weights = [
        interpolation_matrix(unit_coordinates(n, device=vertices.device), m)
        for n, m in zip(reversed(size_xyz), vertices.shape, strict=True)
    ]
    return interpolate_block(vertices[None], *weights)[0]
