"""Transfer functions: normalised scalar value -> colour and opacity per unit distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from voxlang.core.digest import digest_json
from voxlang.core.errors import TransferFunctionError

MAX_ALPHA = 0.9999
"""Opacity knots of 1 are read as this, so that the density stays finite."""


@dataclass(frozen=True, eq=False)
class TransferFunction:
    """Piecewise linear colour and opacity over the normalised value; ``density = -ln(1 - alpha) / unit_distance``."""

    color_knots: Float64[np.ndarray, "k 4"]
    """Rows (value, r, g, b), all in [0, 1], values ascending."""
    opacity_knots: Float64[np.ndarray, "m 2"]
    """Rows (value, alpha), in [0, 1], values ascending."""
    unit_distance: float
    """World length over which a knot's alpha holds (VTK's scalar opacity unit distance)."""
    name: str = "transfer"
    """Name for files and reports; no part of the identity."""

    def __post_init__(self) -> None:
        for knots, width, what in (
            (self.color_knots, 4, "color_knots"),
            (self.opacity_knots, 2, "opacity_knots"),
        ):
            good = (
                knots.ndim == 2
                and knots.shape[1] == width
                and len(knots) >= 1
                and np.isfinite(knots).all()
                and (np.diff(knots[:, 0]) >= 0).all()
                and (knots >= -1e-9).all()
                and (knots <= 1 + 1e-9).all()
            )
            if not good:
                raise TransferFunctionError(
                    f"{what} with {width} columns, ascending values, everything in [0, 1]",
                    got=f"{np.asarray(knots).tolist()}",
                    where=f"TransferFunction {self.name!r}",
                    do="sort the points and normalise values and colours",
                )
        if not (np.isfinite(self.unit_distance) and self.unit_distance > 0):
            raise TransferFunctionError(
                "a positive unit distance",
                got=f"{self.unit_distance}",
                where=f"TransferFunction {self.name!r}",
                do="pass a world length, for example the mean voxel spacing",
            )

    @property
    def id(self) -> str:
        """Content digest of knots and unit distance."""
        return digest_json(
            [
                np.round(self.color_knots, 9).tolist(),
                np.round(self.opacity_knots, 9).tolist(),
                float(self.unit_distance),
            ]
        )

    def color(self, values: np.ndarray) -> np.ndarray:
        """RGB [... 3] at normalised values; constant beyond the outer knots."""
        return np.stack([np.interp(values, self.color_knots[:, 0], self.color_knots[:, c]) for c in (1, 2, 3)], axis=-1)

    def alpha(self, values: np.ndarray) -> np.ndarray:
        """Opacity over one unit distance at normalised values."""
        return np.interp(values, self.opacity_knots[:, 0], self.opacity_knots[:, 1])

    def density(self, values: np.ndarray) -> np.ndarray:
        """Density per world length: ``-ln(1 - alpha) / unit_distance``."""
        return -np.log1p(-np.minimum(self.alpha(values), MAX_ALPHA)) / self.unit_distance

    def table(self, n: int = 4096) -> Float32[np.ndarray, "n 4"]:
        """Sampled (r, g, b, density) at n values spread evenly over [0, 1]."""
        values = np.linspace(0.0, 1.0, n)
        return np.concatenate([self.color(values), self.density(values)[:, None]], axis=-1).astype(np.float32)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able description in normalised values."""
        return {
            "name": self.name,
            "color_knots": self.color_knots.tolist(),
            "opacity_knots": self.opacity_knots.tolist(),
            "unit_distance": self.unit_distance,
        }

    @staticmethod
    def from_dict(value: dict[str, Any]) -> TransferFunction:
        """Inverse of `as_dict`."""
        return TransferFunction(
            np.asarray(value["color_knots"], np.float64),
            np.asarray(value["opacity_knots"], np.float64),
            float(value["unit_distance"]),
            value.get("name", "transfer"),
        )
