"""Filling of voxels that no view saw, from seen ones that lie near and look alike.

The inside of an opaque thing adds nothing to any picture, yet it belongs to the thing. In the space of position and
scalar value, each measured in units of how far it may differ, an unseen voxel takes the mean of its nearest well-seen
voxels: soil under the surface takes from the soil above it, not from the pot beside it. This is one sparse matrix that
is never multiplied out.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_matrix

from voxlang.geometry.grid import VolumeGrid
from voxlang.semantics.config import SemanticsConfig
from voxlang.semantics.lifting import LiftedMasks


def fill_unseen(
    lifted: LiftedMasks,
    values: Float32[np.ndarray, "z y x"],
    visible: Bool[np.ndarray, "z y x"],
    config: SemanticsConfig,
) -> LiftedMasks:
    """Give every visible voxel that was not well seen the weights of its nearest well-seen ones.

    Args:
        lifted: the lifting of all views.
        values: normalised scalar values.
        visible: voxels that some transfer function shows.
        config: units of position and value, number of neighbours, and what counts as well seen.

    Returns:
        The lifting over all voxels that are well seen or visible; the same where there is nothing to fill.
    """
    from scipy.spatial import cKDTree

    well = lifted.seen >= min(config.well_seen, float(np.median(lifted.seen)) if len(lifted.seen) else 0.0)
    sources = lifted.voxel[well]
    targets = np.setdiff1d(np.flatnonzero(visible), sources, assume_unique=True)
    if not len(sources) or not len(targets):
        return lifted
    smooth = uniform_filter(values, size=3)
    tree = cKDTree(_features(lifted.grid, sources, smooth, config))
    k = min(config.fill_neighbours, len(sources))
    distance, neighbour = tree.query(_features(lifted.grid, targets, smooth, config), k=k, workers=-1)
    distance, neighbour = distance.reshape(len(targets), k), neighbour.reshape(len(targets), k)
    share = 1.0 / (distance + 1e-3)
    share = (share / share.sum(axis=1, keepdims=True)).astype(np.float32)
    voxel = np.concatenate([sources, targets])
    order = np.argsort(voxel)
    place = np.empty(len(voxel), np.int64)
    place[order] = np.arange(len(voxel))
    own = np.arange(len(sources))
    rows = np.concatenate([place[own], np.repeat(place[len(sources) :], k)])
    columns = np.concatenate([own, neighbour.ravel()])
    shares = np.concatenate([np.ones(len(sources), np.float32), share.ravel()])
    seen = np.concatenate([lifted.seen[well], np.zeros(len(targets), np.float32)])
    return dataclasses.replace(
        lifted,
        voxel=voxel[order],
        weights=tuple(w[np.flatnonzero(well)] for w in lifted.weights),
        mix=csr_matrix((shares, (rows, columns)), shape=(len(voxel), len(sources))),
        seen=seen[order],
    )


def _features(
    grid: VolumeGrid, voxel: np.ndarray, values: Float32[np.ndarray, "z y x"], config: SemanticsConfig
) -> Float32[np.ndarray, "n 4"]:
    """Position and value of voxels, each in its own unit."""
    xyz = np.stack(np.unravel_index(voxel, grid.shape_zyx), axis=-1)[:, ::-1] * np.asarray(grid.spacing_xyz)
    position = xyz / (config.fill_distance * max(grid.extent_world))
    return np.concatenate([position, values.reshape(-1)[voxel, None] / config.fill_value], axis=1).astype(np.float32)
