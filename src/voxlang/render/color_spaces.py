"""Colours between two colours, in the spaces in which VTK and ParaView interpolate."""

from __future__ import annotations

import colorsys
import math

import numpy as np
from jaxtyping import Float64

SPACES = ("RGB", "HSV", "Lab", "CIELAB", "Diverging", "Step")
"""The spaces, as ParaView spells them; its files may write them in any case, see `space_named`."""
_RGB_FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
"""Linear sRGB of XYZ: IEC 61966-2-1."""
_SATURATED = 0.05
"""Angle from the grey axis below which a colour counts as grey."""
_UNLIKE_HUES = 0.33 * math.pi
_WHITE = 88.0
"""Least magnitude of the white between two saturated colours."""


def space_named(name: str) -> str | None:
    """The space of `SPACES` with this name, in any case; None for an unknown one."""
    return next((space for space in SPACES if space.upper() == name.upper()), None)


def colors_between(
    first: Float64[np.ndarray, "3"],
    second: Float64[np.ndarray, "3"],
    at: Float64[np.ndarray, "n"],
    space: str,
    *,
    hue_wraps: bool = False,
) -> Float64[np.ndarray, "n 3"]:
    """RGB colours at fractions of the way from one RGB colour to another.

    Args:
        first, second: in [0, 1].
        at: fractions.
        space: one of `SPACES`, but not RGB, where nothing needs to lie between. "Step" is the second colour
            throughout; "Diverging" passes through white when both colours are saturated and their hues lie apart.
        hue_wraps: let HSV take the shorter way around the circle of hues; else it never passes red.

    Source: the documented colour spaces of vtkColorTransferFunction; for "Diverging" Moreland 2009, "Diverging color
    maps for scientific visualization".
    """
    at = at[:, None]
    if space == "Step":
        return np.repeat(second[None], len(at), axis=0)
    if space == "HSV":
        return _through_hsv(first, second, at, hue_wraps=hue_wraps)
    from skimage.color import rgb2lab

    lab = rgb2lab(np.stack([first, second]))
    mixed = _through_msh(*map(_msh_from_lab, lab), at) if space == "Diverging" else lab[0] + at * (lab[1] - lab[0])
    return _rgb_from_lab(mixed)


def _through_hsv(first: np.ndarray, second: np.ndarray, at: np.ndarray, *, hue_wraps: bool) -> np.ndarray:
    ends = np.array([colorsys.rgb_to_hsv(*first), colorsys.rgb_to_hsv(*second)])
    if hue_wraps and abs(ends[1, 0] - ends[0, 0]) > 0.5:
        ends[int(np.argmin(ends[:, 0])), 0] += 1.0
    mixed = ends[0] + at * (ends[1] - ends[0])
    return np.array([colorsys.hsv_to_rgb(h % 1.0, s, v) for h, s, v in mixed])


def _rgb_from_lab(lab: np.ndarray) -> np.ndarray:
    """RGB of Lab colours; those that a screen cannot show are darkened until it can, as VTK does."""
    from skimage.color import lab2xyz

    linear = lab2xyz(lab) @ _RGB_FROM_XYZ.T
    rgb = np.where(linear > 0.0031308, 1.055 * np.maximum(linear, 0.0031308) ** (1.0 / 2.4) - 0.055, 12.92 * linear)
    return np.maximum(rgb, 0.0) / np.maximum(rgb.max(axis=-1, keepdims=True), 1.0)


def _msh_from_lab(lab: np.ndarray) -> np.ndarray:
    """Lab in polar form: magnitude, angle from the grey axis (saturation), hue; angles in radians."""
    magnitude = float(np.linalg.norm(lab))
    saturation = math.acos(lab[0] / magnitude) if magnitude > 1e-3 else 0.0
    return np.array([magnitude, saturation, math.atan2(lab[2], lab[1]) if saturation > 1e-3 else 0.0])


def _through_msh(first: np.ndarray, second: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Lab colours on the way between two colours in polar form."""
    apart = abs(math.remainder(first[2] - second[2], 2.0 * math.pi))
    if min(first[1], second[1]) > _SATURATED and apart > _UNLIKE_HUES:
        white = np.array([max(first[0], second[0], _WHITE), 0.0, 0.0])
        return np.where(at < 0.5, _through_msh(first, white, 2.0 * at), _through_msh(white, second, 2.0 * at - 1.0))
    first, second = _with_hue_towards(first, second), _with_hue_towards(second, first)
    change = second - first
    change[2] = math.remainder(change[2], 2.0 * math.pi)
    magnitude, saturation, hue = (first + at * change).T
    chroma = magnitude * np.sin(saturation)
    return np.stack([magnitude * np.cos(saturation), chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)


def _with_hue_towards(color: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A grey that has no hue takes the one from which the way to a saturated colour is even to the eye."""
    if color[1] >= _SATURATED or other[1] <= _SATURATED:
        return color
    hue = other[2]
    if other[0] < color[0] - 0.1:
        spin = other[1] * math.sqrt(color[0] ** 2 - other[0] ** 2) / (other[0] * math.sin(other[1]))
        hue += spin if other[2] > -0.3 * math.pi else -spin  # away from purple
    return np.array([color[0], color[1], hue])
