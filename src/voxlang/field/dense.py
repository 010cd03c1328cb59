"""The field for CPUs: value grids at three resolutions, two of them sparse, and a small network on a feature grid.

``f(p) = base(p) + middle(p) + network(base(p), features(p)) + fine(p)``; all grids are trilinear. `base` covers the
volume, `middle` and `fine` are bricks where the volume has detail, and the network learns what is left elsewhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from voxlang.field.bricks import SparseBricks
from voxlang.field.lattice import interpolate_block, interpolation_matrix
from voxlang.field.plan import BRICK_EDGE, CHANNELS
from voxlang.field.scalar_field import ScalarField


class DenseField(ScalarField):
    """Value grids, sparse detail and a small network.

    Args:
        size_xyz: voxels of the volume that it represents; the lattice of the fine bricks.
        base_size_xyz: vertices of the base grid.
        middle_size_xyz: lattice of the middle bricks.
        feature_size_xyz: vertices of the network's feature grid.
        width: units of the hidden layer.
        generator: source of the initial features and weights (on the CPU).
    """

    backend = "dense"

    def __init__(
        self,
        size_xyz: tuple[int, int, int],
        *,
        base_size_xyz: tuple[int, int, int],
        middle_size_xyz: tuple[int, int, int],
        feature_size_xyz: tuple[int, int, int],
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(size_xyz)
        self.base = nn.Parameter(torch.zeros(tuple(reversed(base_size_xyz))))
        self.middle = SparseBricks(middle_size_xyz, edge=BRICK_EDGE)
        self.fine = SparseBricks(size_xyz, edge=BRICK_EDGE)
        self.features = nn.Parameter(0.1 * torch.randn((CHANNELS, *reversed(feature_size_xyz)), generator=generator))
        self.hidden_weight = nn.Parameter(
            torch.randn(width, 1 + CHANNELS, generator=generator) / math.sqrt(1 + CHANNELS)
        )
        self.hidden_bias = nn.Parameter(torch.linspace(-1.0, 1.0, width))
        self.out_weight = nn.Parameter(torch.zeros(1, width))
        self.register_buffer("scale", torch.ones(()))

    @property
    def n_parameters(self) -> int:
        """Numbers that the field stores; the occupancy of the bricks counts as words of 32 bits."""
        return (
            self.base.numel()
            + sum(p.numel() for p in self.network_parameters())
            + 1
            + self.middle.n_parameters
            + self.fine.n_parameters
        )

    def network_parameters(self) -> list[nn.Parameter]:
        """What gradient steps change; the rest is solved."""
        return [self.features, self.hidden_weight, self.hidden_bias, self.out_weight]

    def points(self, xyz_unit: Float[torch.Tensor, "n 3"]) -> Float[torch.Tensor, "n"]:
        """Unclamped values at points of unit space; differentiable in points and parameters."""
        base = _at_points(self.base[None], xyz_unit)
        network = self._network(base, _at_points(self.features, xyz_unit))
        return base[0] + self.middle(xyz_unit) + network + self.fine(xyz_unit)

    def linear_block(
        self, unit_z: Float[torch.Tensor, "z"], unit_y: Float[torch.Tensor, "y"], unit_x: Float[torch.Tensor, "x"]
    ) -> Float[torch.Tensor, "z y x"]:
        """Base and middle grid on a block."""
        return _on_block(self.base[None], unit_z, unit_y, unit_x)[0] + self.middle.block(unit_z, unit_y, unit_x)

    def network_block(
        self, unit_z: Float[torch.Tensor, "z"], unit_y: Float[torch.Tensor, "y"], unit_x: Float[torch.Tensor, "x"]
    ) -> Float[torch.Tensor, "z y x"]:
        """The network's correction on a block; differentiable in its parameters."""
        base = _on_block(self.base[None], unit_z, unit_y, unit_x)
        features = _on_block(self.features, unit_z, unit_y, unit_x)
        return self._network(base.flatten(1), features.flatten(1)).reshape(base.shape[1:])

    def block(
        self, unit_z: Float[torch.Tensor, "z"], unit_y: Float[torch.Tensor, "y"], unit_x: Float[torch.Tensor, "x"]
    ) -> Float[torch.Tensor, "z y x"]:
        """Unclamped values on the block spanned by three ascending lists of unit coordinates."""
        axes = (unit_z, unit_y, unit_x)
        return self.linear_block(*axes) + self.network_block(*axes) + self.fine.block(*axes)

    def _network(
        self, base: Float[torch.Tensor, "1 n"], features: Float[torch.Tensor, "c n"]
    ) -> Float[torch.Tensor, "n"]:
        """Correction in units of `scale`, the typical residual; zero before the first gradient step."""
        inputs = torch.cat([2.0 * base - 1.0, features])
        hidden = torch.addmm(self.hidden_bias[:, None], self.hidden_weight, inputs).relu()
        return self.scale * (self.out_weight @ hidden)[0]

    def spec(self) -> dict[str, Any]:
        """JSON-able description from which an empty twin is built."""
        return {
            "backend": self.backend,
            "size_xyz": list(self.size_xyz),
            "base_size_xyz": list(reversed(self.base.shape)),
            "middle_size_xyz": list(self.middle.size_xyz),
            "feature_size_xyz": list(reversed(self.features.shape[1:])),
            "width": self.hidden_bias.numel(),
        }


def _on_block(
    grid: Float[torch.Tensor, "c d h w"],
    unit_z: Float[torch.Tensor, "z"],
    unit_y: Float[torch.Tensor, "y"],
    unit_x: Float[torch.Tensor, "x"],
) -> Float[torch.Tensor, "c z y x"]:
    """Values of a vertex grid on a block, reading only the vertices between its first and last z."""
    weights = [interpolation_matrix(u, n) for u, n in zip((unit_z, unit_y, unit_x), grid.shape[1:], strict=True)]
    used = torch.nonzero(weights[0].any(0)).reshape(-1)
    rows = slice(int(used[0]), int(used[-1]) + 1)
    return interpolate_block(grid[:, rows], weights[0][:, rows], *weights[1:])


def _at_points(
    grid: Float[torch.Tensor, "c d h w"], xyz_unit: Float[torch.Tensor, "n 3"]
) -> Float[torch.Tensor, "c n"]:
    """Trilinear values of a vertex grid; (x, y, z) is the order that grid_sample takes."""
    sampled = nn.functional.grid_sample(
        grid[None], xyz_unit.reshape(1, 1, 1, -1, 3), mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled.reshape(grid.shape[0], -1)
