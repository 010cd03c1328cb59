"""Filling of voxels that no view saw, from seen ones that lie near and look alike.

The inside of an opaque thing adds nothing to any picture, yet it belongs to the thing. In the space of position and
scalar value, each measured in units of how far it may differ, an unseen voxel takes the mean of its nearest well-seen
voxels: soil under the surface takes from the soil above it, not from the pot beside it.

A voxel hears only from looks (transfer functions) that show it. Flesh beside a bone is as near to it in value as it is
to the skin, but where bones alone are shown nothing is said about flesh; where the skin is shown, it lies behind it.
On the small and part levels the nearest evidence decides, whichever look it comes from. On the whole level each look
that shows a voxel has one vote: a head goes on inside its skull, though other looks call that a skull or a brain.

Both are sparse matrices that are never multiplied out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_matrix, csr_matrix, vstack
from scipy.spatial import cKDTree

from voxlang.core.levels import Level
from voxlang.geometry.grid import VolumeGrid
from voxlang.semantics.config import SemanticsConfig
from voxlang.semantics.contrast import shown_range
from voxlang.semantics.lifting import LiftedMasks

_CELL = np.array([0.125, 0.125, 0.125, 0.25], np.float32)
"""Cells of the feature space, in its units: an eightieth of the longest edge, and a quarter of `fill_value`."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a transfer function shows, and the views taken through it."""

    shown: Bool[np.ndarray, "z y x"]
    """Voxels with some opacity."""
    views: tuple[int, ...]
    """Numbers of the views."""


def fill_unseen(
    lifted: LiftedMasks,
    values: Float32[np.ndarray, "z y x"],
    visible: Bool[np.ndarray, "z y x"],
    looks: Iterable[Look],
    config: SemanticsConfig,
) -> LiftedMasks:
    """Give every visible voxel that was not well seen the weights of its nearest well-seen ones.

    Args:
        lifted: the lifting of all views.
        values: scalar values, in any unit.
        visible: voxels that some look shows.
        looks: every view belongs to one; may be a generator, used once.
        config: units of position and value, number of neighbours, and what counts as well seen.

    Returns:
        The lifting over all voxels that are well seen or visible, a row of weights for each look in which a voxel was
        seen. The same lifting where no view has a mask.
    """
    well = lifted.voxel[_well(lifted.seen, config)]
    voxel = np.union1d(well, np.flatnonzero(visible))
    place = np.full(lifted.grid.n_voxels, -1, np.int64)
    place[voxel] = np.arange(len(voxel))
    unseen = np.ones(len(voxel), bool)
    unseen[place[well]] = False
    points = _features(lifted.grid, voxel, uniform_filter(values, size=3), config)
    best = _Best(len(voxel), config.fill_neighbours)
    own, votes, weights = _Entries(), _Entries(), []
    n_rows = 0
    for look in looks:
        seen = _SeenInLook.of(lifted, look, place, config)
        if not len(seen.place):
            continue
        row = n_rows + np.arange(len(seen.place))
        n_rows += len(row)
        weights.append(seen.weights)
        kept = ~unseen[seen.place]
        own.add(seen.place[kept], row[kept], np.ones(int(kept.sum())))
        source, source_row, share = seen.place[seen.well], row[seen.well], 1.0 / seen.total[seen.well]
        votes.add(source, source_row, share)
        shown = look.shown.reshape(-1)[voxel]
        shown[source] = False
        tree = cKDTree(points[source])
        target = np.flatnonzero(shown & unseen)
        distance, number = _nearest(tree, points[target], config.fill_neighbours)
        best.offer(target, distance, source_row[number])
        votes.add(target, source_row[number[:, 0]], share[number[:, 0]])
        target = np.flatnonzero(shown & ~unseen)
        _, number = _nearest(tree, points[target], 1)
        votes.add(target, source_row[number[:, 0]], share[number[:, 0]])
    if not weights:
        return lifted
    target, source, share = best.shares()
    own.add(target, source, share)
    shape = (len(voxel), n_rows)
    return dataclasses.replace(
        lifted,
        voxel=voxel,
        weights=tuple(vstack([w[level] for w in weights], format="csr") for level in Level),
        mix=own.matrix(shape),
        votes=votes.matrix(shape),
        seen=np.where(unseen, np.float32(0.0), lifted.evidence().reshape(-1)[voxel]),
    )


@dataclass(frozen=True, eq=False)
class _SeenInLook:
    """The voxels that the views of a look saw."""

    place: Int64[np.ndarray, "s"]
    """Their places in the filled lifting."""
    weights: tuple[csr_matrix, ...]
    """[s, m] per level, of the masks of these views alone."""
    total: Float32[np.ndarray, "s"]
    """Weight of all their masks."""
    well: Bool[np.ndarray, "s"]
    """Well seen in this look."""

    @staticmethod
    def of(lifted: LiftedMasks, look: Look, place: Int64[np.ndarray, "n"], config: SemanticsConfig) -> _SeenInLook:
        mine = np.isin(lifted.view, look.views).astype(np.float32)
        total = np.asarray(lifted.weights[Level.SMALL] @ mine).ravel()  # on this level every masked pixel has a mask
        rows = np.flatnonzero((total > 0) & (place[lifted.voxel] >= 0))
        weights = []
        for level in Level:
            part = lifted.weights[level][rows]
            part.data = part.data * mine[part.indices]
            part.eliminate_zeros()
            weights.append(part)
        return _SeenInLook(place[lifted.voxel[rows]], tuple(weights), total[rows], _well(total[rows], config))


class _Entries:
    """Entries of a sparse matrix, collected."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
        self._parts.append((row, column, value.astype(np.float32)))

    def matrix(self, shape: tuple[int, int]) -> csr_matrix:
        row, column, value = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        return coo_matrix((value, (row, column)), shape=shape).tocsr()


class _Best:
    """The nearest sources of some targets, over several offers."""

    def __init__(self, n: int, k: int) -> None:
        self._distance = np.full((n, k), np.inf, np.float32)
        self._source = np.zeros((n, k), np.int64)

    def offer(self, target: np.ndarray, distance: np.ndarray, source: np.ndarray) -> None:
        distance = np.concatenate([self._distance[target], distance], axis=1)
        source = np.concatenate([self._source[target], source], axis=1)
        order = np.argsort(distance, axis=1, kind="stable")[:, : self._distance.shape[1]]
        self._distance[target] = np.take_along_axis(distance, order, axis=1)
        self._source[target] = np.take_along_axis(source, order, axis=1)

    def shares(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(target, source, share) of all that was found; the shares of a target sum to 1 and fall with the distance."""
        share = 1.0 / (self._distance + 1e-3)  # nothing at infinity
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
        target, column = np.nonzero(share)
        return target, self._source[target, column], share[target, column]


def _well(seen: np.ndarray, config: SemanticsConfig) -> np.ndarray:
    return seen >= min(config.well_seen, float(np.median(seen)) if len(seen) else 0.0)


def _nearest(sources: cKDTree, targets: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance and number [n, k] of the nearest sources, to a fifth; fewer columns where there are fewer sources.

    Targets that share a cell of the feature space share their answer: in a large volume they are many.
    """
    k = min(k, sources.n)
    cell = np.floor(targets / _CELL).astype(np.int64)
    cell -= cell.min(axis=0, initial=0)
    code = np.ravel_multi_index(cell.T, cell.max(axis=0, initial=0) + 1)
    _, first, member = np.unique(code, return_index=True, return_inverse=True)
    distance, number = sources.query(targets[first], k=k, eps=0.2, workers=-1)
    return distance.reshape(-1, k)[member].astype(np.float32), number.reshape(-1, k)[member]


def _features(
    grid: VolumeGrid, voxel: np.ndarray, values: Float32[np.ndarray, "z y x"], config: SemanticsConfig
) -> Float32[np.ndarray, "n 4"]:
    """Position and value of voxels, each in its own unit."""
    xyz = np.stack(np.unravel_index(voxel, grid.shape_zyx), axis=-1)[:, ::-1] * np.asarray(grid.spacing_xyz)
    position = xyz / (config.fill_distance * max(grid.extent_world))
    value = values.reshape(-1)[voxel, None] / (config.fill_value * shown_range(values, voxel))
    return np.concatenate([position, value], axis=1).astype(np.float32)
