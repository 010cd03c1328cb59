"""How the masks of a cache are distributed over the levels, in numbers and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxlang.core.errors import CacheError
from voxlang.core.levels import LEVELS
from voxlang.masks.paint import index_maps
from voxlang.masks.types import MaskHierarchy
from voxlang.supervision.cache import changed_inputs, read_cache, read_header
from voxlang.supervision.types import ViewTarget


@dataclass(frozen=True)
class LevelRow:
    """The masks of one level over all views."""

    level: str
    """Name of the level."""
    count: int
    """Masks in all views together."""
    share: float
    """Of all masks, in [0, 1]; 0 when there are none."""
    coverage: float
    """Mean share of a picture's pixels that carry a mask of this level, in [0, 1]."""
    per_view_mean: float
    """Masks per view."""
    per_view_min: int
    """Masks in the poorest view."""
    per_view_max: int
    """Masks in the richest view."""
    mean_score: float
    """Mean of predicted IoU times stability, in [0, 1]; 0 when there are none."""


@dataclass(frozen=True)
class LevelStatistics:
    """The distribution over levels of one cache."""

    n_views: int
    """Number of views."""
    n_masks: int
    """Masks in all views together."""
    coverage: float
    """Mean share of a picture's pixels that carry a mask of any level, in [0, 1]."""
    rows: tuple[LevelRow, ...]
    """One row per level: small, part, whole."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: the totals and one entry per level name."""
        rows = {row.level: {k: v for k, v in asdict(row).items() if k != "level"} for row in self.rows}
        return {"n_views": self.n_views, "n_masks": self.n_masks, "coverage": self.coverage, "levels": rows}


@dataclass(frozen=True)
class CacheComparison:
    """Several caches side by side."""

    statistics: dict[str, LevelStatistics]
    """By the name that the text uses: the file's name, with its folder where names collide."""
    changed: dict[str, dict[str, tuple[str | None, str | None]]]
    """For each cache but the first, the inputs that differ from the first: name -> (first, this)."""
    text: str
    """The tables, the shifts of the shares and the inputs that differ."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        changed = {n: {k: list(v) for k, v in inputs.items()} for n, inputs in self.changed.items()}
        return {"caches": {n: s.as_dict() for n, s in self.statistics.items()}, "changed_inputs": changed}


def cache_stats(targets: Sequence[ViewTarget]) -> LevelStatistics:
    """Count masks, shares and covered pixels per level; no views give zeros."""
    return _statistics([(t.mask_index, t.mask_level, t.mask_score) for t in targets])


def hierarchy_stats(hierarchies: Sequence[MaskHierarchy]) -> LevelStatistics:
    """The same for masks that have not become view targets."""
    return _statistics([(index_maps(h), h.level, h.masks.predicted_iou * h.masks.stability) for h in hierarchies])


def _statistics(views: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> LevelStatistics:
    """Views as (index maps [3 h w], level of each mask, score of each mask)."""
    rows = []
    total = sum(len(levels) for _, levels, _ in views)
    for level in LEVELS:
        counts = [int((levels == level).sum()) for _, levels, _ in views]
        scores = np.concatenate([np.zeros(0, np.float32), *(score[levels == level] for _, levels, score in views)])
        count = sum(counts)
        rows.append(
            LevelRow(
                level.label,
                count,
                count / total if total else 0.0,
                _mean([float((maps[level] >= 0).mean()) for maps, _, _ in views]),
                _mean(counts),
                min(counts, default=0),
                max(counts, default=0),
                float(scores.mean(dtype=np.float64)) if count else 0.0,
            )
        )
    covered = _mean([float((maps >= 0).any(axis=0).mean()) for maps, _, _ in views])
    return LevelStatistics(len(views), total, covered, tuple(rows))


def format_statistics(statistics: LevelStatistics, *, title: str = "masks by level") -> str:
    """A text table of one cache, one line per level."""
    header = f"{'level':<6} {'masks':>6} {'share':>7} {'pixels':>7} {'per view':>9} {'min':>4} {'max':>4} {'score':>6}"
    lines = [
        f"{title}: {statistics.n_masks} masks in {statistics.n_views} views, "
        f"{statistics.coverage:.1%} of the pixels covered",
        header,
    ]
    for r in statistics.rows:
        score = f"{r.mean_score:6.3f}" if r.count else f"{'-':>6}"
        lines.append(
            f"{r.level:<6} {r.count:>6} {r.share:>7.1%} {r.coverage:>7.1%} {r.per_view_mean:>9.1f} "
            f"{r.per_view_min:>4} {r.per_view_max:>4} {score}"
        )
    return "\n".join(lines)


def compare_caches(paths: Sequence[Path | str]) -> CacheComparison:
    """Statistics of several caches, how their shares differ from the first, and which inputs differ.

    Raises:
        CacheError: no path, or a file that `read_cache` refuses.
    """
    if not paths:
        raise CacheError(
            "at least one cache file", got="none", where="cache-stats", do="pass cache/sam_cache_20views.pkl"
        )
    names = _short_names([Path(p) for p in paths])
    statistics = {n: cache_stats(read_cache(p, expected=None)) for n, p in zip(names, paths, strict=True)}
    inputs = [read_header(p).inputs for p in paths]
    changed = {n: changed_inputs(inputs[0], other) for n, other in zip(names[1:], inputs[1:], strict=True)}
    blocks = [format_statistics(s, title=n) for n, s in statistics.items()]
    if len(names) > 1:
        blocks.append(_shift_table(statistics))
        blocks += [_changed_text(names[0], n, c) for n, c in changed.items()]
    return CacheComparison(statistics, changed, "\n\n".join(blocks))


def _mean(values: Sequence[float | int]) -> float:
    return float(np.mean(values)) if values else 0.0


def _shift_table(statistics: dict[str, LevelStatistics]) -> str:
    first, *others = statistics
    lines = [f"share of masks, in points against {first}:"]
    for name in others:
        pairs = zip(statistics[first].rows, statistics[name].rows, strict=True)
        lines.append(f"  {name}: " + ", ".join(f"{b.level} {100 * (b.share - a.share):+.1f}" for a, b in pairs))
    return "\n".join(lines)


def _changed_text(first: str, name: str, changed: dict[str, tuple[str | None, str | None]]) -> str:
    if not changed:
        return f"{name} was made from the same inputs as {first}"
    return f"{name} differs from {first} in: {', '.join(changed)}"


def _short_names(paths: Sequence[Path]) -> list[str]:
    """File names; the whole path where two files have the same name, numbered where even those are equal."""
    names = [p.name if sum(q.name == p.name for q in paths) == 1 else str(p) for p in paths]
    return [n if names.count(n) == 1 else f"{n} ({names[:i].count(n) + 1})" for i, n in enumerate(names)]
