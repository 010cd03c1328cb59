"""Transfer functions from a histogram, for volumes that nobody has described."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxlang.core.errors import TransferFunctionError
from voxlang.render.transfer import TransferFunction
from voxlang.volume.types import Volume

BINS = 192
DENSE_SHARE = 0.35
"""The middle class counts as dense when it and the dense class hold at most this share of the content."""
TAIL = 0.002
"""Share of the brightest content, such as metal, that must not draw a class of its own."""
CLASS_COLORS = ((0.87, 0.66, 0.54), (0.89, 0.70, 0.42), (0.98, 0.95, 0.88))
"""Colours of the outer, middle and dense class."""


@dataclass(frozen=True)
class ValueClasses:
    """Background and three classes of content on the normalised axis, content above background."""

    thresholds: tuple[float, float, float]
    """Ascending: background | outer | middle | dense."""
    flipped: bool
    """The classes are those of 1 - value, because the background is bright."""


def value_classes(volume: Volume) -> ValueClasses:
    """Split a volume's values into background and three classes (Otsu's criterion on the square root of the histogram).

    The background is the commonest value on the six faces of the box; the square root keeps small dense structures
    from drowning in large soft ones.

    Source: Otsu 1979, "A threshold selection method from gray-level histograms"; Liao et al. 2001, "A fast algorithm
    for multilevel thresholding".
    """
    from skimage.filters import threshold_multiotsu

    v = volume.values
    faces = np.concatenate([f.reshape(-1) for f in (v[0], v[-1], v[:, 0], v[:, -1], v[:, :, 0], v[:, :, -1])])
    counts, edges = np.histogram(faces, BINS, (0.0, 1.0))
    peak = float(edges[int(np.argmax(counts))] + 0.5 / BINS)
    counts, edges = np.histogram(v, BINS, (0.0, 1.0))
    flipped = _bright_background(counts, peak)
    if flipped:
        counts, peak = counts[::-1], 1.0 - peak
    at = min(int(peak * BINS), BINS - 1)
    content = np.cumsum(counts[min(at + BINS // 8, BINS - 1) :])
    tail = at + BINS // 8 + int(np.searchsorted(content, (1.0 - TAIL) * content[-1]))
    weights = np.sqrt(counts.astype(np.float64))
    weights[:at] = 0.0
    weights[tail + 1 :] = 0.0
    centres = 0.5 * (edges[1:] + edges[:-1])
    used = np.flatnonzero(weights)
    if len(used) < 4:
        low = peak
        return ValueClasses(tuple(low + (1.0 - low) * f for f in (0.25, 0.5, 0.75)), flipped)
    weights = weights[used[0] : used[-1] + 1]
    found = threshold_multiotsu(classes=4, hist=(weights, centres[used[0] : used[-1] + 1]))
    return ValueClasses(tuple(float(t) for t in found), flipped)


def _bright_background(counts: np.ndarray, peak: float) -> bool:
    """Whether most of what is not background lies below the background's peak."""
    at = min(int(peak * BINS), BINS - 1)
    margin = max(BINS // 24, 1)
    return bool(counts[: max(at - margin, 0)].sum() > counts[at + margin + 1 :].sum() and peak > 0.5)


def _share_above(volume: Volume, classes: ValueClasses, threshold: float) -> float:
    """Share of the content (above the first threshold) that lies above another threshold."""
    counts, edges = np.histogram(volume.values, BINS, (0.0, 1.0))
    counts = counts[::-1] if classes.flipped else counts
    content = counts[edges[:-1] >= classes.thresholds[0]].sum()
    return float(counts[edges[:-1] >= threshold].sum() / max(int(content), 1))


def _veil(total: float, volume: Volume) -> float:
    """Opacity per voxel that adds up to `total` over a quarter of the volume's mean edge."""
    return 1.0 - (1.0 - total) ** (1.0 / max(0.25 * float(np.mean(volume.grid.size_xyz)), 1.0))


def automatic_transfers(volume: Volume, *, n: int = 3) -> list[TransferFunction]:
    """One to three transfer functions from the histogram.

    In this order: "auto-surface" (everything but the background, opaque), "auto-contents" (the outer class as a veil,
    the middle class half transparent, the dense class opaque), "auto-dense" (the dense class, with the middle class
    where that is a small part of the content).

    Args:
        volume: what to show.
        n: how many of them.

    Raises:
        TransferFunctionError: n outside 1..3.
    """
    if n not in (1, 2, 3):
        raise TransferFunctionError("n in 1..3", got=f"{n}", where="automatic_transfers", do="ask for one to three")
    classes = value_classes(volume)
    t0, t1, t2 = classes.thresholds
    dense_from = t1 if _share_above(volume, classes, t1) <= DENSE_SHARE else t2
    w0, w1, w2 = 0.3 * min(t1 - t0, 0.1), 0.3 * min(t1 - t0, 0.1), 0.3 * min(t2 - t1, 0.1)
    outer, middle, dense = CLASS_COLORS
    veil, flesh = _veil(0.35, volume), _veil(0.9, volume)
    surface_color = [(0.0, *outer), (t1, *outer), (max(t2, t1 + 1e-3), *dense), (1.0, *dense)]
    class_color = [
        (0.0, *outer),
        (t1 - w1, *outer),
        (t1 + w1, *middle),
        (t2 - w2, *middle),
        (t2 + w2, *dense),
        (1.0, *dense),
    ]
    dense_color = [
        (0.0, 0.80, 0.66, 0.48),
        (t2, 0.88, 0.76, 0.58),
        (t2 + 0.5 * (1 - t2), *dense),
        (1.0, 1.0, 0.99, 0.96),
    ]
    looks = [
        ("auto-surface", surface_color, [(0.0, 0.0), (t0 - w0, 0.0), (t0 + w0, 0.7), (1.0, 0.9)]),
        (
            "auto-contents",
            class_color,
            [
                (0.0, 0.0),
                (t0 - w0, 0.0),
                (t0 + w0, veil),
                (t1 - w1, veil),
                (t1 + w1, flesh),
                (t2 - w2, flesh),
                (t2 + w2, 0.6),
                (1.0, 0.9),
            ],
        ),
        (
            "auto-dense",
            dense_color,
            [(0.0, 0.0), (dense_from - w1, 0.0), (dense_from + w1, 0.5), (max(t2, dense_from) + w2, 0.8), (1.0, 0.9)],
        ),
    ]
    distance = float(np.mean(volume.grid.spacing_xyz))
    return [_transfer(name, color, opacity, distance, classes.flipped) for name, color, opacity in looks[:n]]


def _transfer(
    name: str, color: list[tuple[float, ...]], opacity: list[tuple[float, float]], distance: float, flipped: bool
) -> TransferFunction:
    knots = [np.clip(np.asarray(rows, np.float64), 0.0, 1.0) for rows in (color, opacity)]
    for rows in knots:
        rows[:, 0] = np.maximum.accumulate(rows[:, 0])
        if flipped:
            rows[:, 0] = 1.0 - rows[:, 0]
    if flipped:
        knots = [rows[::-1].copy() for rows in knots]
    return TransferFunction(knots[0], knots[1], distance, name)
