"""One paragraph about a volume, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.types import Volume

_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))


def axcodes(grid: VolumeGrid) -> str:
    """Where the x, y and z axis of the array point, e.g. "LPS": Left, Posterior, Superior or their opposites.

    Each axis gets the letter of the world axis nearest to it; world axes are LPS. Oblique axes never share a letter.
    """
    direction = np.asarray(grid.direction, np.float64)
    weight = np.abs(direction)
    letters = ["", "", ""]
    for _ in range(3):  # the surest axis first
        world, axis = np.unravel_index(weight.argmax(), (3, 3))
        letters[axis] = _LETTERS[world][0 if direction[world, axis] > 0 else 1]
        weight[world, :] = weight[:, axis] = -1.0
    return "".join(letters)


def describe(volume: Volume) -> str:
    """Size, spacing, extent, position, native range and orientation in one paragraph."""
    grid = volume.grid
    lower, upper = volume.value_range
    return (
        f"{volume.name}: {_times(grid.size_xyz)} voxels (x, y, z), spacing {_times(grid.spacing_xyz)} {grid.unit}, "
        f"extent {_times(grid.extent_world.tolist())} {grid.unit} between voxel centres, "
        f"origin ({', '.join(f'{v:.6g}' for v in grid.origin_xyz)}), axes {axcodes(grid)}, "
        f"native values {lower:.6g} to {upper:.6g} (mean {_native_mean(volume):.6g})."
    )


def _times(numbers: Sequence[float | int]) -> str:
    return " x ".join(f"{n:.6g}" for n in numbers)


def _native_mean(volume: Volume) -> float:
    lower, upper = volume.value_range
    return lower + float(volume.values.mean(dtype=np.float64)) * (upper - lower)
