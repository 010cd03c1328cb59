"""How many parameters go where: the search for the grids of a dense field under its cap."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float

from voxlang.field.bricks import brick_energies, strongest_bricks, voxels_of_bricks
from voxlang.field.lattice import least_squares_grid, upsampled

BRICK_EDGE = 4
"""Vertices along the edge of a brick: small enough to follow a surface, large enough to make its bit of index cheap."""

CHANNELS = 4
"""Features per vertex of the network's grid."""

_SAMPLE_EDGE = 64
_SAMPLE_BLOCKS = 8
_BASE_DIVISORS = ((8, 8, 8), (4, 4, 4), (2, 4, 4), (2, 3, 3), (2, 2, 2), (1, 2, 2))
_MIDDLE_DIVISORS = ((2, 2, 2), (1, 2, 2))
_FEATURE_DIVISOR = (16, 16, 16)
_MIDDLE_SHARES = (0.3, 0.45, 0.6)


@dataclass(frozen=True)
class DensePlan:
    """Sizes of the parts of a dense field."""

    base_size_xyz: tuple[int, int, int]
    """Vertices of the dense value grid."""
    middle_size_xyz: tuple[int, int, int]
    """Vertices of the lattice of the middle bricks."""
    n_middle: int
    """Middle bricks kept."""
    n_fine: int
    """Bricks at full resolution kept."""
    feature_size_xyz: tuple[int, int, int]
    """Vertices of the network's feature grid."""
    predicted_db: float
    """PSNR that the search expects before refinement, from a sample of blocks."""


def n_bricks_of(size_xyz: tuple[int, int, int]) -> int:
    """Bricks that cover a lattice."""
    return math.prod(-(-n // BRICK_EDGE) for n in size_xyz)


def plan_dense(values: Float[torch.Tensor, "z y x"], n_parameters: int, width: int) -> DensePlan:
    """Choose grid sizes and brick counts that promise the best PSNR with at most `n_parameters` numbers.

    Every candidate is tried in closed form on a few blocks spread over the volume. The smallest grids are used when
    nothing fits, so that a volume of a few voxels has a field as well.
    """
    size = tuple(reversed(values.shape))
    blocks = _sample_blocks(values)
    feature_size = _divided(size, _FEATURE_DIVISOR)
    network = width * (CHANNELS + 3) + CHANNELS * math.prod(feature_size)
    index = -(-n_bricks_of(size) // 32)
    best = DensePlan((2, 2, 2), (2, 2, 2), 0, 0, feature_size, -math.inf)
    for base_divisor in _BASE_DIVISORS:
        base_size = _divided(size, base_divisor)
        spare = n_parameters - network - index - math.prod(base_size)
        if spare < 0:
            continue
        residuals = [_less(block, base_divisor) for block in blocks]
        for middle_divisor, share in ((None, 0.0), *itertools.product(_MIDDLE_DIVISORS, _MIDDLE_SHARES)):
            middle_size = _divided(size, middle_divisor) if middle_divisor else (2, 2, 2)
            n_middle = int(share * n_bricks_of(middle_size))
            n_fine = spare // BRICK_EDGE**3
            if middle_divisor:
                n_fine = (spare - n_middle * BRICK_EDGE**3 - -(-n_bricks_of(middle_size) // 32)) // BRICK_EDGE**3
            if n_fine < 0 or (middle_divisor and math.prod(base_size) >= math.prod(middle_size)):
                continue
            n_fine = min(n_fine, n_bricks_of(size))
            left = _with_middle(residuals, middle_divisor, share) if middle_divisor else residuals
            predicted = _predicted_db(left, n_fine / n_bricks_of(size))
            if predicted > best.predicted_db:
                best = DensePlan(base_size, middle_size, n_middle, n_fine, feature_size, predicted)
    return best


def _divided(size: tuple[int, ...], divisor: tuple[int, int, int]) -> tuple[int, int, int]:
    return tuple(max(2, -(-n // d)) for n, d in zip(size, divisor, strict=True))


def _sample_blocks(values: Float[torch.Tensor, "z y x"]) -> list[torch.Tensor]:
    """At most `_SAMPLE_BLOCKS` blocks, evenly spread in the order of positions."""
    edges = [min(_SAMPLE_EDGE, n) for n in values.shape]
    starts = [torch.linspace(0, n - e, -(-n // e)).long().tolist() for n, e in zip(values.shape, edges, strict=True)]
    corners = list(itertools.product(*starts))
    picked = torch.linspace(0, len(corners) - 1, min(_SAMPLE_BLOCKS, len(corners))).round().long().tolist()
    return [values[tuple(slice(s, s + e) for s, e in zip(corners[i], edges, strict=True))].contiguous() for i in picked]


def _less(values: torch.Tensor, divisor: tuple[int, int, int]) -> torch.Tensor:
    """What a least-squares grid with a vertex for every `divisor` voxels leaves."""
    size = tuple(reversed(values.shape))
    return values - upsampled(least_squares_grid(values, _divided(size, divisor)), size)


def _with_middle(residuals: list[torch.Tensor], divisor: tuple[int, int, int], share: float) -> list[torch.Tensor]:
    """What the strongest `share` of middle bricks leaves of the residuals; they compete across all blocks."""
    middles = [least_squares_grid(r, _divided(tuple(reversed(r.shape)), divisor)) for r in residuals]
    energies = [brick_energies(middle, BRICK_EDGE) for middle in middles]
    together = torch.cat([e.reshape(-1) for e in energies])
    kept = strongest_bricks(together[None, None], int(share * len(together)))[0, 0]
    left = []
    for residual, middle, energy in zip(residuals, middles, energies, strict=True):
        here, kept = kept[: energy.numel()].reshape(energy.shape), kept[energy.numel() :]
        middle = middle * voxels_of_bricks(here, tuple(reversed(middle.shape)), BRICK_EDGE)
        left.append(residual - upsampled(middle, tuple(reversed(residual.shape))))
    return left


def _predicted_db(residuals: list[torch.Tensor], fine_share: float) -> float:
    """PSNR over the blocks when the strongest share of fine bricks is exact."""
    energies = torch.cat([brick_energies(r, BRICK_EDGE).reshape(-1) for r in residuals])
    left = torch.sort(energies, descending=True).values[int(fine_share * len(energies)) :]
    return -10.0 * math.log10(max(float(left.sum()) / sum(r.numel() for r in residuals), 1e-12))
