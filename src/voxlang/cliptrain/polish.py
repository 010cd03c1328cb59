"""After both towers: the text tower alone learns where unseen words belong, with the image tower as it is."""

from __future__ import annotations

import sys

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn
from torch.nn.functional import normalize

from voxlang.cliptrain.captions import TEMPLATES, ConceptTable
from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.losses import distillation_loss
from voxlang.cliptrain.nouns import GENERIC
from voxlang.cliptrain.teacher import TeacherSpace
from voxlang.cliptrain.tokenizer import encode_tokens

SHARPNESS = 12.0
"""How fast a name's pull falls with the teacher's distance: weight exp(SHARPNESS (cosine - 1))."""
SELF_WEIGHT = 0.02
"""Weight of staying at the teacher's own place, against the pulls."""


def polished_targets(
    space: TeacherSpace, names: Float32[np.ndarray, "k d"], learned: Float32[np.ndarray, "k d"]
) -> Float32[np.ndarray, "n d"]:
    """Where each phrase belongs, by how the names near it moved away from the teacher.

    t'(p) = normalised t(p) + sum_n k(p, n) (l(n) - t(n)) / (sum_n k(p, n) + w), k = exp(s (t(p) . t(n) - 1)).

    Args:
        space: phrases and their place t in the teacher's space.
        names: t of the names that pictures were trained with.
        learned: l, the vectors those names have now.
    """
    pull = np.exp(SHARPNESS * (space.vectors @ names.T - 1.0))
    moved = space.vectors + pull @ (learned - names) / (pull.sum(axis=1, keepdims=True) + SELF_WEIGHT)
    return (moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def polish_text(
    model: nn.Module, tokenizer: object, table: ConceptTable, space: TeacherSpace, config: ClipTrainConfig
) -> nn.Module:
    """Train the text tower for `config.polish_steps`: names keep their vectors, other phrases move with them.

    Args:
        model: averaged model of the training; changed in place.
        tokenizer: its vocabulary.
        table: concepts of the pictures.
        space: the teacher's phrases.
        config: seed, batch and steps.
    """
    from tqdm import tqdm

    place = {p: i for i, p in enumerate(space.phrases)}
    nouns = list(dict.fromkeys([n for c in table.concepts for n in c.caption_nouns] + list(GENERIC)))
    nouns = [n for n in nouns if n in place]
    encode = lambda texts: normalize(
        model.encode_text(encode_tokens(tokenizer, texts, context_length=config.model.context_length)), dim=-1
    )
    with torch.no_grad():
        learned = torch.stack([normalize(encode([t.format(n) for t in TEMPLATES[1:]]).mean(0), dim=-1) for n in nouns])
    rows = np.array([place[n] for n in nouns])
    targets = polished_targets(space, space.vectors[rows], learned.numpy())
    targets[rows] = learned.numpy()
    own = {id(p) for p in model.visual.parameters()} | {id(model.logit_scale)}
    text = [p for p in model.parameters() if id(p) not in own]
    for parameter in text:
        parameter.requires_grad_(True)
    rate = 0.5 * config.learning_rate
    optimizer = torch.optim.AdamW(text, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=config.polish_steps + 1, pct_start=0.1)
    for step in tqdm(range(config.polish_steps), desc="polish", disable=not sys.stderr.isatty()):
        rng = np.random.default_rng([config.seed, 13, step])
        third = config.text_batch // 3
        core, more = rng.integers(0, space.n_core, third), rng.integers(0, len(space.phrases), third)
        chosen = np.concatenate([rng.choice(rows, third), core, more])
        texts = [str(rng.choice(TEMPLATES)).format(space.phrases[int(i)]) for i in chosen]
        distillation_loss(encode(texts), torch.from_numpy(targets[chosen])).backward()
        nn.utils.clip_grad_norm_(text, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval().requires_grad_(False)
