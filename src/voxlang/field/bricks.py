"""Sparse detail: a vertex grid at full resolution that is zero outside a set of small bricks.

Every brick owns ``edge^3`` vertices; vertices of bricks that are not kept are zero, so the interpolated function is
continuous everywhere. At the vertices themselves it reproduces the stored numbers exactly.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from voxlang.field.lattice import interpolation_matrix


class SparseBricks(nn.Module):
    """Detail of a field on the vertices of `size_xyz`, stored only where it matters.

    Args:
        size_xyz: vertices of the full grid along x, y, z.
        edge: vertices along the edge of a brick.
    """

    def __init__(self, size_xyz: tuple[int, int, int], *, edge: int) -> None:
        super().__init__()
        self.size_xyz, self.edge = tuple(size_xyz), edge
        counts = tuple(-(-n // edge) for n in reversed(size_xyz))
        self.register_buffer("occupied", torch.zeros(counts, dtype=torch.bool))
        self.register_buffer("slots", torch.full(counts, -1, dtype=torch.int64), persistent=False)
        self.values = nn.Parameter(torch.zeros(0, edge, edge, edge))

    @property
    def n_parameters(self) -> int:
        """Stored numbers: the vertices of the kept bricks, and the occupancy bits in words of 32."""
        return self.values.numel() + (-(-self.occupied.numel() // 32) if self.values.numel() else 0)

    def keep(self, occupied: Bool[torch.Tensor, "bz by bx"], values: Float[torch.Tensor, "k e e e"] | None) -> None:
        """Keep these bricks, with the given values in C order of their position (zeros when None)."""
        self.occupied.copy_(occupied)
        n = int(occupied.sum())
        self.slots.fill_(-1)
        self.slots[self.occupied] = torch.arange(n, device=self.slots.device)
        if values is None:
            values = torch.zeros((n, *[self.edge] * 3), device=self.values.device)
        self.values = nn.Parameter(values.to(device=self.values.device, dtype=torch.float32).contiguous())

    def fill(self, residual: Float[torch.Tensor, "z y x"], occupied: Bool[torch.Tensor, "bz by bx"]) -> None:
        """Keep these bricks with the residual at their vertices: there, what the rest of the field misses."""
        self.keep(occupied, cut_into_bricks(residual, self.edge)[occupied.to(residual.device)])

    def forward(self, xyz_unit: Float[torch.Tensor, "n 3"]) -> Float[torch.Tensor, "n"]:
        """Trilinear values at points of unit space (clamped to it); differentiable in the points and the values."""
        total = torch.zeros(xyz_unit.shape[0], device=xyz_unit.device)
        if self.values.numel() == 0:
            return total
        size = torch.tensor(self.size_xyz, device=xyz_unit.device)
        position = (xyz_unit.clamp(-1.0, 1.0) + 1.0) * (0.5 * (size - 1))
        lower = torch.minimum(position.detach().floor().long(), size - 2)
        fraction = position - lower
        flat = self.values.reshape(-1)
        for corner in range(8):
            bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=xyz_unit.device)
            x, y, z = (lower + bits).unbind(1)
            e = self.edge
            slot = self.slots[z // e, y // e, x // e]
            address = slot.clamp(min=0) * e**3 + (z % e * e + y % e) * e + x % e
            weight = torch.where(bits == 1, fraction, 1.0 - fraction).prod(1)
            total = total + torch.where(slot >= 0, weight * flat[address], 0.0)
        return total

    def block(
        self, unit_z: Float[torch.Tensor, "z"], unit_y: Float[torch.Tensor, "y"], unit_x: Float[torch.Tensor, "x"]
    ) -> Float[torch.Tensor, "z y x"]:
        """Values on the block spanned by three ascending lists of coordinates; unpacks only the layers it needs."""
        if self.values.numel() == 0:
            return torch.zeros(len(unit_z), len(unit_y), len(unit_x), device=self.values.device)
        weights_z, weights_y, weights_x = (
            interpolation_matrix(unit, n)
            for unit, n in zip((unit_z, unit_y, unit_x), reversed(self.size_xyz), strict=True)
        )
        used = torch.nonzero(weights_z.any(0)).reshape(-1)
        first, last = int(used[0]) // self.edge, int(used[-1]) // self.edge + 1
        layers = self._unpacked(first, last)
        weights_z = weights_z[:, first * self.edge : first * self.edge + layers.shape[0]]
        planes = torch.tensordot(weights_z, layers, dims=([1], [0]))
        return (
            torch.matmul(_product(weights_y, planes), weights_x.T)
            if not _is_identity(weights_x)
            else _product(weights_y, planes)
        )

    def _unpacked(self, first: int, last: int) -> Float[torch.Tensor, "z y x"]:
        """Dense vertices of the brick layers first .. last - 1, cut to the grid."""
        e = self.edge
        nz, ny, nx = reversed(self.size_xyz)
        slots = self.slots[first:last]
        dense = torch.zeros(*slots.shape, e, e, e, device=self.values.device)
        kept = slots >= 0
        dense[kept] = self.values[slots[kept]]
        bz, by, bx = slots.shape
        dense = dense.permute(0, 3, 1, 4, 2, 5).reshape(bz * e, by * e, bx * e)
        return dense[: nz - first * e, :ny, :nx]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        """Make room for the stored bricks before torch copies them in."""
        self.keep(state_dict[prefix + "occupied"].bool(), None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _is_identity(matrix: Float[torch.Tensor, "k n"]) -> bool:
    k, n = matrix.shape
    return k == n and bool((matrix.diagonal() == 1.0).all())


def _product(weights: Float[torch.Tensor, "k n"], planes: Float[torch.Tensor, "z n m"]) -> Float[torch.Tensor, "z k m"]:
    return planes if _is_identity(weights) else torch.matmul(weights, planes)


def cut_into_bricks(values: Float[torch.Tensor, "z y x"], edge: int) -> Float[torch.Tensor, "bz by bx e e e"]:
    """Bricks of a dense array; what lies beyond its end is zero."""
    padding = [p for n in reversed(values.shape) for p in (0, -n % edge)]
    padded = torch.nn.functional.pad(values, padding)
    bz, by, bx = (n // edge for n in padded.shape)
    return padded.reshape(bz, edge, by, edge, bx, edge).permute(0, 2, 4, 1, 3, 5)


def brick_energies(values: Float[torch.Tensor, "z y x"], edge: int) -> Float[torch.Tensor, "bz by bx"]:
    """Sum of squares in each brick, in double precision."""
    return cut_into_bricks(values, edge).double().square().sum((3, 4, 5))


def strongest_bricks(energies: Float[torch.Tensor, "bz by bx"], n: int) -> Bool[torch.Tensor, "bz by bx"]:
    """The `n` bricks of greatest energy (earlier position first among equals; empty bricks are never kept)."""
    order = torch.argsort(energies.reshape(-1), descending=True, stable=True)[: max(n, 0)]
    kept = torch.zeros(energies.numel(), dtype=torch.bool, device=energies.device)
    kept[order] = True
    return (kept & (energies.reshape(-1) > 0)).reshape(energies.shape)


def voxels_of_bricks(
    occupied: Bool[torch.Tensor, "bz by bx"], size_xyz: tuple[int, int, int], edge: int
) -> Bool[torch.Tensor, "z y x"]:
    """Which vertices of the full grid lie in a kept brick."""
    full: Int[torch.Tensor, "..."] = occupied
    for axis, n in enumerate(reversed(size_xyz)):
        full = full.repeat_interleave(edge, dim=axis).narrow(axis, 0, n)
    return full
