"""Closed-form lifting of 2D masks to voxels, in mask-id space.

For voxel v and mask m, ``W[v, m]`` sums ``T_i alpha_i`` over the samples in v on pixels of m: the very weights of the
picture. Any per-mask quantity q lifts to ``sum_m W[v, m] q[m] / sum_m W[v, m]``, which solves "composite the voxels,
get the masks" in least squares. W is sparse; a [voxel, d] table is made only for seen voxels, and only when asked.

A pixel without a mask of some level takes the mask of the next coarser level that has one: what has no parts is its own
part. So a thing that one view calls a whole and another a part meets itself on the part level.

Source: the closed form x_j = sum(w f) / sum(w) of training-free feature lifting (Occam's LGS, arXiv 2412.01807).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int16, Int64
from scipy.sparse import coo_matrix, csr_matrix, identity

from voxlang.core.errors import VoxlangError
from voxlang.core.levels import LEVELS, Level
from voxlang.embed.types import EncoderId, require_same_encoder
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.samples import RaySamples
from voxlang.supervision.types import ViewTarget


@dataclass(frozen=True, eq=False)
class LiftedMasks:
    """The masks of all views, weighted onto the voxels that any view saw."""

    voxel: Int64[np.ndarray, "v"]
    """Flat C-order index in [z, y, x] of each voxel that has an answer, ascending."""
    weights: tuple[csr_matrix, csr_matrix, csr_matrix]
    """W[s, m] per level over the voxels s that were seen (in each look, once filled); columns as `vectors`."""
    mix: csr_matrix
    """[v, s]: what each voxel takes from the seen ones on the small and part levels; a seen voxel from itself alone."""
    votes: csr_matrix
    """[v, s]: the same on the whole level."""
    seen: Float32[np.ndarray, "v"]
    """Total weight each voxel received over all views, with or without a mask: the evidence."""
    vectors: Float32[np.ndarray, "m d"]
    """Unit vector of each mask of each view."""
    level: Int16[np.ndarray, "m"]
    """Level of each mask."""
    view: Int16[np.ndarray, "m"]
    """View of each mask."""
    grid: VolumeGrid
    """The voxels' grid."""
    encoder: EncoderId
    """Who made the vectors."""

    def quantity(
        self, values: Float[np.ndarray, "m k"], level: Level
    ) -> tuple[Float32[np.ndarray, "v k"], Float32[np.ndarray, "v"]]:
        """Lift any per-mask quantity at one level; returns (weighted mean per voxel, weight behind it, 0 = none)."""
        weights = self.weights[level]
        total = np.asarray(weights.sum(axis=1), dtype=np.float32).ravel()
        mix = self._mix(level)
        top = mix @ (weights @ values.astype(np.float32))
        below = mix @ total
        return (top / np.maximum(below, 1e-12)[:, None]).astype(np.float32), below.astype(np.float32)

    def rows(self, index: np.ndarray, level: Level) -> csr_matrix:
        """Weights [k, m] of some of the voxels (places in `voxel`) at one level."""
        return self._mix(level)[index] @ self.weights[level]

    def _mix(self, level: Level) -> csr_matrix:
        return self.votes if level == Level.WHOLE else self.mix

    def evidence(self) -> Float32[np.ndarray, "z y x"]:
        """Weight that all views together gave to each voxel; 0 = never seen."""
        out = np.zeros(self.grid.n_voxels, np.float32)
        out[self.voxel] = self.seen
        return out.reshape(self.grid.shape_zyx)


def lift_masks(
    targets: list[ViewTarget],
    samples: Iterable[RaySamples],
    grid: VolumeGrid,
    *,
    shown: Bool[np.ndarray, "z y x"] | None = None,
) -> LiftedMasks:
    """Sum the ray weights of every view into voxel x mask.

    A sample's weight goes to the voxel that it lies nearest to. At a surface that may be one outside, whose own value
    shows nothing: a shell around every thing that belongs to none.

    Args:
        targets: one per view; all of one encoder.
        samples: the ray samples of the same views in the same order (may be a generator; used once).
        grid: the grid that the samples' voxel indices speak of.
        shown: voxels that take part; None for all.

    Raises:
        EncoderMismatchError: targets of different encoders.
        VoxlangError: no views, or another number of samples than of targets.
    """
    if not targets:
        raise VoxlangError("at least one view", got="none", where="lift_masks", do="render and segment views first")
    learnt = [t.learnt() for t in targets]
    offsets = np.cumsum([0] + [len(pieces.vectors) for pieces in learnt]).tolist()
    entries: list[list[coo_matrix]] = [[] for _ in LEVELS]
    seen_voxels, seen_weights = [], []
    for k, (target, rays) in enumerate(zip(targets, samples, strict=True)):
        require_same_encoder(targets[0].encoder, target.encoder, where=f"lift_masks, view {k}")
        if shown is not None:
            inside = shown.reshape(-1)[rays.voxel]
            rays = RaySamples(rays.pixel[inside], rays.voxel[inside], rays.weight[inside])
        unique, place = np.unique(rays.voxel, return_inverse=True)
        seen_voxels.append(unique)
        seen_weights.append(np.bincount(place, weights=rays.weight, minlength=len(unique)))
        index = learnt[k].index.reshape(len(LEVELS), -1)
        for level in LEVELS:
            mask = index[level][rays.pixel]
            inside = mask >= 0
            entries[level].append(
                _merged(
                    rays.voxel[inside], mask[inside] + offsets[k], rays.weight[inside], (grid.n_voxels, offsets[-1])
                )
            )
    voxel, place = np.unique(np.concatenate(seen_voxels), return_inverse=True)
    seen = np.bincount(place, weights=np.concatenate(seen_weights), minlength=len(voxel)).astype(np.float32)
    dim = targets[0].encoder.dim
    itself = identity(len(voxel), dtype=np.float32, format="csr")
    return LiftedMasks(
        voxel,
        tuple(_stacked(parts, voxel, (len(voxel), offsets[-1])) for parts in entries),
        itself,
        itself,
        seen,
        np.concatenate([pieces.vectors.astype(np.float32).reshape(-1, dim) for pieces in learnt]),
        np.concatenate([pieces.level for pieces in learnt]).astype(np.int16),
        np.repeat(np.arange(len(targets)), np.diff(offsets)).astype(np.int16),
        grid,
        targets[0].encoder,
    )


def _merged(voxel: np.ndarray, mask: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> coo_matrix:
    matrix = coo_matrix((weight.astype(np.float32), (voxel, mask)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _stacked(parts: list[coo_matrix], voxel: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    row = np.searchsorted(voxel, np.concatenate([p.row for p in parts]))
    column = np.concatenate([p.col for p in parts])
    return coo_matrix((np.concatenate([p.data for p in parts]), (row, column)), shape=shape).tocsr()
