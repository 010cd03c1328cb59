"""What every representation of the scalar volume can do: answer at points, and on grids."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from voxlang.core.errors import FieldError
from voxlang.field.lattice import unit_coordinates

CHUNK_POINTS = 1 << 19
"""Points evaluated at a time by `sample_grid`."""


class ScalarField(nn.Module, ABC):
    """A function from unit space to normalised values in [0, 1], with parameters.

    Subclasses give `points`, and may give a faster `block`; both return unclamped values so that they can be trained.
    """

    backend: str
    """Name under which `field_from_spec` finds the class."""

    def __init__(self, size_xyz: tuple[int, int, int]) -> None:
        super().__init__()
        if len(size_xyz) != 3 or any(int(n) < 2 for n in size_xyz):
            raise FieldError(
                "a size_xyz of three numbers, each at least 2",
                got=f"size_xyz={tuple(size_xyz)}",
                where=type(self).__name__,
                do="pass the size of a 3D volume",
            )
        self.size_xyz: tuple[int, int, int] = tuple(int(n) for n in size_xyz)

    @abstractmethod
    def points(self, xyz_unit: Float[torch.Tensor, "n 3"]) -> Float[torch.Tensor, "n"]:
        """Unclamped values at points of unit space; differentiable in points and parameters."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """JSON-able description from which `field_from_spec` builds an empty twin."""

    @property
    def n_parameters(self) -> int:
        """Numbers that the field stores."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    def forward(self, xyz_unit: Float[torch.Tensor, "..."]) -> Float[torch.Tensor, "n"]:
        """Values at points, clamped to [0, 1].

        Args:
            xyz_unit: [n 3], (x, y, z) in unit space; outside [-1, 1] the nearest border value holds.

        Returns:
            [n] values. Differentiable in `xyz_unit` and the parameters; the gradient is zero where the clamp acts.

        Raises:
            FieldError: not an array of points.
        """
        if xyz_unit.ndim != 2 or xyz_unit.shape[1] != 3:
            raise FieldError(
                "points of shape (n, 3), (x, y, z) on the last axis",
                got=f"shape {tuple(xyz_unit.shape)}",
                where=f"{type(self).__name__}.forward",
                do="reshape the points to (-1, 3)",
            )
        return self.points(xyz_unit).clamp(0.0, 1.0)

    def block(
        self, unit_z: Float[torch.Tensor, "z"], unit_y: Float[torch.Tensor, "y"], unit_x: Float[torch.Tensor, "x"]
    ) -> Float[torch.Tensor, "z y x"]:
        """Unclamped values on the block spanned by three ascending lists of coordinates; differentiable."""
        z, y, x = torch.meshgrid(unit_z, unit_y, unit_x, indexing="ij")
        return self.points(torch.stack([x, y, z], dim=-1).reshape(-1, 3)).reshape(z.shape)

    @torch.no_grad()
    def sample_grid(
        self, size_xyz: tuple[int, int, int], *, chunk_points: int = CHUNK_POINTS
    ) -> Float32[np.ndarray, "z y x"]:
        """Values on an evenly spaced grid over the whole of unit space, equal to `forward` at its points.

        Args:
            size_xyz: points along x, y, z, corners included; any size, not only the volume's own.
            chunk_points: how many points are evaluated at a time.

        Raises:
            FieldError: fewer than two points along an axis.
        """
        if len(size_xyz) != 3 or any(int(n) < 2 for n in size_xyz):
            raise FieldError(
                "three sizes of at least 2 points",
                got=f"size_xyz={tuple(size_xyz)}",
                where=f"{type(self).__name__}.sample_grid",
                do="pass a size_xyz such as the grid's own",
            )
        nx, ny, nz = (int(n) for n in size_xyz)
        unit_x, unit_y, unit_z = (unit_coordinates(n, device=self.device) for n in (nx, ny, nz))
        out = np.empty((nz, ny, nx), np.float32)
        rows = max(1, min(ny, chunk_points // nx))
        planes = max(1, chunk_points // (nx * ny))
        for z in range(0, nz, planes):
            for y in range(0, ny, rows):
                chunk = self.block(unit_z[z : z + planes], unit_y[y : y + rows], unit_x)
                out[z : z + planes, y : y + rows] = chunk.clamp_(0.0, 1.0).cpu().numpy()
        return out


def psnr_db(squared_error: float, n: int) -> float:
    """Peak signal-to-noise ratio of values whose peak is 1: ``-10 log10(squared_error / n)``; inf without error."""
    return math.inf if squared_error <= 0.0 else -10.0 * math.log10(squared_error / n)
