"""Low-resolution logits at the picture's resolution, only where something can be above the lowest cut.

Bilinear interpolation is a mean of four logits with weights that are not negative: where all four are at or below the
cut, the result is too. So a mask's region of interest is found on the low-resolution logits, and the stability, the
area and the box are counted in one pass over it, without writing the enlarged logits down.

`measure_reference` says the same with torch on whole pictures; it is also what runs on a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from voxlang.render.kernels import kernel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_MARGIN = 1e-3
"""By how much, relative to 1 + |cut|, a logit may lie below the cut and still count as above: more than rounding."""


class Measures(NamedTuple):
    """What the filters need to know of each enlarged mask."""

    area: Int64[np.ndarray, "n"]
    """Pixels above the mask threshold."""
    core: Int64[np.ndarray, "n"]
    """Pixels above the threshold plus the offset."""
    reach: Int64[np.ndarray, "n"]
    """Pixels above the threshold minus the offset."""
    boxes: Int32[np.ndarray, "n 4"]
    """XYXY of the first and last mask pixel, both inside; zeros for an empty mask, as sam2 has it."""

    @property
    def stability(self) -> Float32[np.ndarray, "n"]:
        """core / reach; 0 for a mask that reaches nowhere (sam2 divides by zero there)."""
        return np.divide(
            self.core.astype(np.float32),
            self.reach.astype(np.float32),
            out=np.zeros(len(self.core), np.float32),
            where=self.reach > 0,
        )


def measure(logits: Float[Tensor, "n mh mw"], size: tuple[int, int], *, threshold: float, offset: float) -> Measures:
    """Measure masks at a picture's size (height, width)."""
    if logits.is_cuda:
        return measure_reference(logits, size, threshold=threshold, offset=offset)
    rows, columns = _taps(logits.shape[1], size[0]), _taps(logits.shape[2], size[1])
    n = len(logits)
    counts, boxes = np.zeros((n, 3), np.int64), np.zeros((n, 4), np.int32)
    cuts = np.array([threshold, threshold + offset, threshold - offset], np.float32)
    _scan_all(logits.contiguous().numpy(), *rows, *columns, cuts, _reach_cut(float(cuts.min())), counts, boxes)
    return Measures(counts[:, 0], counts[:, 1], counts[:, 2], boxes)


def measure_reference(logits: Tensor, size: tuple[int, int], *, threshold: float, offset: float) -> Measures:
    """The same on whole enlarged masks, on whatever device they lie."""
    import torch

    large = torch.nn.functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    counts = [(large > cut).sum((1, 2)) for cut in (threshold, threshold + offset, threshold - offset)]
    mask = large > threshold
    ends = []
    for hit in (mask.any(1), mask.any(2)):
        places = torch.arange(hit.shape[1], device=hit.device)
        ends += [torch.where(hit, places, hit.shape[1]).amin(1), torch.where(hit, places, -1).amax(1)]
    x0, x1, y0, y1 = ends
    boxes = torch.stack([x0, y0, x1, y1], dim=1) * (counts[0] > 0)[:, None]
    area, core, reach = (c.cpu().numpy().astype(np.int64) for c in counts)
    return Measures(area, core, reach, boxes.cpu().numpy().astype(np.int32))


class Patch(NamedTuple):
    """The part of a mask's low-resolution logits that can matter at a picture's size."""

    logits: Float32[np.ndarray, "ph pw"]
    top: int
    left: int
    """Place of the first kept logit."""


def cut_out(logits: Float32[np.ndarray, "mh mw"], lowest_cut: float) -> Patch:
    """Keep the logits that can bring a pixel above the lowest cut, with a border of one.

    The border makes the interpolation inside equal to that of the whole; beyond it all pixels are below the cut.
    """
    inside = logits > _reach_cut(lowest_cut)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return Patch(np.zeros((0, 0), np.float32), 0, 0)
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    return Patch(logits[top : rows[-1] + 2, left : columns[-1] + 2].copy(), int(top), int(left))


def whole_logits(patch: Patch, low_size: tuple[int, int], outside: float) -> Float32[np.ndarray, "mh mw"]:
    """A patch in its place; all other logits are `outside`, which must lie below the cut of the patch."""
    whole = np.full(low_size, outside, np.float32)
    height, width = patch.logits.shape
    whole[patch.top : patch.top + height, patch.left : patch.left + width] = patch.logits
    return whole


def draw(
    patch: Patch, low_size: tuple[int, int], size: tuple[int, int], *, threshold: float
) -> Bool[np.ndarray, "h w"]:
    """The mask of a patch at the picture's size."""
    mask = np.zeros(size, bool)
    whole = whole_logits(patch, low_size, threshold - 1)
    cuts = np.full(3, threshold, np.float32)
    rows, columns = _taps(low_size[0], size[0]), _taps(low_size[1], size[1])
    _scan(whole, *rows, *columns, cuts, _reach_cut(threshold), np.zeros(3, np.int64), np.zeros(4, np.int32), mask)
    return mask


def _reach_cut(lowest_cut: float) -> float:
    return lowest_cut - _MARGIN * (1 + abs(lowest_cut))


def _taps(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First source, second source and their weights for each output place, in float32 as torch computes them.

    source = (i + 1/2) * n_in / n_out - 1/2, not below 0. Source: torch, `upsample_bilinear2d`, align_corners=False.
    """
    scale = np.float32(n_in) / np.float32(n_out)
    source = np.maximum((np.arange(n_out, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), 0)
    first = np.minimum(source.astype(np.int64), n_in - 1)
    second = np.minimum(first + 1, n_in - 1)
    weight = np.clip(source - first.astype(np.float32), 0, 1).astype(np.float32)
    return first, second, np.float32(1) - weight, weight


@kernel(nogil=True, fastmath={"contract"})
def _support(logits, cut):
    """First and one past the last row and column of logits above a cut; zeros when there are none."""
    height, width = logits.shape
    top, bottom, left, right = height, 0, width, 0
    for y in range(height):
        for x in range(width):
            if logits[y, x] > cut:
                top, bottom = min(top, y), y + 1
                left, right = min(left, x), max(right, x + 1)
    return (top, bottom, left, right) if bottom else (0, 0, 0, 0)


@kernel(nogil=True, fastmath={"contract"})
def _touched(first, second, start, stop):
    """Output places one of whose two sources lies in [start, stop)."""
    low, high = len(first), 0
    for i in range(len(first)):
        if second[i] >= start and first[i] < stop:
            low, high = min(low, i), i + 1
    return low, high


@kernel(nogil=True, fastmath={"contract"})
def _stretch_row(row, first, second, w0, w1, low, out):
    for x in range(len(out)):
        out[x] = w0[low + x] * row[first[low + x]] + w1[low + x] * row[second[low + x]]


@kernel(nogil=True, fastmath={"contract"})
def _scan(logits, yf, ys, yw0, yw1, xf, xs, xw0, xw1, cuts, reach_cut, counts, box, mask):
    """Count a mask's pixels above three cuts and find the box of the first; write that mask where `mask` has pixels."""
    top, bottom, left, right = _support(logits, reach_cut)
    y_low, y_high = _touched(yf, ys, top, bottom)
    x_low, x_high = _touched(xf, xs, left, right)
    if bottom == 0 or y_low >= y_high or x_low >= x_high:
        return
    width = x_high - x_low
    above, below = np.empty(width, np.float32), np.empty(width, np.float32)
    hit = np.zeros(width, np.bool_)
    held_above, held_below = -1, -1
    for y in range(y_low, y_high):
        if yf[y] != held_above and yf[y] == held_below:
            above, below = below, above
            held_above, held_below = held_below, held_above
        if yf[y] != held_above:
            _stretch_row(logits[yf[y]], xf, xs, xw0, xw1, x_low, above)
            held_above = yf[y]
        if ys[y] != held_below:
            _stretch_row(logits[ys[y]], xf, xs, xw0, xw1, x_low, below)
            held_below = ys[y]
        area, core, reach = 0, 0, 0
        for x in range(width):
            value = yw0[y] * above[x] + yw1[y] * below[x]
            inside = value > cuts[0]
            area += inside
            core += value > cuts[1]
            reach += value > cuts[2]
            hit[x] |= inside
        if area and mask.size:
            for x in range(width):
                mask[y, x_low + x] = yw0[y] * above[x] + yw1[y] * below[x] > cuts[0]
        if area:
            if counts[0] == 0:
                box[1] = y
            box[3] = y
        counts[0], counts[1], counts[2] = counts[0] + area, counts[1] + core, counts[2] + reach
    if counts[0]:
        columns = np.flatnonzero(hit)
        box[0], box[2] = x_low + columns[0], x_low + columns[-1]


@kernel(nogil=True, fastmath={"contract"})
def _scan_all(logits, yf, ys, yw0, yw1, xf, xs, xw0, xw1, cuts, reach_cut, counts, boxes):
    no_mask = np.zeros((0, 0), np.bool_)
    for i in range(len(logits)):
        _scan(logits[i], yf, ys, yw0, yw1, xf, xs, xw0, xw1, cuts, reach_cut, counts[i], boxes[i], no_mask)
