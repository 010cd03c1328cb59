"""Relevancy that respects the volume: what views say of a place spreads through like values and stops at edges.

Masks of rendered views are coarse and few, the volume itself is sharp. Every voxel is asked to agree with what the
views say of it, as far as they saw it well, and with its neighbours, as far as their values are alike. In the steady
state of that diffusion a bone is a bone up to its surface, and single wrong masks are outvoted by the rest of the same
thing.

Source: Grady 2005, "Multilabel random walker image segmentation using prior models"; the walker starts at a voxel and
takes the prior of the place where it ends.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from jaxtyping import Float32, Int64
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import cg

from voxlang.geometry.grid import VolumeGrid
from voxlang.query.config import QueryConfig
from voxlang.query.peak import with_top_of
from voxlang.semantics.contrast import shown_range

_UNSEEN = 0.1
"""Weight of what filling gave a voxel that no view saw, beside 1 for one that was seen well."""
_BRIDGE = 1e-3
"""Conductance between neighbours of unlike values: none is cut off altogether."""
_RESIDUAL, _STEPS = 1e-3, 4000
"""The solver stops where the residual is this share of the right side, or gives up after so many steps. Relevancies
were within 0.0004 of their limit there on volumes of 0.9 and 3.4 million visible voxels, after 298 and 473 steps, whose
number grows with the length of an edge in voxels."""


def spread_relevancy(
    relevancy: Float32[np.ndarray, "3 p v"],
    voxel: Int64[np.ndarray, "v"],
    seen: Float32[np.ndarray, "v"],
    values: Float32[np.ndarray, "z y x"],
    grid: VolumeGrid,
    config: QueryConfig,
) -> Float32[np.ndarray, "3 p v"]:
    """Let relevancy spread among visible voxels of like value; the top of each prompt keeps its height.

    Each level and prompt solves ``c x - div(g L^2 grad x) = c r``: `c` is the confidence in the relevancy `r` of a
    voxel, `g` falls from 1 to nearly 0 with the difference of two neighbours' values over `spread_value` of the range
    of visible values, and `L` is the distance `spread`, over which evidence fades where values are all alike. So
    neither the unit of the values nor a few extreme ones change the answer. Averages have lower peaks, and the
    bones of a noisy scan would sink below the threshold that decides whether anything is found at all: so `x` is
    stretched until as many voxels reach the peak of `r` as were near it (`voxlang.query.peak`), or, where that peak is
    below the threshold, until the peaks are the same, so that what was not found is not found.

    Args:
        relevancy: per level, prompt and voxel.
        voxel: flat indices of the visible voxels.
        seen: weight that views gave to each, see `LiftedMasks.seen`.
        values: scalar values, in any unit.
        grid: the grid of voxels and values.
        config: `spread` (0 leaves everything as it is), `spread_value` and `threshold`.
    """
    from tqdm import tqdm

    if not config.spread or not len(voxel):
        return relevancy
    links = _links(voxel, values, grid, config)
    confidence = (_UNSEEN + (1.0 - _UNSEEN) * np.minimum(seen, 1.0)).astype(np.float32)
    total = confidence + np.asarray(links.sum(axis=1), np.float32).ravel()
    system, inverse = (diags(total) - links).tocsr(), diags(1.0 / total)
    out = np.empty_like(relevancy)
    rows = list(np.ndindex(relevancy.shape[:2]))
    for row in tqdm(rows, desc="spread relevancy", disable=not sys.stderr.isatty()):
        start = relevancy[row]
        found, unsolved = cg(system, confidence * start, x0=start, rtol=_RESIDUAL, maxiter=_STEPS, M=inverse)
        if unsolved:
            prompt = config.prompts[row[1]]
            warnings.warn(f"relevancy of {prompt!r} has not come to rest after {unsolved} steps", stacklevel=2)
        out[row] = with_top_of(start, found, threshold=config.threshold)
    return out


def _links(
    voxel: Int64[np.ndarray, "v"], values: Float32[np.ndarray, "z y x"], grid: VolumeGrid, config: QueryConfig
) -> csr_matrix:
    """Conductances between face neighbours among the voxels, symmetric [v, v]."""
    place = np.full(values.shape, -1, np.int32)
    place.reshape(-1)[voxel] = np.arange(len(voxel), dtype=np.int32)
    reach = config.spread * max(grid.extent_world)
    stop = config.spread_value * shown_range(values, voxel)
    first, second, weight = [], [], []
    for axis, spacing in enumerate(reversed(grid.spacing_xyz)):
        a, b = (np.moveaxis(place, axis, 0)[part].reshape(-1) for part in (slice(None, -1), slice(1, None)))
        both = (a >= 0) & (b >= 0)
        change = np.diff(np.moveaxis(values, axis, 0), axis=0).reshape(-1)[both] / stop
        first.append(a[both])
        second.append(b[both])
        weight.append(((np.exp(-np.square(change)) + _BRIDGE) * (reach / spacing) ** 2).astype(np.float32))
    i, j, w = (np.concatenate(parts) for parts in (first, second, weight))
    rows, columns = np.concatenate([i, j]), np.concatenate([j, i])
    return coo_matrix((np.concatenate([w, w]), (rows, columns)), shape=(len(voxel), len(voxel))).tocsr()
