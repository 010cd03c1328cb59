"""From text vectors to selected voxels: relevancy, level, competition, label map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt16

from voxlang.core.errors import QueryError
from voxlang.core.levels import LEVELS, Level, level_from_name
from voxlang.embed.types import require_same_encoder
from voxlang.geometry.grid import VolumeGrid, transform_points
from voxlang.query.config import QueryConfig
from voxlang.query.text import TextQuery
from voxlang.semantics.field import SemanticField, points_of_voxels


@dataclass(frozen=True, eq=False)
class QueryResult:
    """The answer to one prompt."""

    prompt: str
    """As the user wrote it."""
    level: Level
    """Level the answer was taken from."""
    found: bool
    """False when nothing beat the negatives: the volume does not show it."""
    score: float
    """Mean relevancy of the selection (of the best voxels when nothing was found), in [0, 1]."""
    selected: Bool[np.ndarray, "z y x"]
    """The voxels meant; empty when not found."""
    relevancy: Float32[np.ndarray, "3 v"]
    """Relevancy per level at the visible voxels."""
    voxel: Int64[np.ndarray, "v"]
    """Flat indices of the visible voxels."""
    grid: VolumeGrid
    """The input's own grid."""

    def relevancy_volume(self, level: Level | None = None) -> Float32[np.ndarray, "z y x"]:
        """Relevancy on the grid at a level (the answer's own by default), 0 where nothing is visible."""
        out = np.zeros(self.grid.n_voxels, np.float32)
        out[self.voxel] = self.relevancy[self.level if level is None else level]
        return out.reshape(self.grid.shape_zyx)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able statistics: what was found, where, how large."""
        row: dict[str, Any] = {
            "prompt": self.prompt,
            "level": self.level.label,
            "found": self.found,
            "score": round(self.score, 4),
            "voxels": int(self.selected.sum()),
            "volume": round(float(self.selected.sum() * np.prod(self.grid.spacing_xyz)), 4),
            "volume_unit": f"{self.grid.unit}^3",
        }
        if self.found:
            zyx = np.argwhere(self.selected)
            peak = np.unravel_index(int(self.relevancy_volume().argmax()), self.grid.shape_zyx)
            to_world = self.grid.world_from_index
            row |= {
                "box_index_xyz": [zyx.min(0)[::-1].tolist(), (zyx.max(0)[::-1] + 1).tolist()],
                "centroid_world": transform_points(to_world, zyx.mean(0)[::-1]).round(4).tolist(),
                "peak_world": transform_points(to_world, np.asarray(peak[::-1], np.float64)).round(4).tolist(),
            }
        return row


def relevancy_from_cosines(
    positive: Float32[np.ndarray, "*a n"], negatives: Float32[np.ndarray, "*a k n"], *, temperature: float
) -> Float32[np.ndarray, "*a n"]:
    """Smallest pairwise softmax of a prompt against each negative.

    ``min_k exp(T s) / (exp(T s) + exp(T s_k)) = sigmoid(T (s - max_k s_k))``

    Source: LERF, arXiv 2303.09553, equation 1; the temperature is the encoder's logit scale.
    """
    margin = temperature * (positive - negatives.max(axis=-2))
    return (1.0 / (1.0 + np.exp(-np.clip(margin, -60.0, 60.0)))).astype(np.float32)


def answer_query(
    field: SemanticField,
    query: TextQuery,
    values: Float32[np.ndarray, "z y x"],
    visible: Bool[np.ndarray, "z y x"],
    config: QueryConfig,
) -> list[QueryResult]:
    """Select the voxels that each prompt means.

    Args:
        field: trained semantic field.
        query: embedded prompts and negatives.
        values: normalised scalar values on the field's grid.
        visible: voxels that some transfer function shows; only these can be selected.
        config: level, threshold, competition.

    Raises:
        EncoderMismatchError: the text was embedded by another encoder than the field's.
        QueryError: nothing is visible.
    """
    require_same_encoder(field.encoder, query.encoder, where="answer_query")
    voxel = np.flatnonzero(visible)
    if not len(voxel):
        raise QueryError(
            "voxels that a transfer function shows",
            got="none",
            where="answer_query",
            do="use a transfer function with some opacity over this volume's values",
        )
    xyz, value = points_of_voxels(field.grid, voxel, values)
    cosines = field.scores(xyz, value, np.concatenate([query.vectors, query.negatives]))
    n_prompts = len(query.prompts)
    negatives = cosines[:, n_prompts:]
    relevancies = [
        relevancy_from_cosines(cosines[:, p], negatives, temperature=query.temperature) for p in range(n_prompts)
    ]
    n_least = max(1, int(config.min_share * len(voxel)))
    levels = [_choose_level(r, config, n_least) for r in relevancies]
    results = []
    for p, (relevancy, level) in enumerate(zip(relevancies, levels, strict=True)):
        chosen = relevancy[level] > config.threshold
        if config.compete:
            for other in range(n_prompts):
                if other != p and levels[other] == level:
                    chosen &= cosines[level, p] >= cosines[level, other]
        found = int(chosen.sum()) >= n_least
        best = relevancy[level][chosen] if found else np.partition(relevancy[level], -n_least)[-n_least:]
        selected = np.zeros(field.grid.n_voxels, bool)
        selected[voxel[chosen]] = found
        results.append(
            QueryResult(
                query.prompts[p],
                level,
                found,
                float(best.mean()),
                selected.reshape(field.grid.shape_zyx),
                relevancy,
                voxel,
                field.grid,
            )
        )
    return results


def _choose_level(relevancy: Float32[np.ndarray, "3 v"], config: QueryConfig, n_least: int) -> Level:
    """The forced level, or the one whose best region of the least size is the most certain; ties go to the coarser."""
    if config.level != "auto":
        return level_from_name(config.level)
    certainty = [float(np.partition(r, -n_least)[-n_least:].mean()) for r in relevancy]
    return max(reversed(LEVELS), key=lambda level: round(certainty[level], 3))


def label_map(results: list[QueryResult]) -> UInt16[np.ndarray, "z y x"]:
    """One label per prompt (1, 2, ... in their order); finer levels lie over coarser ones, 0 is nothing."""
    labels = np.zeros(results[0].grid.shape_zyx, np.uint16)
    order = sorted(range(len(results)), key=lambda i: (-int(results[i].level), results[i].score))
    for i in order:
        labels[results[i].selected] = i + 1
    return labels
