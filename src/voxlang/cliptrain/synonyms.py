"""Last, the text tower learns synonyms: names stay where pictures know them, and what means the same comes to them.

A sentence model holds "pincers" far from "claws", and a tower that imitates it does, too. So the sentence model is
first told which nouns of parts mean the same (those that training may use; it then also holds nouns together that it
was not told of). Then it says how near any phrase is to each known noun; a phrase near to one gets the vector of its
name, one far from all keeps its own, and the tower imitates that. The vectors of names and of the general texts stay as
they are, so that image towers need no training.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from voxlang.cliptrain.alignment import text_vectors_of, unit_rows
from voxlang.cliptrain.concepts import TEMPLATES, ConceptTable
from voxlang.cliptrain.config import SynonymsConfig
from voxlang.cliptrain.nouns import GENERIC
from voxlang.cliptrain.teacher import Teacher, teacher_phrases
from voxlang.cliptrain.text_tower import imitation_step, rate_factor, text_parameters
from voxlang.core.training_log import TrainingLog
from voxlang.volume.types import part_kind

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, eq=False)
class SynonymTargets:
    """Phrases and the vectors that the text tower shall have for them."""

    phrases: tuple[str, ...]
    """Names and general texts, then the other known nouns, then the other core phrases of the teacher, then its wide
    vocabulary."""
    n_stay: int
    """How many are names and general texts, which stay where they are."""
    n_known: int
    """How many are these or other known nouns."""
    n_core: int
    """How many are these or other core phrases."""
    vectors: Float32[np.ndarray, "n d"]
    """Unit vectors."""


def names_of(table: ConceptTable) -> tuple[str, ...]:
    """Names of all kinds of parts, each once."""
    return tuple(dict.fromkeys(c.name for c in table.concepts))


def same_things(table: ConceptTable) -> list[list[str]]:
    """Nouns that training may use, by what they mean; what differs in number, side or order alone is one."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for concept in table.concepts:
        groups[part_kind(concept.name)].update(dict.fromkeys(concept.training_nouns))
    return [list(nouns) for nouns in groups.values() if nouns]


def learn_synonyms(
    model: nn.Module,
    tokenizer: Tokenizer,
    table: ConceptTable,
    teacher: Teacher,
    config: SynonymsConfig,
    *,
    seed: int,
    log: TrainingLog | None = None,
) -> float:
    """Let the text tower of a finished model learn the synonyms of a table, in place.

    Args:
        model: its text tower changes; left in evaluation mode, with gradients asked of that tower.
        tokenizer: its vocabulary.
        table: the concepts whose names and training nouns count.
        teacher: told of the synonyms, and changed by that.
        config: how long; no steps change nothing.
        seed: of the batches.
        log: told the cosine of every step.

    Returns:
        Mean cosine to the targets over the last steps, nan where there are none.
    """
    from tqdm import tqdm

    if not config.steps:
        return float("nan")
    teacher.hold_together(same_things(table), steps=config.teacher_steps, seed=seed)
    targets = synonym_targets(model.eval(), tokenizer, table, teacher, config, seed=seed)
    tower = text_parameters(model)
    for parameter in tower:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(tower, lr=config.rate, betas=(0.9, 0.98), weight_decay=0.01)
    cosines: list[float] = []
    log = log or TrainingLog(None)
    begun = time.monotonic()
    model.train()
    for step in tqdm(range(config.steps), desc="synonyms", disable=not sys.stderr.isatty()):
        optimizer.param_groups[0]["lr"] = config.rate * rate_factor(step, config.steps, 50)
        texts, wanted = _batch(targets, np.random.default_rng([seed, 17, step]), config.batch)
        cosine = imitation_step(model, tokenizer, texts, wanted, optimizer)
        cosines = [*cosines[-49:], cosine]
        seconds, last = time.monotonic() - begun, step + 1 == config.steps
        log.add(step + 1, {"synonym_cosine": cosine}, phase="synonyms", seconds=seconds, last=last)
    model.eval()
    return float(np.mean(cosines))


@torch.no_grad()
def synonym_targets(
    model: nn.Module,
    tokenizer: Tokenizer,
    table: ConceptTable,
    teacher: Teacher,
    config: SynonymsConfig,
    *,
    seed: int,
) -> SynonymTargets:
    """Where each phrase shall lie: names and general texts where they are, known synonyms at their names, others on the
    way from where they are to the names of the known nouns that the teacher finds like them.

    Args:
        model: in evaluation mode.
        tokenizer: its vocabulary.
        table: the concepts.
        teacher: who says what is alike.
        config: `near` and `sharpness`.
        seed: of the phrases that are drawn.
    """
    names, known = names_of(table), table.training_nouns
    stay = tuple(dict.fromkeys((*names, *GENERIC)))
    told = [n for n in known if n not in set(stay)]
    phrases, n_core = teacher_phrases(table, teacher.words(), seed=seed)
    taken = {*stay, *told}
    others = [p for p in phrases if p not in taken]
    n_core_others = sum(p not in taken for p in phrases[:n_core])
    vectors = text_vectors_of(model, tokenizer, [*stay, *others]).astype(np.float32)
    at = dict(zip(stay, vectors, strict=False))
    owners: dict[str, dict[str, None]] = defaultdict(dict)
    for concept in table.concepts:
        for noun in concept.training_nouns:
            owners[noun][concept.name] = None
    at |= {n: unit_rows(sum(at[m] for m in owners[n])) for n in told}
    homes = np.stack([at[n] for n in known])
    teacher_knows = teacher.encode(known)
    placed = []
    for start in range(0, len(others), 4096):
        cosines = teacher.encode(others[start : start + 4096]) @ teacher_knows.T
        best = cosines.max(axis=1, keepdims=True)
        share = np.exp(config.sharpness * (cosines - best))
        home = unit_rows(share @ homes)
        own = vectors[len(stay) + start :][: len(home)]
        near = np.clip((best - config.near[0]) / (config.near[1] - config.near[0]), 0.0, 1.0)
        placed.append(unit_rows((1.0 - near) * own + near * home))
    fixed = (*stay, *told)
    rows = np.concatenate([np.stack([at[p] for p in fixed]), *placed]).astype(np.float32)
    return SynonymTargets((*fixed, *others), len(stay), len(fixed), len(fixed) + n_core_others, rows)


def _batch(targets: SynonymTargets, rng: np.random.Generator, count: int) -> tuple[list[str], np.ndarray]:
    """Two fifths texts that stay, a fifth each of the three other sorts; half of all in a template."""
    bounds = (0, targets.n_stay, targets.n_known, targets.n_core, len(targets.phrases))
    fifth = count // 5
    sizes = (count - 3 * fifth, fifth, fifth, fifth)
    drawn = [rng.integers(a, b, n) for a, b, n in zip(bounds, bounds[1:], sizes, strict=False) if b > a]
    rows = np.concatenate(drawn)
    texts = [targets.phrases[int(i)] for i in rows]
    texts = [str(rng.choice(TEMPLATES)).format(t) if rng.random() < 0.5 else t for t in texts]
    return texts, targets.vectors[rows]
