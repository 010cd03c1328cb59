"""True masks made imperfect, as a segmentation model would deliver them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

Mask = Bool[np.ndarray, "h w"]


def one_piece(mask: Mask, rng: np.random.Generator, *, min_area_px: int) -> Mask:
    """One connected piece of a mask, larger ones more often; the mask itself when no piece is large enough."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    areas = np.bincount(labels.reshape(-1))[1:].astype(np.float64)
    areas[areas < min_area_px] = 0.0
    if not areas.sum():
        return mask
    return labels == 1 + int(rng.choice(count, p=areas / areas.sum()))


def imperfect(mask: Mask, neighbours: Mask, rng: np.random.Generator, *, min_area_px: int) -> Mask:
    """Erode, dilate, cut, pierce a mask or join it with a piece of its surroundings; never below the least area.

    Args:
        mask: true mask.
        neighbours: pixels that show anything else.
        rng: decides what happens.
        min_area_px: a result smaller than this is given up for the mask itself.
    """
    side = np.sqrt(mask.sum())
    out = mask
    kind = rng.choice(("erode", "dilate", "cut", "join", "pierce"), p=(0.2, 0.3, 0.2, 0.2, 0.1))
    if kind == "erode":
        out = ndimage.binary_erosion(mask, iterations=int(rng.integers(1, max(2, int(0.05 * side) + 1))))
    elif kind == "dilate":
        out = ndimage.binary_dilation(mask, iterations=int(rng.integers(1, max(2, int(0.06 * side) + 2))))
    elif kind == "cut":
        v, u = np.nonzero(mask)
        angle = rng.uniform(0, 2 * np.pi)
        along = u * np.cos(angle) + v * np.sin(angle)
        kept = along > np.quantile(along, rng.uniform(0.05, 0.4))
        out = np.zeros_like(mask)
        out[v[kept], u[kept]] = True
    elif kind == "join":
        near = ndimage.binary_dilation(mask, iterations=max(2, int(0.2 * side))) & neighbours & ~mask
        labels, count = ndimage.label(near)
        if count:
            piece = labels == 1 + int(rng.integers(count))
            if piece.sum() <= 0.35 * mask.sum():
                out = mask | piece
    else:
        v, u = np.nonzero(mask)
        centre = int(rng.integers(len(v)))
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        out = mask & ((rows - v[centre]) ** 2 + (columns - u[centre]) ** 2 > (0.2 * side) ** 2)
    return out if out.sum() >= min_area_px else mask


def junk_mask(shown: Mask, rng: np.random.Generator) -> Mask:
    """A mask that is no part: a random ellipse of background, or one across whatever lies there."""
    height, width = shown.shape
    v, u = rng.uniform(0, height), rng.uniform(0, width)
    a, b = rng.uniform(0.06, 0.4, 2) * min(height, width)
    rows, columns = np.ogrid[:height, :width]
    ellipse = ((rows - v) / a) ** 2 + ((columns - u) / b) ** 2 < 1.0
    return ellipse & ~shown if rng.random() < 0.6 else ellipse


def overlap(a: Mask, b: Mask) -> float:
    """Intersection over union; 0 when both are empty."""
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 0.0
