"""The text tower alone: it starts as the mean of the teacher's word vectors and learns to imitate the teacher.

Words keep their neighbours: a synonym that names no part in training still lies near the names that the teacher finds
like it. What brings it to the pictures afterwards is a linear map behind it, the same for all texts, so words without
pictures move with those that have some: see `alignment`.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from voxlang.cliptrain.concepts import TEMPLATES
from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.losses import distillation_loss, relation_loss
from voxlang.cliptrain.teacher import Teacher, TeacherSpace, project
from voxlang.cliptrain.tokenizer import encode_tokens
from voxlang.core.artifacts import atomic_path
from voxlang.core.device import bfloat16_where_quick
from voxlang.core.training_log import TrainingLog

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT_CHECKPOINT = "text.pt"
_START_NORM = 0.32
"""Length of a token's vector at the start: that of open_clip's own random ones at width 256."""


def text_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of the text tower, the projection included."""
    own = {id(p) for p in model.visual.parameters()} | {id(model.logit_scale)}
    return [p for p in model.parameters() if id(p) not in own]


def encode_states(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """What the transformer says at the end token, before the projection: [n width].

    Attention is causal and the vector is taken at the end token, so columns that hold only padding are left out; texts
    of like length go together.
    """
    lengths = (tokens != 0).sum(1)
    order = lengths.argsort()
    rows = [_states_at_end(model, tokens[part, : int(lengths[part].max())]) for part in order.chunk(4)]
    return torch.cat(rows)[order.argsort()]


def _states_at_end(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    length = tokens.shape[1]
    states = model.token_embedding(tokens) + model.positional_embedding[:length]
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
    ends = (tokens == model.text_eos_id).int().argmax(dim=-1)
    return states[torch.arange(len(tokens), device=tokens.device), ends]


@torch.no_grad()
def start_from_words(model: nn.Module, tokenizer: Tokenizer, teacher: Teacher, space: TeacherSpace) -> None:
    """Give every token the teacher's vector of its letters, and let the end token begin as the mean of all before it.

    The first block attends evenly and passes values on unchanged; the other blocks begin as nothing. Does nothing
    where the width is not that of the common space.
    """
    width = model.token_embedding.weight.shape[1]
    if width != len(space.axes):
        return
    words = [tokenizer.decode([i]).strip() for i in range(tokenizer.get_vocab_size())]
    vectors = project(teacher.encode([w or "." for w in words]), space.axes, space.mean)
    vectors[[not w for w in words]] = 0.0
    model.token_embedding.weight.copy_(torch.from_numpy(_START_NORM * vectors))
    model.positional_embedding.mul_(0.3)
    first, *others = model.transformer.resblocks
    eye = torch.eye(width)
    first.attn.in_proj_weight[: 2 * width].mul_(0.1)
    first.attn.in_proj_weight[2 * width :].copy_(eye)
    first.attn.out_proj.weight.copy_(eye)
    for block in (first, *others):
        block.mlp.c_proj.weight.zero_()
    for block in others:
        block.attn.out_proj.weight.zero_()
    model.text_projection.copy_(eye)


def fit_text_tower(
    model: nn.Module,
    tokenizer: Tokenizer,
    space: TeacherSpace,
    config: ClipTrainConfig,
    device: torch.device,
    *,
    log: TrainingLog | None = None,
) -> float:
    """Train the text tower for `text_steps` to the teacher's vectors, or go on where a checkpoint stopped.

    Args:
        model: its text tower is changed in place and left with its averaged weights.
        tokenizer: its vocabulary; the same as that of the checkpoint.
        space: phrases and targets.
        config: the recipe.
        device: where the model lies.
        log: told the cosine of every step.

    Returns:
        Mean cosine to the teacher over the last steps, nan when there was nothing to do.
    """
    from tqdm import tqdm

    tower = nn.ParameterList(text_parameters(model))
    optimizer = torch.optim.AdamW(tower, lr=config.text_rate, betas=(0.9, 0.98), weight_decay=0.01)
    average = AveragedModel(tower, multi_avg_fn=get_ema_multi_avg_fn(config.text_ema_decay))
    parts = {"tower": tower, "average": average, "optimizer": optimizer}
    path = Path(config.run_dir) / TEXT_CHECKPOINT
    begin = 0
    if path.is_file():
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        begin = state["step"]
    begun = saved = time.monotonic()
    cosines: list[float] = []
    log = log or TrainingLog(None)
    model.train()
    for step in tqdm(range(begin, config.text_steps), desc="text tower", disable=not sys.stderr.isatty()):
        rate = config.text_rate * rate_factor(step, config.text_steps, config.warmup_steps)
        optimizer.param_groups[0]["lr"] = rate
        texts, targets = phrase_batch(space, np.random.default_rng([config.seed, 11, step]), config.text_batch)
        cosine = imitation_step(model, tokenizer, texts, targets, optimizer, bfloat16=config.bfloat16)
        average.update_parameters(tower)
        cosines = [*cosines[-49:], cosine]
        last = step + 1 == config.text_steps
        seconds = time.monotonic() - begun
        log.add(step + 1, {"text_cosine": cosine}, phase="text tower", seconds=seconds, last=last)
        if last or time.monotonic() - saved > config.checkpoint_seconds:
            state = {name: part.state_dict() for name, part in parts.items()}
            space_of = {"axes": torch.from_numpy(space.axes), "mean": torch.from_numpy(space.mean)}
            state |= space_of | {"step": step + 1, "tokenizer": tokenizer.to_str()}
            with atomic_path(path) as temporary:
                torch.save(state, temporary)
            saved = time.monotonic()
    with torch.no_grad():
        for parameter, mean in zip(tower, average.module, strict=True):
            parameter.copy_(mean)
    return float(np.mean(cosines)) if cosines else float("nan")


def imitation_step(
    model: nn.Module,
    tokenizer: Tokenizer,
    texts: list[str],
    targets: Float32[np.ndarray, "n d"],
    optimizer: torch.optim.Optimizer,
    *,
    bfloat16: bool = False,
) -> float:
    """One step of a text tower towards the vectors that some texts shall have; returns the mean cosine before it.

    Args:
        model: its text tower learns.
        tokenizer: its vocabulary.
        texts: what it reads.
        targets: unit vectors.
        optimizer: holds the parameters of the tower, and its rate.
        bfloat16: run the transformer in bfloat16 autocast, where that is quick.
    """
    device = model.text_projection.device
    tokens = encode_tokens(tokenizer, texts, context_length=len(model.positional_embedding)).to(device)
    with bfloat16_where_quick(device, wanted=bfloat16):
        states = encode_states(model, tokens)
    vectors, wanted = normalize(states.float() @ model.text_projection, dim=-1), torch.from_numpy(targets).to(device)
    loss = distillation_loss(vectors, wanted)
    (loss + 10.0 * relation_loss(vectors, wanted)).backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return 1.0 - loss.item()


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / (warmup + 1))
    return warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * step / steps)))


@dataclass(frozen=True, eq=False)
class StoredText:
    """What a text tower that was begun is tied to."""

    tokenizer: Tokenizer
    """Its vocabulary."""
    axes: np.ndarray
    """Axes of its targets; see `TeacherSpace`."""
    mean: np.ndarray
    """Mean of the teacher's vectors that was taken off."""


def stored_text(run_dir: Path) -> StoredText | None:
    """Vocabulary and axes of the text tower that was begun in this folder; None when there is none.

    Phrases may change between two runs, when families are added; the space may not.
    """
    from tokenizers import Tokenizer

    path = run_dir / TEXT_CHECKPOINT
    if not path.is_file():
        return None
    state = torch.load(path, weights_only=True)
    return StoredText(Tokenizer.from_str(state["tokenizer"]), state["axes"].numpy(), state["mean"].numpy())


def phrase_batch(space: TeacherSpace, rng: np.random.Generator, count: int) -> tuple[list[str], np.ndarray]:
    """Texts and targets: half of them core phrases, the others from the wide vocabulary, a third in a template."""
    n_core = count // 2 if space.n_core < len(space.phrases) else count
    rows = rng.integers(0, space.n_core, n_core)
    if n_core < count:
        rows = np.concatenate([rows, rng.integers(space.n_core, len(space.phrases), count - n_core)])
    texts = [space.phrases[int(i)] for i in rows]
    texts = [str(rng.choice(TEMPLATES)).format(t) if rng.random() < 0.33 else t for t in texts]
    return texts, space.vectors[rows]
