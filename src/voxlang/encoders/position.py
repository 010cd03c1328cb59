"""The sine position encoding of SAM 2 in plain numpy: the readable reference of sam2's class."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from voxlang.core.errors import ConfigError


def sine_position_encoding(
    height: int,
    width: int,
    channels: int,
    *,
    temperature: float = 10000.0,
    normalize: bool = True,
    scale: float | None = None,
) -> Float64[np.ndarray, "c h w"]:
    r"""Encode the place of each pixel of a feature map.

    With D = channels / 2 numbers per axis, for channel j = 0 ... D-1 of an axis, T the temperature:

        p_j(t) = sin(t / T^(2 floor(j/2) / D))   for even j
        p_j(t) = cos(t / T^(2 floor(j/2) / D))   for odd j

    The first D channels encode t = y(row), the other D encode t = x(column), with

        y(row)    = scale (row + 1)    / (height + 1e-6)
        x(column) = scale (column + 1) / (width + 1e-6)      (normalize; scale 2 pi unless given)

    and t = row + 1, column + 1 without `normalize`. What is divided by the power of T is thus always the place of the
    pixel, never the number of the channel: a formula sin(i / T^(2i/d)) for the x half, as is sometimes printed, would
    be the same at every pixel. D is the number per axis, half of `num_pos_feats`; places count from 1.

    Args:
        height, width: of the feature map in pixels.
        channels: of the encoding, sam2's `num_pos_feats`; a multiple of 4.
        temperature: base of the geometric row of wave lengths.
        normalize: measure places in parts of the map instead of pixels.
        scale: value of the last row and column; only with `normalize`.

    Raises:
        ConfigError: channels that do not divide into sines and cosines of two axes, or a scale without `normalize`.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5; sam2/modeling/position_encoding.py.
    """
    if channels % 4 or channels <= 0:
        raise ConfigError(
            "channels in multiples of 4", got=str(channels), where="sine_position_encoding", do="use 256 as SAM 2"
        )
    if scale is not None and not normalize:
        raise ConfigError(
            "a scale only with normalize=True",
            got=f"scale={scale}, normalize=False",
            where="sine_position_encoding",
            do="drop the scale, or normalize",
        )
    per_axis = channels // 2
    encoded = np.zeros((channels, height, width))
    for first, size in ((0, height), (per_axis, width)):
        place = np.arange(1, size + 1, dtype=np.float64)
        if normalize:
            place = place / (size + 1e-6) * (2 * math.pi if scale is None else scale)
        for j in range(per_axis):
            angle = place / temperature ** (2 * (j // 2) / per_axis)
            wave = np.sin(angle) if j % 2 == 0 else np.cos(angle)
            encoded[first + j] = wave[:, None] if first == 0 else wave[None, :]
    return encoded
