"""Voxel scores of answers against truth: in 3D, on the input's own grid, at the run's threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from voxlang.core.errors import QueryError
from voxlang.core.levels import Level
from voxlang.query.answer import QueryResult
from voxlang.volume.types import LabelVolume, Part

PROTOCOL = "voxel-iou-1"
"""Version of the protocol: selected against true voxels over the whole grid, thresholds never swept; "mean" is over the
prompts that name wholes and parts, "mean of small" over those that name smalls."""


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

    def value(self, metric: str, subject: str = "mean") -> float | None:
        """The number of a metric and subject; None if it was not measured."""
        return next((r.value for r in self.rows if (r.metric, r.subject) == (metric, subject)), None)

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
    require_named_parts([result.prompt for result in results], truth)
    rows: list[EvalRow] = []
    groups: dict[str, list[str]] = {"mean": [], "mean of small": []}
    for result in results:
        parts = parts_named(result.prompt, truth)
        if parts:
            mask = np.logical_or.reduce([truth.mask_of(p.id) for p in parts])
            rows.append(EvalRow("iou", result.prompt, iou(result.selected, mask), int(mask.sum())))
            rows.append(EvalRow("dice", result.prompt, dice(result.selected, mask), int(mask.sum())))
            small = all(p.level == Level.SMALL for p in parts)
            groups["mean of small" if small else "mean"].append(result.prompt)
    means = [
        EvalRow(metric, group, float(np.mean([r.value for r in rows if (r.metric, r.subject) in wanted])), len(prompts))
        for metric in ("iou", "dice")
        for group, prompts in groups.items()
        if prompts and (wanted := {(metric, p) for p in prompts})
    ]
    return EvalReport((*means, *rows))


def require_named_parts(prompts: Sequence[str], truth: LabelVolume) -> None:
    """Refuse prompts of which none can be scored.

    Raises:
        QueryError: no prompt names a part.
    """
    if not any_part_named(prompts, truth):
        raise QueryError(
            f"a prompt that names a part: {', '.join(sorted(p.name for p in truth.tree))}",
            got=", ".join(map(repr, prompts)),
            where="evaluate_queries",
            do="query these names, or pass the names of the label map with --volume.label-names",
        )


def any_part_named(prompts: Sequence[str], truth: LabelVolume) -> bool:
    """Whether some prompt can be scored."""
    return any(parts_named(prompt, truth) for prompt in prompts)


def parts_named(prompt: str, truth: LabelVolume) -> list[Part]:
    """The parts whose name or synonym the prompt is (case does not matter)."""
    key = prompt.strip().lower()
    return [p for p in truth.tree if key == p.name.lower() or key in (s.lower() for s in p.synonyms)]


def truth_of(prompt: str, truth: LabelVolume) -> Bool[np.ndarray, "z y x"] | None:
    """True voxels of a prompt that is the name or a synonym of one or several parts; None if it names none."""
    parts = parts_named(prompt, truth)
    return np.logical_or.reduce([truth.mask_of(p.id) for p in parts]) if parts else None
