"""Where the voxels of a volume lie in the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from voxlang.core.errors import GeometryError

IDENTITY_DIRECTION = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class VolumeGrid:
    """A regular grid of voxels: ``world = origin + direction @ (spacing * index)``.

    Index space has voxel i's centre at i; unit space is [-1, 1] per axis with -1 and +1 at the centres of the first and
    the last voxel (``align_corners=True``). The frame is right-handed unless the file's own direction is not.
    """

    size_xyz: tuple[int, int, int]
    """Voxels along x, y, z. The array has shape ``size_xyz[::-1]``."""
    spacing_xyz: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Distance of neighbouring voxel centres, in `unit`."""
    origin_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """World position of the centre of voxel (0, 0, 0)."""
    direction: tuple[tuple[float, float, float], ...] = IDENTITY_DIRECTION
    """Rows of the 3x3 matrix whose columns are the world directions of the x, y and z axis."""
    unit: str = "mm"
    """Physical unit of the world; "voxel" when the file gave no spacing."""

    def __post_init__(self) -> None:
        sizes, spacing = tuple(self.size_xyz), tuple(self.spacing_xyz)
        if len(sizes) != 3 or any(int(n) != n or n < 2 for n in sizes):
            raise GeometryError(
                "three sizes of at least 2 voxels",
                got=f"size_xyz={sizes}",
                where="VolumeGrid",
                do="pass a 3D volume",
            )
        if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise GeometryError(
                "three positive spacings",
                got=f"spacing_xyz={spacing}",
                where="VolumeGrid",
                do="correct the spacing in the file or pass it on the command line",
            )
        matrix = np.asarray(self.direction, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-4):
            raise GeometryError(
                "an orthonormal 3x3 direction matrix",
                got=f"direction={matrix.tolist()}",
                where="VolumeGrid",
                do="resample the volume onto a grid without shear",
            )
        if not all(np.isfinite(v) for v in self.origin_xyz):
            raise GeometryError(
                "a finite origin",
                got=f"origin_xyz={self.origin_xyz}",
                where="VolumeGrid",
                do="correct the file",
            )
        object.__setattr__(self, "size_xyz", tuple(int(n) for n in sizes))
        object.__setattr__(self, "spacing_xyz", tuple(float(s) for s in spacing))
        object.__setattr__(self, "origin_xyz", tuple(float(v) for v in self.origin_xyz))
        object.__setattr__(self, "direction", tuple(tuple(float(v) for v in row) for row in matrix))

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of the array: (nz, ny, nx)."""
        return self.size_xyz[::-1]

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.size_xyz, dtype=np.int64))

    @property
    def world_from_index(self) -> Float[np.ndarray, "4 4"]:
        """Homogeneous matrix: p_world = world_from_index @ (ix, iy, iz, 1)."""
        m = np.eye(4)
        m[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing_xyz)[None, :]
        m[:3, 3] = self.origin_xyz
        return m

    @property
    def index_from_world(self) -> Float[np.ndarray, "4 4"]:
        """Inverse of `world_from_index`."""
        return np.linalg.inv(self.world_from_index)

    @property
    def unit_from_index(self) -> Float[np.ndarray, "4 4"]:
        """Homogeneous matrix from index space to unit space, [-1, 1] per axis."""
        m = np.eye(4)
        n = np.asarray(self.size_xyz, dtype=np.float64)
        m[:3, :3] = np.diag(2.0 / (n - 1.0))
        m[:3, 3] = -1.0
        return m

    @property
    def unit_from_world(self) -> Float[np.ndarray, "4 4"]:
        """Homogeneous matrix from world to unit space."""
        return self.unit_from_index @ self.index_from_world

    @property
    def world_from_unit(self) -> Float[np.ndarray, "4 4"]:
        """Homogeneous matrix from unit space to world."""
        return np.linalg.inv(self.unit_from_world)

    @property
    def centre_world(self) -> Float[np.ndarray, 3]:
        """World position of the middle of the grid."""
        return transform_points(self.world_from_unit, np.zeros(3))

    @property
    def extent_world(self) -> Float[np.ndarray, 3]:
        """Edge lengths of the box spanned by the voxel centres, along the grid's own axes."""
        return (np.asarray(self.size_xyz) - 1.0) * np.asarray(self.spacing_xyz)

    @property
    def radius_world(self) -> float:
        """Radius of the sphere around `centre_world` that holds every voxel centre."""
        return float(np.linalg.norm(self.extent_world) / 2.0)

    def resized(self, size_xyz: tuple[int, int, int]) -> VolumeGrid:
        """The grid with other sizes over the same box of voxel centres (same corners, same unit space)."""
        spacing = self.extent_world / (np.asarray(size_xyz, dtype=np.float64) - 1.0)
        return VolumeGrid(tuple(size_xyz), tuple(spacing), self.origin_xyz, self.direction, self.unit)

    def cropped(self, start_xyz: tuple[int, int, int], size_xyz: tuple[int, int, int]) -> VolumeGrid:
        """The grid of a box of its voxels, which stay where they are.

        Raises:
            GeometryError: a box that does not lie in the grid.
        """
        if any(s < 0 or s + n > m for s, n, m in zip(start_xyz, size_xyz, self.size_xyz, strict=True)):
            raise GeometryError(
                f"a box inside {self.size_xyz} voxels",
                got=f"{tuple(size_xyz)} voxels from {tuple(start_xyz)}",
                where="VolumeGrid.cropped",
                do="move or shrink the box",
            )
        origin = transform_points(self.world_from_index, np.asarray(start_xyz, np.float64))
        return VolumeGrid(tuple(size_xyz), self.spacing_xyz, tuple(origin.tolist()), self.direction, self.unit)

    def voxels_apart(self, other: VolumeGrid) -> float:
        """Largest distance between the same corner voxels of this grid and another, in units of its least spacing."""
        corners = np.stack(np.meshgrid(*([0.0, n - 1.0] for n in self.size_xyz), indexing="ij"), -1).reshape(-1, 3)
        here, there = (transform_points(grid.world_from_index, corners) for grid in (self, other))
        return float(np.linalg.norm(here - there, axis=1).max() / min(self.spacing_xyz))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able description."""
        return {
            "size_xyz": list(self.size_xyz),
            "spacing_xyz": list(self.spacing_xyz),
            "origin_xyz": list(self.origin_xyz),
            "direction": [list(row) for row in self.direction],
            "unit": self.unit,
        }

    @staticmethod
    def from_dict(value: dict[str, Any]) -> VolumeGrid:
        """Inverse of `as_dict`."""
        return VolumeGrid(
            tuple(value["size_xyz"]),
            tuple(value["spacing_xyz"]),
            tuple(value["origin_xyz"]),
            tuple(tuple(row) for row in value["direction"]),
            value["unit"],
        )


def transform_points(to_from: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Apply a homogeneous matrix to points (x, y, z) on the last axis."""
    return points @ to_from[:3, :3].T + to_from[:3, 3]


def voxel_centres_unit(grid: VolumeGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit coordinates of the voxel centres along x, along y and along z, as three 1D float32 arrays."""
    return tuple(np.linspace(-1.0, 1.0, n, dtype=np.float32) for n in grid.size_xyz)
