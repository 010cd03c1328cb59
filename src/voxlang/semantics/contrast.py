"""How far values differ, in a measure that neither their unit nor a few extreme ones change."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

_QUANTILES = (0.01, 0.99)


def shown_range(values: Float32[np.ndarray, "z y x"], voxel: Int64[np.ndarray, "v"]) -> float:
    """Range of the values of some voxels between their quantiles 0.01 and 0.99; more than 0, also where all are alike,
    and 1 where there are none.

    A metal implant or a hot pixel stretches the range of a whole volume, and bone and flesh are then nearly alike in
    normalised values.

    Args:
        values: of a volume, in any unit.
        voxel: flat indices of those that count.
    """
    if not len(voxel):
        return 1.0
    low, high = np.quantile(values.reshape(-1)[voxel], _QUANTILES)
    return max(float(high - low), 1e-9)
