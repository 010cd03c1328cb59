"""The peak of a prompt: what counts as its highest relevancy, and how it is kept when relevancy changes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

PEAK = 0.999
"""Quantile of a prompt's relevancies that counts as its peak."""


def peak_of(relevancy: Float[np.ndarray, "*a v"]) -> Float[np.ndarray, "*a"]:
    """Peak of each prompt."""
    return np.asarray(np.quantile(relevancy, PEAK, axis=-1))


def with_peak_of(before: Float[np.ndarray, "*a v"], after: Float[np.ndarray, "*a v"]) -> Float32[np.ndarray, "*a v"]:
    """What relevancy became, stretched until the peak of each prompt is as high as before, at most 1.

    So what decides whether a thing is found at all stays as it was.
    """
    stretch = peak_of(before) / np.maximum(peak_of(after), 1e-6)
    return np.clip(after * stretch[..., None], 0.0, 1.0).astype(np.float32)
