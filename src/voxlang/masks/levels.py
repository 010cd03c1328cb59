"""Sort the masks of one picture into Small, Part and Whole, and find the parent of each.

The containment rule speaks only of masks and of the object, never of the picture: an object keeps its levels when the
camera comes nearer or the picture gets a wider margin. The original's two rules, by fractions of the picture and by
percentiles of the areas, are kept under their names. A model whose three outputs are trained to be the levels, as the
embedded one's are, says them itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float64, Int16, Int32, Int64

from voxlang.core.digest import digest_json
from voxlang.core.errors import ConfigError, MaskError
from voxlang.core.levels import Level
from voxlang.masks.settings import LevelRule, LevelSettings
from voxlang.masks.types import MaskHierarchy, MaskSet

_RULES: dict[LevelRule, str] = {
    "token": "what the token says, but nothing above part_share is small; containment where there is no token",
    "containment": "nesting and shares of the object",
    "area": "fractions of the picture",
    "percentile": "percentiles of the areas",
}
"""What each rule does, in words that change when it does: caches of its levels are told apart by them."""
_CHUNK_PX = 1 << 14
"""Pixels unpacked at a time: bounds the memory of the pairwise overlaps."""


def partition_levels(
    masks: MaskSet,
    object_mask: Bool[np.ndarray, "h w"] | None,
    *,
    rule: LevelRule = "containment",
    settings: LevelSettings | None = None,
) -> MaskHierarchy:
    """Give every mask a level and a parent, after dropping near-duplicates and masks of the background.

    Containment: B contains A when 85 % of A lies in B and B is larger. A root (without container) is WHOLE if it covers
    half of the connected object that it lies on, else PART or SMALL by its inner masks and its share of the object. A
    contained mask is one level below each of its containers of which it is at most three quarters, and a variant on
    the same level of a container that it nearly fills. Deeper nesting than three levels is squeezed into SMALL.

    Args:
        masks: the masks of one picture.
        object_mask: pixels of the object (opacity above a threshold). Without it the object is the union of all masks
            and each root is an object of its own.
        rule: "containment", "token" (the output that gave a mask, but nothing above `part_share` of the object is
            SMALL; containment where the output is not known), "area" (fractions of the picture) or "percentile" (of
            the areas of these masks).
        settings: the numbers; by default the ones of `LevelSettings()`.

    Returns:
        the masks that stayed, unchanged and in their order, with levels and parents. A parent is the smallest
        containing mask on a higher level.

    Raises:
        ConfigError: unknown rule.
        MaskError: an object mask of another size.
    """
    if rule not in get_args(LevelRule):
        raise ConfigError(
            " or ".join(get_args(LevelRule)), got=repr(rule), where="sam.level_rule", do="use one of these"
        )
    if object_mask is not None and object_mask.shape != (masks.height, masks.width):
        raise MaskError(
            f"an object mask of height x width {(masks.height, masks.width)}",
            got=f"{object_mask.shape}",
            where="partition_levels",
            do="use the opacity of the view that the masks were made on",
        )
    s = settings or LevelSettings()
    on_object = None if object_mask is None else np.packbits(object_mask.reshape(-1))
    masks = masks.select(_on_object(masks, on_object, s))
    overlap = pairwise_overlap_px(masks, on_object)
    kept = _without_duplicates(masks, overlap, s)
    masks, overlap = masks.select(kept), overlap[np.ix_(kept, kept)]
    nesting = _Nesting.measure(overlap, s)
    if rule in ("containment", "token"):
        level = _levels_by_containment(masks, nesting, object_mask, s)
        if rule == "token":
            level = np.where(masks.token >= 0, _levels_by_token(masks, nesting, object_mask, s), level)
    else:
        level = _levels_by_area(masks, rule, s)
    return MaskHierarchy(masks, level, _parents(nesting, level))


def levels_digest(rule: LevelRule, settings: LevelSettings | None = None) -> str:
    """Digest of all that decides the levels of given masks: what the rule does, and its numbers."""
    return digest_json([_RULES[rule], (settings or LevelSettings()).model_dump(mode="json")])


def pairwise_overlap_px(masks: MaskSet, on_object: np.ndarray | None = None) -> Int64[np.ndarray, "n n"]:
    """Pixels that each pair of masks shares; areas on the diagonal. Exact: a sum of 0/1 matrix products.

    Args:
        masks: n masks.
        on_object: packed bits of the pixels that count, or None for all.
    """
    overlap = np.zeros((len(masks), len(masks)), np.int64)
    packed = masks.packed if on_object is None else masks.packed & on_object
    for start in range(0, packed.shape[1], _CHUNK_PX // 8):
        bits = np.unpackbits(packed[:, start : start + _CHUNK_PX // 8], axis=1).astype(np.float32)
        overlap += (bits @ bits.T).astype(np.int64)
    return overlap


@dataclass(frozen=True)
class _Nesting:
    """Who lies in whom."""

    area: Int64[np.ndarray, "n"]
    """Pixels of each mask on the object."""
    inside: Bool[np.ndarray, "n n"]
    """inside[a, b]: b contains a."""

    @staticmethod
    def measure(overlap: np.ndarray, s: LevelSettings) -> _Nesting:
        area = np.diagonal(overlap).copy()
        covered = overlap >= s.contained * area[:, None]
        return _Nesting(area, covered & (area[:, None] < area[None, :]))


def _on_object(masks: MaskSet, on_object: np.ndarray | None, s: LevelSettings) -> np.ndarray:
    areas = masks.areas_px()
    if on_object is None:
        return areas > 0
    shared = np.bitwise_count(masks.packed & on_object).sum(axis=1, dtype=np.int64)
    return (shared > 0) & (shared >= s.min_on_object * areas)


def _without_duplicates(masks: MaskSet, overlap: np.ndarray, s: LevelSettings) -> Int64[np.ndarray, "k"]:
    area = np.diagonal(overlap)
    iou = overlap / np.maximum(area[:, None] + area[None, :] - overlap, 1)
    best_first = np.lexsort((-masks.stability, -masks.predicted_iou))
    kept: list[int] = []
    for i in best_first:
        if not (iou[i, kept] > s.duplicate_iou).any():
            kept.append(int(i))
    return np.sort(np.array(kept, np.int64))


def _levels_by_containment(
    masks: MaskSet, nesting: _Nesting, object_mask: np.ndarray | None, s: LevelSettings
) -> Int16[np.ndarray, "n"]:
    area, inside = nesting.area, nesting.inside
    of_object, of_component = _shares(masks, nesting, object_mask, s)
    drops = inside & (area[:, None] <= s.level_drop * area[None, :])
    has_inner = drops.any(axis=0)
    level = np.zeros(len(masks), np.int16)
    for i in np.argsort(-area, kind="stable"):
        containers = np.flatnonzero(inside[i])
        if len(containers):
            level[i] = max(0, (level[containers] - drops[i, containers]).min())
            wholes = containers[level[containers] == Level.WHOLE]
            is_tiny = len(wholes) > 0 and area[i] < s.small_share * area[wholes].min()
            if level[i] == Level.PART and is_tiny and not has_inner[i]:
                level[i] = Level.SMALL
        elif of_component[i] >= (s.whole_share_with_parts if has_inner[i] else s.whole_share):
            level[i] = Level.WHOLE
        elif has_inner[i] or of_object[i] >= s.part_share:
            level[i] = Level.PART
    return level


def _levels_by_token(
    masks: MaskSet, nesting: _Nesting, object_mask: np.ndarray | None, s: LevelSettings
) -> Int16[np.ndarray, "n"]:
    """What the tokens say, but nothing that is large on the object is SMALL: there the model wavers between views."""
    is_large = nesting.area >= s.part_share * _object_px(masks, object_mask)
    return np.where((masks.token == Level.SMALL) & is_large, np.int16(Level.PART), masks.token)


def _object_px(masks: MaskSet, object_mask: np.ndarray | None) -> int:
    """Pixels of the object, or of the union of all masks."""
    if object_mask is not None:
        return int(object_mask.sum())
    return int(np.bitwise_count(np.bitwise_or.reduce(masks.packed, axis=0)).sum(dtype=np.int64))


def _shares(
    masks: MaskSet, nesting: _Nesting, object_mask: np.ndarray | None, s: LevelSettings
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Share of the whole object, and of the connected pieces that a mask lies on (0 if these are only specks)."""
    from scipy import ndimage

    n = len(masks)
    if n == 0:
        return np.zeros(0), np.zeros(0)
    object_px = _object_px(masks, object_mask)
    of_object = nesting.area / object_px
    if object_mask is None:
        return of_object, (of_object >= s.min_component_share).astype(float)
    labels, _ = ndimage.label(object_mask, structure=np.ones((3, 3), int))
    component_area = np.bincount(labels.ravel())
    component_area[0] = 0
    of_component = np.zeros(n)
    for i in np.flatnonzero(~nesting.inside.any(axis=1)).tolist():
        touched = np.bincount(labels[masks.dense(i)], minlength=len(component_area))
        touched[0] = 0
        lies_on = touched >= 0.05 * touched.sum()
        counted = lies_on & (component_area >= s.min_component_share * object_px)
        if counted.any():
            of_component[i] = touched[counted].sum() / component_area[counted].sum()
    return of_object, of_component


def _levels_by_area(masks: MaskSet, rule: LevelRule, s: LevelSettings) -> Int16[np.ndarray, "n"]:
    areas = masks.areas_px()
    if rule == "area":
        limits = np.array(s.area_fractions) * masks.height * masks.width
    else:
        limits = np.percentile(areas, s.percentiles) if len(areas) else np.zeros(2)
    return np.searchsorted(limits, areas, side="left").astype(np.int16)


def _parents(nesting: _Nesting, level: np.ndarray) -> Int32[np.ndarray, "n"]:
    parent = np.full(len(level), -1, np.int32)
    for i in range(len(level)):
        candidates = np.flatnonzero(nesting.inside[i] & (level > level[i]))
        if len(candidates):
            parent[i] = candidates[np.argmin(nesting.area[candidates])]
    return parent
