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
from voxlang.query.peak import peak_of, with_peak_of
from voxlang.query.text import TextQuery
from voxlang.semantics.field import SemanticField, points_of_voxels
from voxlang.semantics.lifting import LiftedMasks

_KEPT = 0.25
"""Share of its selection that rivals must leave to a prompt, or it is answered on another level."""
_ROUNDS = 12
"""Rounds in which the cuts are found."""
_SAME = 0.5
"""Cosine of two texts from which they mean the same; 0.3 and 0.7 answer development phantoms alike."""


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
    cut: float
    """Relevancy from which a voxel is selected; see `QueryConfig.peak_share`."""
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
            "cut": round(self.cut, 4),
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
    positive: Float32[np.ndarray, "*a n"], negatives: Float32[np.ndarray, "*b k n"], *, temperature: float
) -> Float32[np.ndarray, "*a n"]:
    """Smallest pairwise softmax of a prompt against each negative.

    ``min_k exp(T s) / (exp(T s) + exp(T s_k)) = sigmoid(T (s - max_k s_k))``; leading axes of the negatives broadcast.

    Source: LERF, arXiv 2303.09553, equation 1; the temperature is the encoder's logit scale.
    """
    margin = temperature * (positive - negatives.max(axis=-2))
    return (1.0 / (1.0 + np.exp(-np.clip(margin, -60.0, 60.0)))).astype(np.float32)


def relevancy_of_masks(lifted: LiftedMasks, query: TextQuery) -> Float32[np.ndarray, "3 p v"]:
    """Relevancy per level and prompt at the voxels of a lifting: text meets the table of masks, then is gathered.

    A mask's vector is compared as it is; what is averaged over views is the answer, not the vector. Below the whole
    level the mean of the whole masks is a negative too: a crop of a lobster says something of claws, and only what
    says more of them than the lobster does is a claw. On the small level, where four general texts tell little apart, a
    prompt also shares each mask with the names that the encoder knows: see `_shared_with_names`.

    Raises:
        EncoderMismatchError: the text was embedded by another encoder than the masks.
    """
    require_same_encoder(lifted.encoder, query.encoder, where="relevancy_of_masks")
    cosines = np.concatenate([query.vectors, query.negatives]) @ lifted.vectors.T
    wholes = lifted.level == Level.WHOLE
    reference = cosines[: len(query.prompts), wholes].mean(axis=1) if wholes.any() else None
    per_level = [_relevancy_on_level(level, cosines, reference, query) for level in LEVELS]
    relevancy = np.stack(
        [lifted.quantity(per_mask.T, level)[0].T for level, per_mask in zip(LEVELS, per_level, strict=True)]
    )
    if query.known is not None and len(lifted.voxel):
        shared = np.sqrt(per_level[Level.SMALL] * _shared_with_names(lifted.vectors, query.known, query))
        small = lifted.quantity(shared.T, Level.SMALL)[0].T
        relevancy[Level.SMALL] = with_peak_of(relevancy[Level.SMALL], small)
    return relevancy


def _shared_with_names(
    vectors: Float32[np.ndarray, "m d"], known: Float32[np.ndarray, "w d"], query: TextQuery
) -> Float32[np.ndarray, "p m"]:
    """Share of each prompt in masks, in a softmax over itself, the negatives, and the known names that mean another
    thing; a name nearer to the prompt than `_SAME` means the same and takes no part."""
    names, negatives = (query.temperature * texts @ vectors.T for texts in (known, query.negatives))
    out = np.empty((len(query.prompts), len(vectors)), np.float32)
    for p, own in enumerate(query.temperature * query.vectors @ vectors.T):
        others = names[known @ query.vectors[p] <= _SAME]
        out[p] = np.exp(own - np.logaddexp.reduce(np.concatenate([own[None], others, negatives]), axis=0))
    return out


def relevancy_of_field(
    field: SemanticField, query: TextQuery, values: Float32[np.ndarray, "z y x"], voxel: Int64[np.ndarray, "v"]
) -> Float32[np.ndarray, "3 p v"]:
    """Relevancy per level and prompt at voxels, from the trained field; the reference is the mean on the whole level.

    Raises:
        EncoderMismatchError: the text was embedded by another encoder than the field's.
    """
    require_same_encoder(field.encoder, query.encoder, where="relevancy_of_field")
    xyz, value = points_of_voxels(field.grid, voxel, values)
    cosines = field.scores(xyz, value, np.concatenate([query.vectors, query.negatives]))
    reference = cosines[Level.WHOLE, : len(query.prompts)].mean(axis=1) if len(voxel) else None
    return np.stack([_relevancy_on_level(level, cosines[level], reference, query) for level in LEVELS])


def _relevancy_on_level(
    level: Level, cosines: Float32[np.ndarray, "t n"], reference: Float32[np.ndarray, "p"] | None, query: TextQuery
) -> Float32[np.ndarray, "p n"]:
    """Relevancy of each prompt; `cosines` are those of the prompts, then of the negatives."""
    n_prompts = len(query.prompts)
    positive, best_negative = cosines[:n_prompts], cosines[n_prompts:].max(axis=0, keepdims=True)
    if reference is not None and level != Level.WHOLE:
        best_negative = np.maximum(best_negative, reference[:, None])
    return relevancy_from_cosines(positive, best_negative[:, None], temperature=query.temperature)


def answer_query(
    relevancy: Float32[np.ndarray, "3 p v"],
    voxel: Int64[np.ndarray, "v"],
    grid: VolumeGrid,
    query: TextQuery,
    config: QueryConfig,
) -> list[QueryResult]:
    """Select the voxels that each prompt means.

    A prompt is answered on the level where what it selects is the most certain; with competition, on the next one if
    rivals on that level take nearly all of it. On its level a voxel goes to it if its relevancy there is above its cut,
    and with competition if no other prompt of the same level is farther above its own, narrower ones aside.

    Args:
        relevancy: per level, prompt and voxel, of `relevancy_of_masks` or `relevancy_of_field`.
        voxel: flat indices of the voxels that some view or transfer function shows; only these can be selected.
        grid: the grid they belong to.
        query: the prompts.
        config: level, threshold, competition.

    Raises:
        QueryError: no voxels.
    """
    if not len(voxel):
        raise QueryError(
            "voxels that a transfer function shows",
            got="none",
            where="answer_query",
            do="use a transfer function with some opacity over this volume's values",
        )
    n_least = max(1, int(config.min_share * len(voxel)))
    cuts = _cuts(relevancy, config)
    height = _height(relevancy, cuts)
    rivals = _rivals(query.prompts, config)
    levels = _choose_levels(height, rivals, config, n_least)
    results = []
    for p, prompt in enumerate(query.prompts):
        level = levels[p]
        mine = _selection(height, rivals, levels, p)
        found = int(mine.sum()) >= n_least
        selected = np.zeros(grid.n_voxels, bool)
        selected[voxel[mine]] = found
        results.append(
            QueryResult(
                prompt,
                level,
                found,
                _certainty(relevancy[level, p], mine, n_least),
                float(cuts[level, p]),
                selected.reshape(grid.shape_zyx),
                relevancy[:, p],
                voxel,
                grid,
            )
        )
    return results


def _cuts(relevancy: Float32[np.ndarray, "3 p v"], config: QueryConfig) -> Float32[np.ndarray, "3 p"]:
    """Relevancy from which each prompt selects on each level: the lower share of the way from the mean of what it
    leaves to its peak, at most the upper share of the peak, and on the whole level the lower share of the peak; the
    threshold where the peak is below that.

    The peak is the quantile `voxlang.query.peak.PEAK`; what is left is found by iteration, from all. A whole is most of
    what is shown, and what it leaves lies near it. A relevancy is a number of its prompt: what a model knows well
    reaches 0.95 on its part and 0.6 on half of the rest, what it knows less well 0.6 on its part.

    Source: the iteration is that of Ridler and Calvard 1978, "Picture thresholding using an iterative selection
    method", with the peak in place of the mean of what is selected.
    """
    low, high = config.peak_share
    peak = peak_of(relevancy)
    cuts = np.full_like(peak, np.inf)
    for _ in range(_ROUNDS):
        left = relevancy < cuts[..., None]
        rest = relevancy.sum(axis=-1, where=left) / np.maximum(left.sum(axis=-1), 1)
        cuts = np.minimum(rest + low * (peak - rest), high * peak)
    cuts[Level.WHOLE] = low * peak[Level.WHOLE]
    return np.where((peak > config.threshold) & (high > 0), cuts, config.threshold).astype(np.float32)


def _height(relevancy: Float32[np.ndarray, "3 p v"], cuts: Float32[np.ndarray, "3 p"]) -> Float32[np.ndarray, "3 p v"]:
    """Relevancy on a scale on which every cut is one half: prompts with different cuts can then compete."""
    cut = np.clip(cuts, 1e-6, 1.0 - 1e-6)[..., None].astype(np.float32)
    return np.where(relevancy < cut, 0.5 * relevancy / cut, 0.5 + 0.5 * (relevancy - cut) / (1.0 - cut))


def _certainty(relevancy: Float32[np.ndarray, "v"], chosen: Bool[np.ndarray, "v"], n_least: int) -> float:
    """Mean relevancy of the chosen voxels; where they are too few, of the best ones, at most one half."""
    if int(chosen.sum()) >= n_least:
        return float(relevancy[chosen].mean())
    return min(0.5, float(np.partition(relevancy, -n_least)[-n_least:].mean()))


def _rivals(prompts: tuple[str, ...], config: QueryConfig) -> Bool[np.ndarray, "p p"]:
    """rivals[p, q]: q can take voxels from p. Something narrower cannot: what is a pot rim is of the pot as well."""
    if not config.compete:
        return np.zeros((len(prompts), len(prompts)), bool)
    return np.array([[q != p and not _is_narrower(q, p) for q in prompts] for p in prompts])


def _is_narrower(prompt: str, other: str) -> bool:
    """Whether a prompt says all that another says, and more: "pot rim" is narrower than "pot"."""
    return set(prompt.lower().split()) > set(other.lower().split())


def _selection(
    height: Float32[np.ndarray, "3 p v"], rivals: Bool[np.ndarray, "p p"], levels: list[Level], p: int
) -> Bool[np.ndarray, "v"]:
    """Voxels of a prompt on its level: above its cut, and below no rival on that level."""
    mine = height[levels[p], p] > 0.5
    here = [q for q in np.flatnonzero(rivals[p]).tolist() if levels[q] == levels[p]]
    if here:
        mine &= height[levels[p], p] >= height[levels[p], here].max(axis=0)
    return mine


def _choose_levels(
    height: Float32[np.ndarray, "3 p v"], rivals: Bool[np.ndarray, "p p"], config: QueryConfig, n_least: int
) -> list[Level]:
    """The forced level, or for each prompt the one whose selection is the most certain; ties go to the coarser.

    A prompt of whose selection rivals leave less than `_KEPT` goes on to its next level, if it selects enough there: an
    engine and its housing may be the same whole, but on the part level the housing has no such rival.
    """
    n_prompts = height.shape[1]
    if config.level != "auto":
        return [level_from_name(config.level)] * n_prompts
    above = height > 0.5
    orders = []
    for p in range(n_prompts):
        certainty = {level: round(_certainty(height[level, p], above[level, p], n_least), 3) for level in LEVELS}
        orders.append(sorted(reversed(LEVELS), key=certainty.__getitem__, reverse=True))
    for _ in LEVELS[1:]:
        levels = [order[0] for order in orders]
        for p, (level, *following) in enumerate(orders):
            left = _selection(height, rivals, levels, p).sum()
            if following and left < _KEPT * above[level, p].sum() and above[following[0], p].sum() >= n_least:
                orders[p] = following
    return [order[0] for order in orders]


def label_map(results: list[QueryResult]) -> UInt16[np.ndarray, "z y x"]:
    """One label per prompt (1, 2, ... in their order), 0 is nothing.

    Finer levels lie over coarser ones, and on a level narrower prompts over the others.
    """
    labels = np.zeros(results[0].grid.shape_zyx, np.uint16)
    narrow = [any(_is_narrower(r.prompt, other.prompt) for other in results) for r in results]
    order = sorted(range(len(results)), key=lambda i: (-int(results[i].level), narrow[i], results[i].score))
    for i in order:
        labels[results[i].selected] = i + 1
    return labels
