"""What one step sees: crops, captions and how they relate; a function of seed and step alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from voxlang.cliptrain.captions import TEMPLATES, Caption, ConceptTable, generic_captions
from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.crops_data import CropPool
from voxlang.cliptrain.losses import Relations
from voxlang.cliptrain.nouns import absent_nouns
from voxlang.cliptrain.teacher import TeacherSpace

NEAR = 0.4
"""A noun of an absent thing is not called wrong for a concept whose name the teacher finds this near."""


@dataclass(frozen=True, eq=False)
class CaptionSet:
    """Texts of a step."""

    captions: tuple[Caption, ...]
    """With nouns of the table."""
    generic: tuple[Caption, ...]
    """Right for nothing in particular."""
    absent: tuple[int, ...]
    """Rows of the maker's nouns of absent things."""
    texts: tuple[str, ...]
    """What the text tower reads: captions, generic, absent, in this order."""


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Crops of one step and how a caption set relates to them."""

    rows: Int[np.ndarray, "b"]
    """Rows of the pool."""
    relations: Relations
    """How the texts relate to the crops."""


class BatchMaker:
    """Draws batches from crops and captions."""

    def __init__(self, config: ClipTrainConfig, pool: CropPool, table: ConceptTable, space: TeacherSpace) -> None:
        self.config, self.pool, self.table, self.space = config, pool, table, space
        place = {p: i for i, p in enumerate(space.phrases)}
        self.absent = [n for n in absent_nouns("train") if n in place and not table.column(n)[0].any()]
        nouns = space.vectors[[place[n] for n in self.absent]]
        self.far = np.ones((len(table), len(self.absent)), np.float32)
        for row, concept in enumerate(table.concepts):
            known = [place[n] for n in concept.caption_nouns if n in place]
            if known:
                self.far[row] = (space.vectors[known] @ nouns.T).max(axis=0) < NEAR

    def captions(self, rng: np.random.Generator) -> CaptionSet:
        """Texts of a step: one per concept, some with attributes of crops, generic ones, absent things."""
        captions = self.table.universal_captions(rng)
        rows = self.pool.draw(rng, max(1, self.config.batch_size // 3))
        for row in rows[self.pool.concepts[rows, 0] >= 0]:
            captions.append(self.table.crop_caption(rng, int(self.pool.concepts[row, 0]), self.pool.attributes[row]))
        generic = generic_captions(rng)
        count = min(self.config.absent_nouns, len(self.absent))
        absent = [int(i) for i in rng.choice(len(self.absent), count, replace=False)]
        texts = [c.text for c in (*captions, *generic)]
        texts += [str(rng.choice(TEMPLATES)).format(self.absent[i]) for i in absent]
        return CaptionSet(tuple(captions), tuple(generic), tuple(absent), tuple(texts))

    def batch(self, rng: np.random.Generator, texts: CaptionSet) -> ClipBatch:
        """Crops of one step beside a caption set."""
        rows = self.pool.draw(rng, self.config.batch_size)
        right, wrong = self._relations(rows, texts.captions)
        none = np.zeros((len(rows), len(texts.generic)), np.float32)
        far = np.ones((len(rows), len(texts.absent)), np.float32)
        for k in range(3):
            concept = self.pool.concepts[rows, k]
            far *= np.where(concept[:, None] >= 0, self.far[concept][:, list(texts.absent)], 1.0)
        generic = np.zeros(len(texts.texts), bool)
        generic[len(texts.captions) : len(texts.captions) + len(texts.generic)] = True
        relations = Relations(
            torch.from_numpy(np.concatenate([right, none > 0, far > 2], axis=1)),
            torch.from_numpy(np.concatenate([wrong, none, far], axis=1).astype(np.float32)),
            torch.from_numpy(generic),
        )
        return ClipBatch(rows, relations)

    def _relations(self, rows: np.ndarray, captions: tuple[Caption, ...]) -> tuple[np.ndarray, np.ndarray]:
        """(right, wrong weight) [b m] of captions with nouns of the table."""
        columns = [self.table.column(c.noun, c.family) for c in captions]
        right_of, wrong_of = (np.stack([c[k] for c in columns], axis=1) for k in (0, 1))
        right = np.zeros((len(rows), len(captions)), bool)
        wrong = np.ones((len(rows), len(captions)), np.float32)
        for k in range(3):
            concept = self.pool.concepts[rows, k]
            known = concept >= 0
            right[known] |= right_of[concept[known]]
            wrong[known] = np.minimum(wrong[known], wrong_of[concept[known]])
        for m, caption in enumerate(captions):
            if caption.attribute is not None:
                right[:, m] &= self.pool.attributes[rows, self.table.attributes.index(caption.attribute)]
        return right, np.where(right, np.float32(0.0), wrong)
