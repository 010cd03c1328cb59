"""How well names find parts on views never trained on: retrieval, found and not found, confusion tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from voxlang.cliptrain.captions import QUERY_TEMPLATES, ConceptTable
from voxlang.cliptrain.config import CropsConfig
from voxlang.cliptrain.crops_data import CropPool, cut_crops
from voxlang.cliptrain.nouns import GENERIC, HELD_OUT, held_out_from_teacher
from voxlang.core.errors import ConfigError
from voxlang.embed.encoder import ImageTextEncoder
from voxlang.scenes.buffer import StoredScenes, read_scenes, scene_files

NEGATIVES = GENERIC[:4]
"""The canonical negatives of a query."""


@dataclass(frozen=True, eq=False)
class CropSet:
    """Crops of true masks as vectors, with what they show."""

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


def crop_set(encoder: ImageTextEncoder, folders: Sequence[str | Path], *, min_area_px: int = 60) -> CropSet:
    """`crops_of` all views in some folders.

    Raises:
        ConfigError: no views there.
    """
    files = [f for folder in folders for f in scene_files(folder)]
    if not files:
        raise ConfigError("files scenes_*.npz", got="none", where=str(list(folders)), do="write views first")
    return crops_of(encoder, map(read_scenes, files), min_area_px=min_area_px)


def crops_of(encoder: ImageTextEncoder, scenes: Iterable[StoredScenes], *, min_area_px: int = 60) -> CropSet:
    """Masked crops of the true masks of all views of some objects."""
    config = CropsConfig(size_px=encoder.image_size, min_area_px=min_area_px)
    crops = [cut_crops(s, config, perfect=True) for s in scenes]
    table = ConceptTable((c.family, c.tree) for c in crops)
    pool = CropPool(crops, table, bonsai_share=1.0 / 6.0)
    views = np.concatenate([c.view.astype(np.int64) + 10_000 * i for i, c in enumerate(crops)])
    return CropSet(encoder.encode_images(pool.images), pool.concepts, views, table)


def evaluate(encoder: ImageTextEncoder, crops: CropSet) -> dict[str, float]:
    """All figures of the model card, each in [0, 1].

    same_object_top1: crop -> name among the names of its family; _same_level: among those of its level too.
    all_top1, all_top5: crop -> name among the names of all families.
    view_top1: name -> crop among the crops of one view.
    part_top1, part_top5: text -> part by the mean vector of the part's crops, among all parts of all families, with
        names, with synonyms that captions never had (held_), and with those that the text tower never met (unseen_).
    found: share of crops whose own name beats every negative. refused_sibling: share of (crop, wrong name of the same
        family) below a negative, kin left out; refused_absent: the same for names of other families.
    """
    table, shows = crops.table, crops.shows()
    names = [c.name for c in table.concepts]
    family = np.array([c.family for c in table.concepts])
    level = np.array([int(c.level) for c in table.concepts])
    cosines = crops.vectors @ text_vectors(encoder, names).T
    negatives = (crops.vectors @ text_vectors(encoder, NEGATIVES).T).max(axis=1, keepdims=True)
    right_for = np.stack([table.column(n)[0] for n in names], axis=1)
    wrong_for = np.stack([table.column(n)[1] for n in names], axis=1)
    first = crops.concepts[:, 0]
    right = (shows.astype(np.float32) @ right_for.astype(np.float32)) > 0
    wrong = (wrong_for[first] >= 1.0) & ~right
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
    for label, texts in groups.items():
        numbers |= {f"{label}_top{k}": v for k, v in text_to_part(encoder, crops, texts).items()}
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


def text_to_part(encoder: ImageTextEncoder, crops: CropSet, texts: Sequence[str]) -> dict[int, float]:
    """Top-1 and top-5 of texts among all parts of all families, each part the mean vector of the crops that show it.

    Texts that name none of the parts seen are left out; nan where that is all of them.
    """
    seen, means = part_means(crops)
    right = np.stack([crops.table.column(t)[0][seen] for t in texts]) if texts else np.zeros((0, len(seen)), bool)
    known = right.any(axis=1)
    if not known.any():
        return {1: float("nan"), 5: float("nan")}
    order = np.argsort(-(text_vectors(encoder, texts) @ means.T), axis=1)
    ranked = np.take_along_axis(right, order, axis=1)[known]
    return {k: float(ranked[:, :k].any(axis=1).mean()) for k in (1, 5)}


def part_means(crops: CropSet) -> tuple[Int[np.ndarray, "p"], Float32[np.ndarray, "p d"]]:
    """(rows of the concept table that some crop shows, unit mean vector of the crops of each)."""
    shows = crops.shows()
    seen = np.flatnonzero(shows.any(axis=0))
    means = np.stack([crops.vectors[shows[:, c]].mean(axis=0) for c in seen])
    return seen, means / np.linalg.norm(means, axis=1, keepdims=True)


def absent_refused(encoder: ImageTextEncoder, crops: CropSet, nouns: Sequence[str]) -> tuple[float, float]:
    """For things that no crop shows: share of (noun, part) not above all negatives, and of nouns never above them."""
    _, means = part_means(crops)
    negatives = (means @ text_vectors(encoder, NEGATIVES).T).max(axis=1)
    below = means @ text_vectors(encoder, nouns).T <= negatives[:, None]
    return float(below.mean()), float(below.all(axis=0).mean())


def relevancy_pairs(encoder: ImageTextEncoder, crops: CropSet) -> tuple[np.ndarray, np.ndarray]:
    """(relevancy of a query, whether the name is right) of every crop with every name of its family; kin left out."""
    table = crops.table
    names = [c.name for c in table.concepts]
    margin = crops.vectors @ text_vectors(encoder, names).T
    margin -= (crops.vectors @ text_vectors(encoder, NEGATIVES).T).max(axis=1, keepdims=True)
    family = np.array([c.family for c in table.concepts])
    right_for, weight = (np.stack([table.column(n)[k] for n in names], axis=1) for k in (0, 1))
    right = (crops.shows().astype(np.float32) @ right_for.astype(np.float32)) > 0
    first = crops.concepts[:, 0]
    counts = (family[None] == family[first][:, None]) & (right | (weight[first] >= 1.0))
    return 1.0 / (1.0 + np.exp(-encoder.logit_scale * margin[counts])), right[counts]


def confusion(
    encoder: ImageTextEncoder, crops: CropSet, family: str, prompts: Sequence[str]
) -> tuple[list[str], Float32[np.ndarray, "r p"]]:
    """Mean margin in logits of each prompt over the highest negative, on the crops of each concept of a family.

    Returns:
        (concepts seen, margins): positive where a query would select the part.
    """
    texts = text_vectors(encoder, prompts)
    negatives = (crops.vectors @ text_vectors(encoder, NEGATIVES).T).max(axis=1, keepdims=True)
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
