"""Empty-space skipping: the range of values in blocks of 8x8x8 cells, and how far a ray may leap."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from numba import prange
from scipy import ndimage

from voxlang.render.kernels import LOCK, kernel

BLOCK_SHIFT = 3
BLOCK = 1 << BLOCK_SHIFT


@kernel(parallel=True)
def _ranges(values, low, high):
    nz, ny, nx = values.shape
    bz, by, bx = low.shape
    for row in prange(bz * by):
        kz = row // by
        ky = row % by
        for kx in range(bx):
            a = values[kz * 8, ky * 8, kx * 8]
            b = a
            for z in range(kz * 8, min(kz * 8 + 9, nz)):
                for y in range(ky * 8, min(ky * 8 + 9, ny)):
                    for x in range(kx * 8, min(kx * 8 + 9, nx)):
                        v = values[z, y, x]
                        a = min(a, v)
                        b = max(b, v)
            low[kz, ky, kx] = a
            high[kz, ky, kx] = b


def block_ranges(
    values: Float32[np.ndarray, "z y x"],
) -> tuple[Float32[np.ndarray, "bz by bx"], Float32[np.ndarray, "bz by bx"]]:
    """Smallest and largest value that interpolation can give in each block of 8x8x8 cells.

    Block b covers the cells 8b .. 8b+7, so voxels 8b .. 8b+8: the far border belongs to it as well.
    """
    shape = tuple(((n - 1) >> BLOCK_SHIFT) + 1 for n in values.shape)
    low, high = np.empty(shape, np.float32), np.empty(shape, np.float32)
    with LOCK:
        _ranges(values, low, high)
    return low, high


def leap_map(
    low: Float32[np.ndarray, "bz by bx"],
    high: Float32[np.ndarray, "bz by bx"],
    table: Float32[np.ndarray, "n 4"],
) -> UInt8[np.ndarray, "bz by bx"]:
    """For each block 0 where something may be visible, else the chessboard distance to the nearest such block.

    A block at distance d is the middle of a cube of 2d - 1 blocks along each edge that holds nothing: a ray may leap to
    the cube's exit. A block may show something when the table has a density above 0 anywhere between its lowest and
    its highest value.
    """
    n = len(table)
    before = np.concatenate([[0], np.cumsum(table[:, 3] > 0)])
    first = np.clip(np.floor(low * (n - 1)), 0, n - 1).astype(np.int64)
    last = np.clip(np.ceil(high * (n - 1)), 0, n - 1).astype(np.int64)
    empty = before[last + 1] == before[first]
    if empty.all():
        return np.full(empty.shape, 255, np.uint8)
    distance = ndimage.distance_transform_cdt(empty, metric="chessboard")
    return np.minimum(distance, 255).astype(np.uint8)
