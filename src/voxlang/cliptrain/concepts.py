"""Kinds of parts from part trees, and which nouns are right, wrong or neither for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from voxlang.cliptrain.nouns import held_out
from voxlang.core.levels import Level
from voxlang.volume.types import Part, PartTree

TEMPLATES = (
    "{}", "{}", "a rendering of the {}", "the {} of a volume", "the {}", "a {}", "a picture of the {}",
    "a CT of the {}", "a 3D rendering of a {}", "the {} seen from the side", "one {}", "volume rendering of {}",
    "show me the {}",
)  # fmt: skip
"""Sentences around a noun; those of a query are among them."""


def base_name(name: str) -> str:
    """A part's name without the number of repeated parts: "leaf cluster 3" -> "leaf cluster"."""
    return name.rstrip("0123456789 ")


def other_side(name: str) -> str | None:
    """The name with left and right exchanged; None when neither occurs."""
    words = name.split()
    swapped = [{"left": "right", "right": "left"}.get(w, w) for w in words]
    return " ".join(swapped) if swapped != words else None


@dataclass(frozen=True)
class Concept:
    """One kind of part of one family."""

    family: str
    """Phantom family."""
    name: str
    """Name without number."""
    level: Level
    """Level at which it stands."""
    nouns: tuple[str, ...]
    """Name and synonyms, those kept out of training included."""
    ancestors: frozenset[str]
    """Names of the parts it belongs to."""

    @property
    def training_nouns(self) -> tuple[str, ...]:
        """Nouns that training may use."""
        return tuple(n for n in self.nouns if n not in held_out())


class ConceptTable:
    """All concepts of the part trees, and how each noun relates to each of them."""

    def __init__(self, trees: Iterable[tuple[str, PartTree]]) -> None:
        found: dict[tuple[str, str], Concept] = {}
        for family, tree in trees:
            for part in tree:
                key = (family, base_name(part.name))
                nouns = dict.fromkeys((key[1], *part.synonyms))
                if key in found:
                    nouns = dict.fromkeys((*found[key].nouns, *nouns))
                found[key] = Concept(family, key[1], part.level, tuple(nouns), _ancestors(tree, part))
        self.concepts: tuple[Concept, ...] = tuple(found[k] for k in sorted(found))
        self._index = {(c.family, c.name): i for i, c in enumerate(self.concepts)}
        self._strangers = self._strange_to_each_other()
        self._columns: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.concepts)

    def index(self, family: str, part: Part) -> int:
        """Row of a part's concept; KeyError for a part of none of the trees."""
        return self._index[family, base_name(part.name)]

    def whole_of(self, family: str) -> Concept:
        """The concept of a family's whole object."""
        return next(c for c in self.concepts if c.family == family and c.level == Level.WHOLE)

    @property
    def training_nouns(self) -> list[str]:
        """Nouns of all concepts that training may use, each once."""
        return list(dict.fromkeys(n for c in self.concepts for n in c.training_nouns))

    def column(self, noun: str) -> tuple[Bool[np.ndarray, "c"], Bool[np.ndarray, "c"]]:
        """The concepts for which a noun is right, and those for which it is wrong; it is neither for their kin."""
        if noun not in self._columns:
            right = np.array([noun in c.nouns for c in self.concepts])
            self._columns[noun] = right, self._strangers[:, right].all(axis=1)
        return self._columns[noun]

    def _strange_to_each_other(self) -> Bool[np.ndarray, "c c"]:
        """Whether two concepts are neither the same, nor one within the other, nor one the other side of the other."""
        strange = np.ones((len(self), len(self)), bool)
        for a, one in enumerate(self.concepts):
            for b, other in enumerate(self.concepts):
                if one.family == other.family:
                    kin = one.name in other.ancestors or other.name in one.ancestors
                    strange[a, b] = not (a == b or kin or other_side(one.name) == other.name)
        return strange


def _ancestors(tree: PartTree, part: Part) -> frozenset[str]:
    names = set()
    while part.parent is not None:
        part = tree[part.parent]
        names.add(base_name(part.name))
    return frozenset(names)
