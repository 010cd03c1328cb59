"""The field for CUDA in plain torch: a multi-resolution hash grid and a small network. It runs on the CPU as well.

Source: Müller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", 2022, sections 3-4.
A level whose vertices fit into the table is indexed directly, a finer one by the spatial hash of equation 4.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from voxlang.field.scalar_field import ScalarField

FEATURES = 2
"""Features per table entry."""

_PRIMES = (1, 2654435761, 805459861)
_COARSEST = 8


class HashField(ScalarField):
    """Hash grid and network.

    Args:
        size_xyz: voxels of the volume that it represents; the finest level has as many vertices.
        table_size: entries of the table of a level, at most.
        width: units of the two hidden layers.
        generator: source of the initial table and weights (on the CPU).
    """

    backend = "hash"

    def __init__(
        self, size_xyz: tuple[int, int, int], *, table_size: int, width: int, generator: torch.Generator
    ) -> None:
        super().__init__(size_xyz)
        self.table_size, self.width = table_size, width
        self.level_sizes_xyz = hash_levels(self.size_xyz)
        entries = [min(table_size, math.prod(size)) for size in self.level_sizes_xyz]
        self.offsets = list(itertools.accumulate([0, *entries]))
        self.table = nn.Parameter((torch.rand(self.offsets[-1], FEATURES, generator=generator) * 2.0 - 1.0) * 1e-2)
        widths = [FEATURES * len(entries), width, width, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        for layer in self.layers:
            bound = math.sqrt(6.0 / layer.in_features)
            layer.weight.data = (torch.rand(layer.weight.shape, generator=generator) * 2.0 - 1.0) * bound
            layer.bias.data.zero_()

    def points(self, xyz_unit: Float[torch.Tensor, "n 3"]) -> Float[torch.Tensor, "n"]:
        """Unclamped values at points of unit space; differentiable in points and parameters."""
        features = [self._level(i, xyz_unit) for i in range(len(self.level_sizes_xyz))]
        hidden = torch.cat(features, dim=1)
        for layer in self.layers[:-1]:
            hidden = layer(hidden).relu()
        return self.layers[-1](hidden)[:, 0] + 0.5

    def _level(self, level: int, xyz_unit: Float[torch.Tensor, "n 3"]) -> Float[torch.Tensor, "n f"]:
        size = torch.tensor(self.level_sizes_xyz[level], device=xyz_unit.device)
        n_entries = self.offsets[level + 1] - self.offsets[level]
        direct = n_entries == math.prod(self.level_sizes_xyz[level])
        position = (xyz_unit.clamp(-1.0, 1.0) + 1.0) * (0.5 * (size - 1))
        lower = torch.minimum(position.detach().floor().long(), size - 2)
        fraction = position - lower
        total = torch.zeros(xyz_unit.shape[0], FEATURES, device=xyz_unit.device)
        for corner in range(8):
            bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=xyz_unit.device)
            x, y, z = (lower + bits).unbind(1)
            if direct:
                entry = (z * size[1] + y) * size[0] + x
            else:
                entry = ((x * _PRIMES[0]) ^ (y * _PRIMES[1]) ^ (z * _PRIMES[2])) % n_entries
            weight = torch.where(bits == 1, fraction, 1.0 - fraction).prod(1, keepdim=True)
            total = total + weight * self.table[entry + self.offsets[level]]
        return total

    def spec(self) -> dict[str, Any]:
        """JSON-able description from which an empty twin is built."""
        return {
            "backend": self.backend,
            "size_xyz": list(self.size_xyz),
            "table_size": self.table_size,
            "width": self.width,
        }


def hash_levels(size_xyz: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Vertices of the levels along x, y, z: from 8 on the longest axis by steps of about 1.5 to the volume's own."""
    longest = max(size_xyz)
    n_levels = max(2, 1 + round(math.log(max(longest / _COARSEST, 1.0)) / math.log(1.5)))
    ratios = [
        (_COARSEST / longest) ** (1.0 - i / (n_levels - 1)) if longest > _COARSEST else 1.0 for i in range(n_levels)
    ]
    return [tuple(max(2, min(n, round(n * r))) for n in size_xyz) for r in ratios]


def hash_table_size(size_xyz: tuple[int, int, int], n_parameters: int, width: int) -> int:
    """Largest table size whose field has at most `n_parameters` numbers (at least 8 entries a level)."""
    vertices = [math.prod(size) for size in hash_levels(size_xyz)]
    network = width * (FEATURES * len(vertices) + width + 3) + 1
    spare = (n_parameters - network) // FEATURES
    low, high = 8, max(8, *vertices)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(middle, v) for v in vertices) <= spare:
            low = middle
        else:
            high = middle - 1
    return low
