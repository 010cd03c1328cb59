"""What the volume room hands out: volumes, part trees and label volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt16

from voxlang.core.digest import digest_array, digest_json
from voxlang.core.errors import VolumeError
from voxlang.core.levels import Level, level_from_name
from voxlang.geometry.grid import VolumeGrid


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar volume, normalised to [0, 1] with the native range beside it."""

    values: Float32[np.ndarray, "z y x"]
    """C-contiguous; native = value_range[0] + value * (value_range[1] - value_range[0])."""
    grid: VolumeGrid
    """Where the voxels lie."""
    value_range: tuple[float, float]
    """Native values of 0 and 1, e.g. HU; lower < upper."""
    name: str
    """Short name for run folders and reports."""

    def __post_init__(self) -> None:
        if self.values.shape != self.grid.shape_zyx:
            raise VolumeError(
                f"values of shape {self.grid.shape_zyx} (z, y, x) for size_xyz={self.grid.size_xyz}",
                got=f"shape {self.values.shape}",
                where=f"Volume {self.name!r}",
                do="give the array as [z, y, x]",
            )
        if not np.isfinite(self.values).all():
            raise VolumeError(
                "finite values",
                got=f"{int((~np.isfinite(self.values)).sum())} NaN or infinite voxels",
                where=f"Volume {self.name!r}",
                do="replace them, for example by the air value, before loading",
            )
        if not self.value_range[0] < self.value_range[1]:
            raise VolumeError(
                "a value range with lower < upper",
                got=f"{self.value_range}",
                where=f"Volume {self.name!r}",
                do="use a volume that is not constant",
            )
        object.__setattr__(self, "values", np.ascontiguousarray(self.values))

    @cached_property
    def digest(self) -> str:
        """Content digest of values, grid and range; the name does not count."""
        return digest_json([digest_array(self.values), self.grid.as_dict(), [float(v) for v in self.value_range]])

    def normalised(self, native: float) -> float:
        """Normalised value of a native one (may lie outside [0, 1])."""
        lower, upper = self.value_range
        return (native - lower) / (upper - lower)

    def native_values(self) -> Float[np.ndarray, "z y x"]:
        """Values in native units, float32."""
        lower, upper = self.value_range
        return (self.values * np.float32(upper - lower) + np.float32(lower)).astype(np.float32)


@dataclass(frozen=True)
class Part:
    """One named part of an object."""

    id: int
    """Label value in a LabelVolume, >= 1; 0 is background."""
    name: str
    """Singular or collective noun, lower case: "left kidney", "leaves"."""
    level: Level
    """Level at which the part stands as a region."""
    parent: int | None
    """Id of the part it belongs to; None for a root."""
    synonyms: tuple[str, ...] = ()
    """Other names for the same part."""
    attributes: tuple[str, ...] = ()
    """Words that describe it without naming it: "green", "bony"."""


_SIBLINGS = frozenset(("left", "right", "upper", "lower", "first", "second", "third", "fourth", "fifth"))


def part_kind(name: str) -> str:
    """The name without what tells siblings apart: numbers, and words of side and order.

    >>> part_kind("left rib 3")
    'rib'
    """
    words = [w for w in name.split() if not w.isdigit() and w not in _SIBLINGS]
    return " ".join(words) or name


@dataclass(frozen=True)
class PartTree:
    """The named parts of a labelled volume; a part's parent stands on a higher level."""

    parts: tuple[Part, ...]
    _by_id: dict[int, Part] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {p.id: p for p in self.parts}
        problems = []
        if len(by_id) != len(self.parts) or any(i < 1 for i in by_id):
            problems.append("ids must be unique and >= 1")
        for p in self.parts:
            if p.parent is not None and p.parent not in by_id:
                problems.append(f"{p.name!r} has the unknown parent {p.parent}")
            elif p.parent is not None and by_id[p.parent].level <= p.level:
                problems.append(f"{p.name!r} ({p.level.label}) has a parent that is not on a higher level")
        if problems:
            raise VolumeError(
                "a part tree whose parents exist and stand on a higher level",
                got="; ".join(problems),
                where="PartTree",
                do="correct the tree",
            )
        object.__setattr__(self, "_by_id", by_id)

    def __getitem__(self, part_id: int) -> Part:
        return self._by_id[part_id]

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def named(self, name: str) -> Part:
        """The part with this name or synonym (case does not matter)."""
        key = name.strip().lower()
        for p in self.parts:
            if key == p.name.lower() or key in (s.lower() for s in p.synonyms):
                return p
        raise VolumeError(
            f"a part name out of {sorted(p.name for p in self.parts)}",
            got=repr(name),
            where="PartTree.named",
            do="use one of these names",
        )

    def descendants(self, part_id: int) -> frozenset[int]:
        """Ids of the part itself and of everything below it."""
        found = {part_id}
        while True:
            more = {p.id for p in self.parts if p.parent in found} - found
            if not more:
                return frozenset(found)
            found |= more

    def ancestor_at(self, part_id: int, level: Level) -> int | None:
        """Id of the part or ancestor that stands on `level`; None if there is none."""
        current: int | None = part_id
        while current is not None:
            if self._by_id[current].level == level:
                return current
            current = self._by_id[current].parent
        return None

    def as_list(self) -> list[dict[str, Any]]:
        """JSON-able description."""
        return [
            {
                "id": p.id,
                "name": p.name,
                "level": p.level.label,
                "parent": p.parent,
                "synonyms": list(p.synonyms),
                "attributes": list(p.attributes),
            }
            for p in self.parts
        ]

    @staticmethod
    def from_list(rows: list[dict[str, Any]]) -> PartTree:
        """Inverse of `as_list`."""
        return PartTree(
            tuple(
                Part(
                    int(r["id"]),
                    r["name"],
                    level_from_name(r["level"]),
                    r["parent"],
                    tuple(r.get("synonyms", ())),
                    tuple(r.get("attributes", ())),
                )
                for r in rows
            )
        )


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The deepest part at every voxel; regions of higher levels are unions over descendants."""

    labels: UInt16[np.ndarray, "z y x"]
    """Part ids, 0 for background."""
    grid: VolumeGrid
    """Where the voxels lie."""
    tree: PartTree
    """Every label that occurs has a part here."""

    def __post_init__(self) -> None:
        unknown = set(np.unique(self.labels).tolist()) - {0} - {p.id for p in self.tree}
        if self.labels.shape != self.grid.shape_zyx or unknown:
            raise VolumeError(
                f"labels of shape {self.grid.shape_zyx} whose values are parts of the tree",
                got=f"shape {self.labels.shape}, values without a part: {sorted(unknown)[:10]}",
                where="LabelVolume",
                do="correct the labels or the tree",
            )

    def mask_of(self, part_id: int) -> np.ndarray:
        """Boolean [z y x] of a part and everything below it."""
        return np.isin(self.labels, sorted(self.tree.descendants(part_id)))
