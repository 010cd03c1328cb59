"""Where the prompts lie: grids of points, crops of the picture, points on pixels worth asking about.

Source of the layout: sam2/utils/amg.py, `build_all_layer_point_grids` and `generate_crop_boxes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float64

from voxlang.masks.fast.parameters import MaskParameters


@dataclass(frozen=True)
class Crop:
    """A part of the picture that is searched by itself."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int
    """0 for the whole picture."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """XYXY, half-open."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0


def point_grid(n: int) -> Float64[np.ndarray, "n2 2"]:
    """Centres (x, y) of n x n cells of the unit square, row by row."""
    centres = np.linspace(1 / (2 * n), 1 - 1 / (2 * n), n)
    x, y = np.meshgrid(centres, centres)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def grid_of_layer(parameters: MaskParameters, layer: int) -> Float64[np.ndarray, "n 2"]:
    """The points of a layer in [0, 1] of each of its crops; a layer whose share of the points is below one has none."""
    if parameters.point_grids is not None:
        return np.asarray(parameters.point_grids[layer], np.float64).reshape(-1, 2)
    n = int(parameters.points_per_side / parameters.crop_n_points_downscale_factor**layer)
    return point_grid(n) if n else np.zeros((0, 2))


def crops_of(height: int, width: int, n_layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole picture, then 4^i overlapping crops for each layer i, columns first; none without pixels."""
    crops = [Crop(0, 0, width, height, 0)]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / n))
        crop_width, crop_height = (math.ceil((overlap * (n - 1) + length) / n) for length in (width, height))
        starts = product(
            ((crop_width - overlap) * i for i in range(n)), ((crop_height - overlap) * i for i in range(n))
        )
        crops += [Crop(x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height), layer) for x0, y0 in starts]
    return [crop for crop in crops if min(crop.size) > 0]


@dataclass(frozen=True)
class PointCounts:
    """How many prompts a picture costs."""

    grid: int
    """Points of the grids of all crops."""
    skipped: int
    """Of these, points that are not asked because they lie on empty pixels."""

    def __add__(self, other: PointCounts) -> PointCounts:
        return PointCounts(self.grid + other.grid, self.skipped + other.skipped)


def count_points(
    parameters: MaskParameters, size: tuple[int, int], foreground: Bool[np.ndarray, "h w"] | None
) -> PointCounts:
    """The points of a picture of this height and width, counted without asking a model."""
    total = PointCounts(0, 0)
    for crop in crops_of(*size, parameters.crop_n_layers, parameters.crop_overlap_ratio):
        grid = grid_of_layer(parameters, crop.layer)
        total += PointCounts(len(grid), len(grid) - len(points_on_foreground(grid, foreground, crop.box)))
    return total


def points_on_foreground(
    points: Float64[np.ndarray, "n 2"], foreground: Bool[np.ndarray, "h w"] | None, crop_xyxy: Sequence[int]
) -> Float64[np.ndarray, "m 2"]:
    """The grid points (x, y in [0, 1] of the crop) whose pixel is foreground; all of them when there is none given."""
    if foreground is None:
        return points
    x0, y0, x1, y1 = crop_xyxy
    inside = foreground[y0:y1, x0:x1]
    height, width = inside.shape
    columns = np.minimum((points[:, 0] * width).astype(int), width - 1)
    rows = np.minimum((points[:, 1] * height).astype(int), height - 1)
    return points[inside[rows, columns]]
