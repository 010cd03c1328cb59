"""The linear part of a dense field, solved: base, middle bricks, and which fine bricks to keep.

Fine bricks reproduce their voxels exactly, so everything else needs to be right only outside them. Choosing the bricks
where the error is largest and solving the rest by weighted least squares is repeated; each half lowers the error.
The volume is visited in slabs, so that no temporary is as large as it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float

from voxlang.field.bricks import brick_energies, strongest_bricks, voxels_of_bricks
from voxlang.field.lattice import interpolate_block, interpolation_matrix, least_squares_grid, unit_coordinates
from voxlang.field.plan import BRICK_EDGE, DensePlan

_SLAB = 16
_CG_STEPS = 8


class _Grid:
    """One vertex grid over the volume, and its interpolation and the transpose of it, slab by slab."""

    def __init__(self, vertices: torch.Tensor, shape_zyx: tuple[int, ...], allowed: torch.Tensor | None) -> None:
        self.vertices, self.allowed = vertices, allowed
        self.weights = [
            interpolation_matrix(unit_coordinates(n, device=vertices.device), m)
            for n, m in zip(shape_zyx, vertices.shape, strict=True)
        ]

    def up(self, vertices: torch.Tensor, slab: slice) -> torch.Tensor:
        rows, weights_z = self._rows(slab)
        return interpolate_block(vertices[None, rows], weights_z, *self.weights[1:])[0]

    def add_down(self, gradient: torch.Tensor, residual: torch.Tensor, slab: slice) -> None:
        rows, weights_z = self._rows(slab)
        folded = interpolate_block(residual[None], *(w.T for w in (weights_z, *self.weights[1:])))[0]
        gradient[rows] += folded

    def _rows(self, slab: slice) -> tuple[slice, torch.Tensor]:
        used = torch.nonzero(self.weights[0][slab].any(0)).reshape(-1)
        rows = slice(int(used[0]), int(used[-1]) + 1)
        return rows, self.weights[0][slab, rows]


class LinearFit:
    """Base and middle grids of a plan, fitted to `values`.

    Args:
        values: the volume, normalised.
        plan: sizes and brick counts.
    """

    def __init__(self, values: Float[torch.Tensor, "z y x"], plan: DensePlan) -> None:
        self.values, self.plan = values, plan
        shape = tuple(values.shape)
        base = least_squares_grid(values, plan.base_size_xyz)
        self.middle_kept: Bool[torch.Tensor, "bz by bx"] | None = None
        self.grids = [_Grid(base, shape, None)]
        if plan.n_middle:
            middle = least_squares_grid(values, plan.middle_size_xyz) - self._base_seen_by_middle(base)
            self.middle_kept = strongest_bricks(brick_energies(middle, BRICK_EDGE), plan.n_middle)
            allowed = voxels_of_bricks(self.middle_kept, plan.middle_size_xyz, BRICK_EDGE)
            self.grids.append(_Grid(middle * allowed, shape, allowed))

    def _base_seen_by_middle(self, base: torch.Tensor) -> torch.Tensor:
        """Least-squares middle grid of the interpolated base, composed per axis so that nothing is interpolated."""
        matrices = []
        for n, n_base, n_middle in zip(self.values.shape, base.shape, reversed(self.plan.middle_size_xyz), strict=True):
            unit = unit_coordinates(n)
            inverse = torch.linalg.pinv(interpolation_matrix(unit, n_middle).double())
            matrices.append((inverse @ interpolation_matrix(unit, n_base).double()).float().to(base.device))
        return interpolate_block(base[None], *matrices)[0]

    def refine(self, rounds: int, *, go_on: Callable[[], bool]) -> Bool[torch.Tensor, "bz by bx"]:
        """Alternate the choice of fine bricks and the solution of the rest; returns the bricks to keep.

        Args:
            rounds: how often at most.
            go_on: asked before each round.
        """
        kept = self.choose()
        for _ in range(rounds):
            if not go_on():
                break
            self._solve(kept)
            kept = self.choose()
        return kept

    def choose(self) -> Bool[torch.Tensor, "bz by bx"]:
        """The fine bricks where the grids miss most."""
        energies = torch.cat([brick_energies(residual, BRICK_EDGE) for _, residual in self.residuals()])
        return strongest_bricks(energies, self.plan.n_fine)

    def residuals(self) -> Iterator[tuple[slice, Float[torch.Tensor, "s y x"]]]:
        """Slabs of what the grids miss."""
        vertices = [grid.vertices for grid in self.grids]
        for slab in self._slabs():
            yield slab, self.values[slab] - self._up(vertices, slab)

    def _slabs(self) -> Iterator[slice]:
        nz = self.values.shape[0]
        return (slice(z, min(z + _SLAB, nz)) for z in range(0, nz, _SLAB))

    def _up(self, vertices: list[torch.Tensor], slab: slice) -> torch.Tensor:
        return sum(grid.up(v, slab) for grid, v in zip(self.grids, vertices, strict=True))

    def _solve(self, kept: Bool[torch.Tensor, "bz by bx"]) -> None:
        """Conjugate gradients on the squared error outside the kept bricks, over all grids together."""
        free = ~voxels_of_bricks(kept, tuple(reversed(self.values.shape)), BRICK_EDGE)
        vertices = [grid.vertices.clone() for grid in self.grids]
        residual = self._folded(vertices, free, less_from=self.values)
        direction = [r.clone() for r in residual]
        energy = _dot(residual, residual)
        for _ in range(_CG_STEPS):
            image = self._folded(direction, free, less_from=None)
            curvature = _dot(direction, image)
            if energy <= 0.0 or curvature <= 0.0:
                break
            step = energy / curvature
            vertices = [v + step * d for v, d in zip(vertices, direction, strict=True)]
            residual = [r - step * i for r, i in zip(residual, image, strict=True)]
            previous, energy = energy, _dot(residual, residual)
            direction = [r + (energy / previous) * d for r, d in zip(residual, direction, strict=True)]
        for grid, v in zip(self.grids, vertices, strict=True):
            grid.vertices = v

    def _folded(
        self, vertices: list[torch.Tensor], free: torch.Tensor, *, less_from: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """Transpose of the interpolation applied to what the grids show (or lack of `less_from`) in free voxels."""
        gradients = [torch.zeros_like(grid.vertices) for grid in self.grids]
        for slab in self._slabs():
            seen = self._up(vertices, slab)
            masked = (seen if less_from is None else less_from[slab] - seen) * free[slab]
            for grid, gradient in zip(self.grids, gradients, strict=True):
                grid.add_down(gradient, masked, slab)
        return [g if grid.allowed is None else g * grid.allowed for grid, g in zip(self.grids, gradients, strict=True)]


def _dot(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return sum(float((x.double() * y).sum()) for x, y in zip(a, b, strict=True))
