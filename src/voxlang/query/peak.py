"""The peak of a prompt: what counts as its highest relevancy, and how it is kept when relevancy changes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

PEAK = 0.999
"""Quantile of a prompt's relevancies that counts as its peak."""
_NEAR = 0.9
"""Share of the peak from which a voxel is near it."""
_MOST = 0.1
"""Share of all voxels that can count as near a peak."""


def peak_of(relevancy: Float[np.ndarray, "*a v"]) -> Float[np.ndarray, "*a"]:
    """Peak of each prompt."""
    return np.asarray(np.quantile(relevancy, PEAK, axis=-1))


def with_peak_of(before: Float[np.ndarray, "*a v"], after: Float[np.ndarray, "*a v"]) -> Float32[np.ndarray, "*a v"]:
    """What relevancy became, stretched until the peak of each prompt is as high as before, at most 1.

    So what decides whether a thing is found at all stays as it was.
    """
    return _stretched(after, peak_of(before), peak_of(after))


def with_top_of(
    before: Float[np.ndarray, "*a v"], after: Float[np.ndarray, "*a v"], *, threshold: float
) -> Float32[np.ndarray, "*a v"]:
    """What relevancy became, stretched until as many voxels reach the peak of each prompt as were near it, at most 1.

    Averages among neighbours lower a small thing more than a large one, whose inside stays as it was: how many voxels
    were near the peak tells which it is. Near is within a tenth of it; as many voxels count as lie above the peak at
    least, and a tenth of all at most. Of a prompt whose peak is not above the threshold no more count than lie above
    the peak, so that what was not found is not found.
    """
    peak = peak_of(before)
    near = np.clip((before >= _NEAR * peak[..., None]).mean(axis=-1), 1.0 - PEAK, _MOST)
    near = np.where(peak > threshold, near, 1.0 - PEAK)
    reached = np.empty(peak.shape)
    for row in np.ndindex(peak.shape):
        reached[row] = np.quantile(after[row], 1.0 - near[row])
    return _stretched(after, peak, reached)


def _stretched(values: np.ndarray, wanted: np.ndarray, reached: np.ndarray) -> Float32[np.ndarray, "*a v"]:
    return np.clip(values * (wanted / np.maximum(reached, 1e-6))[..., None], 0.0, 1.0).astype(np.float32)
