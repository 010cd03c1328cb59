"""Captions from part trees, and which of them are right, wrong or neither for a crop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from voxlang.cliptrain.nouns import GENERIC, held_out
from voxlang.core.levels import Level
from voxlang.volume.types import Part, PartTree

TEMPLATES = (
    "{}", "{}", "a rendering of the {}", "the {} of a volume", "the {}", "a {}", "a picture of the {}",
    "a CT of the {}", "a 3D rendering of a {}", "the {} seen from the side", "one {}", "volume rendering of {}",
    "show me the {}",
)  # fmt: skip
"""Sentences around a noun; those of a query are among them."""
QUERY_TEMPLATES = ("{}", "a rendering of the {}", "the {} of a volume")
"""What a query uses: evaluation averages the vectors of these."""


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
    def caption_nouns(self) -> tuple[str, ...]:
        """Nouns that may stand in a caption."""
        return tuple(n for n in self.nouns if n not in held_out())


@dataclass(frozen=True)
class Caption:
    """One text of a batch."""

    text: str
    """What the text tower reads."""
    noun: str
    """Noun in it."""
    family: str | None = None
    """Family that it names through "of a ..."; None when it fits any."""
    attribute: str | None = None
    """Attribute before the noun."""


class ConceptTable:
    """All concepts of the part trees, and how each noun relates to each of them."""

    def __init__(self, trees: Iterable[tuple[str, PartTree]], *, kin_weight: float = 0.3) -> None:
        found: dict[tuple[str, str], Concept] = {}
        attributes: set[str] = set()
        for family, tree in trees:
            for part in tree:
                key = (family, base_name(part.name))
                attributes |= set(part.attributes)
                nouns = dict.fromkeys((key[1], *part.synonyms))
                if key in found:
                    nouns = dict.fromkeys((*found[key].nouns, *nouns))
                found[key] = Concept(family, key[1], part.level, tuple(nouns), _ancestors(tree, part))
        self.concepts: tuple[Concept, ...] = tuple(found[k] for k in sorted(found))
        self.attributes: tuple[str, ...] = tuple(sorted(attributes))
        self._index = {(c.family, c.name): i for i, c in enumerate(self.concepts)}
        self._kin_weight = kin_weight
        self._between = self._weights_between()
        self._columns: dict[tuple[str, str | None], tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.concepts)

    def index(self, family: str, part: Part) -> int:
        """Row of a part's concept; KeyError for a part of none of the trees."""
        return self._index[family, base_name(part.name)]

    def whole_of(self, family: str) -> Concept:
        """The concept of a family's whole object."""
        return next(c for c in self.concepts if c.family == family and c.level == Level.WHOLE)

    def relax(self, similarity: Mapping[tuple[int, int], float], *, above: float = 0.6) -> None:
        """Take pairs of concepts of different families out of the wrong ones where a teacher finds them alike."""
        for (a, b), value in similarity.items():
            if self.concepts[a].family != self.concepts[b].family and value > above:
                self._between[a, b] = self._between[b, a] = 0.0
        self._columns.clear()

    def column(self, noun: str, family: str | None = None) -> tuple[Bool[np.ndarray, "c"], Float32[np.ndarray, "c"]]:
        """For a text with this noun: the concepts it is right for, and its weight as a wrong text of the others."""
        key = (noun, family)
        if key not in self._columns:
            named = np.array([noun in c.nouns for c in self.concepts])
            own = np.array([family is None or c.family == family for c in self.concepts])
            right = named & own
            meant = np.flatnonzero(right)
            wrong = self._between[:, meant].min(axis=1) if len(meant) else np.ones(len(self), np.float32)
            self._columns[key] = (right, np.where(named, np.float32(0.0), wrong).astype(np.float32))
        return self._columns[key]

    def _weights_between(self) -> Float32[np.ndarray, "c c"]:
        """Weight of the names of concept b as wrong for a crop of concept a."""
        weights = np.ones((len(self), len(self)), np.float32)
        for a, crop in enumerate(self.concepts):
            for b, text in enumerate(self.concepts):
                if a == b:
                    weights[a, b] = 0.0
                elif crop.family == text.family:
                    if text.name in crop.ancestors:
                        weights[a, b] = self._kin_weight if text.level == Level.WHOLE else 0.0
                    elif crop.name in text.ancestors or other_side(crop.name) == text.name:
                        weights[a, b] = self._kin_weight
        return weights

    def universal_captions(self, rng: np.random.Generator) -> list[Caption]:
        """One caption per concept: any of its nouns, sometimes "of a" whole, in any template."""
        captions = []
        for concept in self.concepts:
            noun = str(rng.choice(concept.caption_nouns))
            whole = self.whole_of(concept.family)
            if concept.level != Level.WHOLE and rng.random() < 0.3:
                thing = str(rng.choice(whole.caption_nouns))
                link = "of the" if rng.random() < 0.5 else "of a"
                captions.append(Caption(f"{_lead(rng)}{noun} {link} {thing}", noun, concept.family))
            else:
                captions.append(Caption(str(rng.choice(TEMPLATES)).format(noun), noun))
        return captions

    def crop_caption(self, rng: np.random.Generator, concept: int, attributes: Bool[np.ndarray, "a"]) -> Caption:
        """A caption for a crop: a noun with one of its own attributes, or without if it has none."""
        noun = str(rng.choice(self.concepts[concept].caption_nouns))
        known = np.flatnonzero(attributes)
        if not len(known):
            return Caption(str(rng.choice(TEMPLATES)).format(noun), noun)
        attribute = self.attributes[int(rng.choice(known))]
        if attribute.startswith("at the"):
            return Caption(f"the {noun} {attribute}", noun, None, attribute)
        return Caption(str(rng.choice(TEMPLATES)).format(f"{attribute} {noun}"), noun, None, attribute)


def generic_captions(rng: np.random.Generator, count: int = 2) -> list[Caption]:
    """The canonical negatives and some others, each in any template."""
    extra = [str(g) for g in rng.choice(GENERIC[4:], count, replace=False)]
    return [Caption(str(rng.choice(TEMPLATES)).format(g), g) for g in (*GENERIC[:4], *extra)]


def _lead(rng: np.random.Generator) -> str:
    return str(rng.choice(("", "the ", "a rendering of the ")))


def _ancestors(tree: PartTree, part: Part) -> frozenset[str]:
    names = set()
    while part.parent is not None:
        part = tree[part.parent]
        names.add(base_name(part.name))
    return frozenset(names)
