"""Voxel scores of answers against truth: in 3D, on the input's own grid, at the run's threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from voxlang.core.errors import QueryError
from voxlang.query.answer import QueryResult
from voxlang.volume.types import LabelVolume

PROTOCOL = "voxel-iou-1"
"""Version of the protocol: selected against true voxels over the whole grid, thresholds never swept."""


@dataclass(frozen=True)
class EvalRow:
    """One measured number."""

    metric: str
    """What was measured, such as "iou"."""
    subject: str
    """Whose number it is: a prompt, or "mean"."""
    value: float
    """The number."""
    n: int
    """How many voxels or queries stand behind it."""


@dataclass(frozen=True)
class EvalReport:
    """Scores of one run with the protocol they follow."""

    rows: tuple[EvalRow, ...]
    protocol: str = PROTOCOL

    def value(self, metric: str, subject: str = "mean") -> float:
        """The number of a metric and subject."""
        return next(r.value for r in self.rows if (r.metric, r.subject) == (metric, subject))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able rows and protocol version."""
        return {"protocol": self.protocol, "rows": [vars(r) for r in self.rows]}


def iou(selected: Bool[np.ndarray, "z y x"], truth: Bool[np.ndarray, "z y x"]) -> float:
    """Intersection over union; 1 when both are empty."""
    union = int((selected | truth).sum())
    return 1.0 if union == 0 else int((selected & truth).sum()) / union


def dice(selected: Bool[np.ndarray, "z y x"], truth: Bool[np.ndarray, "z y x"]) -> float:
    """Twice the intersection over the sum of sizes; 1 when both are empty."""
    total = int(selected.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2 * int((selected & truth).sum()) / total


def evaluate_queries(results: list[QueryResult], truth: LabelVolume) -> EvalReport:
    """IoU and Dice of every answer whose prompt names a part of the truth (or one of its synonyms), and their means.

    Raises:
        QueryError: no prompt names a part.
    """
    rows: list[EvalRow] = []
    for result in results:
        mask = truth_of(result.prompt, truth)
        if mask is not None:
            rows.append(EvalRow("iou", result.prompt, iou(result.selected, mask), int(mask.sum())))
            rows.append(EvalRow("dice", result.prompt, dice(result.selected, mask), int(mask.sum())))
    if not rows:
        raise QueryError(
            f"a prompt that names a part: {', '.join(sorted(p.name for p in truth.tree))}",
            got=", ".join(repr(r.prompt) for r in results),
            where="evaluate_queries",
            do="query these names, or pass the names of the label map with --volume.label-names",
        )
    means = [
        EvalRow(metric, "mean", float(np.mean([r.value for r in rows if r.metric == metric])), len(rows) // 2)
        for metric in ("iou", "dice")
    ]
    return EvalReport((*means, *rows))


def truth_of(prompt: str, truth: LabelVolume) -> Bool[np.ndarray, "z y x"] | None:
    """True voxels of a prompt that is the name or a synonym of one or several parts; None if it names none."""
    key = prompt.strip().lower()
    ids = [p.id for p in truth.tree if key == p.name.lower() or key in (s.lower() for s in p.synonyms)]
    if not ids:
        return None
    return np.logical_or.reduce([truth.mask_of(i) for i in ids])
