"""How well names find parts on views never trained on: retrieval, found and not found, confusion tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import CropsConfig
from voxlang.cliptrain.crops_data import CropPool, cut_crops
from voxlang.cliptrain.nouns import HELD_OUT, held_out_from_teacher
from voxlang.embed.crops import averaged_policies
from voxlang.embed.embed_masks import mean_direction
from voxlang.embed.settings import CropPolicy
from voxlang.embed.types import ImageTextEncoder
from voxlang.masks.types import MaskGenerator
from voxlang.query.config import CANONICAL_NEGATIVES, QUERY_TEMPLATES
from voxlang.scenes.buffer import StoredScenes, read_scenes, some_scene_files
from voxlang.volume.types import part_kind

NAMING = ("same_level_top1", "same_object_top1", "all_top1", "all_top5")
"""Figures of `evaluate` that say how often a crop gets its own name, also of found masks."""
OBJECT_VIEWS = 10_000
"""Numbers of views that each object has to itself."""


@dataclass(frozen=True, eq=False)
class CropSet:
    """Masks as vectors, with what they show."""

    vectors: Float32[np.ndarray, "n d"]
    """Unit vectors."""
    concepts: Int[np.ndarray, "n 3"]
    """Rows of the concept table that are right for a crop, -1 where there are fewer."""
    view: Int[np.ndarray, "n"]
    """Number of the view, over all phantoms."""
    table: ConceptTable
    """The concepts of these phantoms."""

    def shows(self) -> Bool[np.ndarray, "n c"]:
        """Whether a crop shows a concept."""
        out = np.zeros((len(self.vectors), len(self.table) + 1), bool)
        np.put_along_axis(out, self.concepts, True, axis=1)
        return out[:, :-1]

    def families(self) -> list[str]:
        """Family of each crop."""
        return [self.table.concepts[int(i)].family for i in self.concepts[:, 0]]


def text_vectors(encoder: ImageTextEncoder, texts: Sequence[str]) -> Float32[np.ndarray, "t d"]:
    """Unit vectors of texts as a query makes them: the normalised mean over the query's templates."""
    rows = encoder.encode_texts([t.format(text) for text in texts for t in QUERY_TEMPLATES])
    means = rows.reshape(len(texts), len(QUERY_TEMPLATES), -1).mean(axis=1)
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def crop_set(
    encoder: ImageTextEncoder,
    folders: Sequence[str | Path],
    *,
    policy: CropPolicy = "masked",
    min_area_px: int = 60,
    generator: MaskGenerator | None = None,
) -> CropSet:
    """`crops_of` the views in some folders.

    Raises:
        ConfigError: no views there.
    """
    scenes = map(read_scenes, some_scene_files(folders))
    return crops_of(encoder, scenes, policy=policy, min_area_px=min_area_px, generator=generator)


def crops_of(
    encoder: ImageTextEncoder,
    scenes: Iterable[StoredScenes],
    *,
    policy: CropPolicy = "masked",
    min_area_px: int = 60,
    generator: MaskGenerator | None = None,
) -> CropSet:
    """The true masks of all views of some objects as vectors, or the masks found that stand for a part."""
    weights = averaged_policies(policy)
    config = CropsConfig(size_px=encoder.image_size, min_area_px=min_area_px)
    crops = [cut_crops(s, config, policies=tuple(weights), generator=generator) for s in scenes]
    table = ConceptTable((c.family, c.tree) for c in crops)
    pool = CropPool(crops, table, bonsai_share=1.0 / 6.0)
    views = np.concatenate([c.view.astype(np.int64) + OBJECT_VIEWS * i for i, c in enumerate(crops)])
    each = encoder.encode_images(pool.images).reshape(-1, len(weights), encoder.id.dim).swapaxes(0, 1)
    vectors = mean_direction(each, list(weights.values()))
    return CropSet(vectors, pool.concepts[:: len(weights)], views[:: len(weights)], table)


def evaluate(encoder: ImageTextEncoder, crops: CropSet) -> dict[str, float]:
    """All figures of the model card, each in [0, 1].

    same_object_top1: crop -> name among the names of its family; _same_level: among those of its level too.
    all_top1, all_top5: crop -> name among the names of all families.
    view_top1: name -> crop among the crops of one view.
    part_top1, part_top5: text -> part by the mean vector of the part's crops, among all parts of all families, with
        names, with synonyms that training never had (held_), and with those that the text tower never met (unseen_);
        siblings count as one, with the ending _strict every part for itself: see `candidates_of`.
    found: share of crops whose own name beats every negative. refused_sibling: share of (crop, wrong name of the same
        family) below a negative, kin left out; refused_absent: the same for names of other families.
    """
    table, shows = crops.table, crops.shows()
    names = [c.name for c in table.concepts]
    family = np.array([c.family for c in table.concepts])
    level = np.array([int(c.level) for c in table.concepts])
    cosines = crops.vectors @ text_vectors(encoder, names).T
    negatives = (crops.vectors @ text_vectors(encoder, CANONICAL_NEGATIVES).T).max(axis=1, keepdims=True)
    right_for = np.stack([table.column(n)[0] for n in names], axis=1)
    wrong_for = np.stack([table.column(n)[1] for n in names], axis=1)
    first = crops.concepts[:, 0]
    right = (shows.astype(np.float32) @ right_for.astype(np.float32)) > 0
    wrong = wrong_for[first] & ~right
    same = family[None] == family[first][:, None]
    same_level = same & (level[None] == level[first][:, None])
    top = lambda mask: float(np.take_along_axis(right, _best(cosines, mask)[:, None], axis=1).mean())
    order = np.argsort(-cosines, axis=1)[:, :5]
    numbers = {
        "same_object_top1": top(same),
        "same_level_top1": top(same_level),
        "all_top1": top(np.ones_like(same)),
        "all_top5": float(np.take_along_axis(right, order, axis=1).any(axis=1).mean()),
        "view_top1": _view_top1(crops, shows, cosines),
        "found": float((cosines > negatives)[shows].mean()),
        "refused_sibling": float((cosines < negatives)[wrong & same].mean()),
        "refused_absent": float((cosines < negatives)[wrong & ~same].mean()),
    }
    held = [(f, s) for f, words in HELD_OUT.items() for s in words if any(s in c.nouns for c in table.concepts)]
    unseen = held_out_from_teacher()
    groups = {"part": names, "held_part": [s for _, s in held], "unseen_part": [s for _, s in held if s in unseen]}
    for ending, siblings in (("", True), ("_strict", False)):
        candidates = candidates_of(crops, siblings=siblings)
        for label, texts in groups.items():
            found = text_to_part(encoder, candidates, texts)
            numbers |= {f"{label}_top{k}{ending}": v for k, v in found.items()}
    for name in sorted(set(family.tolist())):
        rows = family[first] == name
        hits = np.take_along_axis(right, _best(cosines, same_level)[:, None], axis=1)[:, 0]
        numbers[f"same_level_top1/{name}"] = float(hits[rows].mean())
        numbers[f"found/{name}"] = float((cosines > negatives)[rows][shows[rows]].mean())
    return {key: round(value, 4) for key, value in numbers.items()}


def _best(cosines: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    return np.where(allowed, cosines, -np.inf).argmax(axis=1)


def _view_top1(crops: CropSet, shows: np.ndarray, cosines: np.ndarray) -> float:
    """Share of (view, visible concept) whose name scores highest on a crop of that concept."""
    hits = []
    for view in np.unique(crops.view):
        rows = np.flatnonzero(crops.view == view)
        for concept in np.flatnonzero(shows[rows].any(axis=0)):
            hits.append(shows[rows[cosines[rows, concept].argmax()], concept])
    return float(np.mean(hits))


def text_to_part(encoder: ImageTextEncoder, candidates: Candidates, texts: Sequence[str]) -> dict[int, float]:
    """Top-1 and top-5 of texts among the candidates.

    Texts that name none of them are left out; nan where that is all of them.
    """
    table = candidates.table
    named = np.stack([table.column(t)[0] for t in texts]) if texts else np.zeros((0, len(table)), bool)
    right = named.astype(np.float32) @ candidates.stands_for.T.astype(np.float32) > 0
    known = right.any(axis=1)
    if not known.any():
        return {1: float("nan"), 5: float("nan")}
    order = np.argsort(-(text_vectors(encoder, texts) @ candidates.vectors.T), axis=1)
    ranked = np.take_along_axis(right, order, axis=1)[known]
    return {k: float(ranked[:, :k].any(axis=1).mean()) for k in (1, 5)}


@dataclass(frozen=True, eq=False)
class Candidates:
    """What texts are ranked against: the parts of all families, each as the mean vector of the crops that show it."""

    vectors: Float32[np.ndarray, "p d"]
    """Unit vectors."""
    stands_for: Bool[np.ndarray, "p c"]
    """Concepts of the table for which a candidate is a right answer."""
    table: ConceptTable
    """The concepts."""


_FINGERS = frozenset(("thumb", "index", "middle", "ring", "little"))


def sibling_kind(name: str) -> str:
    """`part_kind`, and without the finger: what a crop alone, without its surroundings, lets a person tell.

    >>> sibling_kind("left upper lobe"), sibling_kind("distal index phalanx")
    ('lobe', 'distal phalanx')
    """
    kind = part_kind(name)
    return " ".join(w for w in kind.split() if w not in _FINGERS) or kind


def candidates_of(crops: CropSet, *, siblings: bool) -> Candidates:
    """The candidates of a ranking.

    Args:
        crops: crops with what they show.
        siblings: True merges the parts of a family that differ only in number, side, order or finger into one, and
            takes a candidate as right for another part as well if more than half of its crops show that part too (its
            pixels are the same: a board seen alone and a circuit board). False: every part for itself, right for its
            own names.
    """
    table, shows = crops.table, crops.shows()
    seen = np.flatnonzero(shows.any(axis=0))
    names = [(table.concepts[c].family, table.concepts[c].name) for c in seen]
    keys = [(f, sibling_kind(n)) if siblings else (f, n) for f, n in names]
    vectors, stands_for = [], []
    for key in dict.fromkeys(keys):
        members = np.array([c for c, k in zip(seen, keys, strict=True) if k == key])
        rows = shows[:, members].any(axis=1)
        mean = crops.vectors[rows].mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
        own = np.isin(np.arange(len(table)), members)
        stands_for.append(own | (shows[rows].mean(axis=0) > 0.5) if siblings else own)
    return Candidates(np.stack(vectors), np.stack(stands_for), table)


@dataclass(frozen=True, eq=False)
class ObjectMargins:
    """By how many logits texts beat the highest negative on an object, each part the mean vector of its crops."""

    present: Float32[np.ndarray, "n"]
    """Of the name of each part of each object, on that part."""
    absent: Float32[np.ndarray, "m"]
    """Of each (noun of a thing that is in no object, object), on the part where it is highest."""

    def found(self, at: float = 0.0) -> float:
        """Share of parts found when a margin above this counts."""
        return float((self.present > at).mean())

    def refused(self, at: float = 0.0) -> float:
        """Share of (noun, object) refused on every part of the object."""
        return float((self.absent <= at).mean())


def object_margins(encoder: ImageTextEncoder, crops: CropSet, nouns: Sequence[str]) -> ObjectMargins:
    """What a query would say about each object: names of its parts, and nouns of things that are not there."""
    names = [c.name for c in crops.table.concepts]
    own, absent, negatives = (text_vectors(encoder, texts) for texts in (names, nouns, CANONICAL_NEGATIVES))
    shows, objects = crops.shows(), crops.view // OBJECT_VIEWS
    present, highest = [], []
    for o in np.unique(objects):
        rows = objects == o
        seen = np.flatnonzero(shows[rows].any(axis=0))
        means = np.stack([crops.vectors[rows & shows[:, c]].mean(axis=0) for c in seen])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        against = (means @ negatives.T).max(axis=1)
        present.append((means * own[seen]).sum(axis=1) - against)
        highest.append((means @ absent.T - against[:, None]).max(axis=0))
    scale = encoder.logit_scale
    return ObjectMargins(*(scale * np.concatenate(m).astype(np.float32) for m in (present, highest)))


def relevancy_pairs(encoder: ImageTextEncoder, crops: CropSet) -> tuple[np.ndarray, np.ndarray]:
    """(relevancy of a query, whether the name is right) of every crop with every name of its family; kin left out."""
    table = crops.table
    names = [c.name for c in table.concepts]
    margin = crops.vectors @ text_vectors(encoder, names).T
    margin -= (crops.vectors @ text_vectors(encoder, CANONICAL_NEGATIVES).T).max(axis=1, keepdims=True)
    family = np.array([c.family for c in table.concepts])
    right_for, wrong_for = (np.stack([table.column(n)[k] for n in names], axis=1) for k in (0, 1))
    right = (crops.shows().astype(np.float32) @ right_for.astype(np.float32)) > 0
    first = crops.concepts[:, 0]
    counts = (family[None] == family[first][:, None]) & (right | wrong_for[first])
    return 1.0 / (1.0 + np.exp(-encoder.logit_scale * margin[counts])), right[counts]


def confusion(
    encoder: ImageTextEncoder, crops: CropSet, family: str, prompts: Sequence[str]
) -> tuple[list[str], Float32[np.ndarray, "r p"]]:
    """Mean margin in logits of each prompt over the highest negative, on the crops of each concept of a family.

    Returns:
        (concepts seen, margins): positive where a query would select the part.
    """
    texts = text_vectors(encoder, prompts)
    negatives = (crops.vectors @ text_vectors(encoder, CANONICAL_NEGATIVES).T).max(axis=1, keepdims=True)
    margins = encoder.logit_scale * (crops.vectors @ texts.T - negatives)
    rows, names = [], []
    for index, concept in enumerate(crops.table.concepts):
        own = crops.concepts[:, 0] == index
        if concept.family == family and own.any():
            rows.append(margins[own].mean(axis=0))
            names.append(concept.name)
    return names, np.asarray(rows, np.float32).reshape(-1, len(prompts))


def confusion_text(names: Sequence[str], prompts: Sequence[str], margins: Float32[np.ndarray, "r p"]) -> str:
    """A confusion table as text."""
    width = max(len(n) for n in names) + 1
    lines = [" " * width + " ".join(f"{p[:9]:>9}" for p in prompts)]
    for name, row in zip(names, margins, strict=True):
        lines.append(f"{name:<{width}}" + " ".join(f"{v:>9.1f}" for v in row))
    return "\n".join(lines)
