"""What the masks room hands out: the masks of one view, and their hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32, UInt8

from voxlang.core.errors import MaskError
from voxlang.core.levels import LEVELS


@dataclass(frozen=True, eq=False)
class MaskSet:
    """The automatic masks of one picture, as packed bits."""

    height: int
    """Picture height in pixels."""
    width: int
    """Picture width in pixels."""
    packed: UInt8[np.ndarray, "n bytes"]
    """`np.packbits` of each mask, row-major over [v, u], padded with zero bits."""
    boxes_xyxy: Int32[np.ndarray, "n 4"]
    """Tight boxes, half-open pixels."""
    predicted_iou: Float32[np.ndarray, "n"]
    """The model's own estimate of its IoU."""
    stability: Float32[np.ndarray, "n"]
    """IoU of the masks cut at logits +offset and -offset."""
    points_uv: Float32[np.ndarray, "n 2"]
    """The prompt that made each mask, in pixels."""
    token: Int16[np.ndarray, "n"]
    """Which of the model's three outputs gave each mask; -1 for a single output, or where the generator does not say.
    The embedded model's are trained to be the levels Small, Part and Whole."""

    def __post_init__(self) -> None:
        n = len(self.packed)
        width_bytes = (self.height * self.width + 7) // 8
        numbers = self.boxes_xyxy, self.predicted_iou, self.stability, self.points_uv, self.token
        lengths = [len(values) for values in numbers]
        if any(k != n for k in lengths) or self.packed.shape[1] != width_bytes:
            raise MaskError(
                f"{n} rows in every array and {width_bytes} bytes a mask",
                got=f"rows {lengths}, {self.packed.shape[1]} bytes",
                where="MaskSet",
                do="build it with mask_set_from_dense",
            )

    def __len__(self) -> int:
        return len(self.packed)

    def dense(self, i: int) -> np.ndarray:
        """Mask `i` as boolean [h w]."""
        bits = np.unpackbits(self.packed[i], count=self.height * self.width)
        return bits.reshape(self.height, self.width).astype(bool)

    def all_dense(self) -> np.ndarray:
        """All masks as boolean [n h w]; for small sets and tests."""
        bits = np.unpackbits(self.packed, axis=1, count=self.height * self.width)
        return bits.reshape(len(self), self.height, self.width).astype(bool)

    def areas_px(self) -> np.ndarray:
        """Pixels in each mask, int64 [n]."""
        return np.bitwise_count(self.packed).sum(axis=1, dtype=np.int64)

    def select(self, index: np.ndarray) -> MaskSet:
        """The masks at these places (indices or booleans), in that order."""
        return MaskSet(
            self.height,
            self.width,
            self.packed[index],
            self.boxes_xyxy[index],
            self.predicted_iou[index],
            self.stability[index],
            self.points_uv[index],
            self.token[index],
        )


def mask_set_from_dense(
    masks: np.ndarray, *, predicted_iou: np.ndarray, stability: np.ndarray, points_uv: np.ndarray
) -> MaskSet:
    """Pack boolean masks [n h w] (n may be 0) of no known token; boxes are measured from the masks."""
    n, height, width = masks.shape
    boxes = np.zeros((n, 4), np.int32)
    for i, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            boxes[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    packed = (
        np.packbits(masks.reshape(n, height * width), axis=1)
        if n
        else np.zeros((0, (height * width + 7) // 8), np.uint8)
    )
    return MaskSet(
        height,
        width,
        packed,
        boxes,
        np.asarray(predicted_iou, np.float32).reshape(n),
        np.asarray(stability, np.float32).reshape(n),
        np.asarray(points_uv, np.float32).reshape(n, 2),
        np.full(n, -1, np.int16),
    )


@dataclass(frozen=True, eq=False)
class MaskHierarchy:
    """Masks with a level and a parent each."""

    masks: MaskSet
    """The masks, in the order that `level` and `parent` speak of."""
    level: Int16[np.ndarray, "n"]
    """Level value of each mask."""
    parent: Int32[np.ndarray, "n"]
    """Index of the smallest mask of a higher level that contains it; -1 for a root."""

    def __post_init__(self) -> None:
        n = len(self.masks)
        problems = []
        if len(self.level) != n or len(self.parent) != n:
            problems.append(f"{len(self.level)} levels and {len(self.parent)} parents for {n} masks")
        elif n:
            if not np.isin(self.level, [int(v) for v in LEVELS]).all():
                problems.append(f"level values {np.unique(self.level).tolist()}")
            child = self.parent >= 0
            if (self.parent >= n).any() or (self.parent < -1).any():
                problems.append("a parent index out of range")
            elif (self.level[self.parent[child]] <= self.level[child]).any():
                problems.append("a parent that is not on a higher level")
        if problems:
            raise MaskError(
                "levels 0, 1, 2 and parents on a higher level",
                got="; ".join(problems),
                where="MaskHierarchy",
                do="build it with partition_levels",
            )

    def counts(self) -> dict[str, int]:
        """Number of masks per level name."""
        return {level.label: int((self.level == level).sum()) for level in LEVELS}

    def tree_rows(self) -> list[dict[str, Any]]:
        """One JSON-able row per mask: index, level, parent, area, box, scores."""
        areas = self.masks.areas_px()
        return [
            {
                "index": i,
                "level": LEVELS[int(self.level[i])].label,
                "parent": int(self.parent[i]),
                "area_px": int(areas[i]),
                "box_xyxy": [int(v) for v in self.masks.boxes_xyxy[i]],
                "predicted_iou": round(float(self.masks.predicted_iou[i]), 4),
                "stability": round(float(self.masks.stability[i]), 4),
            }
            for i in range(len(self.masks))
        ]


@runtime_checkable
class MaskGenerator(Protocol):
    """Whatever finds the masks of a picture."""

    @property
    def id(self) -> str:
        """Digest of all that decides the masks of a given picture: weights, configuration, thresholds."""
        ...

    def generate(
        self, rgb: UInt8[np.ndarray, "h w 3"], *, foreground: Bool[np.ndarray, "h w"] | None = None
    ) -> MaskSet:
        """All masks of a picture; `foreground` marks the pixels worth asking about."""
        ...


@runtime_checkable
class ViewMaskGenerator(MaskGenerator, Protocol):
    """A generator that takes several views at a time, as stage 2 asks it."""

    def generate_many(
        self, pictures: Sequence[np.ndarray], *, foregrounds: Sequence[np.ndarray | None] | None = None
    ) -> list[MaskSet]:
        """The masks of several pictures, which may share work."""
        ...
